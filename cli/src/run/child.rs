//! Sockets, settings and an account in; the server as a process of that account, and whether it answers, out.

use std::env;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::fs::{MemfdFlags, memfd_create};

use super::account::Account;

/// The first file descriptor of `sd_listen_fds(3)`.
const FIRST_SOCKET: i32 = 3;
/// Longest wait for the answer of a server that may still be starting.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts `pilotlight server` as `account`, with `settings` (YAML) and the sockets handed over.
pub(crate) fn start(
    account: &Account,
    settings: &str,
    listeners: &[TcpListener],
) -> io::Result<Child> {
    let mappings: Vec<FdMapping> = (FIRST_SOCKET..)
        .zip(listeners)
        .map(|(child_fd, listener)| {
            Ok(FdMapping { parent_fd: OwnedFd::from(listener.try_clone()?), child_fd })
        })
        .collect::<io::Result<_>>()?;
    #[expect(
        clippy::disallowed_methods,
        reason = "our own child; the path also works when the file was replaced or is not reachable"
    )]
    let mut command = Command::new("/proc/self/exe");
    command.arg0("pilotlight").args(["server", "--child-of", &std::process::id().to_string()]);
    // The settings have these in them already.
    for (name, _) in env::vars_os() {
        if is_setting(&name.to_string_lossy()) && name != crate::logging::VARIABLE {
            command.env_remove(name);
        }
    }
    command
        .env("LISTEN_FDS", listeners.len().to_string())
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDNAMES");
    command.uid(account.uid).gid(account.gid).current_dir("/").stdin(readable(settings)?);
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    command.spawn()
}

fn is_setting(variable: &str) -> bool {
    variable.starts_with("PILOTLIGHT_") || variable.starts_with("PYROSCOPE_AUTH_")
}

/// A file without a name: unlike a pipe, it takes any length before somebody reads.
fn readable(text: &str) -> io::Result<Stdio> {
    let mut file = File::from(memfd_create("settings", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// Where a server that listens at `address` can be reached from this machine.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            IpAddr::V6(Ipv6Addr::LOCALHOST)
        });
    }
    address
}

/// Whether the server at `address` says that it is ready.
pub(crate) fn is_ready(address: SocketAddr) -> bool {
    ask_ready(address).is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 "))
}

fn ask_ready(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let request = format!("GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    // In one piece: a formatted write would send each of its parts by itself.
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn ready_is_what_answers_200() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\nready", true),
            ("HTTP/1.1 503 Unavailable\r\n\r\n", false),
            ("", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let n_bytes = stream.read(&mut request).unwrap();
                assert!(request[..n_bytes].starts_with(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1:"));
                stream.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(is_ready(address), expected, "{answer:?}");
            server.join().unwrap();
            assert!(!is_ready(address), "nobody listens any more");
        }
    }

    #[test]
    fn every_address_has_one_to_reach_it_by() {
        for (listen, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), expected.parse().unwrap());
        }
    }
}

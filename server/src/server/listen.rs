//! `ADDRESS:PORT` -> listening sockets.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _};

const BACKLOG: i32 = 1_024;

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot read listen address '{text}': write ADDRESS:PORT, as in 127.0.0.1:4040")]
    Address { text: String },
    #[error(
        "cannot listen on {address}: the port is in use; end the program that has it or choose another with --listen"
    )]
    Taken { address: SocketAddr },
    #[error("cannot listen on {address}: ports below 1024 need root; choose another with --listen")]
    NotPermitted { address: SocketAddr },
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Other { address: SocketAddr, source: io::Error },
}

/// 127.0.0.1 and localhost mean `::1` too, on the same port, where there is IPv6.
pub fn bind(listen: &str) -> Result<Vec<TcpListener>, BindError> {
    let addresses =
        addresses(listen).ok_or_else(|| BindError::Address { text: listen.to_owned() })?;
    let mut listeners: Vec<TcpListener> = Vec::new();
    for mut address in addresses {
        // Port 0 was chosen for the first.
        if let Some(Ok(first)) = listeners.first().map(TcpListener::local_addr) {
            address.set_port(first.port());
        }
        match open(address) {
            Ok(listener) => listeners.push(listener),
            Err(err) if !listeners.is_empty() && is_without_ipv6(&err) => {}
            Err(source) => return Err(error(address, source)),
        }
    }
    Ok(listeners)
}

fn addresses(listen: &str) -> Option<Vec<SocketAddr>> {
    let (host, port) = listen.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host == "localhost" || host == "127.0.0.1" {
        return Some(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(vec![(address, port).into()]);
    }
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs().ok()?.collect();
    (!found.is_empty()).then_some(found)
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // IPv4 has its own socket.
        socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn is_without_ipv6(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || err.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn error(address: SocketAddr, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { address },
        io::ErrorKind::PermissionDenied => BindError::NotPermitted { address },
        _ => BindError::Other { address, source },
    }
}

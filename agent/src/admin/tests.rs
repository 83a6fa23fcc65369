//! The answers over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::runtime::{Builder, Handle};

use super::{Admin, MAX_CONNECTIONS, is_own_name};

/// A runtime like the exporter's: one thread, which lives as long as the test program.
fn runtime() -> Handle {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
}

fn admin() -> (Admin, Arc<AtomicBool>) {
    let mut registry = Registry::default();
    let windows = Counter::<u64>::default();
    windows.inc();
    registry.register("pilotlight_agent_windows", "Windows", windows);
    let is_ready = Arc::new(AtomicBool::new(false));
    (Admin::new(Arc::new(registry), is_ready.clone()), is_ready)
}

fn get(address: SocketAddr, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_and_health_are_served() {
    let (admin, is_ready) = admin();
    let addresses = admin.serve(([127, 0, 0, 1], 0).into(), &runtime());
    for address in &addresses {
        let answer = get(*address, "/metrics", &address.to_string());
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("content-type: application/openmetrics-text; version=1.0.0"),
            "{answer}"
        );
        assert!(answer.contains("pilotlight_agent_windows_total 1\n# EOF\n"), "{answer}");
        assert!(get(*address, "/healthz", "localhost:1").ends_with("\r\nok\n"));
        assert!(get(*address, "/nothing", "localhost").starts_with("HTTP/1.1 404 "));
    }
    let ready = || get(addresses[0], "/ready", "localhost");
    assert!(ready().starts_with("HTTP/1.1 503 "), "{}", ready());
    is_ready.store(true, Ordering::Relaxed);
    assert!(ready().starts_with("HTTP/1.1 200 "), "{}", ready());
}

#[test]
fn foreign_hosts_are_refused_on_loopback() {
    let (admin, _is_ready) = admin();
    let addresses = admin.serve(([127, 0, 0, 1], 0).into(), &runtime());
    let answer = get(addresses[0], "/metrics", "rebound.example:4041");
    assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("windows"), "{answer}");
}

#[test]
fn own_names() {
    for own in ["localhost", "localhost:4041", "127.0.0.1:4041", "[::1]:4041", "[::1]"] {
        assert!(is_own_name(own), "{own}");
    }
    for foreign in [
        "",
        "a.example",
        "localhost.a.example",
        "127.0.0.1.a.example",
        "[::2]",
        "user@127.0.0.1@x",
        "a b",
    ] {
        assert!(!is_own_name(foreign), "{foreign}");
    }
}

#[test]
fn a_port_that_is_taken_is_survived() {
    let (admin, _is_ready) = admin();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(admin.serve(taken.local_addr().unwrap(), &runtime()).is_empty());
}

#[test]
fn connections_that_say_nothing_leave_room_for_others() {
    let (admin, _is_ready) = admin();
    let addresses = admin.serve(([127, 0, 0, 1], 0).into(), &runtime());
    let silent: Vec<_> =
        (1..MAX_CONNECTIONS).map(|_| TcpStream::connect(addresses[0]).unwrap()).collect();
    assert!(get(addresses[0], "/healthz", "localhost").ends_with("\r\nok\n"));
    drop(silent);
    for _ in 0..3 * MAX_CONNECTIONS {
        assert!(get(addresses[0], "/healthz", "localhost").starts_with("HTTP/1.1 200 "));
    }
}

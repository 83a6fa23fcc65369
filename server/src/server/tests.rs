//! The whole server over real sockets.

use super::*;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<Result<(), Error>>,
}

fn start(data: &std::path::Path, change: impl FnOnce(&mut Config)) -> Running {
    let mut config = Config { data: data.to_owned(), ..Config::default() };
    change(&mut config);
    let listeners = bind("127.0.0.1:0").unwrap();
    let address = listeners[0].local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(run(config, listeners, async {
            stopped.await.unwrap_or_default();
        }))
    });
    Running { address, stop, thread }
}

impl Running {
    fn exchange(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str, headers: &str) -> String {
        self.exchange(&format!("GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n"))
    }

    fn stop(self) -> Result<(), Error> {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

#[test]
fn it_serves_stops_and_has_everything_again() {
    let data = TempDir::new().unwrap();
    let running = start(data.path(), |_| {});
    assert!(running.get("/ready", "host: localhost\r\n").starts_with("HTTP/1.1 200 OK"));
    let page = running.get("/", "host: localhost:4040\r\n");
    assert!(
        page.contains("content-security-policy: default-src 'self';")
            && page.contains("x-content-type-options: nosniff")
    );
    let body = "main;f 3";
    let push = format!(
        "POST /ingest?name=app HTTP/1.1\r\nhost: [::1]\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(running.exchange(&push).starts_with("HTTP/1.1 200 OK"));
    running.stop().unwrap();
    let began = Instant::now();
    let running = start(data.path(), |_| {});
    let values = running.get("/pyroscope/label-values?label=service_name", "host: localhost\r\n");
    assert!(values.ends_with("[\"app\"]"), "{values}");
    assert!(began.elapsed() < Duration::from_secs(5));
    running.stop().unwrap();
}

#[test]
fn foreign_hosts_and_origins_are_refused_on_loopback() {
    let data = TempDir::new().unwrap();
    let running = start(data.path(), |_| {});
    for headers in ["host: evil.example\r\n", "host: localhost\r\norigin: http://evil.example\r\n"]
    {
        for path in ["/", "/ready", "/metrics", "/pyroscope/label-values?label=a"] {
            assert!(
                running.get(path, headers).starts_with("HTTP/1.1 403 Forbidden"),
                "{path} {headers}"
            );
        }
    }
    assert!(
        running
            .get("/ready", "host: localhost\r\norigin: http://localhost:5173\r\n")
            .starts_with("HTTP/1.1 200")
    );
    running.stop().unwrap();
}

#[test]
fn headers_that_do_not_come_are_not_waited_for() {
    let data = TempDir::new().unwrap();
    let running = start(data.path(), |config| {
        config.http.header_timeout = serde_json::from_str("\"200ms\"").unwrap();
    });
    let began = Instant::now();
    running.exchange("GET / HTTP/1.1\r\nhost: local");
    assert!(began.elapsed() < Duration::from_secs(5));
    running.stop().unwrap();
}

#[test]
fn taken_ports_and_wrong_addresses_are_named() {
    let listeners = bind("localhost:0").unwrap();
    let address = listeners[0].local_addr().unwrap();
    assert!(
        listeners.iter().all(|listener| listener.local_addr().unwrap().port() == address.port())
    );
    let error = bind(&address.to_string()).unwrap_err().to_string();
    let expected =
        "the port is in use; end the program that has it or choose another with --listen";
    assert_eq!(error, format!("cannot listen on {address}: {expected}"));
    for wrong in ["", "4040", "localhost", "localhost:x", "localhost:99999", "no such host:1"] {
        assert!(matches!(bind(wrong), Err(BindError::Address { .. })), "{wrong}");
    }
}

#[test]
fn a_wrong_configuration_is_named() {
    let check = |change: fn(&mut Config), expected: &str| {
        let error = start(std::path::Path::new("/proc/none"), change)
            .thread
            .join()
            .unwrap()
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    check(|config| config.limits.series = 0, "configuration: limits.series: must be 1 or more");
    check(|config| config.data = "".into(), "no data directory is given");
    check(|_| {}, "cannot create data directory /proc/none: ");
}

#[test]
fn calls_of_what_there_is_not_are_answered_in_their_protocol() {
    let data = TempDir::new().unwrap();
    let running = start(data.path(), |_| {});
    let call = |path: &str| {
        running.exchange(&format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        ))
    };
    let unknown = call("/querier.v1.QuerierService/Nope");
    assert!(
        unknown.starts_with("HTTP/1.1 404") && unknown.contains("\"code\":\"unimplemented\""),
        "{unknown}"
    );
    let without = call("/vcs.v1.VCSService/GithubApp");
    assert!(
        without.starts_with("HTTP/1.1 501") && without.contains("\"code\":\"unimplemented\""),
        "{without}"
    );
    assert!(call("/version.v1.Version/Version").ends_with("{\"QuerierAPI\":\"1\"}"));
    assert!(call("/capabilities.v1.FeatureFlagsService/GetFeatureFlags").ends_with("{}"));
    assert!(
        running.get("/nothing.v1.Service/Call", "host: localhost\r\n").starts_with("HTTP/1.1 405")
    );
    assert!(running.get("/assets/nothing.js", "host: localhost\r\n").starts_with("HTTP/1.1 404"));
    running.stop().unwrap();
}

/// How long the server keeps a connection to which `talk` was all that came.
fn kept(running: &Running, talk: &str) -> Duration {
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(talk.as_bytes()).unwrap();
    let began = Instant::now();
    let mut answer = Vec::new();
    // A reset is an end as well.
    stream.read_to_end(&mut answer).ok();
    began.elapsed()
}

fn span(text: &str) -> crate::config::Http {
    let mut http = crate::config::Http::default();
    let value = |text: &str| serde_yaml::from_str(text).unwrap();
    (http.header_timeout, http.idle_timeout, http.write_timeout) =
        (value("300ms"), value(text), value("500ms"));
    http
}

#[test]
fn slow_clients_lose_their_connection() {
    let data = TempDir::new().unwrap();
    let running = start(data.path(), |config| config.http = span("1500ms"));
    let (head, idle) = (Duration::from_millis(250), Duration::from_millis(1_400));
    for talk in ["", "GET / HTTP/1.1\r\nhost: loc", "POST /ingest HTTP/1.1\r\na: b\r\n"] {
        let time = kept(&running, talk);
        assert!(time > head && time < idle, "{talk:?}: {time:?}");
    }
    // Between requests there is more time than for the headers of one.
    let time = kept(&running, "GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(time > idle && time < Duration::from_secs(10), "{time:?}");
    // The preface and settings of HTTP/2, and nothing else.
    let time = kept(&running, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert!(time > idle && time < Duration::from_secs(10), "{time:?}");
    running.stop().unwrap();
}

#[test]
fn a_client_that_does_not_read_loses_its_connection() {
    let data = TempDir::new().unwrap();
    let running = start(data.path(), |config| config.http = span("60s"));
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1_000);
    let began = Instant::now();
    // Its answers fill every buffer on the way; then the server ends it.
    while stream.write_all(request.as_bytes()).is_ok() {
        assert!(began.elapsed() < Duration::from_mins(1), "it is still connected");
    }
    assert!(running.get("/ready", "host: localhost\r\n").starts_with("HTTP/1.1 200 OK"));
    running.stop().unwrap();
}

#[test]
fn one_address_cannot_take_all_connections() {
    let data = TempDir::new().unwrap();
    let running = start(data.path(), |config| config.http.connections_per_address = 2);
    let open = || TcpStream::connect(running.address).unwrap();
    let ask = |mut stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut answer = [0; 12];
        let request = b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(request).and_then(|()| stream.read_exact(&mut answer)).is_ok()
    };
    let (first, second, third) = (open(), open(), open());
    assert!(ask(&first) && ask(&second) && !ask(&third));
    drop(first);
    let again = || {
        std::thread::sleep(Duration::from_millis(20));
        ask(&open())
    };
    assert!((0..100).any(|_| again()), "the place of a closed connection is free");
    running.stop().unwrap();
}

/// A certificate for localhost in two files.
fn write_certificate(directory: &std::path::Path) -> (crate::config::Tls, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = crate::config::Tls {
        cert_file: directory.join("cert.pem"),
        key_file: directory.join("key.pem"),
    };
    std::fs::write(&files.cert_file, made.cert.pem()).unwrap();
    std::fs::write(&files.key_file, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.der().to_vec())
}

/// The answer to a request over TLS by a client that trusts this certificate alone.
fn get_over_tls(address: SocketAddr, trusted: &[u8]) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.to_vec().into()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let connection = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = rustls::StreamOwned::new(connection, stream);
    stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    // The server may end the connection without the goodbye of TLS.
    if answer.is_empty() {
        ended?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_new_certificate_is_taken_without_a_restart() {
    let data = TempDir::new().unwrap();
    let (files, first) = write_certificate(data.path());
    let running = start(data.path(), |config| config.tls = files.clone());
    assert!(get_over_tls(running.address, &first).unwrap().starts_with("HTTP/1.1 200 OK"));
    // Who speaks no TLS gets nothing, and neither does one who says nothing.
    assert!(!running.get("/ready", "host: localhost\r\n").contains("200 OK"));
    std::fs::write(&files.cert_file, "nonsense").unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(get_over_tls(running.address, &first).is_ok(), "the old one is kept");
    let (_, second) = write_certificate(data.path());
    let until = Instant::now() + Duration::from_secs(20);
    while get_over_tls(running.address, &second).is_err() {
        assert!(Instant::now() < until, "the new certificate is not there");
        std::thread::sleep(Duration::from_millis(100));
    }
    get_over_tls(running.address, &first).unwrap_err();
    running.stop().unwrap();
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let data = TempDir::new().unwrap();
    let (mut files, _) = write_certificate(data.path());
    let check = |files: &crate::config::Tls, expected: &str| {
        let running = start(data.path(), |config| config.tls = files.clone());
        let error = running.thread.join().unwrap().unwrap_err().to_string();
        assert!(error.starts_with("tls: ") && error.contains(expected), "{error}");
    };
    let key = std::mem::replace(&mut files.key_file, data.path().join("none.pem"));
    check(&files, "none.pem");
    files.key_file.clone_from(&files.cert_file);
    check(&files, "cert.pem");
    std::fs::write(&files.cert_file, "nonsense").unwrap();
    files.key_file = key;
    check(&files, "has no certificate");
}

#[test]
fn slow_handshakes_lose_their_connection() {
    let data = TempDir::new().unwrap();
    let (files, _) = write_certificate(data.path());
    let running = start(data.path(), |config| {
        config.tls = files.clone();
        config.http = span("1500ms");
    });
    for talk in ["", "\u{16}\u{3}\u{1}"] {
        let time = kept(&running, talk);
        assert!(time < Duration::from_secs(5), "{talk:?}: {time:?}");
    }
    running.stop().unwrap();
}

#[test]
fn limits_of_tenants_are_read_again() {
    let data = TempDir::new().unwrap();
    let overrides = data.path().join("overrides.yaml");
    std::fs::write(&overrides, "team-a: {series: 7}\n").unwrap();
    let running = start(data.path(), |config| {
        config.multitenancy_enabled = true;
        config.overrides_file = overrides.clone();
    });
    let series = || {
        let headers = "host: localhost\r\nx-scope-orgid: team-a\r\n";
        let answer = running.get("/api/v1/tenant_limits", headers);
        let body = answer.split("\r\n\r\n").nth(1).unwrap().to_owned();
        serde_json::from_str::<serde_json::Value>(&body).unwrap()["series"].as_i64().unwrap()
    };
    assert_eq!(series(), 7);
    let wait_for = |text: &str, expected: i64| {
        std::fs::write(&overrides, text).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while series() != expected {
            assert!(Instant::now() < until, "{text}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait_for("team-a: {series: 12345}\n", 12_345);
    std::fs::write(&overrides, "team-a: {serie: 1}\n").unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(series(), 12_345, "what is wrong changes nothing");
    wait_for("{}", 100_000);
    running.stop().unwrap();
    let broken = start(data.path(), |config| config.overrides_file = "/proc/none".into());
    let error = broken.thread.join().unwrap().unwrap_err().to_string();
    assert!(error.starts_with("overrides_file: cannot read it"), "{error}");
}

/// admin/admin, from this machine alone, until it is changed; the whole server with its sockets.
#[test]
fn the_usual_password_is_good_on_this_machine() {
    let data = TempDir::new().unwrap();
    let running = start(data.path(), |config| config.auth.internal_enabled = true);
    let log_in = |headers: &str| {
        let body = "username=admin&password=admin";
        running.exchange(&format!(
            "POST /login HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let proxied = log_in("x-forwarded-for: 203.0.113.9\r\n");
    assert!(proxied.starts_with("HTTP/1.1 403") && proxied.contains("from this machine only"));
    for said in ["via: 1.1 x", "x-forwarded-host: x", "x-forwarded-proto: https", "cdn-loop: x"] {
        assert!(log_in(&format!("{said}\r\n")).starts_with("HTTP/1.1 403"), "{said}");
    }
    let logged = log_in("");
    assert!(logged.starts_with("HTTP/1.1 303") && logged.contains("location: /settings/password"));
    let cookie = logged.split("set-cookie: ").nth(1).unwrap().split(';').next().unwrap();
    let ask = |headers: &str| {
        running.get("/labels", &format!("host: localhost\r\ncookie: {cookie}\r\n{headers}"))
    };
    assert!(ask("").starts_with("HTTP/1.1 200"));
    assert!(ask("x-forwarded-for: 203.0.113.9\r\n").starts_with("HTTP/1.1 401"));
    assert!(running.get("/", "host: localhost\r\n").starts_with("HTTP/1.1 401"));
    assert!(running.get("/login", "host: localhost\r\n").starts_with("HTTP/1.1 200"));
    running.stop().unwrap();
}

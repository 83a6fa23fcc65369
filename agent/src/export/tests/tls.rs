//! Servers behind TLS: who is trusted and who is not.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::export::{Config, Error, Exporter, Metrics};

use super::{PATIENCE, Running, config, logged_about, profile, wait_until};

/// A server that accepts everything, under a certificate for `localhost` that it signed itself. Gives its address and the
/// certificate.
fn start_server() -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server_config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .unwrap();
    let server_config = Arc::new(server_config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(server_config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut request = [0; 16 * 1024];
            // A client that does not trust the certificate ends the connection here.
            if stream.read(&mut request).is_ok() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        }
    });
    (url, certified.cert.pem())
}

fn config_with_ca(url: &str, ca_file: &Path) -> Config {
    Config { ca_file: Some(ca_file.to_owned()), ..config(url) }
}

#[test]
fn a_server_signed_by_the_ca_file_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    let (url, certificate) = start_server();
    fs::write(&ca_file, certificate).unwrap();
    let mut running = Running::start(&config_with_ca(&url, &ca_file));
    running.send(vec![profile("a", 1, 10)]);
    assert_eq!(running.flush(PATIENCE), 0);
    assert_eq!(running.metric("sent_profiles_total"), 1);
}

#[test]
fn a_server_signed_by_somebody_else_gets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    let (_, other_certificate) = start_server();
    let (url, _) = start_server();
    fs::write(&ca_file, other_certificate).unwrap();
    let mut running = Running::start(&config_with_ca(&url, &ca_file));
    running.send(vec![profile("a", 1, 10)]);
    wait_until("a retry", || running.metric_of("retries_total", "connect") > 0);
    assert_eq!(running.flush(Duration::from_secs(1)), 1);
    let log = logged_about(&url);
    assert!(log.contains("cannot reach URL: invalid peer certificate"), "{log}");
}

#[test]
fn files_without_certificates_are_errors_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    let start = |config: &Config| Exporter::spawn(config, Metrics::default()).unwrap_err();
    let config = config_with_ca("https://localhost:1", &ca_file);
    assert!(matches!(start(&config), Error::ReadCaFile { .. }));
    for content in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        fs::write(&ca_file, content).unwrap();
        let error = start(&config).to_string();
        assert!(error.contains("ca.pem") && error.contains("certificate"), "{content:?}: {error}");
    }
}

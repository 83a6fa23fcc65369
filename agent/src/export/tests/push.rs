//! What the exporter sends, and what it does with each kind of answer.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use expect_test::expect;
use flate2::read::GzDecoder;
use prost::Message;
use protocol::profile::Profile;

use crate::export::{Authorization, Config, SecretSource};

use super::fake_server::{FakeServer, Received, Reply};
use super::{PATIENCE, Running, config, logged_about, profile, wait_until};

#[test]
fn profiles_of_a_window_go_in_one_request() {
    let server = FakeServer::start([]);
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("x-scope-orgid", "team".parse().unwrap());
    let mut running =
        Running::start(&Config { headers, ..config(&format!("{}/base/", server.url())) });
    running.send(vec![profile("a", 5, 100), profile("b", 5, 100)]);
    assert_eq!(running.flush(PATIENCE), 0);

    let received = server.received();
    assert_eq!(received.len(), 1);
    let request = &received[0];
    assert_eq!(request.path, "/base/push.v1.PusherService/Push");
    assert_eq!(request.header("content-type"), "application/proto");
    assert_eq!(request.header("content-encoding"), "gzip");
    assert_eq!(request.header("connect-protocol-version"), "1");
    assert_eq!(request.header("x-scope-orgid"), "team");
    assert_eq!(request.header("authorization"), "");
    assert!(request.header("user-agent").starts_with("pilotlight/"));
    let series = &request.message.series[0];
    let labels: Vec<_> = series.labels.iter().map(|label| (&*label.name, &*label.value)).collect();
    assert_eq!(labels, [("__name__", "process_cpu"), ("service_name", "a")]);
    let mut bytes = Vec::new();
    GzDecoder::new(&*series.samples[0].raw_profile).read_to_end(&mut bytes).unwrap();
    assert_eq!(Profile::decode(&*bytes).unwrap(), profile("a", 5, 100).profile);
    let mut ids = request.ids();
    assert!(ids.iter().all(|id| uuid::Uuid::parse_str(id).is_ok()), "{ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 2);
    assert_eq!(running.metric("sent_profiles_total"), 2);
    assert_eq!(running.metric("sent_samples_total"), 6);
    running.assert_account();
}

#[test]
fn ids_stay_the_same_in_retries() {
    let server = FakeServer::start([
        Reply::status(503),
        Reply::status(500),
        Reply::status(408),
        Reply::status(429),
    ]);
    let mut running = Running::start(&config(&server.url()));
    running.send(vec![profile("a", 1, 10)]);
    running.wait_for("retries_total", 1);
    assert_eq!(running.flush(PATIENCE), 0);
    let ids: Vec<_> = server.received().iter().map(Received::ids).collect();
    assert_eq!(ids.len(), 5);
    assert!(ids.iter().all(|these| *these == ids[0]), "{ids:?}");
    assert_eq!(running.metric("sent_profiles_total"), 1);
    let metrics = running.metrics();
    assert!(metrics.contains("retries_total{reason=\"server_error\"} 3"), "{metrics}");
    assert!(metrics.contains("retries_total{reason=\"rate_limited\"} 1"), "{metrics}");
    running.assert_account();
}

#[test]
fn the_server_chooses_the_wait() {
    let server = FakeServer::start([Reply::status(429).header("retry-after", "2")]);
    let running = Running::start(&config(&server.url()));
    let start = Instant::now();
    running.send(vec![profile("a", 1, 10)]);
    running.wait_for("sent_profiles_total", 1);
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn refused_profiles_are_counted_by_reason_and_said_once() {
    let connect_error = br#"{"code":"invalid_argument","message":"profile with labels '{}' is \u001b[31mmalformed"}"#;
    let server = FakeServer::start([
        Reply::status(400).header("content-type", "application/json").body(connect_error),
        Reply::status(401),
        Reply::status(403),
        Reply::status(404).body("no such page"),
    ]);
    let mut running = Running::start(&config(&server.url()));
    for window in 1..=4 {
        running.send(vec![profile("a", window, 10), profile("b", window, 10)]);
        running.wait_for("dropped_profiles_total", window.cast_unsigned() * 2);
    }
    running.send(vec![profile("a", 5, 10)]);
    assert_eq!(running.flush(PATIENCE), 0);
    assert_eq!(server.received().len(), 5, "what is refused is not sent again");
    let metrics = running.metrics();
    for reason in ["invalid", "unauthorized", "forbidden", "refused"] {
        assert!(
            metrics.contains(&format!("dropped_profiles_total{{reason=\"{reason}\"}} 2")),
            "{metrics}"
        );
        assert!(
            metrics.contains(&format!("dropped_samples_total{{reason=\"{reason}\"}} 6")),
            "{metrics}"
        );
    }
    running.assert_account();
    let log = logged_about(&server.url());
    assert_eq!(log.matches("refuses profiles").count(), 1, "once a minute: {log}");
    assert!(
        log.contains(
            r"status 400, invalid_argument: profile with labels '{}' is \x1b[31mmalformed"
        ),
        "{log}"
    );
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = FakeServer::start([]);
    let target = format!("{}/push.v1.PusherService/Push", elsewhere.url());
    for status in [301, 302, 307, 308] {
        let server = FakeServer::start([Reply::status(status).header("location", &target)]);
        let token = SecretSource::Value("canary".to_owned().into());
        let authorization = Some(Authorization::Bearer(token));
        let mut running = Running::start(&Config { authorization, ..config(&server.url()) });
        running.send(vec![profile("a", 1, 10)]);
        running.wait_for("dropped_profiles_total", 1);
        running.flush(PATIENCE);
        assert_eq!(server.received()[0].header("authorization"), "Bearer canary");
        let log = logged_about(&server.url());
        assert!(
            log.contains(&format!("it redirects to {target}")) && !log.contains("canary"),
            "{log}"
        );
    }
    assert!(elsewhere.received().is_empty());
}

#[test]
fn answers_of_something_else_are_not_taken_for_success() {
    let html = || Reply::status(200).header("content-type", "text/html");
    let server = FakeServer::start([
        html().body("<html>log in first</html>"),
        Reply::status(200).header("content-type", "application/proto").body(vec![b'x'; 1 << 20]),
        Reply::status(200).header("content-type", "application/proto").body("\x0b\x0b garbage"),
    ]);
    let mut running = Running::start(&config(&server.url()));
    for window in 1..=3 {
        running.send(vec![profile("a", window, 10)]);
        running.wait_for("dropped_profiles_total", window.cast_unsigned());
    }
    running.send(vec![profile("a", 4, 10)]);
    assert_eq!(running.flush(PATIENCE), 0);
    let metrics = running.metrics();
    assert!(
        metrics.contains("dropped_profiles_total{reason=\"unexpected_answer\"} 3"),
        "{metrics}"
    );
    running.assert_account();
}

#[test]
fn requests_that_are_too_large_are_split() {
    let server = FakeServer::start([Reply::status(413), Reply::status(413), Reply::status(413)]);
    let mut running = Running::start(&config(&server.url()));
    running.send((0..4).map(|n| profile(&format!("s{n}"), 1, 1000)).collect());
    assert_eq!(running.flush(PATIENCE), 0);
    let sizes: Vec<_> = server.received().iter().map(|request| request.ids().len()).collect();
    // Four, then two, then one, which is too large alone and dropped; the next alone fits, and the rest together.
    assert_eq!(sizes, [4, 2, 1, 1, 2]);
    let metrics = running.metrics();
    assert!(metrics.contains("dropped_profiles_total{reason=\"too_large\"} 1"), "{metrics}");
    assert_eq!(running.metric("sent_profiles_total"), 3);
    running.assert_account();
}

#[test]
fn large_windows_are_sent_in_several_requests() {
    let server = FakeServer::start([]);
    let mut running = Running::start(&Config { queue_bytes: 1 << 24, ..config(&server.url()) });
    running.send((0..7).map(|n| profile(&format!("s{n}"), 1, 300_000)).collect());
    assert_eq!(running.flush(PATIENCE), 0);
    let received = server.received();
    assert!(
        received.len() >= 2 && received.iter().all(|request| request.n_body_bytes <= 1 << 20),
        "{received:#?}"
    );
    assert_eq!(running.metric("sent_profiles_total"), 7);
}

#[test]
fn an_absent_server_is_said_once_and_caught_up_with() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}");
    let mut running = Running::start(&config(&url));
    for window in 1..=3 {
        running.send(vec![profile("a", window, 10), profile("b", window, 10)]);
    }
    wait_until("two attempts", || running.metric("retries_total") >= 2);
    assert_eq!(running.metric("server_reachable"), 0);
    let server = FakeServer::listen(TcpListener::bind(address).unwrap(), []);
    running.wait_for("sent_profiles_total", 6);
    assert_eq!(running.metric("server_reachable"), 1);
    assert_eq!(running.flush(PATIENCE), 0);
    assert_eq!(server.received().len(), 1);
    running.assert_account();
    let log = logged_about(&url);
    let (absent, back) = log.split_once('\n').unwrap();
    assert!(absent.contains("cannot reach URL: connection refused; keeping "), "{log}");
    assert!(back.contains("URL answers again; sending 3 windows of profiles"), "{log}");
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[test]
fn a_flush_does_not_wait_for_an_absent_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut running = Running::start(&config(&url));
    running.send(vec![profile("a", 1, 10)]);
    let start = Instant::now();
    assert_eq!(running.flush(PATIENCE), 1);
    assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
    assert!(running.metrics().contains("dropped_profiles_total{reason=\"shutdown\"} 1"));
    running.assert_account();
}

#[test]
fn a_flush_keeps_its_deadline_with_a_server_that_hangs() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut running = Running::start(&config(&url));
    running.send(vec![profile("a", 1, 10)]);
    let start = Instant::now();
    assert_eq!(running.flush(Duration::from_millis(300)), 1);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    running.assert_account();
}

#[test]
fn a_server_that_never_answers_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let running = Running::start(&Config { timeout: Duration::from_millis(50), ..config(&url) });
    running.send(vec![profile("a", 1, 10)]);
    wait_until("a timeout", || running.metric_of("retries_total", "timeout") > 0);
    let log = logged_about(&url);
    assert!(log.contains("cannot reach URL: no answer in time"), "{log}");
}

#[test]
fn what_is_not_http_is_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(b"220 mail.example ESMTP\r\n").unwrap();
        }
    });
    let running = Running::start(&config(&url));
    running.send(vec![profile("a", 1, 10)]);
    wait_until("a retry", || running.metric_of("retries_total", "transport") > 0);
    running.assert_account();
}

#[test]
fn the_oldest_profiles_go_when_memory_is_full() {
    let server = FakeServer::start(std::iter::repeat_n(Reply::status(503), 2));
    let mut running = Running::start(&Config { queue_bytes: 50_000, ..config(&server.url()) });
    for window in 1..=20 {
        running.send(vec![profile(&format!("w{window}"), window, 10_000)]);
    }
    running.wait_for("queued_profiles_total", 20);
    wait_until("drops", || running.metric("dropped_profiles_total") >= 14);
    assert!(running.metric("pending_bytes") <= 50_000);
    assert_eq!(running.flush(PATIENCE), 0);
    running.assert_account();
    let received = server.received();
    let last = received.last().unwrap();
    let newest = last.message.series.last().unwrap();
    assert_eq!(newest.labels[1].value, "w20");
    assert!(running.metric_of("dropped_profiles_total", "queue_full") > 0);
}

#[test]
fn a_changed_token_file_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, "first\n").unwrap();
    let server = FakeServer::start([]);
    let authorization = Some(Authorization::Bearer(SecretSource::File(path.clone())));
    let mut running = Running::start(&Config { authorization, ..config(&server.url()) });
    running.send(vec![profile("a", 1, 10)]);
    running.wait_for("sent_profiles_total", 1);
    fs::write(&path, "second-one").unwrap();
    running.send(vec![profile("a", 2, 10)]);
    running.wait_for("sent_profiles_total", 2);
    fs::remove_file(&path).unwrap();
    running.send(vec![profile("a", 3, 10)]);
    wait_until("a retry", || running.metric_of("retries_total", "credentials") > 0);
    fs::write(&path, "third").unwrap();
    assert_eq!(running.flush(PATIENCE), 0);
    let tokens: Vec<_> =
        server.received().iter().map(|it| it.header("authorization").to_owned()).collect();
    expect![[r#"["Bearer first", "Bearer second-one", "Bearer third"]"#]]
        .assert_eq(&format!("{tokens:?}"));
    let log = logged_about(&server.url());
    assert!(log.contains("cannot read the secret in") && !log.contains("second-one"), "{log}");
}

#[test]
fn basic_authentication_is_sent() {
    let server = FakeServer::start([]);
    let password = SecretSource::Value("pass".to_owned().into());
    let authorization = Some(Authorization::Basic { username: "user".to_owned(), password });
    let mut running = Running::start(&Config { authorization, ..config(&server.url()) });
    running.send(vec![profile("a", 1, 10)]);
    assert_eq!(running.flush(PATIENCE), 0);
    assert_eq!(server.received()[0].header("authorization"), "Basic dXNlcjpwYXNz");
}

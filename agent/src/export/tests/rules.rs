//! The parts without I/O: judging answers, waiting, keeping the account.

use std::fmt::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use expect_test::expect;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::export::answer::{Answer, Response};
use crate::export::backoff::Backoff;
use crate::export::log_limit::LogLimit;
use crate::export::queue::{Entry, Queue, Tally};
use crate::export::{Metrics, Secret};

#[test]
fn answers() {
    let mut text = String::new();
    let mut judge = |response: Response<'_>| {
        let shown = match response.judge() {
            Answer::Accepted => "accepted".to_owned(),
            Answer::Retry { reason, after, message } => {
                format!("retry {} {after:?} | {message}", reason.name())
            }
            Answer::Refused { reason, message } => format!("refused {} | {message}", reason.name()),
        };
        writeln!(text, "{}: {shown}", response.status).unwrap();
    };
    let status = |status: u16| Response { status, ..Response::default() };
    judge(status(200));
    judge(status(204));
    judge(Response { content_type: Some("application/proto"), body: b"\x08\x01", ..status(200) });
    judge(Response { content_type: Some("application/json"), body: b"{}", ..status(200) });
    judge(Response { content_type: Some("text/html"), body: b"<html>", ..status(200) });
    judge(Response { location: Some("http://other/"), ..status(302) });
    judge(Response {
        body: br#"{"code":"invalid_argument","message":"no profiles received"}"#,
        ..status(400)
    });
    judge(Response { body: br#"{"code":"x"}"#, ..status(400) });
    judge(Response { body: b"plain\ntext\xff", ..status(422) });
    for code in [401, 403, 404, 408, 409, 413, 500, 501, 503, 504, 100] {
        judge(status(code));
    }
    judge(Response { retry_after: Some(" 7 "), ..status(429) });
    judge(Response { retry_after: Some("Wed, 21 Oct 2015 07:28:00 GMT"), ..status(503) });
    judge(Response { retry_after: Some("-1"), ..status(503) });
    expect![[r#"
        200: accepted
        204: accepted
        200: accepted
        200: refused unexpected_answer | status 200 with content of type "application/json": not a profile store
        200: refused unexpected_answer | status 200 with content of type "text/html": not a profile store
        302: refused redirected | status 302, it redirects to http://other/
        400: refused invalid | status 400, invalid_argument: no profiles received
        400: refused invalid | status 400, {"code":"x"}
        422: refused invalid | status 422, plain\x0atext�
        401: refused unauthorized | status 401
        403: refused forbidden | status 403
        404: refused refused | status 404
        408: retry server_error None | status 408
        409: refused refused | status 409
        413: retry too_large None | status 413
        500: retry server_error None | status 500
        501: retry server_error None | status 501
        503: retry server_error None | status 503
        504: retry server_error None | status 504
        100: refused refused | status 100
        429: retry rate_limited Some(7s) | status 429
        503: retry server_error None | status 503
        503: retry server_error None | status 503
    "#]].assert_eq(&text);
}

#[test]
fn long_messages_are_cut() {
    let body = "é".repeat(10_000);
    let Answer::Refused { message, .. } =
        (Response { status: 400, body: body.as_bytes(), ..Response::default() }).judge()
    else {
        panic!("400 is final")
    };
    assert!(message.len() < 400, "{}", message.len());
}

#[test]
fn waits_double_up_to_a_bound_and_are_spread() {
    let mut backoff = Backoff::default();
    let waits: Vec<u128> = (0..9).map(|_| backoff.next(1.0, None).as_millis()).collect();
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
    assert_eq!(backoff.next(0.0, None), Duration::from_secs(15));
    backoff.reset();
    assert_eq!(backoff.next(0.0, None), Duration::from_millis(250));
    assert_eq!(backoff.next(0.0, Some(Duration::from_secs(9))), Duration::from_secs(9));
    assert_eq!(backoff.next(0.0, Some(Duration::from_secs(1_000_000))), Duration::from_mins(5));
    for _ in 0..100 {
        assert!(backoff.next(0.5, None) <= Duration::from_secs(30));
    }
}

#[test]
fn messages_are_limited_to_one_a_minute() {
    let mut limit = LogLimit::default();
    let start = Instant::now();
    assert!(limit.allows(start));
    assert!(!limit.allows(start + Duration::from_secs(59)));
    assert!(limit.allows(start + Duration::from_mins(1)));
    assert!(!limit.allows(start + Duration::from_secs(61)));
}

#[test]
fn secrets_are_masked() {
    let secret = Secret::from("canary".to_owned());
    assert_eq!(
        format!("{secret:?} {}", serde_json::to_string(&secret).unwrap()),
        "<secret> \"<secret>\""
    );
    assert_eq!(serde_json::from_str::<Secret>("\"canary\"").unwrap().expose(), "canary");
    assert_eq!(format!("{:?}", Secret::default()), "");
    for text in ["123456", "-123456", "1234.56", "[123456]", "{\"123456\": 1}"] {
        let error = serde_json::from_str::<Secret>(text).unwrap_err().to_string();
        assert!(error.contains("expected text: put it in quotes"), "{error}");
        assert!(!error.contains("1234"), "{error}");
    }
}

#[test]
fn metric_names_follow_the_conventions() {
    let mut registry = Registry::default();
    Metrics::register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let (name, kind) = line.trim_start_matches("# TYPE ").split_once(' ').unwrap();
        assert!(name.starts_with("pilotlight_agent_export_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(
            !name.ends_with("_total") && !name.ends_with("_count"),
            "the encoder adds the suffix: {name}"
        );
        assert!(["counter", "gauge"].contains(&kind), "{name} {kind}");
    }
}

fn entry(n_bytes: usize, window_start_ns: i64) -> Entry {
    Entry { message: Bytes::from(vec![1; n_bytes]), n_samples: n_bytes as u64, window_start_ns }
}

#[test]
fn the_oldest_that_is_not_on_its_way_is_dropped() {
    let mut queue = Queue::new(100);
    for window in 0..4 {
        assert_eq!(queue.push(entry(25, window)), Tally::default());
    }
    assert_eq!(queue.begin(50).len(), 50);
    assert_eq!(queue.push(entry(30, 4)), Tally { n_profiles: 2, n_samples: 50 });
    assert_eq!((queue.n_profiles(), queue.n_bytes(), queue.n_windows()), (3, 80, 3));
    assert_eq!(queue.settle(), Tally { n_profiles: 2, n_samples: 50 });
    assert_eq!(
        queue.push(entry(200, 5)),
        Tally { n_profiles: 2, n_samples: 230 },
        "larger than everything"
    );
    assert!(queue.is_empty() && queue.n_bytes() == 0);
}

#[test]
fn a_request_holds_at_least_one_profile() {
    let mut queue = Queue::new(1000);
    queue.push(entry(500, 0));
    queue.push(entry(10, 0));
    assert_eq!(queue.begin(100).len(), 500);
    assert_eq!(queue.retry(), 1);
    assert_eq!(queue.begin(510).len(), 510);
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Begin(usize),
    Settle,
    Retry,
    Clear,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..300).prop_map(Step::Push),
        2 => (0_usize..600).prop_map(Step::Begin),
        1 => Just(Step::Settle),
        1 => Just(Step::Retry),
        1 => any::<bool>().prop_map(|rarely| if rarely { Step::Clear } else { Step::Settle }),
    ]
}

proptest! {
    #[test]
    fn queued_is_sent_and_pending_and_dropped(steps in proptest::collection::vec(any_step(), 0..60)) {
        let mut queue = Queue::new(500);
        let (mut queued, mut gone) = (0, 0);
        for step in steps {
            match step {
                Step::Push(n_bytes) => {
                    queued += 1;
                    gone += queue.push(entry(n_bytes, 0)).n_profiles;
                }
                Step::Begin(max_bytes) => {
                    let request = queue.begin(max_bytes);
                    prop_assert!(request.len() <= max_bytes || queue.n_in_flight() == 1);
                }
                Step::Settle => gone += queue.settle().n_profiles,
                Step::Retry => {
                    queue.retry();
                }
                Step::Clear => gone += queue.clear().n_profiles,
            }
            prop_assert_eq!(queued, gone + queue.n_profiles() as u64);
            prop_assert!(queue.n_bytes() <= 500);
        }
    }

    #[test]
    fn answers_of_any_content_are_judged(status: u16, body: Vec<u8>, header in any::<Option<String>>()) {
        let header = header.as_deref();
        let response = Response { status, content_type: header, retry_after: header, location: header, body: &body };
        match response.judge() {
            Answer::Accepted => prop_assert!((200..300).contains(&status)),
            Answer::Retry { message, .. } | Answer::Refused { message, .. } => {
                prop_assert!(!message.chars().any(char::is_control));
            }
        }
    }
}

//! The documented settings are the defaults; what cannot be is refused with its key.

use std::time::Duration;

use expect_test::expect;

use crate::export::{Authorization, SecretSource};

use super::Config;

const DOCUMENTED: &str = include_str!("../../../config/agent.yaml");

fn parse(text: &str) -> Config {
    serde_yaml::from_str(text).unwrap_or_else(|err| panic!("{text}: {err}"))
}

/// Dotted paths of all keys that hold a value.
fn keys(prefix: &str, value: &serde_yaml::Value, found: &mut Vec<String>) {
    match value {
        serde_yaml::Value::Mapping(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let key = key.as_str().unwrap();
                let path =
                    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
                keys(&path, value, found);
            }
        }
        _ => found.push(prefix.to_owned()),
    }
}

fn keys_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    keys("", &serde_yaml::from_str(text).unwrap(), &mut found);
    found
}

#[test]
fn the_documented_file_is_the_default_and_names_every_key_in_order() {
    assert_eq!(parse(DOCUMENTED), Config::default());
    assert_eq!(keys_of(DOCUMENTED), keys_of(&serde_yaml::to_string(&Config::default()).unwrap()));
    assert_eq!(Config::default().validate(), Ok(()));
}

#[test]
fn every_documented_key_has_its_reason() {
    let lines: Vec<&str> = DOCUMENTED.lines().map(str::trim).collect();
    for (number, line) in lines.iter().enumerate() {
        let is_value = !line.starts_with('#') && line.contains(": ");
        if is_value {
            let before = number.checked_sub(1).and_then(|number| lines.get(number)).copied();
            assert!(
                before.is_some_and(|before| before.starts_with("# ") && before.ends_with('.')),
                "{line}"
            );
        }
    }
}

#[test]
fn unknown_keys_and_wrong_types_are_errors() {
    let error = |text: &str| serde_yaml::from_str::<Config>(text).unwrap_err().to_string();
    expect!["sampling: unknown field `frequency`, expected `frequency_hz` or `max_stacks` at line 2 column 3"]
        .assert_eq(&error("sampling:\n  frequency: 1\n"));
    expect![[
        r#"sampling.frequency_hz: invalid type: string "often", expected u32 at line 2 column 17"#
    ]]
    .assert_eq(&error("sampling:\n  frequency_hz: often\n"));
    expect![[r#"window: bad duration "10": write a whole number and a unit, as in 500ms, 10s, 1m, 2h or 31d at line 1 column 9"#]]
        .assert_eq(&error("window: '10'\n"));
    expect![[r#"window: bad duration "10": write a whole number and a unit, as in 500ms, 10s, 1m, 2h or 31d at line 1 column 9"#]].assert_eq(&error("window: 10\n"));
    for text in [
        "servers: {}",
        "server: {basic: {user: a}}",
        "server: {bearer: {tokens: a}}",
        "log: {level: loud}",
    ] {
        error(text);
    }
    for section in ["labels", "metrics", "symbolize", "bpf", "log"] {
        assert!(
            error(&format!("{section}: {{nothing: 1}}")).contains("unknown field `nothing`"),
            "{section}"
        );
    }
}

#[test]
fn settings_that_cannot_be_are_refused_with_their_key() {
    let check = |text: &str| {
        let error = parse(text).validate().expect_err(text);
        format!("{error}\n")
    };
    let errors: String = [
        "sampling: {frequency_hz: 0}",
        "sampling: {frequency_hz: 1001}",
        "sampling: {max_stacks: 10}",
        "window: 500ms",
        "window: 1h",
        "server: {url: ''}",
        "server: {url: 'localhost:4040'}",
        "server: {url: 'ftp://a'}",
        "server: {url: 'http://u:canary@a'}",
        "server: {url: 'http://a/?tenant=1'}",
        "server: {basic: {password: canary}}",
        "server: {basic: {username: 'a:b', password: canary}}",
        "server: {basic: {username: a, password: canary, password_file: /b}}",
        "server: {basic: {username: a}, bearer: {token: canary}}",
        "server: {bearer: {token: canary, token_file: /b}}",
        "server: {tenant: 'a/b'}",
        "server: {tenant: '..'}",
        "server: {headers: {'a b': c}}",
        "server: {headers: {Content-Type: c}}",
        "server: {headers: {X-Key: \"canary\\n\"}}",
        "server: {headers: {Authorization: canary}, bearer: {token: canary}}",
        "server: {ca_file: /ca.pem}",
        "server: {connect_timeout: 0s}",
        "server: {timeout: 1h}",
        "server: {queue_bytes: 1}",
        "labels: {max_series: 0}",
        "metrics: {listen: '4041'}",
        "symbolize: {worker_deadline: 0s}",
        "symbolize: {cache_frames: 1}",
        "bpf: {ring_bytes: 100000}",
        "bpf: {max_processes: 1}",
        "bpf: {stack_slots: 4294967295}",
    ]
    .iter()
    .map(|text| check(text))
    .collect();
    assert!(!errors.contains("canary"), "{errors}");
    expect![[r#"
        sampling.frequency_hz: 0 is not between 1 and 1000
        sampling.frequency_hz: 1001 is not between 1 and 1000
        sampling.max_stacks: 10 is neither 0 (chosen by the machine) nor between 64 and 16777216
        window: 500ms is not between 1s and 10m
        window: 1h is not between 1s and 10m
        server.url: not a URL (relative URL without a base): write it as in http://127.0.0.1:4040
        server.url: must begin with http:// or https:// and a host, as in http://127.0.0.1:4040
        server.url: must begin with http:// or https:// and a host, as in http://127.0.0.1:4040
        server.url: must not hold a user or password: they belong in server.basic
        server.url: must end with the path: no ?query and no #fragment
        server.basic.username: is empty, but there is a password
        server.basic.username: must not contain a colon
        server.basic.password: is given twice, as a value and as a file: keep one of them
        server.bearer: cannot be used together with server.basic: set one of them
        server.bearer.token: is given twice, as a value and as a file: keep one of them
        server.tenant: must be at most 150 characters out of A-Z a-z 0-9 ! - _ . * ' ( )
        server.tenant: must be at most 150 characters out of A-Z a-z 0-9 ! - _ . * ' ( )
        server.headers.a b: this is no name of a header
        server.headers.Content-Type: is set by the agent itself
        server.headers.X-Key: the value has characters that no header can hold
        server.headers.Authorization: cannot be used together with server.basic or server.bearer
        server.ca_file: has no effect on http:// addresses; write https:// in server.url
        server.connect_timeout: 0s is not between 10ms and 10m
        server.timeout: 1h is not between 10ms and 10m
        server.queue_bytes: 1B is not between 1MiB and 4GiB
        labels.max_series: 0 is not between 1 and 100000
        metrics.listen: "4041" is no IP address and port, as in 127.0.0.1:4041 (empty: no metrics)
        symbolize.worker_deadline: 0s is not between 100ms and 1m
        symbolize.cache_frames: 1 is not between 1024 and 16777216
        bpf.ring_bytes: 100000B is neither 0 (chosen by the machine) nor a power of two from 64KiB to 1GiB
        bpf.max_processes: 1 is neither 0 (chosen by the machine) nor between 64 and 16777216
        bpf.stack_slots: 4294967295 is neither 0 (chosen by the machine) nor between 64 and 16777216
    "#]]
    .assert_eq(&errors);
}

#[test]
fn settings_become_those_of_the_stages() {
    let config = parse(
        "server:\n  url: https://p.example/base/\n  basic: {username: '7', password_file: /key}\n  tenant: team-a\n  \
         headers: {X-Extra: '1'}\n  ca_file: /ca.pem\n  timeout: 1500ms\nlabels: {node: n1, pid: true}\nmetrics: {listen: ''}\n",
    );
    let export = config.export().unwrap();
    let password = SecretSource::File("/key".into());
    assert_eq!(
        export.authorization,
        Some(Authorization::Basic { username: "7".to_owned(), password })
    );
    assert_eq!(export.headers["x-scope-orgid"], "team-a");
    assert_eq!(export.headers["x-extra"], "1");
    assert_eq!(export.timeout, Duration::from_millis(1500));
    assert_eq!(export.ca_file.as_deref(), Some("/ca.pem".as_ref()));
    assert_eq!((config.label().node.as_str(), config.label().pid), ("n1", true));
    assert_eq!(config.metrics_address(), Ok(None));
    assert_eq!(
        parse("metrics: {listen: 'localhost:1'}").metrics_address(),
        Ok(Some(([127, 0, 0, 1], 1).into()))
    );
    assert!(!Config::default().label().node.is_empty());
}

#[test]
fn secrets_are_not_shown() {
    let config = parse(
        "server: {headers: {X-Key: canary}, basic: {username: u, password: canary}, bearer: {token: canary}}",
    );
    let shown = format!("{config:?}{config:#?}{}", serde_yaml::to_string(&config).unwrap());
    assert!(!shown.contains("canary") && shown.contains("<secret>"), "{shown}");
    let basic = parse("server: {headers: {X-Key: canary}, basic: {username: u, password: canary}}");
    let shown = format!("{:?}", basic.export().unwrap());
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn the_guide_names_every_key_with_its_default() {
    let guide = include_str!("../../../docs/configuration.md");
    let documented: serde_yaml::Value = serde_yaml::from_str(DOCUMENTED).unwrap();
    for key in keys_of(DOCUMENTED) {
        let row = guide.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("no row of {key}"));
        let value = key.split('.').fold(&documented, |value, part| &value[part]);
        let text = match value {
            serde_yaml::Value::String(text) => text.clone(),
            serde_yaml::Value::Mapping(_) => "{}".to_owned(),
            other => serde_yaml::to_string(other).unwrap().trim().to_owned(),
        };
        let is_told = row.contains(&format!("| {text} |")) || text.is_empty();
        assert!(is_told, "{row} does not say {text}");
    }
}

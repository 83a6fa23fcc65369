//! Files, variables and flags against settings made up for the purpose.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use serde::Deserialize;

use super::*;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Agent {
    sampling: Sampling,
    server: Server,
    window: String,
    log: Log,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sampling {
    frequency_hz: u32,
    kernel: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Server {
    url: String,
    password: String,
    headers: BTreeMap<String, String>,
    basic: Basic,
    tries: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Basic {
    password: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Log {
    level: Level,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    #[default]
    Info,
    Debug,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Storage {
    data: String,
    log: Log,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            server: Server::default(),
            window: "10s".to_owned(),
            log: Log::default(),
        }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self { frequency_hz: 97, kernel: true }
    }
}

impl Settings for Agent {
    const HALF: &'static str = "agent";
    const SECRETS: &'static [&'static [&'static str]] =
        &[&["server", "password"], &["server", "headers"], &["server", "basic"]];

    fn validate(&self) -> Result<(), Invalid> {
        let hz = self.sampling.frequency_hz;
        if !(1..=1000).contains(&hz) {
            let message = format!("{hz} is not between 1 and 1000");
            return Err(Invalid::new("sampling.frequency_hz", message));
        }
        if !self.window.ends_with('s') {
            let message = format!("bad duration {:?}, expected one such as 10s", self.window);
            return Err(Invalid::new("window", message));
        }
        if !self.server.password.is_empty() && self.server.url.is_empty() {
            let message = "is empty, but there is a password".to_owned();
            return Err(Invalid::new("server.url", message));
        }
        if let Some(name) = self.server.headers.keys().find(|name| name.contains(' ')) {
            let path = ["server", "headers", name].map(str::to_owned).into();
            return Err(Invalid { path, message: "this is no name of a header".to_owned() });
        }
        Ok(())
    }
}

impl Settings for Storage {
    const HALF: &'static str = "server";
    const SECRETS: &'static [&'static [&'static str]] = &[];

    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

fn sources(text: &str, environment: &[(&str, &str)], flags: Vec<Flag>) -> Result<Sources, Error> {
    let file = Some(File { path: "/etc/a.yaml".into(), text: text.to_owned() });
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    Ok(Sources { file, environment: Variable::all(environment)?, flags })
}

fn try_load(
    text: &str,
    environment: &[(&str, &str)],
    flags: Vec<Flag>,
) -> Result<Loaded<Agent>, Error> {
    load::<Agent, Storage>(&sources(text, environment, flags)?, false)
}

/// The message about what is wrong.
fn check(text: &str, environment: &[(&str, &str)], flags: Vec<Flag>, expected: &Expect) {
    let message = match try_load(text, environment, flags) {
        Ok(loaded) => format!("no error: {:?}", loaded.config),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&message);
}

fn frequency(value: impl Into<Value>) -> Flag {
    Flag { name: "--frequency", key: "sampling.frequency_hz", value: value.into() }
}

#[test]
fn nothing_is_all_defaults() {
    for text in ["", "# a comment\n", "server:\n  # url: x\nsampling:\n", "{}"] {
        assert_eq!(try_load(text, &[], vec![]).unwrap().config, Agent::default(), "{text}");
    }
}

#[test]
fn flags_win_over_environment_over_file() {
    let text = "sampling:\n  frequency_hz: 1\nserver: {url: file, password: p}\n";
    let environment =
        [("PILOTLIGHT_SAMPLING__FREQUENCY_HZ", "2"), ("PILOTLIGHT_SERVER__URL", "env")];
    let hz = |environment: &[(&str, &str)], flags| {
        let config = try_load(text, environment, flags).unwrap().config;
        (config.sampling.frequency_hz, config.server.url, config.server.password)
    };
    assert_eq!(hz(&[], vec![]), (1, "file".to_owned(), "p".to_owned()));
    assert_eq!(hz(&environment, vec![]), (2, "env".to_owned(), "p".to_owned()));
    assert_eq!(hz(&environment, vec![frequency(3)]), (3, "env".to_owned(), "p".to_owned()));
}

#[test]
fn what_was_loaded_loads_again() {
    let loaded =
        try_load("window: 7s\n", &[("PILOTLIGHT_SERVER__TRIES", "3")], vec![frequency(5)]).unwrap();
    let text = serde_yaml::to_string(&loaded.tree).unwrap();
    assert_eq!(try_load(&text, &[], vec![]).unwrap().config, loaded.config);
}

#[test]
fn variables_take_the_type_of_their_setting() {
    let get = |name: &str, value: &str| {
        try_load("", &[(name, value)], vec![]).map(|loaded| loaded.config)
    };
    for text in ["123", "true", "~", "a: b", "[x", "# no comment", " spaces ", "'quoted'"] {
        assert_eq!(get("PILOTLIGHT_SERVER__URL", text).unwrap().server.url, text);
    }
    assert!(!get("PILOTLIGHT_SAMPLING__KERNEL", "false").unwrap().sampling.kernel);
    assert_eq!(get("PILOTLIGHT_SERVER__TRIES", "7").unwrap().server.tries, Some(7));
    assert_eq!(get("PILOTLIGHT_LOG__LEVEL", "debug").unwrap().log.level, Level::Debug);
    let headers = get("PILOTLIGHT_SERVER__HEADERS", "{X-A: b}").unwrap().server.headers;
    assert_eq!(headers, BTreeMap::from([("X-A".to_owned(), "b".to_owned())]));
}

#[test]
fn errors_of_the_file_name_file_line_and_key() {
    let check = |text, expected: Expect| check(text, &[], vec![], &expected);
    check(
        "a: 1\n",
        expect![
            "/etc/a.yaml:1: a: unknown field `a`, expected one of `sampling`, `server`, `window`, `log`"
        ],
    );
    check(
        "# 1\n\nsampling:\n  frequency: 5\n",
        expect![
            "/etc/a.yaml:4: sampling.frequency: unknown field `frequency`, expected `frequency_hz` or `kernel`"
        ],
    );
    check(
        "sampling:\n  kernel: true\n  frequency_hz: fast\n",
        expect![[
            r#"/etc/a.yaml:3: sampling.frequency_hz: invalid type: string "fast", expected a whole number"#
        ]],
    );
    check(
        "sampling: 97\n",
        expect![
            "/etc/a.yaml:1: sampling: invalid type: integer `97`, expected a section, as in `server:` with indented keys below"
        ],
    );
    check(
        "sampling:\n  frequency_hz: -1\n",
        expect![
            "/etc/a.yaml:2: sampling.frequency_hz: invalid value: integer `-1`, expected a whole number"
        ],
    );
    check(
        "server: {url: x,\n  headers: {a: b,\n  c: [1]}}\n",
        expect![
            "/etc/a.yaml:3: server.headers.c: expected a string (what is there is not shown: it may be secret)"
        ],
    );
    check(
        "\nlog:\n  level: loud\n",
        expect!["/etc/a.yaml:3: log.level: unknown variant `loud`, expected `info` or `debug`"],
    );
    check(
        "window:\n  10\n",
        expect!["/etc/a.yaml:1: window: invalid type: integer `10`, expected a string"],
    );
    check("\nwindow:\n", expect!["/etc/a.yaml:2: window: has no value, expected a string"]);
    check(
        "sampling:\n  frequency_hz:\n",
        expect!["/etc/a.yaml:2: sampling.frequency_hz: has no value, expected a whole number"],
    );
    check(
        "window: 10x\n",
        expect![[r#"/etc/a.yaml:1: window: bad duration "10x", expected one such as 10s"#]],
    );
    check(
        "sampling:\n\n  frequency_hz: 5000\n",
        expect!["/etc/a.yaml:3: sampling.frequency_hz: 5000 is not between 1 and 1000"],
    );
    check(
        "window: 10s\nserver:\n  password: x\n",
        expect!["/etc/a.yaml:2: server.url: is empty, but there is a password"],
    );
    check("- a\n", expect!["/etc/a.yaml:1: not settings: write `key: value`"]);
    check(
        "window: 10s\n  bad: [\n",
        expect!["/etc/a.yaml:2: mapping values are not allowed in this context"],
    );
    check("server: *nobody\n", expect!["/etc/a.yaml:1: unknown anchor"]);
    check(
        "server:\n  headers:\n    A: b\n    B C: d\n",
        expect!["/etc/a.yaml:4: server.headers.B…: this is no name of a header"],
    );
}

#[test]
fn errors_of_the_environment_name_the_variable() {
    let check = |name, value, expected: Expect| check("", &[(name, value)], vec![], &expected);
    check(
        "PILOTLIGHT_SAMPLING__FREQUENCY_HZ",
        "fast",
        expect![[
            r#"PILOTLIGHT_SAMPLING__FREQUENCY_HZ: sampling.frequency_hz: invalid type: string "fast", expected a whole number"#
        ]],
    );
    check(
        "PILOTLIGHT_SAMPLING__FREQUENCY_HZ",
        "",
        expect![
            "PILOTLIGHT_SAMPLING__FREQUENCY_HZ: sampling.frequency_hz: has no value, expected a whole number"
        ],
    );
    check(
        "PILOTLIGHT_SAMPLING__FREQUENCY_HZ",
        "1001",
        expect![
            "PILOTLIGHT_SAMPLING__FREQUENCY_HZ: sampling.frequency_hz: 1001 is not between 1 and 1000"
        ],
    );
    check(
        "PILOTLIGHT_SAMPLING__FREQUENCY_HZ__X",
        "1",
        expect![
            "PILOTLIGHT_SAMPLING__FREQUENCY_HZ__X: sampling.frequency_hz: invalid type: map, expected a whole number"
        ],
    );
    check(
        "PILOTLIGHT_SAMPLING_FREQUENCY_HZ",
        "1",
        expect![
            "PILOTLIGHT_SAMPLING_FREQUENCY_HZ: no setting has this name: config/agent.yaml and config/server.yaml list them all, and server.url is PILOTLIGHT_SERVER__URL"
        ],
    );
    check(
        "PILOTLIGHT_",
        "1",
        expect![
            "PILOTLIGHT_: no setting has this name: config/agent.yaml and config/server.yaml list them all, and server.url is PILOTLIGHT_SERVER__URL"
        ],
    );
    check(
        "PILOTLIGHT_SERVER_PORT",
        "tcp://10.0.0.1:4040",
        expect![
            "PILOTLIGHT_SERVER_PORT: no setting has this name: config/agent.yaml and config/server.yaml list them all, and server.url is PILOTLIGHT_SERVER__URL"
        ],
    );
    check(
        "PILOTLIGHT_SERVER__PASSWORD",
        "secret",
        expect!["PILOTLIGHT_SERVER__PASSWORD: server.url: is empty, but there is a password"],
    );
    check(
        "PILOTLIGHT_WINDOW",
        "10x",
        expect![[r#"PILOTLIGHT_WINDOW: window: bad duration "10x", expected one such as 10s"#]],
    );
}

#[test]
fn errors_of_flags_name_the_flag() {
    check(
        "sampling: {frequency_hz: 5}",
        &[],
        vec![frequency("fast")],
        &expect![[
            r#"--frequency: sampling.frequency_hz: invalid type: string "fast", expected a whole number"#
        ]],
    );
    check(
        "sampling: {frequency_hz: 5}",
        &[],
        vec![frequency(1001)],
        &expect!["--frequency: sampling.frequency_hz: 1001 is not between 1 and 1000"],
    );
}

#[test]
fn variables_of_others_are_left_alone() {
    let environment = [
        ("PILOTLIGHT_DATA", "/x"),
        ("PILOTLIGHT_LOG", "debug"),
        ("PILOTLIGHT_BIN", "/usr/bin/pilotlight"),
        ("PATH", "/bin"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("PILOTLIGHT_SERVER_PORT", "tcp://10.0.0.2:4040"),
        ("PILOTLIGHT_SERVER_PORT_4040_TCP_ADDR", "10.0.0.2"),
        ("PILOTLIGHT_SERVICE_HOST", "10.0.0.2"),
        ("PILOTLIGHT_SERVICE_PORT_HTTP", "4040"),
    ];
    assert_eq!(try_load("", &environment, vec![]).unwrap().config, Agent::default());
}

#[test]
fn keys_are_once_and_text() {
    let check = |text, expected: Expect| check(text, &[], vec![], &expected);
    check(
        "sampling:\n  kernel: true\nwindow: 10s\nlog:\n  level: info\nwindow: 11s\n",
        expect!["/etc/a.yaml:6: window: is given twice, first in line 3: keep one"],
    );
    check(
        "server:\n  url: a\n  tries: 1\n  url: b\n",
        expect!["/etc/a.yaml:4: server.url: is given twice, first in line 2: keep one"],
    );
    check(
        "server:\n  headers:\n    A: b\n\n    A: b\n",
        expect!["/etc/a.yaml:5: server.headers.A: is given twice, first in line 3: keep one"],
    );
    for key in ["5", "1.5", "true", "~", "[a]", "? {a: b}\n"] {
        let text = format!("window: 10s\n{key}: x\n");
        assert_eq!(
            try_load(&text, &[], vec![]).unwrap_err().to_string(),
            "/etc/a.yaml:2: a key is no text: write `key: value`",
            "{text}"
        );
    }
    check(
        "server:\n  url: a\n  5: b\n",
        expect!["/etc/a.yaml:3: server: a key is no text: write `key: value`"],
    );
}

#[test]
fn sections_may_be_empty() {
    let text = "server:\n  headers:\n  basic:\n  tries:\nsampling:\n";
    assert_eq!(try_load(text, &[], vec![]).unwrap().config, Agent::default());
}

#[test]
fn numbers_are_text_where_secrets_are() {
    let text = "server:\n  url: x\n  headers: {A: 0123, B: true}\n  basic:\n    password: 0x1F\n";
    let server = try_load(text, &[], vec![]).unwrap().config.server;
    let headers = [("A", "0123"), ("B", "true")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!((server.headers, server.basic.password.as_str()), (headers.into(), "0x1F"));
}

#[test]
fn secrets_are_not_in_errors() {
    let files = [
        "server: hunter2",
        "server: {basic:hunter2}",
        "server:\n  basic: hunter2",
        "server:\n  basic: {password:hunter2}",
        "server:\n  basic:\n    password: [hunter2]",
        "server:\n  basic: [hunter2]",
        "server:\n  headers: 'A: hunter2'",
        "server:\n  headers: {'A: hunter2': ''}",
        "server:\n  headers: {A: {hunter2: 1}}",
        "server:\n  password: {a: hunter2}",
        "server:\n  basic:\n    password: hunter2\n    password: hunter2",
    ];
    for text in files {
        let message = try_load(text, &[], vec![]).unwrap_err().to_string();
        assert!(message.starts_with("/etc/a.yaml:") && message.contains(": server"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    for name in ["SERVER", "SERVER__BASIC", "SERVER__HEADERS"] {
        for value in ["hunter2", "A: [hunter2]", "{A: [hunter2"] {
            let variable = format!("PILOTLIGHT_{name}");
            let message = try_load("", &[(&variable, value)], vec![]).unwrap_err().to_string();
            assert!(message.starts_with(&variable) && !message.contains("hunter2"), "{message}");
        }
    }
}

#[test]
fn a_file_of_both_halves_is_checked_by_either() {
    let load_both = |text: &str| {
        let sources = sources(text, &[], vec![]).unwrap();
        load::<Storage, Agent>(&sources, true)
            .and_then(|storage| {
                Ok((storage.config, load::<Agent, Storage>(&sources, true)?.config))
            })
            .map_err(|error| error.to_string())
    };
    let (storage, agent) = load_both("data: /x\nlog: {level: debug}\nwindow: 5s\n").unwrap();
    assert_eq!((storage.data.as_str(), storage.log.level), ("/x", Level::Debug));
    assert_eq!((agent.window.as_str(), agent.log.level), ("5s", Level::Debug));
    let check = |text: &str, expected: Expect| expected.assert_eq(&load_both(text).unwrap_err());
    check(
        "data: /x\ndate: /y\n",
        expect!["/etc/a.yaml:2: date: neither the server nor the agent has such a setting"],
    );
    check(
        "window: 5s\ndata: [1]\n",
        expect!["/etc/a.yaml:2: data: invalid type: sequence, expected a string"],
    );
    check(
        "data: /x\nsampling:\n  hz: 1\n",
        expect![
            "/etc/a.yaml:3: sampling.hz: unknown field `hz`, expected `frequency_hz` or `kernel`"
        ],
    );
}

#[test]
fn the_other_halfs_keys_are_told_apart() {
    check(
        "window: 5s\ndata: /x\n",
        &[],
        vec![],
        &expect!["/etc/a.yaml:2: data: is a setting of the server, not of the agent"],
    );
    check(
        "",
        &[("PILOTLIGHT_DATA", "/x"), ("PILOTLIGHT_LOG__LEVEL", "loud")],
        vec![],
        &expect![
            "PILOTLIGHT_LOG__LEVEL: log.level: unknown variant `loud`, expected `info` or `debug`"
        ],
    );
    let storage = |name, value| {
        let sources = sources("", &[(name, value)], vec![])?;
        load::<Storage, Agent>(&sources, false)
    };
    assert!(storage("PILOTLIGHT_SAMPLING__FREQUENCY_HZ", "5").is_ok());
    expect![[r#"PILOTLIGHT_SAMPLING__FREQUENCY_HZ: sampling.frequency_hz: invalid type: string "fast", expected a whole number (a setting of the agent)"#]]
        .assert_eq(&storage("PILOTLIGHT_SAMPLING__FREQUENCY_HZ", "fast").unwrap_err().to_string());
}

#[test]
fn a_chosen_file_must_exist() {
    let nowhere = Path::new("/nowhere/pilotlight.yaml");
    assert!(read_file(None, nowhere).unwrap().is_none());
    expect!["cannot read /nowhere/pilotlight.yaml: No such file or directory (os error 2)"]
        .assert_eq(&read_file(Some(nowhere), nowhere).unwrap_err().to_string());
    let directory = tempfile::tempdir().unwrap();
    assert!(read_file(Some(directory.path()), nowhere).is_err());
    let large = directory.path().join("large.yaml");
    fs::write(&large, vec![b'#'; 2 << 20]).unwrap();
    assert!(read_file(Some(&large), nowhere).unwrap_err().to_string().contains("too many"));
}

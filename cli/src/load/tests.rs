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
    tries: Option<u8>,
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
    fn validate(&self) -> Result<(), String> {
        let hz = self.sampling.frequency_hz;
        if !(1..=1000).contains(&hz) {
            return Err(format!("sampling.frequency_hz: {hz} is not between 1 and 1000"));
        }
        if !self.window.ends_with('s') {
            return Err(format!(
                "window: bad duration {:?}, expected one such as 10s",
                self.window
            ));
        }
        if !self.server.password.is_empty() && self.server.url.is_empty() {
            return Err("server.url: is empty, but there is a password".to_owned());
        }
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
    load(&sources(text, environment, flags)?, knows::<Storage>)
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
        expect!["/etc/a.yaml:3: server.headers.c: invalid type: sequence, expected a string"],
    );
    check(
        "\nlog:\n  level: loud\n",
        expect!["/etc/a.yaml:3: log.level: unknown variant `loud`, expected `info` or `debug`"],
    );
    check(
        "window:\n  10\n",
        expect!["/etc/a.yaml:1: window: invalid type: integer `10`, expected a string"],
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
        "window: 10s\nwindow: 11s\n",
        expect![[r#"/etc/a.yaml:1: duplicate entry with key "window""#]],
    );
    check(
        "window: 10s\n  bad: [\n",
        expect!["/etc/a.yaml:2: mapping values are not allowed in this context"],
    );
    check("server: *nobody\n", expect!["/etc/a.yaml:1: unknown anchor"]);
    check("1: 2\n", expect!["/etc/a.yaml: invalid type: integer `1`, expected field identifier"]);
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
            "PILOTLIGHT_SAMPLING__FREQUENCY_HZ: sampling.frequency_hz: invalid type: no value, expected a whole number"
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
fn a_file_of_both_halves_serves_either() {
    let text = "data: /x\nlog: {level: debug}\nwindow: 5s\n";
    let config = try_load(text, &[], vec![]).unwrap().config;
    assert_eq!((config.window.as_str(), config.log.level), ("5s", Level::Debug));
    check(
        "data: /x\ndate: /y\n",
        &[],
        vec![],
        &expect![
            "/etc/a.yaml:2: date: unknown field `date`, expected one of `sampling`, `server`, `window`, `log`"
        ],
    );
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

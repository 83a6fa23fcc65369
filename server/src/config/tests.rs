//! config/server.yaml has every key with its default, and wrong values are refused by name.

use super::*;
use expect_test::{Expect, expect};
use serde_yaml::Value;

const FILE: &str = include_str!("../../../config/server.yaml");

#[test]
fn the_file_has_the_defaults() {
    let config: Config = serde_yaml::from_str(FILE).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(serde_yaml::from_str::<Config>("{}").unwrap(), Config::default());
    Config::default().validate().unwrap();
}

/// Takes each key away and puts a wrong one in its place: the error lists the keys that there are.
#[test]
fn the_file_has_every_key() {
    let file: Value = serde_yaml::from_str(FILE).unwrap();
    let check = |section: Option<&str>| {
        let there = section.map_or(&file, |name| &file[name]);
        let mut there: Vec<String> = there
            .as_mapping()
            .unwrap()
            .keys()
            .map(|key| key.as_str().unwrap().to_owned())
            .collect();
        let text = section.map_or("zzz: 1".to_owned(), |name| format!("{name}: {{zzz: 1}}"));
        let error = serde_yaml::from_str::<Config>(&text).unwrap_err().to_string();
        let mut known: Vec<String> =
            error.split('`').skip(3).step_by(2).map(str::to_owned).collect();
        there.sort();
        known.sort();
        assert_eq!(there, known);
    };
    check(None);
    check(Some("blocks"));
    check(Some("limits"));
    check(Some("query"));
    check(Some("http"));
    check(Some("auth"));
    check(Some("tls"));
}

#[test]
fn each_key_says_why() {
    let mut previous = "";
    for line in FILE.lines() {
        let is_setting = line.contains(": ") && !line.trim_start().starts_with('#');
        assert!(!is_setting || previous.trim_start().starts_with('#'), "{line}");
        previous = line;
    }
}

#[test]
fn wrong_values_are_named() {
    let check = |text: &str, message: Expect| {
        let error = match serde_yaml::from_str::<Config>(text) {
            Ok(config) => config.validate().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        message.assert_eq(&error);
    };
    check(
        "retention: 31 days",
        expect![[
            r#"retention: bad duration "31 days": write a whole number and a unit, as in 500ms, 10s, 1m, 2h or 31d at line 1 column 12"#
        ]],
    );
    check("retention: 5s", expect!["retention: must be 1m or more"]);
    check(
        "memory_max: 1MB",
        expect![[
            r#"memory_max: invalid value: string "1MB", expected a number of bytes, as in 512MiB or 4096 (units: B, KiB, MiB, GiB, TiB) at line 1 column 13"#
        ]],
    );
    check("listen: ''", expect!["listen: is empty; write ADDRESS:PORT, as in 127.0.0.1:4040"]);
    for listen in ["foo", "'4040'", "127.0.0.1:99999", "'localhost:'", "':4040'"] {
        check(
            &format!("listen: {listen}"),
            expect!["listen: is not ADDRESS:PORT with a port up to 65535, as in 127.0.0.1:4040"],
        );
    }
    check(
        "query: {nodes: 5000000}",
        expect![
            "query.nodes: must not be more than query.max_nodes, which is 1048576 if it is not set"
        ],
    );
    check(
        "query: {max_nodes: 5}",
        expect![
            "query.max_nodes: must not be less than query.nodes, which is 8192 if it is not set"
        ],
    );
    check(
        "limits: {body: 512MiB}",
        expect![
            "limits.body: must not be more than limits.bodies, which is 256MiB if it is not set"
        ],
    );
    check("limits: {body: 2GiB}", expect!["limits.body: must be 1 to 1GiB"]);
    check(
        "limits: {body: 1MiB, bodies: 1KiB}",
        expect!["limits.bodies: must not be less than limits.body"],
    );
}

#[test]
fn the_file_of_overrides_is_checked() {
    let config = Config::default();
    let text = "team-a: {series: 5, rate: 10MiB}\nteam-b: {profile: 1MiB}\n";
    let limits = config.limits(text).expect("it is right");
    assert_eq!(limits.overrides["team-a"].max_series, 5);
    assert_eq!(limits.overrides["team-a"].rate_bytes, 10 << 20);
    assert_eq!(limits.overrides["team-b"].ingest.max_profile_bytes, 1 << 20);
    assert_eq!(limits.overrides["team-b"].max_series, limits.defaults.max_series);
    assert!(config.limits("").expect("nothing is right").overrides.is_empty());
    for (wrong, word) in [
        ("team-a: {serie: 5}", "team-a: "),
        ("team-a: {series: 0}", "limits.series"),
        ("team-a: {body: 5}", "a limit of the server"),
        ("- a", "invalid type"),
        ("team-a: {rate: 1KiB, burst: 1KiB}", "limits.burst"),
    ] {
        let error = config.limits(wrong).err().expect(wrong);
        assert!(error.contains(word), "{wrong}: {error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let mut config = Config::default();
    config.auth.admin_password = crate::access::Secret("canary".to_owned());
    let shown = format!("{config:?} {:?}", config.shown());
    assert!(!shown.contains("canary") && shown.contains("<secret>"), "{shown}");
    let text = "auth: {internal_enabled: true}\ntls: {cert_file: a}\n";
    let config: Config = serde_yaml::from_str(text).unwrap();
    assert!(config.shown().changed.starts_with("auth:\n  internal_enabled: true\n"));
    assert_eq!(config.validate().unwrap_err().key, "tls.key_file");
}

//! What was put aside is there again, each tenant's alone, and names lead nowhere else.

use super::settings::{Settings, Value};
use super::uploads::Uploads;
use super::*;

fn value(value: &str, modified_ms: i64) -> Value {
    Value { value: value.to_owned(), modified_ms }
}

#[test]
fn settings_are_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::open(directory.path()).unwrap();
    settings.set("a", "theme", value("dark", 5)).unwrap();
    settings.set("b", "theme", value("light", 1)).unwrap();
    assert!(matches!(settings.set("a", "theme", value("old", 4)), Err(Error::Changed)));
    assert!(matches!(settings.set("a", "", value("", 4)), Err(Error::NoName)));
    let long = value(&"x".repeat(2 << 20), 9);
    assert!(matches!(settings.set("a", "theme", long), Err(Error::TooLong { .. })));
    let settings = Settings::open(directory.path()).unwrap();
    assert_eq!(settings.get("a")["theme"], value("dark", 5));
    assert_eq!(settings.get("b")["theme"], value("light", 1));
    settings.delete("a", "theme").unwrap();
    settings.delete("a", "theme").unwrap();
    assert!(Settings::open(directory.path()).unwrap().get("a").is_empty());
    for number in 0..200 {
        settings.set("a", &number.to_string(), value("", 0)).unwrap();
    }
    assert!(matches!(settings.set("a", "more", value("", 0)), Err(Error::TooMany { .. })));
    std::fs::write(directory.path().join("settings.json"), "{").unwrap();
    assert!(matches!(Settings::open(directory.path()), Err(Error::Unreadable { .. })));
}

#[test]
fn settings_have_room_for_so_much() {
    use super::settings::check_room;
    use std::collections::BTreeMap;
    let mib = |n: usize| value(&"x".repeat(n << 20), 1);
    let of_one = |n: usize| (0..n).map(|n| (n.to_string(), mib(1))).collect::<BTreeMap<_, _>>();
    let mut all = BTreeMap::from([("a".to_owned(), of_one(4))]);
    let full = |result| matches!(result, Err(Error::Full { .. }));
    assert!(full(check_room(&all, "a", "more", &value("x", 1))));
    assert!(full(check_room(&all, "a", "3", &value(&"x".repeat((1 << 20) + 1), 1))));
    check_room(&all, "a", "3", &mib(1)).unwrap();
    check_room(&all, "a", "3", &value("", 1)).unwrap();
    check_room(&all, "b", "more", &mib(1)).unwrap();
    all.extend((1..16).map(|n| (n.to_string(), of_one(4))));
    assert!(full(check_room(&all, "b", "more", &value("x", 1))));
    // And it is asked.
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::open(directory.path()).unwrap();
    for number in 0..3 {
        settings.set("a", &number.to_string(), mib(1)).unwrap();
    }
    assert!(full(settings.set("a", "more", mib(1))));
}

#[test]
fn tenants_with_long_names_have_folders_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let uploads = Uploads::new(directory.path());
    let (one, other) = ("'".repeat(150), format!("{}(", "'".repeat(149)));
    let upload = uploads.add(&one, "x", b"x", 1).unwrap();
    assert_eq!(uploads.get(&one, &upload.id).unwrap().1, b"x");
    assert!(uploads.list(&other).unwrap().is_empty());
    let name = folder_name(&one);
    assert!(name.len() < 200 && name != folder_name(&name) && name != file_name(&name[1..]));
    assert_eq!(folder_name("team-a"), "_team-a");
}

#[test]
fn uploads_are_listed_newest_first_and_stay_in_their_folder() {
    let directory = tempfile::tempdir().unwrap();
    let uploads = Uploads::new(directory.path());
    assert!(uploads.list("a").unwrap().is_empty());
    for (time_ms, name) in
        [(1_000, "../../etc/passwd"), (2_000, "cpu profile.pb.gz"), (3_000, &"ü".repeat(300))]
    {
        let upload = uploads.add("a", name, name.as_bytes(), time_ms).unwrap();
        assert_eq!(upload.time_ms(), time_ms);
        let (found, bytes) = uploads.get("a", &upload.id).unwrap();
        assert_eq!((&found, bytes.as_slice()), (&upload, name.as_bytes()));
        assert!(name.starts_with(&found.name));
        uploads.get("b", &upload.id).unwrap_err();
    }
    uploads.add("..", "x", b"x", 1).unwrap();
    let times: Vec<i64> = uploads.list("a").unwrap().iter().map(uploads::Upload::time_ms).collect();
    assert_eq!(times, [3_000, 2_000, 1_000]);
    let mut inside: Vec<String> = std::fs::read_dir(directory.path().join("adhoc"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    inside.sort();
    assert_eq!(inside, ["_..", "_a"]);
    for id in ["", "..", "../a", "00000000000000000000000000", &"0".repeat(10_000)] {
        assert!(matches!(uploads.get("a", id), Err(Error::NoUpload(_))), "{id}");
    }
}

#[test]
fn the_oldest_upload_goes_when_there_are_too_many() {
    let directory = tempfile::tempdir().unwrap();
    let uploads = Uploads::new(directory.path());
    for time_ms in 0..203 {
        uploads.add("a", "x", b"x", time_ms).unwrap();
    }
    let left = uploads.list("a").unwrap();
    assert_eq!((left.len(), left.last().map(uploads::Upload::time_ms)), (200, Some(3)));
}

//! Passwords, keys and sessions: the right ones are known, the wrong ones are not, and nothing of them stands in the file.

use super::*;

const NOW_MS: i64 = 1_795_312_420_000;
const TENANT: &str = "anonymous";
const HERE: Origin = Origin { address: None, is_local: true };
const ELSEWHERE: Origin = Origin { address: None, is_local: false };

fn first(password: &str, is_default: bool) -> First {
    let (name, email) = ("admin".to_owned(), "admin@localhost.local".to_owned());
    First { name, email, password: Secret(password.to_owned()), is_default }
}

fn user(name: &str, role: Role) -> NewUser<'_> {
    NewUser { name, email: "", password: "long enough", role, tenant: TENANT }
}

#[test]
fn the_first_password_is_good_on_this_machine_until_it_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let access = Access::open(directory.path(), Some(&first("admin", true)), NOW_MS).unwrap();
    let elsewhere = access.log_in("admin", "admin", ELSEWHERE, NOW_MS).unwrap_err();
    assert!(matches!(elsewhere, Error::InitialElsewhere { .. }));
    let (token, identity) = access.log_in("admin", "admin", HERE, NOW_MS).unwrap();
    assert!(identity.has_initial_password && identity.role == Role::Admin);
    assert_eq!(access.of_session(&token, NOW_MS), Some(identity.clone()));
    let id = identity.user.unwrap();
    assert!(matches!(access.set_password(id, "short"), Err(Error::Password)));
    access.set_password(id, "another one").unwrap();
    assert_eq!(access.of_session(&token, NOW_MS), None);
    access.log_in("admin", "admin", HERE, NOW_MS).unwrap_err();
    let (token, identity) = access.log_in("admin", "another one", ELSEWHERE, NOW_MS).unwrap();
    assert!(!identity.has_initial_password);
    assert_eq!(access.of_session(&token, NOW_MS + SESSION_MS), None);
    // A restart changes nothing, and makes no second first user.
    let again = Access::open(directory.path(), Some(&first("admin", true)), NOW_MS).unwrap();
    assert_eq!(again.users().len(), 1);
    assert!(again.of_session(&token, NOW_MS).is_some());
    again.log_out(&token).unwrap();
    again.log_out("nobody's").unwrap();
    assert_eq!(again.of_session(&token, NOW_MS), None);
}

#[test]
fn a_first_password_of_the_settings_replaces_the_usual_one() {
    let directory = tempfile::tempdir().unwrap();
    Access::open(directory.path(), Some(&first("admin", true)), NOW_MS).unwrap();
    let own = first("from the settings", false);
    let access = Access::open(directory.path(), Some(&own), NOW_MS).unwrap();
    access.log_in("admin", "admin", HERE, NOW_MS).unwrap_err();
    let (_, identity) = access.log_in("admin", "from the settings", ELSEWHERE, NOW_MS).unwrap();
    access.set_password(identity.user.unwrap(), "changed by hand").unwrap();
    // Later ones do not replace what somebody has chosen.
    let access = Access::open(directory.path(), Some(&own), NOW_MS).unwrap();
    access.log_in("admin", "changed by hand", ELSEWHERE, NOW_MS).unwrap();
}

#[test]
fn keys_are_known_by_all_of_their_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let access = Access::open(directory.path(), Some(&first("x", false)), NOW_MS).unwrap();
    let new = |ttl_seconds| NewKey { name: "ci", role: Role::Agent, tenant: "team", ttl_seconds };
    let (key, secret) = access.add_key(&new(None), NOW_MS).unwrap();
    assert!(secret.starts_with("psx-"));
    let found = access.of_key(&secret, NOW_MS).unwrap();
    assert_eq!((found.role, found.tenant.as_str(), found.user), (Role::Agent, "team", None));
    for place in 0..secret.len() {
        let mut other = secret.clone().into_bytes();
        other[place] = if other[place] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        assert_eq!(access.of_key(&other, NOW_MS), None, "{other}");
    }
    let long = "x".repeat(10_000);
    for wrong in ["", "psx-", "psx-AAAA", &secret[4..], &secret[..40], &long, "psx-\u{e9}"] {
        assert_eq!(access.of_key(wrong, NOW_MS), None, "{wrong}");
    }
    let (_, short_lived) = access.add_key(&new(Some(60)), NOW_MS).unwrap();
    assert!(access.of_key(&short_lived, NOW_MS + 59_999).is_some());
    assert!(access.of_key(&short_lived, NOW_MS + 60_000).is_none());
    access.delete_key(key.id).unwrap();
    assert!(matches!(access.delete_key(key.id), Err(Error::Unknown { .. })));
    assert_eq!(access.of_key(&secret, NOW_MS), None);
}

#[test]
fn the_file_has_no_secret_and_only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let first = first("canary-password", false);
    let access = Access::open(directory.path(), Some(&first), NOW_MS).unwrap();
    let new = NewKey { name: "ci", role: Role::Admin, tenant: TENANT, ttl_seconds: None };
    let (_, key) = access.add_key(&new, NOW_MS).unwrap();
    let (token, _) = access.log_in("admin", "canary-password", ELSEWHERE, NOW_MS).unwrap();
    let path = directory.path().join("access.json");
    let text = std::fs::read_to_string(&path).unwrap();
    for secret in ["canary-password", key.as_str(), token.as_str()] {
        assert!(!text.contains(secret));
    }
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let shown = format!("{:?} {:?} {:?}", first, access.users(), access.keys());
    assert!(!shown.contains("canary") && shown.contains("<secret>"), "{shown}");
    std::fs::write(&path, "{\"users\":").unwrap();
    assert!(Access::open(directory.path(), Some(&first), NOW_MS).is_err());
}

#[test]
fn whoever_guesses_has_to_wait() {
    let directory = tempfile::tempdir().unwrap();
    let access = Access::open(directory.path(), Some(&first("right one", false)), NOW_MS).unwrap();
    for _ in 0..6 {
        let error = access.log_in("admin", "wrong", HERE, NOW_MS).unwrap_err();
        assert!(matches!(error, Error::Wrong));
    }
    let error = access.log_in("admin", "right one", HERE, NOW_MS).unwrap_err();
    assert!(matches!(error, Error::TooManyAttempts { seconds: 1 }), "{error}");
    access.log_in("admin", "right one", HERE, NOW_MS + 1_000).unwrap();
    access.log_in("nobody", "right one", HERE, NOW_MS).unwrap_err();
}

#[test]
fn users_change_and_the_last_administrator_stays() {
    let directory = tempfile::tempdir().unwrap();
    let access = Access::open(directory.path(), Some(&first("right one", false)), NOW_MS).unwrap();
    let admin = access.users()[0].id;
    assert!(matches!(access.delete_user(admin), Err(Error::LastAdmin)));
    let disable = |user: &mut User| user.is_disabled = true;
    assert!(matches!(access.change_user(admin, disable), Err(Error::LastAdmin)));
    let other = access.add_user(&user("other", Role::ReadOnly), NOW_MS).unwrap();
    assert!(matches!(
        access.add_user(&user("other", Role::Admin), NOW_MS),
        Err(Error::NameTaken(_))
    ));
    for name in ["", "\n", &"x".repeat(201)] {
        assert!(matches!(access.add_user(&user(name, Role::Admin), NOW_MS), Err(Error::Name)));
    }
    let (token, _) = access.log_in("other", "long enough", ELSEWHERE, NOW_MS).unwrap();
    access.change_user(other.id, |user| user.role = Role::Admin).unwrap();
    assert_eq!(access.of_session(&token, NOW_MS).unwrap().role, Role::Admin);
    access.delete_user(admin).unwrap();
    access.delete_user(other.id).unwrap_err();
    assert_eq!(access.users().len(), 1);
}

#[test]
fn each_role_may_do_its_own() {
    for (role, may) in [
        (Role::Admin, [true, true, true]),
        (Role::ReadOnly, [false, true, false]),
        (Role::Agent, [true, false, false]),
    ] {
        assert_eq!([Deed::Push, Deed::Read, Deed::Manage].map(|deed| role.may(deed)), may);
        assert_eq!(Role::parse(role.as_str()).unwrap(), role);
    }
    Role::parse("root").unwrap_err();
}

fn opened(directory: &tempfile::TempDir) -> Access {
    Access::open(directory.path(), Some(&first("right one", false)), NOW_MS).unwrap()
}

#[test]
fn a_password_of_the_settings_ends_the_sessions_of_the_usual_one() {
    let directory = tempfile::tempdir().unwrap();
    let access = Access::open(directory.path(), Some(&first("admin", true)), NOW_MS).unwrap();
    let (token, _) = access.log_in("admin", "admin", HERE, NOW_MS).unwrap();
    assert!(access.of_session(&token, NOW_MS).is_some());
    let own = first("from the settings", false);
    let access = Access::open(directory.path(), Some(&own), NOW_MS).unwrap();
    assert_eq!(access.of_session(&token, NOW_MS), None);
}

#[test]
fn whoever_guesses_keeps_nobody_out_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let access = opened(&directory);
    let from = |address: &str| Origin { address: address.parse().ok(), is_local: false };
    for _ in 0..6 {
        access.log_in("admin", "wrong", from("203.0.113.9"), NOW_MS).unwrap_err();
        access.log_in("admin", "wrong", from("2001:db8::1"), NOW_MS).unwrap_err();
    }
    for held in ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8::2:3"] {
        let error = access.log_in("admin", "right one", from(held), NOW_MS).unwrap_err();
        assert!(matches!(error, Error::TooManyAttempts { .. }), "{held}: {error}");
    }
    for free in ["203.0.113.8", "2001:db8:0:1::1", "none"] {
        access.log_in("admin", "right one", from(free), NOW_MS).unwrap();
    }
}

#[test]
fn many_sessions_of_one_user_take_no_other_ones_place() {
    let directory = tempfile::tempdir().unwrap();
    let access = opened(&directory);
    let other = access.add_user(&user("other", Role::ReadOnly), NOW_MS).unwrap();
    let (others, _) = access.begin_session(&other, NOW_MS).unwrap();
    let admin = access.users()[0].clone();
    let begin = |_| access.begin_session(&admin, NOW_MS).unwrap().0;
    let tokens: Vec<String> = (0..MAX_USER_SESSIONS + 3).map(begin).collect();
    assert!(access.of_session(&others, NOW_MS).is_some());
    for (place, token) in tokens.iter().enumerate() {
        assert_eq!(access.of_session(token, NOW_MS).is_some(), place >= 3, "{place}");
    }
}

#[test]
fn no_session_begins_for_who_may_not_log_in_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let access = opened(&directory);
    let other = access.add_user(&user("other", Role::ReadOnly), NOW_MS).unwrap();
    let begin = || access.begin_session(&other, NOW_MS);
    begin().unwrap();
    access.change_user(other.id, |user| user.is_disabled = true).unwrap();
    assert!(matches!(begin(), Err(Error::Wrong)));
    access.change_user(other.id, |user| user.is_disabled = false).unwrap();
    begin().unwrap();
    access.set_password(other.id, "another one").unwrap();
    assert!(matches!(begin(), Err(Error::Wrong)));
    access.delete_user(other.id).unwrap();
    assert!(matches!(begin(), Err(Error::Wrong)));
}

#[test]
fn a_full_disk_keeps_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    let access = opened(&directory);
    // Where the file is to be written first.
    std::fs::create_dir(directory.path().join("access.new")).unwrap();
    let (token, _) = access.log_in("admin", "right one", ELSEWHERE, NOW_MS).unwrap();
    assert!(access.of_session(&token, NOW_MS).is_some());
    let new = NewKey { name: "ci", role: Role::Agent, tenant: TENANT, ttl_seconds: None };
    assert!(matches!(access.add_key(&new, NOW_MS), Err(Error::Shelf(_))));
    assert!(access.keys().is_empty());
    access.log_out(&token).unwrap();
    assert_eq!(access.of_session(&token, NOW_MS), None);
}

#[test]
fn who_asks_does_not_wait_for_the_disk() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::time::Duration;
    let directory = tempfile::tempdir().unwrap();
    let access = opened(&directory);
    let (token, _) = access.log_in("admin", "right one", ELSEWHERE, NOW_MS).unwrap();
    // A disk that takes no byte until somebody reads.
    let slow = directory.path().join("access.new");
    mknodat(CWD, &slow, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let new = NewKey { name: "ci", role: Role::Agent, tenant: TENANT, ttl_seconds: None };
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| access.add_key(&new, NOW_MS).map(|_| ()));
        while access.changing.try_lock().is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(50));
        let (tell, told) = std::sync::mpsc::channel();
        let (access, token) = (&access, &token);
        scope.spawn(move || tell.send(access.of_session(token, NOW_MS).is_some()));
        let answer = told.recv_timeout(Duration::from_secs(10));
        let mut disk = std::fs::File::open(&slow).unwrap();
        std::io::copy(&mut disk, &mut std::io::sink()).unwrap();
        assert_eq!(answer, Ok(true));
        // It was no file, so nothing has changed.
        changing.join().unwrap().unwrap_err();
        assert!(access.keys().is_empty());
    });
}

#[test]
fn addresses_and_lifetimes_have_bounds() {
    let directory = tempfile::tempdir().unwrap();
    let access = opened(&directory);
    let (long, longest) = ("x".repeat(255), "x".repeat(254));
    let new = |email| NewUser { email, ..user("other", Role::ReadOnly) };
    assert!(matches!(access.add_user(&new(&long), NOW_MS), Err(Error::Email)));
    let other = access.add_user(&new(&longest), NOW_MS).unwrap();
    let change = |user: &mut User| user.email = long;
    assert!(matches!(access.change_user(other.id, change), Err(Error::Email)));
    assert_eq!(access.users()[1].email, longest);
    let new = |seconds| NewKey {
        name: "ci",
        role: Role::Agent,
        tenant: TENANT,
        ttl_seconds: Some(seconds),
    };
    for wrong in [-1, i64::MIN] {
        assert!(matches!(access.add_key(&new(wrong), NOW_MS), Err(Error::Lifetime)));
    }
    assert_eq!(access.add_key(&new(0), NOW_MS).unwrap().0.expires_ms, None);
}

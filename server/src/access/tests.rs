//! Passwords, keys and sessions: the right ones are known, the wrong ones are not, and nothing of them stands in the file.

use super::*;

const NOW_MS: i64 = 1_795_312_420_000;
const TENANT: &str = "anonymous";

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
    let elsewhere = access.log_in("admin", "admin", false, NOW_MS).unwrap_err();
    assert!(matches!(elsewhere, Error::InitialElsewhere { .. }));
    let (token, identity) = access.log_in("admin", "admin", true, NOW_MS).unwrap();
    assert!(identity.has_initial_password && identity.role == Role::Admin);
    assert_eq!(access.of_session(&token, NOW_MS), Some(identity.clone()));
    let id = identity.user.unwrap();
    assert!(matches!(access.set_password(id, "short"), Err(Error::Password)));
    access.set_password(id, "another one").unwrap();
    assert_eq!(access.of_session(&token, NOW_MS), None);
    access.log_in("admin", "admin", true, NOW_MS).unwrap_err();
    let (token, identity) = access.log_in("admin", "another one", false, NOW_MS).unwrap();
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
    access.log_in("admin", "admin", true, NOW_MS).unwrap_err();
    let (_, identity) = access.log_in("admin", "from the settings", false, NOW_MS).unwrap();
    access.set_password(identity.user.unwrap(), "changed by hand").unwrap();
    // Later ones do not replace what somebody has chosen.
    let access = Access::open(directory.path(), Some(&own), NOW_MS).unwrap();
    access.log_in("admin", "changed by hand", false, NOW_MS).unwrap();
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
    let (token, _) = access.log_in("admin", "canary-password", false, NOW_MS).unwrap();
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
        let error = access.log_in("admin", "wrong", true, NOW_MS).unwrap_err();
        assert!(matches!(error, Error::Wrong));
    }
    let error = access.log_in("admin", "right one", true, NOW_MS).unwrap_err();
    assert!(matches!(error, Error::TooManyAttempts { seconds: 1 }), "{error}");
    access.log_in("admin", "right one", true, NOW_MS + 1_000).unwrap();
    access.log_in("nobody", "right one", true, NOW_MS).unwrap_err();
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
    let (token, _) = access.log_in("other", "long enough", false, NOW_MS).unwrap();
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

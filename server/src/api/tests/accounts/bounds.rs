//! What one client sends or holds is bounded, and nobody gets further than the credential says.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::timeout;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn status(
    server: &Server,
    (method, path): (&str, &str),
    headers: &[(&'static str, &str)],
    body: &str,
) -> u16 {
    server.ask(&Asked { method, path, headers, body }).await.status.as_u16()
}

#[tokio::test]
async fn bodies_about_accounts_are_small() {
    let server = server_with(GUARDED, |_| {});
    let cookie = cookie_of(&server.log_in("admin", PASSWORD).await);
    for (method, path, kind) in [
        ("POST", "/login", JSON),
        ("POST", "/login", FORM),
        ("POST", "/api/keys", JSON),
        ("POST", "/api/users", JSON),
        ("PATCH", "/api/users/1", JSON),
        ("PUT", "/api/user/password", JSON),
        ("POST", "/settings/keys", FORM),
        ("POST", "/settings/users", FORM),
        ("POST", "/settings/password", FORM),
        ("DELETE", "/api/apps", JSON),
    ] {
        let n_read = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&n_read);
        let chunks = (0..512).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(vec![b' '; 1_024])
        });
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        let request = Request::builder().method(method).uri(path).header(kind.0, kind.1);
        let request = request.header("cookie", &cookie).body(body).expect("a request");
        let answer = server.send(request).await;
        assert_eq!(answer.status.as_u16(), 413, "{method} {path}: {}", answer.text());
        assert!(!answer.text().contains("limits.body"), "{}", answer.text());
        assert!(n_read.load(Ordering::Relaxed) <= 17, "{method} {path}");
    }
}

/// Row S10: a tenant that is only named is nobody's.
#[tokio::test]
async fn nobody_names_a_tenant_without_a_credential() {
    for (login, ingestion) in [(true, false), (false, true), (true, true)] {
        let account =
            account::Config { login, ingestion, cookie_secure: false, multitenancy: true };
        let server = server_with(account, |_| {});
        let keys = [Role::Admin, Role::ReadOnly, Role::Agent].map(|role| server.key(role, "a"));
        for (request, body, statuses) in [
            (("POST", "/ingest?name=x"), "a 1", [200, 403, 200]),
            (("POST", QUERY), "{}", [200, 200, 403]),
            (("GET", "/labels"), "", [200, 200, 403]),
            (("DELETE", "/api/apps"), r#"{"name":"nobody"}"#, [200, 403, 403]),
            (("POST", "/settings.v1.SettingsService/Get"), "{}", [200, 200, 403]),
            (("GET", "/api/v1/tenant_limits"), "", [200, 200, 403]),
        ] {
            let named = [JSON, ("x-scope-orgid", "a")];
            assert_eq!(
                status(&server, request, &named, body).await,
                401,
                "{account:?} {request:?}"
            );
            for (key, expected) in keys.iter().zip(statuses) {
                let headers = [JSON, ("authorization", key.as_str())];
                let found = status(&server, request, &headers, body).await;
                assert_eq!(found, expected, "{account:?} {request:?}");
            }
        }
        // The metrics are of all tenants.
        let of_all = if login { [200, 403, 403] } else { [200, 200, 200] };
        for (key, expected) in keys.iter().zip(of_all) {
            let headers = [("authorization", key.as_str())];
            let found = status(&server, ("GET", "/metrics"), &headers, "").await;
            assert_eq!(found, expected, "{account:?}");
        }
    }
}

#[tokio::test]
async fn a_key_has_nothing_of_its_own() {
    let server = server_with(GUARDED, |_| {});
    let agent = server.key(Role::Agent, "anonymous");
    let headers = [JSON, ("authorization", agent.as_str())];
    for request in
        [("GET", "/settings/password"), ("GET", "/api/user"), ("PUT", "/api/user/password")]
    {
        assert_eq!(status(&server, request, &headers, "{}").await, 403, "{request:?}");
    }
}

#[tokio::test]
async fn whoever_is_to_be_kept_out_does_not_wait_for_logins() {
    let server = server_with(GUARDED, |_| {});
    let cookie = cookie_of(&server.log_in("admin", PASSWORD).await);
    let new = crate::access::NewUser {
        name: "eve",
        email: "",
        password: "long enough",
        role: Role::Admin,
        tenant: "anonymous",
    };
    let eve = server.api.access.add_user(&new, NOW_MS).expect("a user").id;
    let key = server.key(Role::Admin, "anonymous");
    let key_id = server.api.access.keys()[0].id;
    let n_logins = server.api.logins.available_permits() as u32;
    let held = Arc::clone(&server.api.logins).acquire_many_owned(n_logins).await;
    let refused = async {
        let answer = server.log_in("admin", PASSWORD).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.text().contains("too many logins at once; try again later"));
    };
    let others = async {
        let as_key = [JSON, ("authorization", key.as_str())];
        let as_user = [FORM, ("cookie", cookie.as_str())];
        let form = format!("disable={eve}");
        let enable = format!("/api/users/{eve}/enable");
        let user = format!("/api/users/{eve}");
        let of_key = format!("/api/keys/{key_id}");
        for (request, headers, body, expected) in [
            (("POST", "/settings/users"), &as_user, form.as_str(), 303),
            (("PUT", enable.as_str()), &as_key, "", 204),
            (("PATCH", user.as_str()), &as_key, r#"{"name":"eva"}"#, 200),
            (("DELETE", user.as_str()), &as_key, "", 204),
            (("POST", "/logout"), &as_user, "", 303),
            (("DELETE", of_key.as_str()), &as_key, "", 204),
        ] {
            let answer =
                timeout(Duration::from_secs(5), status(&server, request, headers, body)).await;
            assert_eq!(answer, Ok(expected), "{request:?}");
        }
    };
    tokio::join!(refused, others);
    drop(held);
    assert_eq!(server.log_in("admin", PASSWORD).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn lifetimes_that_are_none_are_refused() {
    let server = server_with(GUARDED, |_| {});
    let cookie = cookie_of(&server.log_in("admin", PASSWORD).await);
    for (days, expected) in
        [("", 201), ("2", 201), ("0", 400), ("-1", 400), ("soon", 400), ("1.5", 400)]
    {
        let body = format!("name=k&role=Agent&tenant=anonymous&days={days}");
        let headers = [FORM, ("cookie", cookie.as_str())];
        let found = status(&server, ("POST", "/settings/keys"), &headers, &body).await;
        assert_eq!(found, expected, "{days}");
    }
    for (seconds, expected) in [("60", 201), ("0", 201), ("null", 201), ("-1", 400), ("\"x\"", 400)]
    {
        let body = format!(r#"{{"name":"k","role":"Agent","ttlSeconds":{seconds}}}"#);
        let headers = [JSON, ("cookie", cookie.as_str())];
        let found = status(&server, ("POST", "/api/keys"), &headers, &body).await;
        assert_eq!(found, expected, "{seconds}");
    }
}

#[tokio::test]
async fn no_answer_says_where_the_files_are() {
    let server = server_with(GUARDED, |_| {});
    let key = server.key(Role::Admin, "anonymous");
    let path = server.directory.path();
    // Neither file can be written.
    for name in ["access.new", "settings.new"] {
        std::fs::create_dir(path.join(name)).expect("a directory");
    }
    std::fs::write(path.join("adhoc"), "no directory").expect("a file");
    let headers = [JSON, ("authorization", key.as_str())];
    for (request, body) in [
        (("POST", "/api/keys"), r#"{"name":"k","role":"Agent"}"#),
        (("POST", "/settings.v1.SettingsService/Set"), r#"{"setting":{"name":"x"}}"#),
        (("POST", "/adhocprofiles.v1.AdHocProfileService/List"), "{}"),
    ] {
        let (method, path) = request;
        let answer = server.ask(&Asked { method, path, headers: &headers, body }).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        let directory = server.directory.path().to_str().expect("it is text");
        assert!(!answer.text().contains(directory), "{}", answer.text());
    }
    assert_eq!(server.log_in("admin", PASSWORD).await.status, StatusCode::NO_CONTENT);
}

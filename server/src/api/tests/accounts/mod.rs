//! Who may do what: login, sessions, keys and roles (rows S6, S10, S12 and S15 of the threats).

mod bounds;

use super::*;
use crate::access::{NewKey, Origin, Role};
use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const GUARDED: account::Config =
    account::Config { login: true, ingestion: true, cookie_secure: false, multitenancy: false };

/// A request with some headers.
struct Asked<'a> {
    method: &'a str,
    path: &'a str,
    headers: &'a [(&'static str, &'a str)],
    body: &'a str,
}

impl Server {
    async fn ask(&self, asked: &Asked<'_>) -> Answer {
        let mut request = Request::builder().method(asked.method).uri(asked.path);
        for (name, value) in asked.headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(asked.body.to_owned())).expect("a request")).await
    }

    fn key(&self, role: Role, tenant: &str) -> String {
        let new = NewKey { name: "k", role, tenant, ttl_seconds: None };
        let (_, secret) = self.api.access.add_key(&new, NOW_MS).expect("a key");
        format!("Bearer {secret}")
    }

    async fn log_in(&self, name: &str, password: &str) -> Answer {
        let body = json!({"username": name, "password": STANDARD.encode(password)}).to_string();
        let headers = &[("content-type", "application/json")];
        self.ask(&Asked { method: "POST", path: "/login", headers, body: &body }).await
    }
}

fn cookie_of(answer: &Answer) -> String {
    let set = answer.headers["set-cookie"].to_str().expect("it is text");
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(set.contains(attribute), "{set}");
    }
    set.split(';').next().expect("it has a value").to_owned()
}

const JSON: (&str, &str) = ("content-type", "application/json");
const QUERY: &str = "/querier.v1.QuerierService/ProfileTypes";

/// What each role may do, as method, path, body, and the statuses of admin, read-only and agent.
const DEEDS: &[(&str, &str, &str, [u16; 3])] = &[
    ("POST", "/ingest?name=x", "a 1", [200, 403, 200]),
    ("POST", "/pyroscope/ingest?name=x", "a 1", [200, 403, 200]),
    ("POST", "/push.v1.PusherService/Push", "{}", [400, 403, 400]),
    ("POST", "/v1development/profiles", "{}", [400, 403, 400]),
    ("POST", QUERY, "{}", [200, 200, 403]),
    ("GET", "/pyroscope/label-values?label=x", "", [200, 200, 403]),
    ("GET", "/render?query=x&from=now-1h", "", [200, 200, 403]),
    ("GET", "/labels", "", [200, 200, 403]),
    ("GET", "/api/apps", "", [200, 200, 403]),
    ("DELETE", "/api/apps", r#"{"name":"nobody"}"#, [200, 403, 403]),
    ("DELETE", "/api/v1/series?query=%7Ba%3D%22b%22%7D", "", [200, 403, 403]),
    ("POST", "/settings.v1.SettingsService/Get", "{}", [200, 200, 403]),
    ("POST", "/settings.v1.SettingsService/Set", r#"{"setting":{"name":"x"}}"#, [200, 403, 403]),
    ("POST", "/adhocprofiles.v1.AdHocProfileService/List", "{}", [200, 200, 403]),
    ("POST", "/adhocprofiles.v1.AdHocProfileService/Upload", "{}", [400, 403, 403]),
    ("GET", "/api/keys", "", [200, 403, 403]),
    ("POST", "/api/keys", r#"{"name":"n","role":"Agent"}"#, [201, 403, 403]),
    ("DELETE", "/api/keys/999", "", [404, 403, 403]),
    ("GET", "/api/users", "", [200, 403, 403]),
    ("PUT", "/api/users/999/disable", "", [404, 403, 403]),
    ("GET", "/settings/keys", "", [200, 403, 403]),
    ("GET", "/settings/users", "", [200, 403, 403]),
    ("GET", "/metrics", "", [200, 200, 403]),
    ("GET", "/config", "", [200, 200, 403]),
    ("GET", "/api/v1/tenant_limits", "", [200, 200, 403]),
    ("GET", "/ready", "", [200, 200, 200]),
];

#[tokio::test]
async fn each_role_may_do_its_own_and_nobody_anything() {
    let server = server_with(GUARDED, |_| {});
    let keys = [Role::Admin, Role::ReadOnly, Role::Agent].map(|role| server.key(role, "anonymous"));
    for (method, path, body, statuses) in DEEDS {
        for (key, status) in keys.iter().zip(statuses) {
            let basic = format!("Basic {}", STANDARD.encode(format!("any:{}", &key[7..])));
            for authorization in [key, &basic] {
                let headers = &[JSON, ("authorization", authorization.as_str())];
                let answer = server.ask(&Asked { method, path, headers, body }).await;
                assert_eq!(answer.status.as_u16(), *status, "{method} {path}: {}", answer.text());
            }
        }
        let forged = format!("{}x", keys[0]);
        for wrong in ["", "Bearer", "Bearer ", "Bearer psx-x", &forged, "Basic !", "Digest a"] {
            let headers = &[JSON, ("authorization", wrong)];
            let answer = server.ask(&Asked { method, path, headers, body }).await;
            let expected = if *path == "/ready" { 200 } else { 401 };
            assert_eq!(answer.status.as_u16(), expected, "{method} {path} {wrong}");
        }
    }
    for path in ["/", "/explore", "/app.js", "/nothing.v1.Service/Call"] {
        let answer = server.ask(&Asked { method: "GET", path, headers: &[], body: "" }).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let headers = &[("accept", "text/html,*/*")];
    let page = server.ask(&Asked { method: "GET", path: "/", headers, body: "" }).await;
    assert_eq!((page.status.as_u16(), page.headers["location"].as_bytes()), (303, &b"/login"[..]));
}

#[tokio::test]
async fn people_log_in_and_out() {
    let server = server_with(GUARDED, |_| {});
    let wrong = server.log_in("admin", "wrong").await;
    assert_eq!((wrong.status.as_u16(), &wrong.json()["code"]), (401, &"unauthenticated".into()));
    let logged = server.log_in("admin", PASSWORD).await;
    assert_eq!(logged.status, StatusCode::NO_CONTENT);
    let cookie = cookie_of(&logged);
    assert!(cookie.starts_with("pyroscopeJWT="));
    let ask = async |method: &str, path: &str, body: &str, more: &[(&'static str, &str)]| {
        let mut headers = vec![("cookie", cookie.as_str()), ("host", "here:4040")];
        headers.extend(more);
        server.ask(&Asked { method, path, headers: &headers, body }).await
    };
    assert_eq!(ask("POST", QUERY, "{}", &[JSON]).await.status, StatusCode::OK);
    // A page of another site.
    for foreign in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = ask("POST", QUERY, "{}", &[JSON, foreign]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{foreign:?}");
    }
    let own = ("origin", "http://here:4040");
    assert_eq!(ask("POST", QUERY, "{}", &[JSON, own]).await.status, StatusCode::OK);
    let user = ask("GET", "/api/user", "", &[]).await.json();
    assert_eq!((&user["name"], &user["role"]), (&"admin".into(), &"Admin".into()));
    let new =
        json!({"name": "eve", "role": "ReadOnly", "password": STANDARD.encode("long enough")});
    let made = ask("POST", "/api/users", &new.to_string(), &[JSON]).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let id = made.json()["id"].as_u64().expect("an id");
    let eve = cookie_of(&server.log_in("eve", "long enough").await);
    let as_eve = async |method: &str, path: &str, body: &str| {
        let headers = &[("cookie", eve.as_str()), JSON];
        server.ask(&Asked { method, path, headers, body }).await.status.as_u16()
    };
    assert_eq!(as_eve("POST", QUERY, "{}").await, 200);
    assert_eq!(as_eve("GET", "/api/users", "").await, 403);
    // Nobody gives himself rights.
    assert_eq!(as_eve("PATCH", "/api/user", r#"{"role":"Admin","email":"e@x"}"#).await, 200);
    assert_eq!(as_eve("GET", "/api/users", "").await, 403);
    let passwords = |old: &str, new: &str| {
        json!({"oldPassword": STANDARD.encode(old), "newPassword": STANDARD.encode(new)})
            .to_string()
    };
    assert_eq!(
        as_eve("PUT", "/api/user/password", &passwords("wrong one", "newer pass")).await,
        403
    );
    assert_eq!(
        as_eve("PUT", "/api/user/password", &passwords("long enough", "newer pass")).await,
        204
    );
    assert_eq!(as_eve("POST", QUERY, "{}").await, 401);
    assert_eq!(server.log_in("eve", "long enough").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.log_in("eve", "newer pass").await.status, StatusCode::NO_CONTENT);
    let disable = format!("/api/users/{id}/disable");
    assert_eq!(ask("PUT", &disable, "", &[]).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.log_in("eve", "newer pass").await.status, StatusCode::UNAUTHORIZED);
    let last = ask("PUT", "/api/users/1/disable", "", &[]).await;
    assert_eq!(last.json()["code"], "failed_precondition");
    assert_eq!(ask("POST", "/logout", "", &[]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(ask("POST", QUERY, "{}", &[JSON]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_is_shown_once() {
    let server = server_with(GUARDED, |_| {});
    let admin = server.key(Role::Admin, "anonymous");
    let headers = &[JSON, ("authorization", admin.as_str())];
    let body = r#"{"name":"ci","role":"Agent","ttlSeconds":60}"#;
    let asked = Asked { method: "POST", path: "/api/keys", headers, body };
    let made = server.ask(&asked).await.json();
    let key = made["key"].as_str().expect("it is told");
    assert!(key.starts_with("psx-"));
    assert_eq!(made["createdAt"], "2026-11-22T01:53:40Z");
    assert_eq!(made["expiresAt"], "2026-11-22T01:54:40Z");
    let asked = Asked { method: "GET", path: "/api/keys", headers, body: "" };
    let list = server.ask(&asked).await;
    assert!(list.text().contains("\"ci\"") && !list.text().contains(key));
    for wrong in ["", "{}", r#"{"name":"","role":"Agent"}"#, r#"{"name":"x","role":"root"}"#] {
        let asked = Asked { method: "POST", path: "/api/keys", headers, body: wrong };
        assert_eq!(server.ask(&asked).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

/// Of the pages, with what a browser sends.
#[tokio::test]
async fn pages_work_without_a_script_and_show_text_as_text() {
    let server = server_with(GUARDED, |_| {});
    let form = ("content-type", "application/x-www-form-urlencoded");
    let body = format!("username=admin&password={PASSWORD}");
    let asked = Asked { method: "POST", path: "/login", headers: &[form], body: &body };
    let logged = server.ask(&asked).await;
    assert_eq!((logged.status.as_u16(), logged.headers["location"].as_bytes()), (303, &b"/"[..]));
    let cookie = cookie_of(&logged);
    let headers = &[form, ("cookie", cookie.as_str())];
    let post = async |path: &str, body: &str| {
        server.ask(&Asked { method: "POST", path, headers, body }).await
    };
    // Row S15.
    let evil = "%3Cscript%3Ealert(1)%3C/script%3E%22%27%1b[31m";
    let made = post("/settings/keys", &format!("name=ok{evil}&role=Agent&tenant=anonymous")).await;
    assert_eq!(made.status, StatusCode::BAD_REQUEST, "control characters are no name");
    let evil = "%3Cscript%3Ealert(1)%3C/script%3E%22%27";
    let made =
        post("/settings/keys", &format!("name={evil}&role=Agent&tenant=anonymous&days=2")).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert!(made.text().contains("psx-"));
    let body =
        format!("name={evil}&email={evil}&password=long+enough&role=ReadOnly&tenant=anonymous");
    assert_eq!(post("/settings/users", &body).await.status, StatusCode::SEE_OTHER);
    for path in ["/settings/keys", "/settings/users", "/settings/password", "/login"] {
        let page = server.ask(&Asked { method: "GET", path, headers, body: "" }).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(!page.text().contains("<script"), "{path}: {}", page.text());
        assert!(!page.text().contains("psx-"), "{path}");
        let policy = page.headers["content-security-policy"].to_str().expect("it is text");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        assert_eq!(page.headers["cache-control"], HeaderValue::from_static("no-store"));
    }
    let id = server.api.access.keys()[0].id;
    assert_eq!(post("/settings/keys", &format!("delete={id}")).await.status, StatusCode::SEE_OTHER);
    assert!(server.api.access.keys().is_empty());
    let foreign = &[form, ("origin", "http://evil.example"), ("host", "here")];
    let body = format!("username=admin&password={PASSWORD}");
    let asked = Asked { method: "POST", path: "/login", headers: foreign, body: &body };
    assert_eq!(server.ask(&asked).await.status, StatusCode::FORBIDDEN);
    let refused = post("/login", &format!("username={evil}&password=x")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.text().contains("name or password is wrong"));
    let changed = post("/settings/password", &format!("old={PASSWORD}&new=another+one")).await;
    assert_eq!(changed.status, StatusCode::SEE_OTHER);
    assert_eq!(post(QUERY, "{}").await.status, StatusCode::UNAUTHORIZED);
    server
        .api
        .access
        .log_in("admin", "another one", Origin::default(), NOW_MS)
        .expect("it is the password");
}

/// Row S10: the credential says the tenant, whatever the header says.
#[tokio::test]
async fn the_tenant_is_that_of_the_key() {
    let account = account::Config { multitenancy: true, ..GUARDED };
    let server = server_with(account, |_| {});
    let (a, b) = (server.key(Role::Admin, "a"), server.key(Role::Admin, "b"));
    let ask = async |key: &str, tenant: Option<&str>, method: &str, path: &str, body: &str| {
        let mut headers = vec![JSON, ("authorization", key)];
        headers.extend(tenant.map(|tenant| ("x-scope-orgid", tenant)));
        server.ask(&Asked { method, path, headers: &headers, body }).await
    };
    for tenant in [None, Some("a")] {
        let answer = ask(&a, tenant, "POST", "/ingest?name=of-a", "x 1").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    for (tenant, status) in [(Some("b"), 403), (Some("../x"), 400), (Some("anonymous"), 403)] {
        let answer = ask(&a, tenant, "POST", "/ingest?name=of-b", "x 1").await;
        assert_eq!(answer.status.as_u16(), status, "{tenant:?}: {}", answer.text());
    }
    let of_a = ask(&a, None, "GET", "/api/apps", "").await;
    assert!(of_a.text().contains("of-a"));
    assert_eq!(ask(&b, None, "GET", "/api/apps", "").await.json(), json!([]));
}

/// Where only pushing is guarded, keys are still not everybody's to make.
#[tokio::test]
async fn guarded_ingestion_alone_leaves_reading_open_and_keys_closed() {
    let account = account::Config { ingestion: true, ..account::Config::default() };
    let server = server_with(account, |_| {});
    let agent = server.key(Role::Agent, "anonymous");
    for (method, path, body, key, status) in [
        ("POST", "/ingest?name=x", "a 1", None, 401),
        ("POST", "/ingest?name=x", "a 1", Some(&agent), 200),
        ("POST", QUERY, "{}", None, 200),
        ("GET", "/labels", "", None, 200),
        ("POST", "/api/keys", r#"{"name":"x","role":"Admin"}"#, None, 401),
        ("POST", "/api/keys", r#"{"name":"x","role":"Admin"}"#, Some(&agent), 403),
        ("GET", "/api/users", "", None, 401),
        ("GET", "/settings/users", "", None, 401),
    ] {
        let mut headers = vec![JSON];
        headers.extend(key.map(|key| ("authorization", key.as_str())));
        let answer = server.ask(&Asked { method, path, headers: &headers, body }).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text());
    }
    // Where nothing is guarded, there is nothing to log in to.
    let open = server_with(account::Config::default(), |_| {});
    let headers = &[JSON];
    let asked = Asked { method: "POST", path: "/api/keys", headers, body: "{}" };
    assert_eq!(open.ask(&asked).await.status, StatusCode::NOT_FOUND);
}

/// Row S12: no answer has a secret in it but the one that makes it.
#[tokio::test]
async fn no_answer_has_a_secret() {
    let server = server_with(GUARDED, |_| {});
    let key = server.key(Role::Admin, "anonymous");
    let cookie = cookie_of(&server.log_in("admin", PASSWORD).await);
    let secrets = [&key[7..], &cookie[13..], PASSWORD];
    let stored: Value = serde_json::from_slice(
        &std::fs::read(server.directory.path().join("access.json")).expect("it is there"),
    )
    .expect("it is JSON");
    let hash = stored["keys"][0]["hash"].as_str().expect("a hash").to_owned();
    for (method, path, body, _) in DEEDS {
        let headers = &[JSON, ("authorization", key.as_str()), ("cookie", cookie.as_str())];
        let answer = server.ask(&Asked { method, path, headers, body }).await;
        let text = String::from_utf8_lossy(&answer.body);
        for secret in secrets.iter().copied().chain([hash.as_str()]) {
            assert!(!text.contains(secret), "{method} {path}");
        }
    }
}

/// Row S6: no path leads out of the page's files or the folder of uploads.
#[tokio::test]
async fn no_path_leads_out() {
    let server = server();
    for path in [
        "/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/assets/../../../etc/passwd",
        "//etc/passwd",
        "/api/../access.json",
    ] {
        let answer = server.get(path).await;
        assert!(!String::from_utf8_lossy(&answer.body).contains("root:"), "{path}");
    }
}

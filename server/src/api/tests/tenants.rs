//! Tenants see nothing of each other, and each has limits of its own (rows S4, S5 and S10 of the threats).

use super::*;
use serde_json::json;

const ALL_TENANTS: account::Config =
    account::Config { login: false, ingestion: false, cookie_secure: false, multitenancy: true };

impl Server {
    async fn of(&self, tenant: Option<&str>, method: &str, path: &str, body: &str) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(tenant) = tenant {
            request = request.header("x-scope-orgid", tenant);
        }
        self.send(request.body(Body::from(body.to_owned())).expect("a request")).await
    }

    async fn push_as(&self, tenant: &str, name: &str) -> Answer {
        self.of(Some(tenant), "POST", &format!("/ingest?name={name}"), "main;f 3").await
    }
}

/// What a tenant can ask for, all of it as text.
async fn all_that_is_seen(server: &Server, tenant: &str) -> String {
    let (start, end) = (NOW_MS - 60_000, NOW_MS + 60_000);
    let times = format!(r#""start":{start},"end":{end}"#);
    let select = format!(r#""profile_typeID":"{TYPE}","label_selector":"{{}}",{times}"#);
    let mut seen = String::new();
    for (call, body) in [
        ("ProfileTypes", format!("{{{times}}}")),
        ("LabelNames", format!("{{{times}}}")),
        ("LabelValues", format!(r#"{{"name":"service_name",{times}}}"#)),
        ("LabelValues", format!(r#"{{"name":"__tenant_id__",{times}}}"#)),
        ("Series", format!("{{{times}}}")),
        ("Series", format!(r#"{{"matchers":["{{__tenant_id__=\"a\"}}"],{times}}}"#)),
        ("SelectSeries", format!(r#"{{{select},"step":15,"group_by":["service_name"]}}"#)),
        ("SelectHeatmap", format!(r#"{{{select},"step":15,"group_by":["service_name"]}}"#)),
        ("SelectMergeStacktraces", format!("{{{select}}}")),
        ("SelectMergeProfile", format!("{{{select}}}")),
        ("SelectMergeSpanProfile", format!("{{{select}}}")),
        ("Diff", format!(r#"{{"left":{{{select}}},"right":{{{select}}}}}"#)),
        ("GetProfileStats", "{}".to_owned()),
        ("AnalyzeQuery", format!(r#"{{"query":"{{}}",{times}}}"#)),
    ] {
        let path = format!("/querier.v1.QuerierService/{call}");
        let answer = server.of(Some(tenant), "POST", &path, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{call}: {}", answer.text());
        seen.push_str(answer.text());
    }
    for path in [
        format!("/pyroscope/render?query={TYPE}%7B%7D&from=now-1h&groupBy=service_name"),
        "/render?query=nobody&from=now-1h".to_owned(),
        "/pyroscope/label-values?label=service_name".to_owned(),
        "/label-values?label=service_name".to_owned(),
        "/labels".to_owned(),
        format!("/export?query={TYPE}%7B%7D&from=now-1h&format=collapsed"),
        "/api/apps".to_owned(),
    ] {
        let answer = server.of(Some(tenant), "GET", &path, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        seen.push_str(answer.text());
    }
    seen
}

#[tokio::test]
async fn tenants_see_nothing_of_each_other() {
    let server = server_with(ALL_TENANTS, |_| {});
    let body = "main_of_a;secret_of_a 3";
    let path = "/ingest?name=app-a%7Bpod%3Dpod-of-a,__tenant_id__%3Db%7D";
    assert_eq!(server.of(Some("a"), "POST", path, body).await.status, StatusCode::OK);
    // A label that claims to be of another tenant, in a push and on a sample.
    let mut profile = golden();
    profile.string_table.extend(["__tenant_id__".to_owned(), "a".to_owned()]);
    let claim = profile::Label { key: 9, str: 10, ..profile::Label::default() };
    profile.sample[0].label = vec![claim];
    let mut push = push_of(profile.encode_to_vec());
    let label = |name: &str| types::LabelPair { name: name.to_owned(), value: "a".to_owned() };
    push.series[0].labels.push(label("__tenant_id__"));
    let request = Request::post(PUSH)
        .header("content-type", "application/proto")
        .header("x-scope-orgid", "b");
    let answer = server.send(request.body(Body::from(push.encode_to_vec())).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    for _ in ["in memory", "in blocks"] {
        let (a, b) = (all_that_is_seen(&server, "a").await, all_that_is_seen(&server, "b").await);
        for word in ["app-a", "pod-of-a", "main_of_a", "secret_of_a"] {
            assert!(a.contains(word) && !b.contains(word), "{word}: {b}");
        }
        assert!(b.contains("api") && !a.contains("\"api\""), "{a}");
        let c = all_that_is_seen(&server, "c").await;
        assert!(!c.contains("app-a") && !c.contains("api") && !c.contains("dataIngested"), "{c}");
        assert!(!a.contains("__tenant_id__") && !b.contains("__tenant_id__"));
        assert!(server.store.flush(Duration::from_secs(20)));
    }
}

#[tokio::test]
async fn tenants_delete_and_keep_their_own_alone() {
    let server = server_with(ALL_TENANTS, |_| {});
    for tenant in ["a", "b", "anonymous"] {
        assert_eq!(server.push_as(tenant, "app").await.status, StatusCode::OK);
        let setting = json!({"setting": {"name": "of", "value": tenant}}).to_string();
        let path = "/settings.v1.SettingsService/Set";
        let answer = server.of(Some(tenant), "POST", path, &setting).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    let path = "/api/v1/series?query=%7B__tenant_id__%3D~%22.*%22%7D";
    let deleted = server.of(Some("a"), "DELETE", path, "").await.json();
    assert_eq!(deleted["series"], 1);
    for (tenant, left) in [("a", 0), ("b", 1), ("anonymous", 1)] {
        let apps = server.of(Some(tenant), "GET", "/api/apps", "").await.json();
        assert_eq!(apps.as_array().unwrap().len(), left, "{tenant}");
        let path = "/settings.v1.SettingsService/Get";
        let settings = server.of(Some(tenant), "POST", path, "{}").await.json();
        assert_eq!(settings["settings"][0]["value"], tenant);
    }
    let deleted = server.of(Some("anonymous"), "DELETE", path, "").await.json();
    assert_eq!(deleted["series"], 1);
    let apps = server.of(Some("b"), "GET", "/api/apps", "").await.json();
    assert_eq!(apps.as_array().unwrap().len(), 1);
}

/// Row S5.
#[tokio::test]
async fn what_is_no_tenant_is_refused() {
    let server = server_with(ALL_TENANTS, |_| {});
    let missing = server.of(None, "POST", "/ingest?name=x", "a 1").await;
    assert_eq!(
        (missing.status.as_u16(), &missing.json()["code"]),
        (401, &"unauthenticated".into())
    );
    assert!(missing.text().contains("no org id"));
    let long = "x".repeat(151);
    let huge = "x".repeat(10 << 10);
    for wrong in ["", ".", "..", "../../x", "a/b", "a b", "a\\b", "%00", &long, &huge, "a|b", "{}"]
    {
        let answer = server.of(Some(wrong), "POST", "/ingest?name=x", "a 1").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong:.20}: {}", answer.text());
    }
    let confusable =
        Request::post("/ingest?name=x").header("x-scope-orgid", "t\u{e9}am".as_bytes());
    let answer = server.send(confusable.body(Body::from("a 1")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    for right in ["a", "A-1_!.*'()", "x".repeat(150).as_str(), "..."] {
        assert_eq!(server.push_as(right, "x").await.status, StatusCode::OK, "{right}");
    }
    let request = Request::post("/querier.v1.QuerierService/ProfileTypes")
        .header("content-type", "application/grpc-web+proto");
    let answer = server.send(request.body(Body::empty()).unwrap()).await;
    let text = String::from_utf8_lossy(&answer.body);
    assert!(text.contains("grpc-status: 16"), "{text}");
    for open in ["/ready", "/metrics", "/healthz"] {
        assert_eq!(server.of(None, "GET", open, "").await.status, StatusCode::OK, "{open}");
    }
    // Where there are no tenants, the header says nothing.
    let server = server_with(account::Config::default(), |_| {});
    assert_eq!(server.push_as("../../x", "app").await.status, StatusCode::OK);
    assert_eq!(server.get("/api/apps").await.json()[0]["name"], "app");
}

/// Row S4: a tenant that makes a million series is held, and the others are not.
#[tokio::test]
async fn each_tenant_has_its_own_limits() {
    let small = Limits {
        ingest: ingest::Config { max_samples: 2, ..ingest::Config::default() },
        max_series: 3,
        rate_bytes: 1,
        burst_bytes: 2_000,
        max_range_ms: 60_000,
    };
    let server = server_with(ALL_TENANTS, |limits| {
        limits.overrides.insert("small".to_owned(), Arc::new(small.clone()));
    });
    let refused = async |path: &str, body: &str, status: u16, words: &[&str]| {
        let answer = server.of(Some("small"), "POST", path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text());
        for word in words {
            assert!(answer.text().contains(word), "{word} is not in {}", answer.text());
        }
        answer
    };
    for name in ["a", "b", "c"] {
        assert_eq!(server.push_as("small", name).await.status, StatusCode::OK);
    }
    let answer =
        refused("/ingest?name=d", "a 1", 429, &["limit of 3 series", "limits.series"]).await;
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(server.push_as("small", "c").await.status, StatusCode::OK);
    let request = Request::post(PUSH)
        .header("content-type", "application/proto")
        .header("x-scope-orgid", "small");
    let body = Body::from(golden_push().encode_to_vec());
    let answer = server.send(request.body(body).expect("a request")).await;
    let words = ["3 samples, the limit is 2", "limits.profile_samples"];
    assert!(words.iter().all(|word| answer.text().contains(word)), "{}", answer.text());
    let body = format!("{} 1", "x".repeat(3_000));
    let words = ["1 bytes a second, 2000 at once", "3002 bytes", "limits.rate"];
    refused("/ingest?name=a", &body, 429, &words).await;
    let select = format!(
        r#"{{"profile_typeID":"{TYPE}","label_selector":"{{}}","start":{},"end":{NOW_MS}}}"#,
        NOW_MS - 61_000
    );
    let words = ["exceeds the limit", "limits.query_range"];
    let path = "/querier.v1.QuerierService/SelectMergeStacktraces";
    refused(path, &select, 400, &words).await;
    // Nobody else is held.
    for name in ["a", "b", "c", "d", "e"] {
        let path = format!("/ingest?name={name}");
        let answer = server.of(Some("other"), "POST", &path, &format!("{body}\na 1\nb 1")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    let shown = server.of(Some("small"), "GET", "/api/v1/tenant_limits", "").await.json();
    assert_eq!((&shown["series"], &shown["profile_samples"]), (&3.into(), &2.into()));
    let metrics = server.of(None, "GET", "/metrics", "").await;
    for reason in ["series_limit", "samples_limit", "rate_limited"] {
        let line = format!(
            "pilotlight_server_discarded_profiles_total{{reason=\"{reason}\",tenant=\"small\"}} 1"
        );
        assert!(metrics.text().contains(&line), "{line}: {}", metrics.text());
    }
    // Limits that are read again hold at once.
    let more = AllLimits { defaults: Arc::new(limits_of(&small, 10)), overrides: HashMap::new() };
    server.api.set_limits(more);
    let shown = server.of(Some("small"), "GET", "/api/v1/tenant_limits", "").await.json();
    assert_eq!(shown["series"], 10);
}

fn limits_of(limits: &Limits, max_series: usize) -> Limits {
    Limits { max_series, ..limits.clone() }
}

/// A tenant that asks as much as it can leaves room for another's question.
#[test]
fn a_tenant_does_not_starve_another() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let server = server_with(ALL_TENANTS, |_| {});
        let scope = |tenant: &str| {
            let mut extensions = axum::http::Extensions::new();
            extensions.insert(super::scope::Tenant(tenant.into()));
            super::scope::Scope::of(Arc::clone(&server.api), &extensions)
        };
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let mut heavy = Vec::new();
        for _ in 0..50 {
            let (scope, held) = (scope("heavy"), Arc::clone(&held));
            heavy.push(tokio::spawn(async move {
                let wait = move |_: &super::scope::Scope| {
                    // Each ends when nobody can say a word any more.
                    held.lock().unwrap().recv().unwrap_err();
                    Ok(())
                };
                super::work::on_query_thread(&scope, wait).await
            }));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let path = "/querier.v1.QuerierService/GetProfileStats";
        let light = server.of(Some("light"), "POST", path, "{}");
        let answer = tokio::time::timeout(Duration::from_secs(10), light).await;
        assert_eq!(answer.expect("it is not starved").status, StatusCode::OK);
        drop(release);
        for one in heavy {
            one.await.expect("it does not panic").expect("it ends well");
        }
    });
}

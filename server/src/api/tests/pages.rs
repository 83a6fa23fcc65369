//! What pages put aside, and what they ask of the server itself.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

async fn call(server: &Server, path: &str, body: &Value) -> Answer {
    server.request("POST", path, "application/json", body.to_string()).await
}

#[tokio::test]
async fn settings_are_set_read_and_deleted() {
    let server = server();
    let service = "/settings.v1.SettingsService";
    let get = async || call(&server, &format!("{service}/Get"), &json!({})).await.json();
    assert_eq!(get().await, json!({}));
    let set = async |setting: Value| {
        let body = json!({ "setting": setting });
        call(&server, &format!("{service}/Set"), &body).await
    };
    let theme = json!({"name": "pluginSettings", "value": "{}", "modifiedAt": "7"});
    assert_eq!(set(theme.clone()).await.json(), json!({ "setting": theme }));
    let older = set(json!({"name": "pluginSettings", "value": "x", "modifiedAt": "6"})).await;
    assert_eq!((older.status.as_u16(), &older.json()["code"]), (409, &"already_exists".into()));
    let unnamed = set(json!({"value": "x"})).await;
    assert_eq!(unnamed.status, StatusCode::BAD_REQUEST);
    set(json!({"name": "now", "value": "x"})).await;
    let both = get().await;
    assert_eq!(both["settings"][0]["modifiedAt"], NOW_MS.to_string());
    assert_eq!(both["settings"][1], theme);
    let path = format!("{service}/Delete");
    assert_eq!(call(&server, &path, &json!({"name": "now"})).await.json(), json!({}));
    assert_eq!(get().await, json!({ "settings": [theme] }));
}

const FILES: &[(&str, &str)] = &[
    ("folded", "a;b;e 1\na;c 2\na;c;d 1\n"),
    ("perf.txt", "x 1 0.1: cycles:\n\tffff00 e+0x1 (/x)\n\tffff01 b+0x1 (/x)\n\tffff02 a (/x)\n\n"),
];

#[tokio::test]
async fn profiles_in_every_format_are_uploaded_and_drawn() {
    let server = server();
    let service = "/adhocprofiles.v1.AdHocProfileService";
    let upload = async |name: &str, bytes: &[u8]| {
        let body = json!({"name": name, "profile": STANDARD.encode(bytes)});
        call(&server, &format!("{service}/Upload"), &body).await
    };
    let ticks = |answer: &Value| {
        let text = answer["flamebearerProfile"].as_str().expect("there is one").to_owned();
        let drawn: Value = serde_json::from_str(&text).expect("it is JSON");
        (drawn["flamebearer"]["numTicks"].as_i64().expect("a number"), text)
    };
    let mut ids = Vec::new();
    let pprof = upload("cpu.pb.gz", &gzip(&golden().encode_to_vec())).await.json();
    let (total, drawn) = ticks(&pprof);
    assert_eq!((total, &pprof["profileType"]), (4, &"cpu".into()));
    assert_eq!(pprof["profileTypes"], json!(["cpu"]));
    ids.push(pprof["id"].as_str().expect("an id").to_owned());
    // What was drawn can be uploaded again.
    let again = upload("drawn.json", drawn.as_bytes()).await.json();
    assert_eq!(ticks(&again).0, 4, "{again}");
    let graph = |text: &str| serde_json::from_str::<Value>(text).unwrap()["flamebearer"].clone();
    assert_eq!(graph(&ticks(&again).1), graph(&drawn));
    ids.push(again["id"].as_str().expect("an id").to_owned());
    for (name, text) in FILES {
        let answer = upload(name, text.as_bytes()).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text());
        assert_eq!(ticks(&answer.json()).0, if *name == "folded" { 4 } else { 1 });
    }
    let path = format!("{service}/List");
    let list = call(&server, &path, &json!({})).await.json();
    let names: Vec<&str> = list["profiles"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names.len(), 4);
    let path = format!("{service}/Get");
    let got = call(&server, &path, &json!({"id": ids[0], "profileType": "cpu"})).await.json();
    assert_eq!((&got, ticks(&got).0), (&pprof, 4));
    let path = format!("{service}/Diff");
    let diff = call(&server, &path, &json!({"leftId": ids[1], "rightId": ids[1]})).await.json();
    let drawn: Value = serde_json::from_str(diff["flamebearerProfile"].as_str().unwrap()).unwrap();
    assert_eq!((&drawn["leftTicks"], &drawn["rightTicks"]), (&4.into(), &4.into()));
}

#[tokio::test]
async fn what_cannot_be_drawn_is_refused() {
    let server = server();
    let service = "/adhocprofiles.v1.AdHocProfileService";
    for (profile, status) in [
        ("not base64!".to_owned(), 400),
        (String::new(), 400),
        (STANDARD.encode("{}"), 400),
        (
            STANDARD.encode("{\"flamebearer\":{\"names\":[],\"levels\":[[0,9,0,0],[5,99,1,7]]}}"),
            200,
        ),
        (
            STANDARD.encode("{\"flamebearer\":{\"names\":[],\"levels\":[[0,9,0,0],[50,9,1,7]]}}"),
            400,
        ),
        (STANDARD.encode([0x1f, 0x8b, 0, 0]), 400),
        (STANDARD.encode([0; 100]), 400),
        (STANDARD.encode(vec![b' '; 1 << 20]), 413),
    ] {
        let body = json!({"name": "x", "profile": profile});
        let answer = call(&server, &format!("{service}/Upload"), &body).await;
        assert_eq!(answer.status.as_u16(), status, "{profile:.40}: {}", answer.text());
    }
    let missing = json!({"id": "../../x"});
    let answer = call(&server, &format!("{service}/Get"), &missing).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (404, &"not_found".into()));
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let server = server();
    let build = server.get("/api/v1/status/buildinfo").await.json();
    assert_eq!(build["status"], "success");
    assert_eq!(build["data"]["version"], env!("CARGO_PKG_VERSION"));
    for path in ["/api/v1/status/config", "/config", "/api/v1/status/config?mode=other"] {
        assert_eq!(server.get(path).await.text(), "listen: x\n", "{path}");
    }
    for path in ["/api/v1/status/config/diff", "/api/v1/status/config/default", "/config?mode=diff"]
    {
        assert_eq!(server.get(path).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/healthz", "/build", "/ready"] {
        assert_eq!(server.get(path).await.status, StatusCode::OK, "{path}");
    }
    let nothing = server.get("/api/v1/what").await;
    assert_eq!((nothing.status.as_u16(), &nothing.json()["code"]), (404, &"not_found".into()));
    for path in ["/settings.v1.RecordingRulesService/List", "/vcs.v1.VCSService/GithubApp"] {
        let answer = server.request("POST", path, "application/json", "{}").await;
        assert_eq!(answer.status, StatusCode::NOT_IMPLEMENTED, "{path}");
    }
}

async fn delete(server: &Server, path: &str, body: &str) -> Answer {
    server.request("DELETE", path, "application/json", body.to_owned()).await
}

#[tokio::test]
async fn what_is_deleted_is_gone_from_memory_and_disk() {
    let server = server();
    for app in ["a.cpu", "a.inuse_space", "b.cpu", "c"] {
        for tag in ["x", "y"] {
            let lines: Vec<String> = (0..500).map(|n| format!("main_{app};f{n} {n}")).collect();
            let body = lines.join("\n");
            let path = format!("/ingest?name={app}%7Btag%3D{tag}%7D&sampleRate=100");
            let answer = server.request("POST", &path, "", body).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        }
    }
    let apps = async || {
        let apps = server.get("/api/apps").await.json();
        let name = |app: &Value| app["name"].as_str().unwrap().to_owned();
        apps.as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(apps().await, ["a", "b", "c"]);
    let deleted = delete(&server, "/api/apps", r#"{"name":"a.cpu"}"#).await;
    assert_eq!((deleted.status.as_u16(), &deleted.json()["series"]), (200, &2.into()));
    let types = server.get("/api/apps").await.json()[0]["profileTypes"].clone();
    assert_eq!(types, json!(["memory:inuse_space:bytes::"]));
    let query = "query=%7Bservice_name%3D%22c%22%2Ctag%3D%22x%22%7D";
    let deleted = delete(&server, &format!("/api/v1/series?{query}"), "").await.json();
    assert_eq!(deleted["series"], 1);
    assert!(deleted["bytes"].as_u64().unwrap() > 1_000, "{deleted}");
    let tags = "/label-values?label=tag&query=%7Bservice_name%3D%22c%22%7D";
    assert_eq!(server.get(tags).await.json(), json!(["y"]));
    assert_eq!(server.get("/label-values?label=tag&query=b.cpu").await.json(), json!(["x", "y"]));
    let names = server.get("/labels?query=nobody.cpu").await.json();
    assert_eq!(names, json!([]));
    let before = server.store.select(i64::MIN, i64::MAX).len();
    assert_eq!(delete(&server, "/api/v1/series?query=%7B%7D", "").await.status, StatusCode::OK);
    assert_eq!((apps().await, before > 0), (vec![], true));
    for (path, body) in [
        ("/api/v1/series", ""),
        ("/api/v1/series?query=", ""),
        ("/api/v1/series?query=%7B", ""),
        ("/api/apps", ""),
        ("/api/apps", "{}"),
        ("/api/apps", r#"{"name":""}"#),
    ] {
        assert_eq!(delete(&server, path, body).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn an_app_with_a_suffix_in_its_name_is_deleted_alone() {
    let server = server();
    let answer = server.request("POST", "/ingest?name=my.cpu", "", "main 1").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let mut push = golden_push();
    push.series[0].labels[1].value = "my.cpu".to_owned();
    let answer = server.request("POST", PUSH, "application/proto", push.encode_to_vec()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    for left in [json!(["my"]), json!([])] {
        let deleted = delete(&server, "/api/apps", r#"{"name":"my.cpu"}"#).await;
        assert_eq!((deleted.status.as_u16(), &deleted.json()["series"]), (200, &1.into()));
        let apps = server.get("/api/apps").await.json();
        let names: Vec<&Value> = apps.as_array().unwrap().iter().map(|app| &app["name"]).collect();
        assert_eq!(json!(names), left);
    }
}

#[tokio::test]
async fn a_query_is_exported_as_a_file() {
    let server = server();
    server.push_golden().await;
    for (format, name) in [
        ("", "profile.pb.gz"),
        ("&format=collapsed", "profile.folded"),
        ("&format=speedscope", "profile.speedscope.json"),
        ("&format=json", "profile.json"),
    ] {
        let answer = server.get(&format!("/export?query={TYPE}%7B%7D&from=now-1h{format}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let expected = format!("attachment; filename=\"{name}\"");
        assert_eq!(answer.headers["content-disposition"], expected.as_str());
    }
    assert_eq!(server.get("/export?query=x%7B").await.status, StatusCode::BAD_REQUEST);
}

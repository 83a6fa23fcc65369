//! The protocol's table of statuses.

use super::*;

#[tokio::test]
async fn statuses_of_the_querier() {
    let server = server();
    server.push_golden().await;
    let (times, select) =
        (times(), format!(r#""profile_typeID":"{TYPE}","label_selector":"{{}}""#));
    let backwards = r#""start":2,"end":1"#;
    let mut cases: Vec<(&str, String, u16)> = vec![
        ("ProfileTypes", format!("{{{times}}}"), 200),
        ("ProfileTypes", r#"{"start":0,"end":0}"#.into(), 200),
        ("ProfileTypes", "{}".into(), 200),
        ("ProfileTypes", r#"{"start":-5,"end":1}"#.into(), 200),
        ("ProfileTypes", r#"{"start":-5,"end":-1}"#.into(), 200),
        ("ProfileTypes", r#"{"start":"x","end":"y"}"#.into(), 400),
        ("LabelValues", format!(r#"{{"name":"service_name",{times}}}"#), 200),
        ("LabelValues", format!(r#"{{"name":"service_name","matchers":["{{}}"],{times}}}"#), 200),
        (
            "LabelValues",
            format!(r#"{{"name":"service_name","matchers":["{{}}","{{a=\"b\"}}"],{times}}}"#),
            200,
        ),
        ("LabelValues", format!(r#"{{"name":"service_name","matchers":["{{"],{times}}}"#), 400),
        ("LabelValues", format!(r#"{{"name":"",{times}}}"#), 400),
        ("LabelValues", format!("{{{times}}}"), 400),
        ("LabelValues", r#"{"name":"service_name"}"#.into(), 400),
        ("GetProfileStats", "{}".into(), 200),
        ("AnalyzeQuery", format!(r#"{{"query":"{TYPE}{{}}",{times}}}"#), 200),
        ("AnalyzeQuery", r#"{"query":"{a","start":1,"end":2}"#.into(), 400),
        ("Diff", "{}".into(), 400),
    ];
    for call in ["LabelNames", "Series"] {
        cases.push((call, format!("{{{times}}}"), 200));
        cases.push((
            call,
            format!(r#"{{"matchers":["{{service_name=\"api\"}}"],"label_names":["a"],{times}}}"#),
            200,
        ));
        cases.push((call, format!(r#"{{"matchers":["nonsense"],{times}}}"#), 400));
        cases.push((call, "{}".into(), 400));
    }
    for (call, more) in [
        ("SelectMergeStacktraces", ""),
        ("SelectMergeSpanProfile", ""),
        ("SelectMergeProfile", ""),
        ("SelectSeries", r#","step":15"#),
        ("SelectHeatmap", r#","step":15"#),
    ] {
        let with = |fields: &str| format!("{{{fields}{more}}}");
        cases.push((call, with(&format!("{select},{times}")), 200));
        cases.push((call, with(&format!(r#"{select},{times},"max_nodes":16"#)), 200));
        cases.push((
            call,
            with(&format!(r#"{select},{times},"groupBy":["a","b"],"limit":"1""#)),
            200,
        ));
        cases.push((call, with(&format!(r#""label_selector":"{{}}",{times}"#)), 400));
        for wrong in ["", "x", "a:b:c:d", "a:b:c:d:e:f:g", "a:b:c:d:e:other"] {
            cases.push((
                call,
                with(&format!(r#""profile_typeID":"{wrong}","label_selector":"{{}}",{times}"#)),
                400,
            ));
        }
        cases.push((call, with(&format!(r#""profile_typeID":"{TYPE}",{times}"#)), 400));
        cases.push((
            call,
            with(&format!(r#""profile_typeID":"{TYPE}","label_selector":"{{a}}",{times}"#)),
            400,
        ));
        cases.push((call, with(&format!("{select},{backwards}")), 400));
        cases.push((call, with(&select), 400));
    }
    cases.push((
        "SelectMergeStacktraces",
        format!(r#"{{{select},{times},"format":"PROFILE_FORMAT_TREE"}}"#),
        200,
    ));
    for nodes in ["-1", "1048577"] {
        cases.push((
            "SelectMergeStacktraces",
            format!(r#"{{{select},{times},"max_nodes":{nodes}}}"#),
            400,
        ));
    }
    for step in ["", r#","step":0"#, r#","step":-1"#, r#","step":"NaN""#, r#","step":0.0001"#] {
        cases.push(("SelectSeries", format!("{{{select},{times}{step}}}"), 400));
    }
    let side = format!("{{{select},{times}}}");
    cases.push(("Diff", format!(r#"{{"left":{side},"right":{side}}}"#), 200));
    cases.push(("Diff", format!(r#"{{"left":{side}}}"#), 400));
    cases.push(("Diff", format!(r#"{{"left":{side},"right":{{{times}}}}}"#), 400));
    for (call, body, status) in cases {
        let answer = server.query(call, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{call} {body}: {}", answer.text());
        if status == 400 {
            assert_eq!(
                (&answer.headers["content-type"], &answer.json()["code"]),
                (&"application/json".parse().expect("a header"), &"invalid_argument".into())
            );
        }
    }
}

#[tokio::test]
async fn statuses_that_all_calls_have() {
    let server = server();
    let calls = [
        "ProfileTypes",
        "LabelValues",
        "LabelNames",
        "Series",
        "SelectMergeStacktraces",
        "SelectMergeSpanProfile",
        "SelectMergeProfile",
        "SelectSeries",
        "SelectHeatmap",
        "Diff",
    ];
    for call in calls {
        let path = format!("/querier.v1.QuerierService/{call}");
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            assert_eq!(
                server.request(method, &path, "application/json", "{}").await.status,
                StatusCode::METHOD_NOT_ALLOWED
            );
        }
        for kind in ["text/plain", "", "application/json; charset=latin1", "application/x"] {
            let answer = server.request("POST", &path, kind, "{}").await;
            assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
            let accepted = answer.headers["accept-post"].to_str().expect("it is text");
            assert!(accepted.starts_with("application/json, application/proto, application/grpc,"));
        }
        // gRPC has its status in trailers, which HTTP/1.1 clients do not look at.
        let answer = server.request("POST", &path, "application/grpc", "").await;
        assert_eq!(answer.status, StatusCode::HTTP_VERSION_NOT_SUPPORTED);
        for body in ["", "{", "[]", "null", "1"] {
            assert_eq!(
                server.query(call, body).await.status,
                StatusCode::BAD_REQUEST,
                "{call} {body}"
            );
        }
        assert_eq!(
            server.request("POST", &path, "application/proto", vec![0xff]).await.status,
            StatusCode::BAD_REQUEST
        );
    }
}

#[tokio::test]
async fn statuses_of_render() {
    let server = server();
    server.push_golden().await;
    let query = format!("query={TYPE}%7Bservice_name%3D%22api%22%7D");
    let range = format!("from={}&until={NOW_MS}", NOW_MS - 60_000);
    for more in [
        "",
        "&format=json",
        "&format=dot",
        "&maxNodes=5",
        "&max-nodes=5",
        "&maxNodes=0",
        "&maxNodes=invalid",
        "&groupBy=a",
        "&groupBy=a&groupBy=b",
        "&aggregation=sum",
        "&aggregation=avg",
        "&aggregation=invalid",
    ] {
        let answer = server.get(&format!("/pyroscope/render?{query}&{range}{more}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{more}: {}", answer.text());
    }
    let bad = [
        format!("{query}&from=0&until={NOW_MS}"),
        format!("{query}&from=now-1h&until=0"),
        format!("{query}&from=0&until=0"),
        range.clone(),
        format!("query=&{range}"),
        format!("query={TYPE}%7B&{range}"),
        format!("query=%7B%7D&{range}"),
        format!("query=a:b%7B%7D&{range}"),
    ];
    for query in bad {
        assert_eq!(
            server.get(&format!("/pyroscope/render?{query}")).await.status,
            StatusCode::BAD_REQUEST,
            "{query}"
        );
    }
    let side = |side: &str, query: &str| {
        format!("{side}Query={query}%7B%7D&{side}From=now-1h&{side}Until=now")
    };
    let diff = |left: &str, right: &str| {
        format!("/pyroscope/render-diff?{}&{}", side("left", left), side("right", right))
    };
    assert_eq!(server.get(&diff(TYPE, TYPE)).await.status, StatusCode::OK);
    assert_eq!(server.get(&diff(TYPE, "a:b:c:d:e")).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(server.get(&diff(TYPE, "")).await.status, StatusCode::BAD_REQUEST);
    for path in ["/pyroscope/render", "/pyroscope/render-diff"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            assert_eq!(
                server.request(method, path, "", "").await.status,
                StatusCode::METHOD_NOT_ALLOWED
            );
        }
    }
}

//! Single profiles and spans: by their ids, as exemplars, in heatmaps; in memory and in blocks alike.

use super::*;

/// Two profiles of 4 and 8, ten seconds apart, the second with a span.
async fn push_two(server: &Server) {
    server.push_golden().await;
    let mut second = golden();
    second.time_nanos += 10_000_000_000;
    let strings = ["span_id", "00000bac2a5ab0c7", "trace_id", "000000000000000000000bac2a5ab0c8"];
    second.string_table.extend(strings.map(str::to_owned));
    for sample in &mut second.sample {
        sample.value[0] *= 2;
    }
    let label = |key, str| profile::Label { key, str, ..profile::Label::default() };
    second.sample[0].label = vec![label(9, 10), label(11, 12)];
    let mut push = push_of(second.encode_to_vec());
    push.series[0].samples[0].id = "00000000-0000-0000-0000-000000000002".to_owned();
    let answer = server.request("POST", PUSH, "application/proto", push.encode_to_vec()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

fn select(more: &str) -> String {
    let (start, end) = (NOW_MS - 60_000, NOW_MS + 60_000);
    format!(
        r#"{{"profileTypeID":"{TYPE}","labelSelector":"{{}}","start":{start},"end":{end}{more}}}"#
    )
}

async fn check_ids(server: &Server) {
    let total = async |call: &str, ids: &str| {
        let answer = server.query(call, &select(&format!(r#","profileIdSelector":[{ids}]"#))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let json = answer.json();
        match call {
            "SelectMergeStacktraces" => {
                json["flamegraph"]["total"].as_str().unwrap_or("0").parse().expect("a number")
            }
            _ => json["sample"].as_array().map_or(0, |samples| {
                let value = |sample: &serde_json::Value| {
                    sample["value"][0].as_str().and_then(|text| text.parse::<i64>().ok())
                };
                samples.iter().filter_map(value).sum()
            }),
        }
    };
    for call in ["SelectMergeStacktraces", "SelectMergeProfile"] {
        assert_eq!(total(call, "").await, 12, "{call}");
        assert_eq!(total(call, r#""00000000-0000-0000-0000-000000000001""#).await, 4, "{call}");
        assert_eq!(total(call, r#""00000000000000000000000000000002""#).await, 8, "{call}");
        let both = r#""00000000000000000000000000000002","00000000000000000000000000000001""#;
        assert_eq!(total(call, both).await, 12, "{call}");
        assert_eq!(total(call, r#""00000000000000000000000000000003""#).await, 0, "{call}");
        for wrong in ["", "1", "00000000-0000-0000-0000-00000000000g"] {
            let body = select(&format!(r#","profileIdSelector":["{wrong}"]"#));
            assert_eq!(server.query(call, &body).await.status, StatusCode::BAD_REQUEST, "{wrong}");
        }
        let many = vec![r#""00000000000000000000000000000001""#; 201].join(",");
        let body = select(&format!(r#","profileIdSelector":[{many}]"#));
        assert_eq!(server.query(call, &body).await.status, StatusCode::BAD_REQUEST);
    }
}

async fn check_exemplars(server: &Server) {
    let query = |kind: &str| {
        select(&format!(r#","step":15,"groupBy":["service_name"],"exemplarType":"{kind}""#))
    };
    let exemplars = async |call: &str, kind: &str| {
        let answer = server.query(call, &query(kind)).await.json();
        let series = answer["series"].as_array().cloned().unwrap_or_default();
        let points = series.iter().flat_map(|series| {
            let points = if call == "SelectSeries" { &series["points"] } else { &series["slots"] };
            points.as_array().cloned().unwrap_or_default()
        });
        points
            .flat_map(|point| point["exemplars"].as_array().cloned().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    for call in ["SelectSeries", "SelectHeatmap"] {
        assert!(exemplars(call, "EXEMPLAR_TYPE_NONE").await.is_empty(), "{call}");
        let profiles = exemplars(call, "EXEMPLAR_TYPE_INDIVIDUAL").await;
        let ids: Vec<(&str, &str)> = profiles
            .iter()
            .map(|one| (one["profileId"].as_str().unwrap(), one["value"].as_str().unwrap()))
            .collect();
        let expected = [
            ("00000000-0000-0000-0000-000000000001", "4"),
            ("00000000-0000-0000-0000-000000000002", "8"),
        ];
        assert_eq!(ids, expected, "{call}");
        let names: Vec<&str> = profiles[0]["labels"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|label| label["name"].as_str())
            .collect();
        assert!(names.contains(&"otel.scope.name") && !names.contains(&"service_name"));
        let spans = exemplars(call, "EXEMPLAR_TYPE_SPAN").await;
        assert_eq!(spans.len(), 1, "{call}: {spans:?}");
        assert_eq!(
            (&spans[0]["spanId"], &spans[0]["traceId"], &spans[0]["value"]),
            (&"00000bac2a5ab0c7".into(), &"000000000000000000000bac2a5ab0c8".into(), &"2".into())
        );
    }
}

async fn check_heatmap(server: &Server) {
    let counts = async |more: &str| {
        let answer = server.query("SelectHeatmap", &select(more)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let series = answer.json()["series"].as_array().cloned().unwrap_or_default();
        let slots = series.iter().flat_map(|one| one["slots"].as_array().cloned().unwrap());
        slots
            .map(|slot| {
                let y_min = slot["yMin"].as_array().unwrap();
                let counts = slot["counts"].as_array().unwrap();
                assert_eq!((y_min.len(), counts.len()), (20, 20));
                let filled = y_min.iter().zip(counts).filter(|(_, count)| **count != 0);
                filled.map(|(y, n)| (y.as_f64().unwrap(), n.as_i64().unwrap())).collect()
            })
            .collect::<Vec<Vec<(f64, i64)>>>()
    };
    let individual = counts(r#","step":15,"queryType":"HEATMAP_QUERY_TYPE_INDIVIDUAL""#).await;
    assert_eq!(individual, [[(4.0, 1)], [(8.0, 1)]]);
    let together = counts(r#","step":80"#).await;
    assert_eq!(together, [[(4.0, 1), (8.0, 1)]]);
    let spans = counts(r#","step":15,"queryType":"HEATMAP_QUERY_TYPE_SPAN""#).await;
    assert_eq!(spans, [[(2.0, 1)]]);
    for wrong in ["", r#","step":0"#] {
        let answer = server.query("SelectHeatmap", &select(wrong)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn single_profiles_and_spans_are_found() {
    let server = server();
    push_two(&server).await;
    for _ in ["in memory", "in a block"] {
        check_ids(&server).await;
        check_exemplars(&server).await;
        check_heatmap(&server).await;
        assert!(server.store.flush(Duration::from_secs(20)));
    }
}

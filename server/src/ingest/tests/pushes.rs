//! Whole requests: good profiles beside bad ones, damaged bodies.

use super::*;

fn request(profiles: &[(&str, Vec<u8>)]) -> wire::PushRequest {
    let label = |name: &str, value: &str| types::LabelPair {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let series = profiles.iter().map(|(id, raw)| wire::RawProfileSeries {
        labels: vec![label("__name__", "x"), label("service_name", "s")],
        samples: vec![wire::RawSample { raw_profile: raw.clone().into(), id: (*id).to_owned() }],
        annotations: Vec::new(),
    });
    wire::PushRequest { series: series.collect() }
}

#[test]
fn good_profiles_of_a_push_are_kept_beside_bad_ones() {
    let good = pprof_of(&["a:b"], "c:d", &[("f", &[1], &[])]).encode_to_vec();
    let uuid = "00000000-0000-0000-0000-0000000000ff";
    let results = push::read(
        request(&[(uuid, good.clone()), ("", b"bad".to_vec()), ("x", good)]),
        &Config::default(),
        NOW_NS,
    );
    assert_eq!(results[0].as_ref().unwrap().id, Some(255));
    assert_eq!(results[1].as_ref().unwrap_err().reason(), Reason::MalformedProfile);
    assert!(results[2].as_ref().unwrap().id.is_some_and(|id| id != 0));
    let nothing = push::read(wire::PushRequest::default(), &Config::default(), NOW_NS);
    assert_eq!(nothing[0].as_ref().unwrap_err().to_string(), "no profiles received");
}

proptest! {
    #[test]
    fn a_damaged_pprof_is_a_profile_or_an_error(bits in proptest::collection::vec(0_usize..4_000, 1..6)) {
        let labels: &[(&str, &str)] = &[("thread", "1")];
        let mut raw = pprof_of(&["a:b", "c:d"], "c:d", &[("f;g", &[1, 2], labels), ("f", &[3, 4], &[])]).encode_to_vec();
        for bit in bits {
            let len = raw.len();
            raw[bit / 8 % len] ^= 1 << (bit % 8);
        }
        let results = push::read(request(&[("", raw)]), &Config::default(), NOW_NS);
        assert_eq!(results.len(), 1);
    }

    #[test]
    fn any_body_of_ingest_is_read_or_refused(body: Vec<u8>, format in 0_usize..8, spy in 0_usize..4) {
        let query = Query {
            name: "a.b{c=d}".to_owned(),
            format: ["", "pprof", "lines", "x", "trie", "tree", "speedscope", "jfr"][format].to_owned(),
            spy_name: ["", "pyspy", "dotnetspy", "rbspy"][spy].to_owned(),
            ..Query::default()
        };
        let kind = ["", "multipart/form-data; boundary=x"][format % 2];
        if let Err(error) = form::read(&query, kind, &body, &Config::default(), NOW_NS) {
            assert!(!error.to_string().is_empty());
        }
    }
}

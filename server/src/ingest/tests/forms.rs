//! The formats of older clients.

use super::*;

fn ingest(query: &[(&str, &str)], content_type: &str, body: &[u8], expected: &Expect) {
    let mut parsed = Query::default();
    for (name, value) in query {
        let field = match *name {
            "name" => &mut parsed.name,
            "from" => &mut parsed.from,
            "sampleRate" => &mut parsed.sample_rate,
            "spyName" => &mut parsed.spy_name,
            "format" => &mut parsed.format,
            other => panic!("{other}"),
        };
        (*value).clone_into(field);
    }
    let result = form::read(&parsed, content_type, body, &Config::default(), NOW_NS);
    let shown = |profiles: Vec<NormalizedProfile>| profiles.iter().map(text).collect::<String>();
    expected.assert_eq(&result.map_or_else(|error| format!("{error}\n"), shown));
}

#[test]
fn folded_stacks_have_the_type_of_their_suffix() {
    ingest(
        &[("name", "my.app{a=b=c,__x=y,d.e=f}")],
        "",
        b"main;work 3\n\nmain 1\r\n",
        &expect![[r"
            __delta__=false __name__=process_cpu __profile_type__=process_cpu:cpu:nanoseconds:cpu:nanoseconds a=b=c d.e=f pyroscope_spy=unknown service_name=my.app
              main;work 30000000
              main 10000000
        "]],
    );
    ingest(
        &[("name", "app.inuse_space"), ("format", "lines"), ("spyName", "gospy")],
        "text/plain",
        b"a;b\na;b\nc",
        &expect![[r"
            __delta__=false __name__=memory __profile_type__=memory:inuse_space:bytes:: pyroscope_spy=gospy service_name=app
              a;b 2
              c 1
        "]],
    );
    ingest(
        &[("name", "app.cpu{service_name=s}"), ("sampleRate", "0")],
        "",
        b"a 5",
        &expect![[r"
            __delta__=false __name__=process_cpu __profile_type__=process_cpu:samples:count:: app_name=app pyroscope_spy=unknown service_name=s
              a 5
        "]],
    );
}

#[test]
fn wrong_requests_of_ingest_are_named() {
    let check = |query: &[(&str, &str)], kind: &str, body: &[u8], expected: Expect| {
        ingest(query, kind, body, &expected);
    };
    check(
        &[],
        "",
        b"",
        expect!["query parameter 'name' is missing; send the name of the application in it\n"],
    );
    check(
        &[("name", "a{b=c")],
        "",
        b"",
        expect!["name 'a{b=c' is not of the form app{key=value,...}\n"],
    );
    check(
        &[("name", "a b")],
        "",
        b"",
        expect!["app name 'a b' has characters other than letters, digits, _ . - and /\n"],
    );
    check(&[("name", "a{__name__=b}")], "", b"", expect!["label __name__ is reserved\n"]);
    check(
        &[("name", "a"), ("format", "jfr")],
        "",
        b"x",
        expect!["the body is no flight recording\n"],
    );
    check(
        &[("name", "a")],
        "binary/octet-stream+trie",
        b"\x01a",
        expect!["the trie ends in the middle of a node\n"],
    );
    check(
        &[("name", "a"), ("format", "speedscope")],
        "",
        br#"{"$schema":"x","shared":{"frames":[]},"profiles":[]}"#,
        expect![
            "the file's $schema is 'x', not https://www.speedscope.app/file-format-schema.json\n"
        ],
    );
    check(
        &[("name", "a")],
        "",
        b"a;b",
        expect!["line 1 of the folded stacks does not end with a count\n"],
    );
    check(&[("name", "a")], "", b"\xff 1", expect!["folded stacks are not UTF-8\n"]);
    check(
        &[("name", "a")],
        "multipart/form-data; boundary=x",
        b"--x--",
        expect!["form has no part 'profile'\n"],
    );
    check(&[("name", "a")], "multipart/form-data", b"", expect!["body is no multipart form\n"]);
}

#[test]
fn pprofs_of_old_clients_have_the_kind_of_their_sample_types() {
    let check = |types: &[&str], query: &[(&str, &str)], expected: Expect| {
        let values = vec![1; types.len()];
        let mut profile = pprof_of(types, "x:y", &[("f", &values, &[])]);
        profile.time_nanos = 1_000;
        let mut all = vec![("name", "s"), ("format", "pprof"), ("from", "1795312420")];
        all.extend(query);
        ingest(&all, "", &pprof::encode(&profile), &expected);
    };
    check(
        &["goroutine:count"],
        &[],
        expect![[r"
            __delta__=false __name__=goroutines __profile_type__=goroutines:goroutine:count:x:y pyroscope_spy=unknown service_name=s
              f 1
        "]],
    );
    check(
        &["contentions:count", "delay:nanoseconds"],
        &[("spyName", "gospy")],
        expect![[r"
            __delta__=false __name__=mutex __profile_type__=mutex:contentions:count:x:y pyroscope_spy=gospy service_name=s
              f 1
            __delta__=false __name__=mutex __profile_type__=mutex:delay:nanoseconds:x:y pyroscope_spy=gospy service_name=s
              f 1
        "]],
    );
    check(
        &["inuse_objects:count"],
        &[],
        expect![[r"
            __delta__=false __name__=memory __profile_type__=memory:inuse_objects:count:x:y pyroscope_spy=unknown service_name=s
              f 1
        "]],
    );
}

fn part(name: &str, bytes: &[u8]) -> Vec<u8> {
    let head =
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"x\"\r\n\r\n");
    [head.as_bytes(), bytes, b"\r\n"].concat()
}

const FORM: &str = "multipart/form-data; boundary=B";

#[test]
fn a_form_has_its_profile_and_configuration() {
    let profile = pprof::encode(&pprof_of(&["contentions:count"], "x:y", &[("f", &[1], &[])]));
    let config = br#"{"contentions":{"display-name":"block_count","units":"lock_samples"}}"#;
    let body =
        [part("profile", &profile), part("sample_type_config", config), b"--B--\r\n".to_vec()]
            .concat();
    ingest(
        &[("name", "s")],
        FORM,
        &body,
        &expect![[r"
            __delta__=false __name__=block __profile_type__=block:contentions:count:x:y pyroscope_spy=unknown service_name=s
              f 1
        "]],
    );
}

/// Values of heap profiles of old Go agents count from the start of the program.
#[test]
fn what_the_profile_before_had_is_taken_off() {
    let heap = |samples: &[TestSample<'_>]| {
        let types = ["alloc_objects:count", "inuse_objects:count"];
        pprof::encode(&pprof_of(&types, "space:bytes", samples))
    };
    let before = heap(&[("main;a", &[10, 7], &[]), ("main;b", &[5, 5], &[("k", "v")])]);
    // Other ids, a function that began anew, and one that is new.
    let now = heap(&[
        ("main;c", &[3, 3], &[]),
        ("main;b", &[2, 1], &[("k", "v")]),
        ("main;a", &[14, 6], &[]),
    ]);
    let body = |config: &str| {
        let config = part("sample_type_config", config.as_bytes());
        [part("profile", &now), part("prev_profile", &before), config, b"--B--".to_vec()].concat()
    };
    ingest(
        &[("name", "s")],
        FORM,
        &body("{}"),
        &expect![[r"
            __delta__=false __name__=memory __profile_type__=memory:alloc_objects:count:space:bytes pyroscope_spy=unknown service_name=s
              main;c 3
              main;a 4
            __delta__=false __name__=memory __profile_type__=memory:inuse_objects:count:space:bytes pyroscope_spy=unknown service_name=s
              main;c 3
              main;a 6
            __delta__=false __name__=memory __profile_type__=memory:alloc_objects:count:space:bytes k=v pyroscope_spy=unknown service_name=s
              main;b 2
            __delta__=false __name__=memory __profile_type__=memory:inuse_objects:count:space:bytes k=v pyroscope_spy=unknown service_name=s
              main;b 1
        "]],
    );
    ingest(
        &[("name", "s")],
        FORM,
        &body(
            r#"{"alloc_objects":{"cumulative":false},"inuse_objects":{"cumulative":true,"aggregation":"average"}}"#,
        ),
        &expect![[r"
            __delta__=false __name__=memory __profile_type__=memory:alloc_objects:count:space:bytes pyroscope_spy=unknown service_name=s
              main;c 3
              main;a 14
            __delta__=false __name__=memory __profile_type__=memory:inuse_objects:count:space:bytes pyroscope_spy=unknown service_name=s
              main;c 3
              main;a 6
            __delta__=false __name__=memory __profile_type__=memory:alloc_objects:count:space:bytes k=v pyroscope_spy=unknown service_name=s
              main;b 2
            __delta__=false __name__=memory __profile_type__=memory:inuse_objects:count:space:bytes k=v pyroscope_spy=unknown service_name=s
              main;b 1
        "]],
    );
}

/// A preorder of name, value, number of children.
fn preorder(nodes: &[(&str, u8, u8)]) -> Vec<u8> {
    let node = |(name, value, n_children): &(&str, u8, u8)| {
        [&[name.len() as u8][..], name.as_bytes(), &[*value, *n_children]].concat()
    };
    nodes.iter().flat_map(node).collect()
}

#[test]
fn tries_and_trees_of_older_clients() {
    // a;b 1, a;bcd 2, a;c;x 3, and what would be the root's own.
    let trie =
        preorder(&[("", 0, 1), ("a;", 0, 2), ("b", 1, 1), ("cd", 2, 0), ("c;", 0, 1), ("x", 3, 0)]);
    let expected = expect![[r"
        __delta__=false __name__=memory __profile_type__=memory:inuse_space:bytes:: pyroscope_spy=gospy service_name=app
          a;b 1
          a;bcd 2
          a;c;x 3
    "]];
    let query = [("name", "app.inuse_space"), ("spyName", "gospy")];
    ingest(&query, "binary/octet-stream+trie", &trie, &expected);
    ingest(
        &[("name", "app.inuse_space"), ("spyName", "gospy"), ("format", "trie")],
        "",
        &pprof_gzip(&trie),
        &expected,
    );
    let tree =
        preorder(&[("", 0, 1), ("a", 0, 3), ("b", 1, 0), ("bcd", 2, 0), ("c", 0, 1), ("x", 3, 0)]);
    ingest(&query, "binary/octet-stream+tree", &tree, &expected);
    for len in 1..tree.len() {
        for kind in ["binary/octet-stream+tree", "binary/octet-stream+trie"] {
            let query = Query { name: "a".to_owned(), ..Query::default() };
            let cut = tree.get(..len).unwrap();
            form::read(&query, kind, cut, &Config::default(), NOW_NS).unwrap_err();
        }
    }
}

fn pprof_gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).and_then(|()| encoder.finish()).unwrap()
}

#[test]
fn small_bodies_with_much_in_them_are_refused() {
    let query = Query { name: "a".to_owned(), ..Query::default() };
    let refused = |kind: &str, body: &[u8]| {
        let config = Config { max_profile_bytes: 1 << 20, ..Config::default() };
        form::read(&query, kind, body, &config, NOW_NS).unwrap_err().to_string()
    };
    // A chain whose every node is a sample.
    let chain = preorder(&[("x", 1, 1)]).repeat(200_000);
    let chain = chain.get(..800_000).unwrap();
    assert!(refused("binary/octet-stream+tree", chain).contains("more than 1048576 frames"));
    let long = "y;".repeat(60);
    let chain = preorder(&[(&long, 1, 1)]).repeat(3_000);
    let chain = chain.get(..369_000).unwrap();
    assert!(refused("binary/octet-stream+trie", chain).contains("more than"));
}

#[test]
fn speedscope_files_of_both_kinds() {
    let file = |profiles: &str| {
        format!(
            r#"{{"$schema":"https://www.speedscope.app/file-format-schema.json","shared":{{"frames":[{{"name":"a"}},{{"name":"b","file":"b.js","line":3}}]}},"profiles":[{profiles}]}}"#
        )
    };
    let evented = r#"{"type":"evented","name":"one","unit":"milliseconds","startValue":0,"endValue":14,
        "events":[{"type":"O","frame":0,"at":0},{"type":"O","frame":1,"at":4},{"type":"C","frame":1,"at":9.5},{"type":"C","frame":0,"at":14}]}"#;
    let query = [("name", "app"), ("format", "speedscope")];
    ingest(
        &query,
        "",
        file(evented).as_bytes(),
        &expect![[r"
            __delta__=false __name__=process_cpu __profile_type__=process_cpu:cpu:nanoseconds:cpu:nanoseconds profile_name=one pyroscope_spy=unknown service_name=app
              a 8500000
              a;b 5500000
        "]],
    );
    let sampled = |name: &str, unit: &str| {
        format!(
            r#"{{"type":"sampled","name":"{name}","unit":"{unit}","startValue":0,"endValue":3,"samples":[[0],[0,1]],"weights":[1,2]}}"#
        )
    };
    let two = [sampled("x", "seconds"), sampled("y", "bytes")].join(",");
    ingest(
        &query,
        "",
        file(&two).as_bytes(),
        &expect![[r"
            __delta__=false __name__=wall __profile_type__=wall:wall:nanoseconds:cpu:nanoseconds profile_name=x pyroscope_spy=unknown service_name=app
              a 1000000000
              a;b 2000000000
            __delta__=false __name__=memory __profile_type__=memory:samples:bytes:: profile_name=y pyroscope_spy=unknown service_name=app
              a 1
              a;b 2
        "]],
    );
    ingest(
        &query,
        "",
        file(&sampled("x", "none")).as_bytes(),
        &expect![[r"
            __delta__=false __name__=process_cpu __profile_type__=process_cpu:cpu:nanoseconds:cpu:nanoseconds profile_name=x pyroscope_spy=unknown service_name=app
              a 10000000
              a;b 20000000
        "]],
    );
    let wrong = evented.replace(r#""frame":1,"at":9.5"#, r#""frame":0,"at":9.5"#);
    ingest(
        &query,
        "",
        file(&wrong).as_bytes(),
        &expect!["profile 'one' of the file closes a frame that is not the innermost open one\n"],
    );
}

#[test]
fn exemplars_of_the_first_line_are_accepted_and_dropped() {
    ingest(&[("name", "app{profile_id=abc}")], "", b"a;b 1", &expect![""]);
}

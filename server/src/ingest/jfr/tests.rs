//! Recordings made by hand, whole and damaged.
#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test may panic")]

use super::*;
use proptest::prelude::proptest;
use std::collections::HashMap;

const BOUNDS: Bounds = Bounds { samples: 1_000, frames: 10_000, depth: 100 };

fn long(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 && bytes.len() < 8 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn longs(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| long(*value)).collect()
}

fn text(text: &str) -> Vec<u8> {
    [&[3][..], &long(text.len() as u64), text.as_bytes()].concat()
}

/// With its own length before it.
fn event(id: u64, payload: &[u8]) -> Vec<u8> {
    let rest = [&long(id), payload].concat();
    let len = (1..9).find(|n| long((n + rest.len()) as u64).len() == *n).unwrap();
    [long((len + rest.len()) as u64), rest].concat()
}

#[derive(Default)]
struct Strings {
    all: Vec<String>,
    index: HashMap<String, u64>,
}

impl Strings {
    fn index(&mut self, text: &str) -> u64 {
        *self.index.entry(text.to_owned()).or_insert_with(|| {
            self.all.push(text.to_owned());
            self.all.len() as u64 - 1
        })
    }

    fn element(
        &mut self,
        name: &str,
        attributes: &[(&str, &str)],
        children: &[Vec<u8>],
    ) -> Vec<u8> {
        let mut bytes = longs(&[self.index(name), attributes.len() as u64]);
        for (key, value) in attributes {
            let (key, value) = (self.index(key), self.index(value));
            bytes.extend(longs(&[key, value]));
        }
        [bytes, long(children.len() as u64), children.concat()].concat()
    }
}

/// Id, name, and fields: a name, the id of its type, and `c` for a constant or `a` for an array.
type TestClass = (u64, &'static str, &'static [(&'static str, u64, &'static str)]);

const CLASSES: [TestClass; 16] = [
    (4, "int", &[]),
    (5, "long", &[]),
    (6, "boolean", &[]),
    (8, "float", &[]),
    (20, "java.lang.String", &[]),
    (21, "java.lang.Class", &[("classLoader", 5, ""), ("name", 32, "c")]),
    (22, "java.lang.Thread", &[("osName", 20, ""), ("osThreadId", 5, "")]),
    (25, "jdk.types.ThreadState", &[("name", 20, "")]),
    (26, "jdk.types.StackTrace", &[("truncated", 6, ""), ("frames", 27, "a")]),
    (
        27,
        "jdk.types.StackFrame",
        &[("method", 28, "c"), ("lineNumber", 4, ""), ("bytecodeIndex", 4, "")],
    ),
    (28, "jdk.types.Method", &[("type", 21, "c"), ("name", 32, "c"), ("hidden", 6, "")]),
    (32, "jdk.types.Symbol", &[("string", 20, "")]),
    (
        101,
        "jdk.ExecutionSample",
        &[
            ("startTime", 5, ""),
            ("sampledThread", 22, "c"),
            ("stackTrace", 26, "c"),
            ("state", 25, "c"),
            ("contextId", 5, ""),
        ],
    ),
    (
        102,
        "jdk.ObjectAllocationInNewTLAB",
        &[("load", 8, ""), ("stackTrace", 26, "c"), ("allocationSize", 5, ""), ("tlabSize", 5, "")],
    ),
    (103, "jdk.JavaMonitorEnter", &[("duration", 5, ""), ("stackTrace", 26, "c")]),
    (104, "jdk.ActiveSetting", &[("id", 5, ""), ("name", 20, ""), ("value", 20, "")]),
];

fn metadata() -> Vec<u8> {
    let mut strings = Strings::default();
    let mut classes = Vec::new();
    for (id, name, fields) in CLASSES {
        let mut inside = Vec::new();
        for (name, class, how) in fields {
            let class = class.to_string();
            let mut attributes = vec![("name", *name), ("class", &class)];
            match *how {
                "c" => attributes.push(("constantPool", "true")),
                "a" => attributes.push(("dimension", "1")),
                _ => {}
            }
            let annotation = strings.element("annotation", &[("class", "5")], &[]);
            inside.push(strings.element("field", &attributes, &[annotation]));
        }
        let id = id.to_string();
        classes.push(strings.element("class", &[("id", &id), ("name", name)], &inside));
    }
    let region = strings.element("region", &[("locale", "en")], &[]);
    let metadata = strings.element("metadata", &[], &classes);
    let root = strings.element("root", &[], &[metadata, region]);
    let table: Vec<u8> = strings.all.iter().flat_map(|string| text(string)).collect();
    let payload = [longs(&[0, 0, 1, strings.all.len() as u64]), table, root].concat();
    event(0, &payload)
}

fn pool(class: u64, constants: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = longs(&[class, constants.len() as u64]);
    for (key, value) in constants {
        bytes.extend(long(*key));
        bytes.extend(value);
    }
    bytes
}

fn constants(delta: i64, pools: &[Vec<u8>]) -> Vec<u8> {
    let head = [longs(&[0, 0]), long(delta.cast_unsigned()), vec![1]].concat();
    event(1, &[head, long(pools.len() as u64), pools.concat()].concat())
}

fn recording(event_name: &str) -> Vec<u8> {
    let stack = |frames: &[(u64, u64)]| {
        let frames: Vec<u8> =
            frames.iter().flat_map(|(method, line)| longs(&[*method, *line, 0])).collect();
        [vec![0], long(frames.len() as u64 / 3), frames].concat()
    };
    let method = |class: u64, name: u64| [longs(&[class, name]), vec![0]].concat();
    let first = constants(
        0,
        &[
            pool(26, &[(1, stack(&[(1, 10), (2, 20)])), (2, stack(&[(3, 0)]))]),
            pool(28, &[(1, method(1, 2)), (2, method(1, 3)), (3, method(0, 4))]),
            pool(21, &[(1, longs(&[0, 1]))]),
            pool(22, &[(7, [text("main"), long(1)].concat())]),
        ],
    );
    let events = [
        event(104, &[long(1), text("event"), text(event_name)].concat()),
        event(101, &longs(&[0, 7, 1, 1, 5])),
        event(101, &longs(&[0, 7, 1, 1, 5])),
        event(101, &longs(&[0, 7, 2, 2, 0])),
        event(102, &[vec![0; 4], longs(&[1, 24, 4_096])].concat()),
        event(103, &longs(&[3_000, 2])),
        event(999, b"a type that is not described"),
    ]
    .concat();
    let first_at = HEADER_LEN + events.len();
    let second_at = first_at + first.len();
    let second = constants(
        first_at as i64 - second_at as i64,
        &[
            pool(
                32,
                &[
                    (1, text("com/shop/Cart")),
                    (2, text("total")),
                    (3, text("main")),
                    (4, text("__poll")),
                ],
            ),
            pool(25, &[(1, text("STATE_RUNNABLE")), (2, text("STATE_SLEEPING"))]),
        ],
    );
    let metadata = metadata();
    let metadata_at = second_at + second.len();
    let len = metadata_at + metadata.len();
    let mut header = Vec::from(MAGIC);
    header.extend([0, 2, 0, 1]);
    // Ticks are microseconds here.
    for number in [len as i64, second_at as i64, metadata_at as i64, 0, 0, 0, 1_000_000] {
        header.extend(number.to_be_bytes());
    }
    header.extend(1_i32.to_be_bytes());
    [header, events, first, second, metadata].concat()
}

fn snapshot() -> Vec<u8> {
    let strings = [(1, "thread_name"), (2, "checkout")];
    let labels = HashMap::from([(1, 2)]);
    let context = snapshot::Context { labels };
    let snapshot = Snapshot {
        contexts: HashMap::from([(5, context)]),
        strings: strings.map(|(key, text)| (key, text.to_owned())).into(),
    };
    snapshot.encode_to_vec()
}

/// `name type value:stack{labels} ...` of each profile.
fn shown(recording: &Recording) -> Vec<String> {
    let profile = |named: &Named| {
        let profile = &named.profile;
        protocol::pprof::check(profile).unwrap();
        let string = |index: i64| profile.string_table[index as usize].as_str();
        let frame = |id: &u64| {
            let line = profile.location[*id as usize - 1].line[0];
            let name = profile.function[line.function_id as usize - 1].name;
            format!("{}:{}", string(name), line.line)
        };
        let sample = |sample: &protocol::profile::Sample| {
            let frames: Vec<String> = sample.location_id.iter().rev().map(frame).collect();
            let labels: Vec<String> = sample
                .label
                .iter()
                .map(|label| format!("{}={}", string(label.key), string(label.str)))
                .collect();
            format!("{} {:?} {}", frames.join(";"), sample.value, labels.join(","))
        };
        let types: Vec<&str> =
            profile.sample_type.iter().map(|value_type| string(value_type.r#type)).collect();
        let samples: Vec<String> = profile.sample.iter().map(sample).collect();
        format!("{} {}: {}", named.name, types.join(","), samples.join(" | "))
    };
    recording.profiles.iter().map(profile).collect()
}

#[test]
fn every_kind_of_event_becomes_its_profile() {
    let one = recording("itimer");
    // Two chunks, whose keys are their own.
    let both = [one.clone(), one].concat();
    let read = read(&both, &snapshot(), 10, BOUNDS).unwrap();
    assert_eq!(read.event, "itimer");
    let stack = "com/shop/Cart.main:20;com/shop/Cart.total:10";
    let expected = [
        format!(
            "process_cpu cpu: {stack} [20] thread_name=checkout | {stack} [20] thread_name=checkout"
        ),
        format!(
            "memory alloc_in_new_tlab_objects,alloc_in_new_tlab_bytes: {stack} [1, 4096]  | {stack} [1, 4096] "
        ),
        "mutex contentions,delay: __poll:0 [1, 3000000]  | __poll:0 [1, 3000000] ".to_owned(),
    ];
    assert_eq!(shown(&read), expected);
}

#[test]
fn samples_of_the_wall_clock_are_of_sleepers_too() {
    let read = read(&recording("wall"), &[], 10, BOUNDS).unwrap();
    let stack = "com/shop/Cart.main:20;com/shop/Cart.total:10";
    let expected = [
        format!("process_cpu cpu: {stack} [20] "),
        format!("wall wall: {stack} [20]  | __poll:0 [10] "),
    ];
    assert_eq!(shown(&read)[..2], expected);
}

#[test]
fn what_is_no_recording_is_named() {
    let error = |body: &[u8]| read(body, &[], 1, BOUNDS).err().map(|error| error.to_string());
    assert_eq!(error(b"x").unwrap(), "the body is no flight recording");
    assert_eq!(error(b""), None);
    let whole = recording("cpu");
    for len in 1..whole.len() {
        read(&whole[..len], &[], 1, BOUNDS).err().unwrap();
    }
    let mut newer = whole.clone();
    newer[5] = 3;
    assert_eq!(
        error(&newer).unwrap(),
        "the recording has format version 3, this server reads 1 and 2"
    );
    assert!(matches!(read(&whole, b"\xff", 1, BOUNDS), Err(Error::Labels(_))));
}

/// Types without fields take no bytes, and arrays of arrays of them would never end.
#[test]
fn types_that_take_no_bytes_do_not_last_for_ever() {
    // The class after each, so many times.
    let classes = (100..114).map(|id| (id, vec![id + 1; 40])).chain([(114, Vec::new())]);
    let mut strings = Strings::default();
    let mut elements = Vec::new();
    for (id, fields) in classes {
        let inside: Vec<Vec<u8>> = fields
            .iter()
            .map(|class: &i64| {
                strings.element("field", &[("name", "f"), ("class", &class.to_string())], &[])
            })
            .collect();
        elements.push(strings.element("class", &[("id", &id.to_string()), ("name", "x")], &inside));
    }
    let root = strings.element("root", &[], &elements);
    let table: Vec<u8> = strings.all.iter().flat_map(|string| text(string)).collect();
    let payload = [longs(&[0, 0, 1, strings.all.len() as u64]), table, root].concat();
    let fuel = Cell::new(1 << 22);
    let mut reader = Reader::new(&payload, 0, &fuel);
    let classes = Classes::read(&mut reader).unwrap();
    let class = classes.get(100).unwrap();
    assert_eq!(classes.skip_class(&mut reader, class, 0), Err(Error::TooLong));
}

proptest! {
    #[test]
    fn a_damaged_recording_is_read_or_refused(flips in proptest::collection::vec((0_usize..4_000, 0_u8..8), 1..6)) {
        let mut body = recording("wall");
        for (at, bit) in flips {
            let len = body.len();
            body[at % len] ^= 1 << bit;
        }
        if let Ok(recording) = read(&body, &snapshot(), 10, BOUNDS) {
            for named in recording.profiles {
                protocol::pprof::check(&named.profile).unwrap();
            }
        }
    }
}

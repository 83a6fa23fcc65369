//! Against a server of the test's own on the loopback.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Config, Debuginfod, is_build_id};

type Answers = HashMap<String, Vec<u8>>;

/// Answers each path as it is told, with 404 otherwise, and notes what was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answers: impl FnOnce(SocketAddr) -> Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = answers(address);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let path = read_path(&stream).unwrap_or_default();
                noted.lock().unwrap().push(path.clone());
                let missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec();
                let answer = answers.get(&path).unwrap_or(&missing);
                drop((&stream).write_all(answer));
            }
        });
        Self { address, asked }
    }

    fn config(&self, folder: &std::path::Path) -> Config {
        Config {
            urls: vec![format!("http://{}/sub", self.address).parse().unwrap()],
            cache_folder: folder.join("cache"),
            cache_bytes: 1000,
            file_bytes: 600,
            timeout: Duration::from_secs(5),
        }
    }

    fn n_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn read_path(stream: &TcpStream) -> Option<String> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    Some(path)
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn redirect(to: &str) -> Vec<u8> {
    let head = "HTTP/1.1 302 Found\r\nconnection: close\r\ncontent-length: 0\r\nlocation: ";
    format!("{head}{to}\r\n\r\n").into_bytes()
}

fn path(id: u8) -> String {
    format!("/sub/buildid/{}/debuginfo", format!("{id:02x}").repeat(8))
}

/// Asks until the file is there or the answer is no.
fn find(debuginfod: &mut Debuginfod, id: u8) -> Option<Vec<u8>> {
    for _ in 0..500 {
        if let Some(mut file) = debuginfod.find(&[id; 8], Instant::now()) {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            return Some(bytes);
        }
        if debuginfod.waiting.is_empty() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no answer");
}

#[test]
fn files_come_later_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_| [(path(1), ok(b"one"))].into());
    let config = server.config(folder.path());
    let mut debuginfod = Debuginfod::new(&config).unwrap().unwrap();
    assert!(debuginfod.find(&[1; 8], Instant::now()).is_none(), "nothing is waited for");
    assert_eq!(find(&mut debuginfod, 1).as_deref(), Some(&b"one"[..]));
    assert_eq!(find(&mut debuginfod, 2), None);
    assert_eq!(find(&mut debuginfod, 2), None);
    assert_eq!(server.n_asked(), 2, "an answer of no holds");
    let mut next = Debuginfod::new(&config).unwrap().unwrap();
    assert_eq!(find(&mut next, 1).as_deref(), Some(&b"one"[..]));
    assert_eq!(server.n_asked(), 2, "what is on disk is not asked for");
    let later = Instant::now() + Duration::from_hours(2);
    debuginfod.find(&[2; 8], later);
    assert_eq!(find(&mut debuginfod, 2), None);
    assert_eq!(server.n_asked(), 3, "an answer of no does not hold for ever");
}

#[test]
fn what_is_too_large_or_elsewhere_is_refused() {
    let other = Server::start(|_| [(path(3), ok(b"stranger"))].into());
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = format!("http://{}{}", other.address, path(3));
    let server = Server::start(|here| {
        let endless =
            [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec(), vec![b'x'; 5000]].concat();
        [
            (path(1), ok(&[b'x'; 601])),
            (path(2), endless),
            (path(3), redirect(&elsewhere)),
            (path(4), redirect(&format!("http://{here}/moved"))),
            ("/moved".to_owned(), ok(b"moved")),
            (
                path(5),
                b"HTTP/1.1 500 Oops\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec(),
            ),
        ]
        .into()
    });
    let mut debuginfod = Debuginfod::new(&server.config(folder.path())).unwrap().unwrap();
    for id in [1, 2, 3, 5] {
        assert_eq!(find(&mut debuginfod, id), None, "{id}");
    }
    assert_eq!(other.n_asked(), 0);
    assert_eq!(find(&mut debuginfod, 4).as_deref(), Some(&b"moved"[..]));
    let left: Vec<_> = std::fs::read_dir(folder.path().join("cache")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "no halves: {left:?}");
}

#[test]
fn the_oldest_file_goes_when_the_cache_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_| (1..4).map(|id| (path(id), ok(&[id; 400]))).collect());
    let mut debuginfod = Debuginfod::new(&server.config(folder.path())).unwrap().unwrap();
    for id in 1..4 {
        assert_eq!(find(&mut debuginfod, id), Some(vec![id; 400]));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(debuginfod.cache.get(&"01".repeat(8)).is_none());
    assert!(debuginfod.cache.get(&"03".repeat(8)).is_some());
    debuginfod.refuse(&[3; 8], Instant::now());
    assert_eq!(find(&mut debuginfod, 3), None, "a wrong file is not asked for again");
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(super::cache::Cache::open(folder.path(), 1).is_err());
}

#[test]
fn build_ids() {
    for (id, is_one) in [
        ("0123456789abcdef", true),
        ("0123456", false),
        ("0123456789ABCDEF", false),
        ("../../../etc/passwd", false),
        (&"a".repeat(64), true),
        (&"a".repeat(65), false),
    ] {
        assert_eq!(is_build_id(id), is_one, "{id}");
    }
}

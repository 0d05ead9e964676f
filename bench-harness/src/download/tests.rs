//! Downloads from a server in this process.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;

/// What the server sends to one request before it closes the connection.
struct Reply {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    /// How long the connection then stays open without another byte.
    silence: Duration,
}

impl Reply {
    fn new(status: &'static str, headers: String, body: &[u8]) -> Self {
        Self {
            status,
            headers,
            body: body.to_vec(),
            silence: Duration::ZERO,
        }
    }

    /// The whole file.
    fn whole(content: &[u8]) -> Self {
        let length = format!("Content-Length: {}\r\n", content.len());
        Self::new("200 OK", length, content)
    }

    /// The file from an offset.
    fn rest(content: &[u8], from: u64) -> Self {
        let (rest, len) = (&content[from as usize..], content.len());
        let headers = format!(
            "Content-Length: {}\r\nContent-Range: bytes {from}-{}/{len}\r\n",
            rest.len(),
            len - 1
        );
        Self::new("206 Partial Content", headers, rest)
    }

    fn status(status: &'static str) -> Self {
        Self::new(status, "Content-Length: 4\r\n".to_owned(), b"none")
    }

    /// Only so many bytes of the body, of those announced.
    fn cut(mut self, after: usize) -> Self {
        self.body.truncate(after);
        self
    }
}

/// A server, and the offset that each request so far asked for.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<Option<u64>>>>,
}

impl Server {
    /// Answers as `reply` says, by the number of the request, counted from 0, and its offset.
    fn start(reply: impl Fn(usize, Option<u64>) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!(
            "http://{}/data/",
            listener.local_addr().expect("an address")
        );
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        // It ends with the tests' process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let Some(offset) = asked(&stream) else {
                    continue;
                };
                let number = {
                    let mut seen = seen.lock().expect("requests");
                    seen.push(offset);
                    seen.len() - 1
                };
                let Reply {
                    status,
                    headers,
                    body,
                    silence,
                } = reply(number, offset);
                let head = format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n");
                // A client may leave before it has everything.
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.write_all(&body);
                std::thread::sleep(silence);
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> Vec<Option<u64>> {
        self.requests.lock().expect("requests").clone()
    }
}

/// Reads a request for the file and returns the offset it asks for; none where it is no request.
fn asked(stream: &TcpStream) -> Option<Option<u64>> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    assert_eq!(first, format!("GET /data/{NAME} HTTP/1.1"));
    let mut offset = None;
    for line in lines {
        let line = line.ok()?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            offset = range.strip_suffix('-').and_then(|from| from.parse().ok());
        }
    }
    Some(offset)
}

const NAME: &str = "images.gz";

fn content() -> Vec<u8> {
    (0..200_003u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect()
}

/// A folder, and a file to fetch into it.
struct Case {
    folder: TempDir,
    content: Vec<u8>,
    sha256: String,
}

impl Case {
    fn new() -> Self {
        let content = content();
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            sha256: hexadecimal(Sha256::new().chain_update(&content)),
            content,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(NAME)
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join(format!("{NAME}.part"))
    }

    fn fetch(&self, mirrors: &[&str]) -> Result<Outcome> {
        self.fetch_within(mirrors, Duration::from_secs(20))
    }

    fn fetch_within(&self, mirrors: &[&str], patience: Duration) -> Result<Outcome> {
        let config = configuration(patience).proxy(None);
        let fetcher = Fetcher {
            mirrors: mirrors.to_vec(),
            agent: config.build().into(),
            pause: Duration::from_millis(1),
        };
        let file = Remote {
            name: NAME,
            bytes: self.content.len() as u64,
            sha256: &self.sha256,
        };
        let mut last = 0;
        let outcome = fetcher.fetch(&file, self.folder.path(), |bytes| last = bytes);
        assert!(outcome.is_err() || last == file.bytes);
        outcome
    }

    /// Expects the file, and nothing beside it.
    fn is_there(&self) {
        assert!(fs::read(self.path()).expect("a file") == self.content);
        assert!(!self.part().exists());
    }

    /// Expects a refusal and nothing under the file's name, and returns what was said.
    fn refusal(&self, mirrors: &[&str]) -> String {
        let said = self.fetch(mirrors).expect_err("a refusal").to_string();
        assert!(!self.path().exists());
        said
    }

    fn all(&self) -> Outcome {
        Outcome::Fetched(self.content.len() as u64)
    }
}

#[test]
fn a_file_comes_whole_and_is_not_fetched_twice() {
    let case = Case::new();
    let sent = case.content.clone();
    let server = Server::start(move |_, _| Reply::whole(&sent));
    assert_eq!(case.fetch(&[&server.url]).expect("fetched"), case.all());
    case.is_there();
    assert_eq!(case.fetch(&[&server.url]).expect("there"), Outcome::Present);
    assert_eq!(server.requests(), [None]);
    // Another file under its name is replaced, of the same length or not.
    for other in [vec![7; case.content.len()], b"short".to_vec()] {
        fs::write(case.path(), other).expect("a file");
        assert_eq!(case.fetch(&[&server.url]).expect("fetched"), case.all());
        case.is_there();
    }
}

#[test]
fn a_cut_connection_is_taken_up_where_it_ended() {
    let case = Case::new();
    let sent = case.content.clone();
    let server = Server::start(move |number, offset| match offset {
        None => Reply::whole(&sent).cut(70_001),
        Some(from) if number == 1 => Reply::rest(&sent, from).cut(50_000),
        Some(from) => Reply::rest(&sent, from),
    });
    assert_eq!(case.fetch(&[&server.url]).expect("fetched"), case.all());
    case.is_there();
    assert_eq!(server.requests(), [None, Some(70_001), Some(120_001)]);
}

#[test]
fn what_an_earlier_call_left_is_continued() {
    let case = Case::new();
    let sent = case.content.clone();
    let server = Server::start(move |number, offset| match (number, offset) {
        (0..3, None) => Reply::whole(&sent).cut(0),
        (_, None) => Reply::whole(&sent).cut(1000),
        (_, Some(from)) => Reply::rest(&sent, from).cut(if number < 6 { 0 } else { 1 << 20 }),
    });
    // Three attempts without a byte, then three that leave some.
    let said = case.refusal(&[&server.url]);
    assert!(said.contains("0 of 200003 bytes"), "{said}");
    let said = case.refusal(&[&server.url]);
    assert!(said.contains("1000 of 200003 bytes"), "{said}");
    assert_eq!(fs::metadata(case.part()).expect("a part").len(), 1000);
    let rest = case.content.len() as u64 - 1000;
    assert_eq!(
        case.fetch(&[&server.url]).expect("fetched"),
        Outcome::Fetched(rest)
    );
    case.is_there();
    assert_eq!(server.requests()[6], Some(1000));

    // A part that was whole already only gets its name.
    fs::rename(case.path(), case.part()).expect("renamed");
    assert_eq!(
        case.fetch(&[&server.url]).expect("named"),
        Outcome::Fetched(0)
    );
    case.is_there();
    assert_eq!(server.requests().len(), 7);
}

#[test]
fn a_server_without_ranges_starts_over() {
    let case = Case::new();
    fs::write(case.part(), &case.content[..1000]).expect("a part");
    let sent = case.content.clone();
    let server = Server::start(move |_, _| Reply::whole(&sent));
    assert_eq!(case.fetch(&[&server.url]).expect("fetched"), case.all());
    case.is_there();
    assert_eq!(server.requests(), [Some(1000)]);

    // One that gives another part than it was asked for, and one that refuses, are asked for all.
    for wrong in [0, 1] {
        let case = Case::new();
        fs::write(case.part(), &case.content[..1000]).expect("a part");
        let sent = case.content.clone();
        let server = Server::start(move |_, offset| match (offset, wrong) {
            (None, _) => Reply::whole(&sent),
            (Some(_), 0) => Reply::rest(&sent, 0),
            (Some(_), _) => Reply::status("416 Range Not Satisfiable"),
        });
        assert_eq!(case.fetch(&[&server.url]).expect("fetched"), case.all());
        case.is_there();
        assert_eq!(server.requests(), [Some(1000), None]);
    }
}

#[test]
fn parts_of_another_file_are_thrown_away() {
    for part in [vec![1; 1000], vec![1; 200_003], vec![1; 300_000]] {
        let case = Case::new();
        fs::write(case.part(), &part).expect("a part");
        let sent = case.content.clone();
        let server = Server::start(move |_, offset| match offset {
            None => Reply::whole(&sent),
            Some(from) => Reply::rest(&sent, from),
        });
        case.fetch(&[&server.url]).expect("fetched");
        case.is_there();
        assert_eq!(server.requests().last(), Some(&None));
    }
}

#[test]
fn a_wrong_file_gets_no_name() {
    let case = Case::new();
    let mut sent = case.content.clone();
    sent[100_000] ^= 1;
    let found = hexadecimal(Sha256::new().chain_update(&sent));
    let server = Server::start(move |_, _| Reply::whole(&sent));
    let said = case.refusal(&[&server.url]);
    assert!(
        said.starts_with("images.gz cannot be fetched: http://"),
        "{said}"
    );
    let both = format!("its SHA-256 is {found}, and has to be {}", case.sha256);
    assert!(said.contains(&both), "{said}");
    assert!(!case.part().exists());
    assert_eq!(server.requests(), [None]);

    // A file of another size is not even read, or no further than the right one would be.
    for announced in [true, false] {
        let sent = vec![5; 300_000];
        let server = Server::start(move |_, _| match announced {
            true => Reply::whole(&sent),
            false => Reply::new("200 OK", String::new(), &sent),
        });
        let said = case.refusal(&[&server.url]);
        let wanted = match announced {
            true => "it has 300000 bytes, and has to have 200003",
            false => "it goes on after 200003 bytes",
        };
        assert!(said.contains(wanted), "{said}");
        assert_eq!(server.requests(), [None]);
    }
}

#[test]
fn the_next_mirror_is_asked_and_every_reason_is_said() {
    let case = Case::new();
    let missing = Server::start(|_, _| Reply::status("404 Not Found"));
    let busy = Server::start(|_, _| Reply::status("503 Service Unavailable"));
    let said = case.refusal(&[&missing.url, &busy.url]);
    assert!(said.contains("/data/images.gz: 404 Not Found; "), "{said}");
    assert!(
        said.contains("/data/images.gz: 503 Service Unavailable"),
        "{said}"
    );
    assert_eq!(
        (missing.requests().len(), busy.requests().len()),
        (1, ATTEMPTS)
    );

    let sent = case.content.clone();
    let server = Server::start(move |_, _| Reply::whole(&sent));
    let mirrors = [missing.url.as_str(), server.url.trim_end_matches('/')];
    assert_eq!(case.fetch(&mirrors).expect("fetched"), case.all());
    case.is_there();

    // Nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let said = Case::new().refusal(&[&url]);
    assert!(said.contains("efused"), "{said}");
}

#[test]
fn a_silent_server_is_not_waited_for() {
    let case = Case::new();
    let sent = case.content.clone();
    let server = Server::start(move |_, _| Reply {
        silence: Duration::from_secs(2),
        ..Reply::whole(&sent).cut(1000)
    });
    let patience = Duration::from_millis(100);
    let said = case.fetch_within(&[&server.url], patience);
    let said = said.expect_err("a refusal").to_string();
    assert!(said.contains("timeout"), "{said}");
    assert!(!case.path().exists());
}

#[test]
fn what_cannot_be_written_is_named() {
    let sent = content();
    let server = Server::start(move |_, _| Reply::whole(&sent));
    let case = Case::new();
    let other = OpenOptions::new()
        .create(true)
        .append(true)
        .open(case.part());
    let other = other.expect("a part");
    other.lock().expect("a lock");
    let said = case.refusal(&[&server.url]);
    assert!(
        said.ends_with("images.gz.part: another process is writing it"),
        "{said}"
    );
    drop(other);

    // A disk without room.
    #[cfg(target_os = "linux")]
    {
        fs::remove_file(case.part()).expect("removed");
        std::os::unix::fs::symlink("/dev/full", case.part()).expect("a link");
        let said = case.refusal(&[&server.url]);
        assert!(said.contains("images.gz.part: No space left"), "{said}");
    }

    fs::create_dir(case.path()).expect("a folder");
    let said = case.fetch(&[&server.url]).expect_err("a refusal");
    assert!(
        said.to_string().ends_with("images.gz: it is a folder"),
        "{said}"
    );
}

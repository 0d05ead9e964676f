//! Files fetched over HTTP: known by size and SHA-256 beforehand, continued where an earlier attempt
//! was cut, and given their name only once they are whole and right.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use ureq::http::{HeaderMap, StatusCode};
use ureq::typestate::AgentScope;

use crate::error::{Error, Result};
use crate::report;

/// A file as it has to come out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remote<'a> {
    /// Its name, at the mirrors and in the folder.
    pub(crate) name: &'a str,
    /// Its size.
    pub(crate) bytes: u64,
    /// SHA-256 of its content, in lower-case hexadecimal digits.
    pub(crate) sha256: &'a str,
}

/// How a file came to be in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was there.
    Present,
    /// It was fetched, the given number of bytes of it by this call.
    Fetched(u64),
}

/// Attempts at one mirror.
const ATTEMPTS: usize = 3;
/// How long a server may take to answer, or to go on.
const PATIENCE: Duration = Duration::from_secs(30);
/// Wait before the second attempt; the third waits twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes that are read at a time.
const BUFFER: usize = 1 << 16;

/// Why an attempt did not bring a file.
enum Failure {
    /// Another attempt may: the connection was cut or the server is busy.
    Passing(String),
    /// Another attempt would end alike.
    Lasting(String),
    /// Nothing can be written here, wherever the file comes from.
    Here(Error),
}

/// Fetches files from the first of some mirrors that has them.
pub(crate) struct Fetcher<'a> {
    /// Addresses of folders.
    mirrors: Vec<&'a str>,
    agent: Agent,
    pause: Duration,
}

impl<'a> Fetcher<'a> {
    /// Fetches from these mirrors, addresses of folders.
    pub(crate) fn new(mirrors: Vec<&'a str>) -> Self {
        Self {
            mirrors,
            agent: configuration(PATIENCE).build().into(),
            pause: PAUSE,
        }
    }

    /// Brings a file into a folder that exists, unless it is there, and tells `seen` how many of its
    /// bytes are there as they come.
    ///
    /// What has come of a file lies under its name with `.part` appended, where the next call goes
    /// on. A file of that name with another content is replaced once the right one is whole.
    ///
    /// # Errors
    /// When no mirror gives the file as it has to be, each with its reason; when another process is
    /// fetching it into the same folder; or when it cannot be written.
    pub(crate) fn fetch(
        &self,
        file: &Remote<'_>,
        folder: &Path,
        mut seen: impl FnMut(u64),
    ) -> Result<Outcome> {
        let path = folder.join(file.name);
        report::check_writable(Some(&path))?;
        if is_whole(&path, file).map_err(|e| unusable(&path, e))? {
            seen(file.bytes);
            return Ok(Outcome::Present);
        }
        let mut part = Part::open(folder, file)?;
        seen(part.len);
        let mut reasons = Vec::new();
        for mirror in &self.mirrors {
            let url = format!("{}/{}", mirror.trim_end_matches('/'), file.name);
            match self.try_mirror(&url, file, &mut part, &mut seen) {
                Ok(()) => {
                    part.name_it(&path)?;
                    return Ok(Outcome::Fetched(part.received));
                }
                Err(Failure::Here(error)) => return Err(error),
                Err(Failure::Passing(reason) | Failure::Lasting(reason)) => {
                    reasons.push(format!("{url}: {reason}"));
                }
            }
        }
        if part.len == 0 {
            fs::remove_file(&part.path).map_err(|e| unusable(&part.path, e))?;
        }
        Err(Error::Download {
            name: file.name.to_owned(),
            reason: reasons.join("; "),
        })
    }

    fn try_mirror(
        &self,
        url: &str,
        file: &Remote<'_>,
        part: &mut Part,
        seen: &mut impl FnMut(u64),
    ) -> Result<(), Failure> {
        let mut attempt = 1;
        loop {
            match self.attempt(url, file, part, seen) {
                Err(Failure::Passing(_)) if attempt < ATTEMPTS => {
                    std::thread::sleep(self.pause * attempt as u32);
                    attempt += 1;
                }
                ended => return ended,
            }
        }
    }

    /// One request, and the check of what is there after it.
    fn attempt(
        &self,
        url: &str,
        file: &Remote<'_>,
        part: &mut Part,
        seen: &mut impl FnMut(u64),
    ) -> Result<(), Failure> {
        let kept = part.len;
        if kept < file.bytes {
            self.receive(url, file, part, seen)?;
        }
        let found = part.sha256();
        if found == file.sha256 {
            return Ok(());
        }
        part.restart()?;
        let reason = format!("its SHA-256 is {found}, and has to be {}", file.sha256);
        // What was kept from an earlier attempt may have been of another file.
        match kept {
            0 => Err(Failure::Lasting(reason)),
            _ => Err(Failure::Passing(reason)),
        }
    }

    /// Appends what is missing, or everything where the server does not give parts.
    fn receive(
        &self,
        url: &str,
        file: &Remote<'_>,
        part: &mut Part,
        seen: &mut impl FnMut(u64),
    ) -> Result<(), Failure> {
        let mut request = self.agent.get(url);
        if part.len > 0 {
            request = request.header(RANGE, format!("bytes={}-", part.len));
        }
        let mut response = request.call().map_err(|e| failure(&e))?;
        let announced = response.headers().get(CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        match response.status() {
            // What is no such file, a page to log in perhaps, is no reason to give up what is there.
            StatusCode::OK if announced.is_some_and(|bytes| bytes != file.bytes) => {}
            StatusCode::OK => part.restart()?,
            StatusCode::PARTIAL_CONTENT if starts_at(response.headers(), part.len) => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                part.restart()?;
                let reason = "it does not give the rest of the file".to_owned();
                return Err(Failure::Passing(reason));
            }
            status => {
                let busy = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                let reason = status.to_string();
                return Err(match busy {
                    true => Failure::Passing(reason),
                    false => Failure::Lasting(reason),
                });
            }
        }
        let before = match response.status() {
            StatusCode::PARTIAL_CONTENT => part.len,
            _ => 0,
        };
        if let Some(rest) = announced
            && rest != file.bytes - before
        {
            let (whole, bytes) = (rest.saturating_add(before), file.bytes);
            let reason = format!("it has {whole} bytes, and has to have {bytes}");
            return Err(Failure::Lasting(reason));
        }
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            seen(part.len);
            let read = match body.read(&mut buffer) {
                Ok(0) if part.len == file.bytes => return Ok(()),
                Ok(0) => {
                    let (len, bytes) = (part.len, file.bytes);
                    let reason = format!("it ends after {len} of {bytes} bytes");
                    return Err(Failure::Passing(reason));
                }
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    let (len, bytes) = (part.len, file.bytes);
                    let reason = format!("cut after {len} of {bytes} bytes: {e}");
                    return Err(Failure::Passing(reason));
                }
            };
            if read as u64 > file.bytes - part.len {
                part.restart()?;
                let reason = format!("it goes on after {} bytes", file.bytes);
                return Err(Failure::Lasting(reason));
            }
            part.append(&buffer[..read])?;
        }
    }
}

/// Requests that wait no longer than this for a connection, an answer or the next bytes.
fn configuration(patience: Duration) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience))
        // What a status means is decided here.
        .http_status_as_error(false)
}

/// What is to be made of a request that brought no answer.
fn failure(error: &ureq::Error) -> Failure {
    let reason = error.to_string();
    match error {
        ureq::Error::Timeout(_)
        | ureq::Error::Io(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_) => Failure::Passing(reason),
        _ => Failure::Lasting(reason),
    }
}

/// Whether a part of a file starts where it was asked to.
fn starts_at(headers: &HeaderMap, from: u64) -> bool {
    let range = headers
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next());
    start.and_then(|start| start.parse().ok()) == Some(from)
}

/// Whether the file is there, and right.
fn is_whole(path: &Path, file: &Remote<'_>) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.len() != file.bytes => return Ok(false),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    }
    let mut hash = Sha256::new();
    read_into(&mut hash, File::open(path)?)?;
    Ok(hexadecimal(hash) == file.sha256)
}

/// Takes everything into the hash, and returns how many bytes that is.
fn read_into(hash: &mut Sha256, mut source: impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut len = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(len),
            Ok(read) => {
                hash.update(&buffer[..read]);
                len += read as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn hexadecimal(hash: Sha256) -> String {
    let digits = hash.finalize();
    digits.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unusable(path: &Path, error: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// What has come of a file.
struct Part {
    path: PathBuf,
    file: File,
    len: u64,
    /// Of the `len` bytes.
    hash: Sha256,
    /// Bytes that came since it was opened.
    received: u64,
}

impl Part {
    /// Opens what an earlier call left, or starts.
    fn open(folder: &Path, file: &Remote<'_>) -> Result<Self> {
        let path = folder.join(format!("{}.part", file.name));
        report::check_writable(Some(&path))?;
        let open = || {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            options.open(&path)
        };
        let opened = open().map_err(|e| unusable(&path, e))?;
        match opened.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::File {
                    path,
                    reason: "another process is writing it".to_owned(),
                });
            }
            Err(TryLockError::Error(e)) => return Err(unusable(&path, e)),
        }
        let mut part = Self {
            path,
            file: opened,
            len: 0,
            hash: Sha256::new(),
            received: 0,
        };
        let read = part.read_up_to(file.bytes);
        read.map_err(|e| unusable(&part.path, e))?;
        Ok(part)
    }

    /// Takes what is in the file into the hash; one that is too long is emptied.
    fn read_up_to(&mut self, bytes: u64) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        if len > bytes {
            return self.file.set_len(0);
        }
        self.len = read_into(&mut self.hash, (&self.file).take(len))?;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(bytes);
        written.map_err(|e| Failure::Here(unusable(&self.path, e)))?;
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        self.received += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Failure> {
        if self.len == 0 {
            return Ok(());
        }
        let emptied = self.file.set_len(0);
        let emptied = emptied.and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|e| Failure::Here(unusable(&self.path, e)))?;
        self.hash = Sha256::new();
        self.len = 0;
        Ok(())
    }

    fn sha256(&self) -> String {
        hexadecimal(self.hash.clone())
    }

    /// Stores it, and then gives it its name.
    fn name_it(&self, path: &Path) -> Result<()> {
        let named = (self.file.sync_all()).and_then(|()| fs::rename(&self.path, path));
        named.map_err(|e| unusable(path, e))?;
        // The name has to last, too; where folders cannot be opened it is left to the system.
        if let Some(Ok(folder)) = path.parent().map(File::open) {
            folder.sync_all().map_err(|e| unusable(path, e))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

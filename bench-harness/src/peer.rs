//! Another program that runs the same workloads, one run at a time when asked.
//!
//! The protocol: the peer prints the names of what it can run, one a line, then an empty line. For
//! each name it then reads from standard input it runs that once and prints the seconds it took.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::error::{Error, Result};

/// How long a peer may take to import its libraries and build its workloads.
const START: Duration = Duration::from_secs(300);
/// How long one run may take, its warm-up included.
const RUN: Duration = Duration::from_secs(120);

/// A running peer; it is stopped when dropped.
#[derive(Debug)]
pub struct Peer {
    command: String,
    child: Child,
    input: ChildStdin,
    lines: Receiver<std::io::Result<String>>,
    names: Vec<String>,
}

impl Peer {
    /// Starts `command` (words as a shell would split them) and reads the names it offers.
    ///
    /// # Errors
    /// When it cannot be started, ends, or offers nothing.
    pub fn start(command: &str) -> Result<Self> {
        let refuse = |reason: String| Error::Peer {
            command: command.to_owned(),
            reason,
        };
        let words = shlex::split(command)
            .filter(|words| !words.is_empty())
            .ok_or_else(|| refuse("the command is empty or a quote is not closed".to_owned()))?;
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| refuse(format!("it cannot be started: {error}")))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(refuse("it has no standard streams".to_owned()));
        };
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let command = command.to_owned();
        let mut peer = Self {
            command,
            child,
            input,
            lines,
            names: Vec::new(),
        };
        loop {
            let line = peer.line(START)?;
            if line.is_empty() {
                break;
            }
            peer.names.push(line);
        }
        if peer.names.is_empty() {
            return Err(peer.refuse("it offers nothing to run".to_owned()));
        }
        Ok(peer)
    }

    /// What it can run.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Runs `name` once; the seconds it took.
    ///
    /// # Errors
    /// When the peer ends, takes too long or answers something else than a time.
    pub fn run(&mut self, name: &str) -> Result<f64> {
        writeln!(self.input, "{name}")
            .and_then(|()| self.input.flush())
            .map_err(|error| self.refuse(format!("it takes no more names: {error}")))?;
        let answer = self.line(RUN)?;
        answer
            .trim()
            .parse()
            .ok()
            .filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0)
            .ok_or_else(|| self.refuse(format!("for '{name}' it answered '{answer}', not a time")))
    }

    fn line(&mut self, wait: Duration) -> Result<String> {
        match self.lines.recv_timeout(wait) {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(error)) => Err(self.refuse(format!("its output cannot be read: {error}"))),
            Err(RecvTimeoutError::Timeout) => {
                Err(self.refuse(format!("no answer within {} s", wait.as_secs())))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self
                    .child
                    .wait()
                    .map_or_else(|e| e.to_string(), |s| s.to_string());
                Err(self.refuse(format!("it ended ({status}) where an answer was due")))
            }
        }
    }

    fn refuse(&self, reason: String) -> Error {
        Error::Peer {
            command: self.command.clone(),
            reason,
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

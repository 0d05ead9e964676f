//! Results made wrong, to see that the comparison calls them so.

use std::collections::HashSet;

use super::Row;
use super::rig::{Planes, Stored};
use crate::report::Status;

/// What its row is called.
pub const NEGATIVE_CONTROL: &str = "negative-control";

/// What a run left.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    /// What the command wrote.
    pub(super) written: Vec<Stored>,
    /// Every word of each buffer, before the run and after it.
    pub(super) before: Planes,
    pub(super) after: Planes,
    /// Those that the command may write.
    pub(super) own: Vec<Vec<bool>>,
}

impl Ran {
    /// Words that have to be after the run what they were before: buffer, and place in it.
    fn beside(&self) -> impl Iterator<Item = (usize, usize)> {
        let buffers = self.own.iter().enumerate();
        buffers.flat_map(|(buffer, own)| {
            let others = own.iter().enumerate().filter(|(_, own)| !**own);
            others.map(move |(at, _)| (buffer, at))
        })
    }

    /// The first word that was written and is none of the command's.
    pub(super) fn stray(&self) -> Option<String> {
        let bits = |words: &Planes, (buffer, at): (usize, usize)| words[buffer][at].to_bits();
        let mut beside = self.beside();
        let stray = beside.find(|word| bits(&self.before, *word) != bits(&self.after, *word));
        stray.map(|(buffer, at)| format!("word {at} of buffer {buffer} was written"))
    }
}

/// What a result is of; the first of each is made wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub(super) kernel: String,
    pub(super) algebra: String,
    pub(super) regime: String,
    pub(super) dtype: &'static str,
    pub(super) device: String,
}

/// What became of results made wrong.
#[derive(Debug, Default)]
pub(super) struct Control {
    tried: HashSet<Subject>,
    noticed: usize,
    /// Results that were all zeros, among those noticed and missed.
    zeros: usize,
    missed: Vec<String>,
}

impl Control {
    /// Makes a right result wrong in one place at a time: tensors by a quarter more than `off` or
    /// NaN, bits by one of them, and a word beside the operands. None of them may be `right`.
    pub(super) fn results(
        &mut self,
        subject: Subject,
        ran: &Ran,
        off: f64,
        right: impl Fn(&Ran) -> bool,
    ) {
        if self.tried.contains(&subject) {
            return;
        }
        let mut wrong: Vec<(String, Ran)> = Vec::new();
        for (nth, tensor) in ran.written.iter().enumerate() {
            let changed = |tensor: Stored| {
                let mut wrong = ran.clone();
                wrong.written[nth] = tensor;
                wrong
            };
            match tensor {
                Stored::Numbers(planes) => {
                    let Some(last) = planes.first().and_then(|plane| plane.last()) else {
                        continue;
                    };
                    // What has to be the same in every bit is off by the last of a double.
                    let least = f64::EPSILON * last.abs().max(1.0);
                    for (what, number) in [
                        ("a wrong number", last + (1.25 * off).max(least)),
                        ("NaN", f64::NAN),
                    ] {
                        let mut planes = planes.clone();
                        planes[0].pop();
                        planes[0].push(number);
                        let wrong_one = changed(Stored::Numbers(planes));
                        wrong.push((format!("{what} in tensor {nth}"), wrong_one));
                    }
                }
                Stored::Bits(words) => {
                    let Some((last, others)) = words.split_last() else {
                        continue;
                    };
                    let words = [others, &[last ^ 1]].concat();
                    let wrong_one = changed(Stored::Bits(words));
                    wrong.push((format!("a wrong bit in tensor {nth}"), wrong_one));
                }
            }
        }
        if wrong.is_empty() {
            return;
        }
        if let Some((buffer, at)) = ran.beside().last() {
            let mut wrong_one = ran.clone();
            let word = &mut wrong_one.after[buffer][at];
            *word = if *word == 0.0 { 1.0 } else { 0.0 };
            wrong.push(("a word beside operands".to_owned(), wrong_one));
        }
        for (what, wrong) in wrong {
            self.count(&subject, &what, right(&wrong));
        }
        self.tried.insert(subject);
    }

    /// Whether zeros in place of tensor `nth` were taken to be `right`, of a result at any shape: a
    /// bound may hold at one and be void at another.
    pub(super) fn zeros(&mut self, subject: &Subject, shape: &str, nth: usize, right: bool) {
        self.zeros += 1;
        self.count(subject, &format!("zeros in tensor {nth} at {shape}"), right);
    }

    /// Whether a guard that is deaf was taken to be `right`.
    pub(super) fn guard(&mut self, subject: Subject, right: bool) {
        self.count(&subject, "a guard that is deaf", right);
        self.tried.insert(subject);
    }

    fn count(&mut self, subject: &Subject, what: &str, right: bool) {
        let Subject {
            kernel,
            algebra,
            regime,
            dtype,
            device,
        } = subject;
        if right {
            let of = format!("{kernel} {algebra} {regime} {dtype} on {device}");
            self.missed.push(format!("{what} of {of}"));
        } else {
            self.noticed += 1;
        }
    }

    /// The row that says what was noticed.
    pub(super) fn row(&self) -> Row {
        let kernels: HashSet<&str> = self.tried.iter().map(|one| one.kernel.as_str()).collect();
        let (noticed, kernels) = (self.noticed, kernels.len());
        let (status, note) = if !self.missed.is_empty() {
            let missed = self.missed.join("; ");
            (Status::Failed, format!("not noticed: {missed}"))
        } else if noticed == 0 {
            let note = "no case that was run has a result to make wrong";
            (Status::Skipped, note.to_owned())
        } else {
            let zeros = self.zeros;
            let note = format!(
                "all {noticed} wrong results of {kernels} kernels were noticed, {zeros} of them all zeros"
            );
            (Status::Ok, note)
        };
        Row {
            kernel: NEGATIVE_CONTROL.to_owned(),
            algebra: "all".to_owned(),
            regime: String::new(),
            dtype: "all",
            shape: String::new(),
            device: "all".to_owned(),
            max_abs_error: None,
            bound: None,
            status,
            note,
        }
    }
}

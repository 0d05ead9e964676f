//! `versus`: alternates with another program on the same workloads.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anstream::println;
use furthermore::network::{Init, Network, Op, Optimizer};
use furthermore::onnx::OnnxOptions;
use furthermore::plan::CompileOptions;
use furthermore::session::Session;
use regex::Regex;
use serde::Serialize;

use super::{Chosen, Compute};
use crate::error::{Error, Result};
use crate::peer::Peer;
use crate::progress;
use crate::report::{self, Report, Status};
use crate::scheme::{PLAINTEXT, Scheme};
use crate::timing::Samples;
use crate::workloads::{Loss, Workload, resident};

/// Options of `versus`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Command line of a program that speaks the protocol of bench-harness/peers: it prints what it
    /// can run, one name a line, then an empty line, and then runs each name it reads and prints the
    /// seconds.
    #[arg(long, value_name = "CMD")]
    pub peer: String,
    /// Run only workloads whose name matches.
    #[arg(long, value_name = "REGEX", default_value = "")]
    pub only: Regex,
    /// Infer with this ONNX network and its weights instead of the workload's own, where inputs and
    /// outputs are of its shape; other workloads are skipped.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Alternating repetitions.
    #[arg(long, default_value_t = 31)]
    pub repetitions: usize,
    #[command(flatten)]
    #[allow(missing_docs, reason = "described where it is defined")]
    pub compute: Compute,
    /// Seed of keys, masks, weights and inputs.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Threads of the side that has just run may still be waiting for work in a loop.
const SETTLE: Duration = Duration::from_millis(5);
/// Either side runs so long before the run that counts: its threads are awake then, its data in cache,
/// and the processor no longer idle.
const SETTLED: Duration = Duration::from_millis(10);
const WARM_UP: usize = 3;

/// A row of the report: one of our regimes beside the peer's run of the same workload.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the report format names them")]
pub struct Row {
    pub peer: String,
    pub workload: String,
    /// The ONNX network that stood for the workload's own.
    pub model: Option<String>,
    pub job: String,
    pub batch: usize,
    pub regime: &'static str,
    pub algebra: Option<String>,
    pub dtype: String,
    pub device: String,
    pub repetitions: usize,
    pub peer_seconds: Option<f64>,
    pub peer_seconds_p10: Option<f64>,
    pub peer_seconds_p90: Option<f64>,
    pub our_seconds: Option<f64>,
    pub our_seconds_p10: Option<f64>,
    pub our_seconds_p90: Option<f64>,
    pub ratio: Option<f64>,
    pub status: Status,
    pub note: String,
}

/// What a peer's name says: "PEER WORKLOAD JOB BATCH", where the workload of a product is
/// "matmul MxKxN".
#[derive(Debug, Clone, PartialEq)]
struct Name {
    peer: String,
    workload: String,
    job: String,
    batch: usize,
}

impl Name {
    fn parse(name: &str) -> Option<Name> {
        let words: Vec<&str> = name.split_whitespace().collect();
        let [peer, workload @ .., job, batch] = &words[..] else {
            return None;
        };
        if workload.is_empty() {
            return None;
        }
        Some(Name {
            peer: (*peer).to_owned(),
            workload: workload.join(" "),
            job: (*job).to_owned(),
            batch: batch.parse().ok().filter(|b| *b > 0)?,
        })
    }

    /// Sizes of a product "matmul MxKxN".
    fn product(&self) -> Option<[usize; 3]> {
        let sizes = self.workload.strip_prefix("matmul ")?;
        let sizes: Vec<usize> = sizes
            .split('x')
            .map(|s| s.parse().ok())
            .collect::<Option<_>>()?;
        sizes.try_into().ok()
    }
}

/// One of our sides of a comparison.
struct Side {
    regime: &'static str,
    scheme: Scheme,
    session: Session,
    times: Samples,
}

/// Runs the command.
///
/// # Errors
/// When an option cannot be used, the peer fails, or the report cannot be written.
pub fn run(options: &Options) -> Result<()> {
    if options.repetitions == 0 {
        let reason = "at least one repetition is needed".to_owned();
        return Err(Error::Option {
            option: "--repetitions",
            reason,
        });
    }
    let chosen = options.compute.choose()?;
    report::check_writable(options.json.as_deref())?;
    let environment = chosen.engine.environment();
    let waiting = progress::spinner("waiting for the peer");
    let mut peer = Peer::start(&options.peer)?;
    waiting.finish_and_clear();
    let names: Vec<String> = peer
        .names()
        .iter()
        .filter(|n| options.only.is_match(n))
        .cloned()
        .collect();
    if names.is_empty() {
        let reason = format!(
            "'{}' matches nothing of: {}",
            options.only,
            peer.names().join(", ")
        );
        return Err(Error::Option {
            option: "--only",
            reason,
        });
    }
    let mut rows = Vec::new();
    let bar = progress::bar("comparing", names.len());
    for text in &names {
        bar.set_message(text.clone());
        match Name::parse(text) {
            None => rows.push(skipped(
                options,
                text,
                "its name is not PEER WORKLOAD JOB BATCH",
            )),
            Some(name) => match measure(&mut peer, text, &name, options, &chosen) {
                Ok(measured) if measured.is_empty() => {
                    let why = match &options.model {
                        Some(_) => "it is no inference of the model's input and output",
                        None => "no workload of that name here",
                    };
                    rows.push(skipped(options, text, why));
                }
                Ok(measured) => rows.extend(measured),
                Err(Error::Engine(error)) => {
                    let row = skipped(options, text, &error.to_string());
                    rows.push(Row {
                        status: Status::Failed,
                        ..row
                    });
                }
                Err(other) => return Err(other),
            },
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let report = Report::new("versus", environment, rows);
    print(&report);
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    report.check(|row| row.status)?;
    if report
        .rows()
        .iter()
        .all(|row| row.status == Status::Skipped)
    {
        let reason = "it offers nothing that can be compared".to_owned();
        return Err(Error::Peer {
            command: options.peer.clone(),
            reason,
        });
    }
    Ok(())
}

/// The rows of one workload; none where there is no workload of that name.
fn measure(
    peer: &mut Peer,
    text: &str,
    name: &Name,
    options: &Options,
    chosen: &Chosen,
) -> Result<Vec<Row>> {
    let sides = sides(name, options, chosen)?;
    if sides.is_empty() {
        return Ok(Vec::new());
    }
    compare(peer, text, name, sides, options, chosen)
}

fn skipped(options: &Options, text: &str, why: &str) -> Row {
    Row {
        peer: text
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned(),
        workload: text.to_owned(),
        model: None,
        job: String::new(),
        batch: 0,
        regime: "",
        algebra: None,
        dtype: options.compute.dtype.to_string(),
        device: options.compute.engine.device.clone(),
        repetitions: 0,
        peer_seconds: None,
        peer_seconds_p10: None,
        peer_seconds_p90: None,
        our_seconds: None,
        our_seconds_p10: None,
        our_seconds_p90: None,
        ratio: None,
        status: Status::Skipped,
        note: why.to_owned(),
    }
}

/// Our sessions for a workload, inputs resident: plaintext first, then each regime and algebra.
fn sides(name: &Name, options: &Options, chosen: &Chosen) -> Result<Vec<Side>> {
    let workload = Workload::named(&name.workload);
    // A product's left operand is its input, whose rows are the batch.
    let batch = name.product().map_or(name.batch, |[m, ..]| m);
    let dtype = chosen.dtype;
    let drawn = |network: Network| {
        let weights = network.initial_parameters(options.seed, dtype)?;
        Ok::<_, Error>((network, weights))
    };
    let product = name.product().is_some();
    let job = (name.product(), &workload, name.job.as_str());
    let (network, weights) = match (job, &options.model) {
        ((Some(sizes), ..), _) => drawn(product_network(sizes)?)?,
        ((None, Some(workload), "infer"), Some(model)) => {
            let outputs = Vec::new();
            let imported = Network::from_onnx(model, &OnnxOptions { batch, outputs })?;
            if !is_of(&imported.network, workload, batch)? {
                return Ok(Vec::new());
            }
            (imported.network, imported.parameters)
        }
        // A model is there to infer with.
        ((None, ..), Some(_)) => return Ok(Vec::new()),
        ((None, Some(workload), "infer"), None) => drawn(workload.inference()?)?,
        ((None, Some(workload), "train"), _) => drawn(workload.training(Optimizer::sgd(0.0))?)?,
        _ => return Ok(Vec::new()),
    };
    let mut regimes: Vec<(&'static str, Scheme, CompileOptions)> =
        vec![("plain", PLAINTEXT, CompileOptions::plain(batch, dtype))];
    for &scheme in &chosen.schemes {
        let (rows, algebra) = (scheme.rows(batch), scheme.algebra);
        if name.job != "train" {
            let ct_pt = CompileOptions::encrypted_inputs(rows, dtype, algebra);
            regimes.push(("ct-pt", scheme, ct_pt));
        }
        // Packed messages are of several samples, which are trained on and weighed one by one.
        if scheme.messages == 1 {
            let ct_ct = CompileOptions::encrypted(rows, dtype, algebra);
            regimes.push(("ct-ct", scheme, ct_ct));
        }
    }
    let cross_entropy = !product && workload.is_some_and(|w| w.loss == Loss::CrossEntropy);
    regimes
        .into_iter()
        .map(|(regime, scheme, compile)| {
            let session = resident(
                &network,
                &weights,
                scheme,
                &compile,
                options.seed,
                cross_entropy,
                chosen.engine.device(),
            )?;
            Ok(Side {
                regime,
                scheme,
                session,
                times: Samples::default(),
            })
        })
        .collect()
}

/// Whether a network has the input and the output of a workload.
fn is_of(network: &Network, workload: &Workload, batch: usize) -> Result<bool> {
    let shapes = network.shapes(batch)?;
    let inputs: Vec<&[usize]> = (network.nodes().iter().zip(&shapes))
        .filter(|(node, _)| matches!(node.op, Op::Input { .. }))
        .map(|(_, shape)| shape.get(1..).unwrap_or_default())
        .collect();
    let place = |value| {
        let name = network.name(value)?;
        network.nodes().iter().position(|node| node.name == name)
    };
    let given: Vec<Option<&[usize]>> = (network.outputs().iter())
        .map(|(_, value)| shapes[place(*value)?].get(1..))
        .collect();
    Ok(inputs == [workload.input] && given == [Some(&[workload.outputs][..])])
}

fn product_network([_, k, n]: [usize; 3]) -> Result<Network> {
    let mut network = Network::new();
    let a = network.input("x", [k])?;
    let b = network.parameter("b", [k, n], Init::Uniform { bound: 0.5 })?;
    let c = network.matmul("product", a, b)?;
    network.output("y", c)?;
    Ok(network)
}

/// Repeats `run` until [`SETTLED`] has passed.
fn settle(mut run: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < SETTLED {
        run()?;
    }
    Ok(())
}

fn compare(
    peer: &mut Peer,
    text: &str,
    name: &Name,
    mut sides: Vec<Side>,
    options: &Options,
    chosen: &Chosen,
) -> Result<Vec<Row>> {
    let mut peer_times = Samples::default();
    for _ in 0..WARM_UP {
        peer.run(text)?;
        for side in &mut sides {
            side.session.run()?;
        }
    }
    for _ in 0..options.repetitions {
        settle(|| peer.run(text).map(drop))?;
        peer_times.push(peer.run(text)?);
        for side in &mut sides {
            std::thread::sleep(SETTLE);
            settle(|| Ok(side.session.run()?))?;
            side.times.time(|| side.session.run())?;
        }
        std::thread::sleep(SETTLE);
    }
    let model = options.model.as_ref().filter(|_| name.product().is_none());
    let model = model.map(|path| path.display().to_string());
    let rows = sides.into_iter().map(|side| Row {
        peer: name.peer.clone(),
        workload: name.workload.clone(),
        model: model.clone(),
        job: name.job.clone(),
        batch: name.batch,
        regime: side.regime,
        algebra: (side.scheme != PLAINTEXT).then(|| side.scheme.to_string()),
        dtype: chosen.dtype.to_string(),
        device: options.compute.engine.device.clone(),
        repetitions: options.repetitions,
        peer_seconds: peer_times.median(),
        peer_seconds_p10: peer_times.quantile(0.1),
        peer_seconds_p90: peer_times.quantile(0.9),
        our_seconds: side.times.median(),
        our_seconds_p10: side.times.quantile(0.1),
        our_seconds_p90: side.times.quantile(0.9),
        ratio: side
            .times
            .median()
            .zip(peer_times.median())
            .map(|(ours, peers)| ours / peers),
        status: Status::Ok,
        note: String::new(),
    });
    Ok(rows.collect())
}

fn print(report: &Report<Row>) {
    let mut table = report::table(
        &[
            "peer",
            "workload",
            "job",
            "batch",
            "ours",
            "algebra",
            "peer time",
            "our time",
            "ours / peer's",
        ],
        3,
    );
    for row in report.rows().iter().filter(|row| row.status == Status::Ok) {
        table.add_row([
            row.peer.clone(),
            row.workload.clone(),
            row.job.clone(),
            row.batch.to_string(),
            row.regime.to_owned(),
            row.algebra.clone().unwrap_or_else(|| "-".to_owned()),
            report::seconds(row.peer_seconds),
            report::seconds(row.our_seconds),
            report::number(row.ratio, 2),
        ]);
    }
    println!("{table}");
    println!("{}", report.environment().computing());
    for row in report
        .rows()
        .iter()
        .filter(|row| row.status == Status::Skipped)
    {
        println!("skipped: {}: {}", row.workload, row.note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_workload_job_and_batch() {
        let name = Name::parse("torch-plain matmul 64x784x128 pt-pt 64").expect("a name");
        assert_eq!(
            (name.workload.as_str(), name.job.as_str()),
            ("matmul 64x784x128", "pt-pt")
        );
        assert_eq!(name.product(), Some([64, 784, 128]));
        let name = Name::parse("torch-plain mlp infer 256").expect("a name");
        assert_eq!((name.product(), name.batch), (None, 256));
        for wrong in [
            "",
            "torch-plain",
            "torch-plain mlp infer",
            "torch-plain mlp infer many",
        ] {
            assert_eq!(Name::parse(wrong), None, "{wrong}");
        }
    }
}

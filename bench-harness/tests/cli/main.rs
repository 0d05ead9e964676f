//! The command line as a user meets it: results, reports, and errors that name what was wrong.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

mod data;
mod gpu;
mod polynomials;
mod reproduce;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_furthermore-bench"))
        .args(arguments)
        .env_remove("FURTHERMORE_ISA")
        .output()
        .expect("the program starts")
}

/// Runs, expects failure, and returns what it said.
fn refusal(arguments: &[&str]) -> String {
    let output = bench(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    said
}

/// What a command prints is read by nobody: `furthermore-bench keygen | head -0`.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    let mut child = Command::new(env!("CARGO_BIN_EXE_furthermore-bench"))
        .args(["keygen", "--output"])
        .arg(&key)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(key.exists());
}

/// An IDX file: magic number, sizes, bytes.
fn idx(magic: u32, sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let header = std::iter::once(magic).chain(sizes.iter().copied());
    header
        .flat_map(u32::to_be_bytes)
        .chain(bytes.iter().copied())
        .collect()
}

/// A folder of small digits: each class lights its own rows, with a little noise.
fn write_digits(folder: &Path, train: usize, test: usize) {
    for (name, count) in [("train", train), ("t10k", test)] {
        let labels: Vec<u8> = (0..count).map(|i| (i * 7 % 10) as u8).collect();
        let pixel = |i: usize, p: usize| {
            let on = p / 28 / 3 == usize::from(labels[i]);
            if on {
                200 + (i * 31 + p * 17) % 50
            } else {
                (i * 13 + p * 7) % 40
            }
        };
        let pixels: Vec<u8> = (0..count * 784)
            .map(|e| pixel(e / 784, e % 784) as u8)
            .collect();
        let images = idx(2051, &[count as u32, 28, 28], &pixels);
        fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images).expect("images");
        let labels = idx(2049, &[count as u32], &labels);
        fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), labels).expect("labels");
    }
}

/// A peer in shell: offers `names` and answers every name with `answer`.
fn peer(names: &str, answer: &str) -> String {
    format!("sh -c 'printf \"{names}\\n\\n\"; while read name; do {answer}; done'")
}

#[test]
fn versus_alternates_with_a_peer() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("versus.json");
    let path = json.to_str().expect("UTF-8");
    let names =
        "fake matmul 3x5x7 pt-pt 3\\nfake wbc infer 4\\nfake wbc train 4\\nfake resnet infer 1";
    let output = bench(&[
        "versus",
        "--peer",
        &peer(names, "echo 0.001"),
        "--repetitions",
        "2",
        "--threads",
        "2",
        "--json",
        path,
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&fs::read(json).expect("a report")).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    let of = |workload: &str| -> Vec<String> {
        let matching = rows.iter().filter(|r| r["workload"] == workload);
        matching
            .map(|r| r["regime"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(
        of("matmul 3x5x7"),
        ["plain", "ct-pt", "ct-ct", "ct-pt", "ct-ct"]
    );
    assert_eq!(
        of("wbc"),
        [
            "plain", "ct-pt", "ct-ct", "ct-pt", "ct-ct", "plain", "ct-ct", "ct-ct"
        ]
    );
    let skipped: Vec<_> = rows.iter().filter(|r| r["status"] == "skipped").collect();
    assert_eq!(skipped.len(), 1);
    assert!(
        skipped[0]["workload"]
            .as_str()
            .is_some_and(|w| w.contains("resnet"))
    );
    let measured = rows
        .iter()
        .find(|r| r["status"] == "ok")
        .expect("a measured row");
    assert_eq!(measured["peer_seconds"], 0.001);
    let ratio = measured["our_seconds"].as_f64().expect("a time") / 0.001;
    assert!((measured["ratio"].as_f64().expect("a ratio") - ratio).abs() < 1e-9 * ratio);
}

#[test]
fn a_peer_that_breaks_the_protocol_is_named() {
    let cases = [
        ("/nowhere/peer".to_owned(), "cannot be started"),
        ("'".to_owned(), "quote is not closed"),
        ("true".to_owned(), "it ended"),
        ("printf '\\n'".to_owned(), "offers nothing"),
        (peer("fake wbc infer 1", "echo fast"), "answered 'fast'"),
        (peer("fake wbc infer 1", "exit 3"), "it ended"),
    ];
    for (command, expected) in cases {
        let said = refusal(&["versus", "--peer", &command, "--repetitions", "1"]);
        assert!(said.contains(expected), "{command}: {said}");
    }
    let offered = peer("fake wbc infer 1", "echo 1");
    let said = refusal(&["versus", "--peer", &offered, "--only", "lenet"]);
    assert!(
        said.contains("matches nothing of: fake wbc infer 1"),
        "{said}"
    );
    let said = refusal(&["versus", "--peer", &offered, "--only", "("]);
    assert!(said.contains("--only"), "{said}");
}

#[test]
fn a_workload_that_fails_is_a_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("versus.json");
    let path = json.to_str().expect("UTF-8");
    let names = "fake wbc infer 2\\nfake wbc infer 99999999999999";
    let offered = peer(names, "echo 0.001");
    let said = refusal(&[
        "versus",
        "--peer",
        &offered,
        "--repetitions",
        "1",
        "--json",
        path,
    ]);
    assert!(said.contains("rows failed"), "{said}");
    let report: Value = serde_json::from_slice(&fs::read(&json).expect("a report")).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    let count = |status: &str| rows.iter().filter(|r| r["status"] == status).count();
    assert_eq!((count("ok"), count("failed")), (5, 1));
    let offered = peer("fake resnet infer 2", "echo 0.001");
    let said = refusal(&["versus", "--peer", &offered, "--repetitions", "1"]);
    assert!(said.contains("nothing that can be compared"), "{said}");
}

/// Rows of kernels: what the format says, the plain side beside each, and a list that names them.
#[test]
fn kernels_reports_what_the_format_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("kernels.json");
    let json_text = json.to_str().expect("UTF-8");
    let filter = "block_matmul 64x784x128 ct-pt compact2|update clip";
    let arguments = ["kernels", "--filter", filter, "--repetitions", "2"];
    let output = bench(&[&arguments[..], &["--threads", "1", "--json", json_text]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.is_empty(), "progress bars are for terminals: {said}");
    let report: Value =
        serde_json::from_slice(&fs::read(&json).expect("the report")).expect("JSON");
    assert_eq!(report["command"], "kernels");
    let rows = report["rows"].as_array().expect("rows");
    let named: Vec<(&str, &str, &str)> = rows
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().expect("text");
            (text("kernel"), text("regime"), text("algebra"))
        })
        .collect();
    let expected = [
        ("block_matmul", "pt-pt", "real"),
        ("block_matmul", "ct-pt", "compact2"),
        ("update clip", "pt-pt", "real"),
        ("update clip", "ct-ct", "compact2"),
        ("update clip", "ct-ct", "blocks2"),
    ];
    assert_eq!(named, expected);
    for row in rows {
        let number = |key: &str| row[key].as_f64();
        let plain = row["algebra"] == "real";
        for key in [
            "plain_seconds",
            "plain_seconds_p10",
            "plain_seconds_p90",
            "gbyte_per_s",
            "peak_fraction",
        ] {
            assert!(number(key).is_some_and(|x| x > 0.0), "{key} of {row}");
        }
        for key in [
            "encrypted_seconds",
            "encrypted_seconds_p10",
            "encrypted_seconds_p90",
            "overhead",
        ] {
            assert_eq!(
                number(key).is_some_and(|x| x > 0.0),
                !plain,
                "{key} of {row}"
            );
        }
        assert_eq!(
            number("gflop_per_s").is_some(),
            row["kernel"] == "block_matmul",
            "{row}"
        );
        assert!(
            row["peaks"]["fma_gflop_per_s"]
                .as_f64()
                .is_some_and(|x| x > 0.0)
        );
        assert_eq!((&row["threads"], &row["dtype"]), (&1.into(), &"f32".into()));
    }
    let listed = bench(&[&arguments[..], &["--list"]].concat());
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_eq!(listed.lines().count(), expected.len());
    assert!(listed.contains("block_matmul 64x784x128 ct-pt compact2"));
    let said = refusal(&["kernels", "--filter", "no such kernel"]);
    assert!(
        said.contains("no such kernel") && said.contains("--list"),
        "{said}"
    );
    assert!(refusal(&["kernels", "--filter", "("]).contains("--filter"));
    assert!(refusal(&["kernels", "--repetitions", "0"]).contains("--repetitions"));
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    let refused = [
        (&["--device", "tpu"][..], "'tpu' is not known"),
        (&["--adapter", "any"], "it goes with --device gpu"),
        (&["--device", "gpu", "--dtype", "f64"], "compute in f32"),
    ];
    for (arguments, reason) in refused {
        let said = refusal(&[&["reproduce", "--quick"], arguments].concat());
        assert!(said.contains(reason), "{said}");
    }
    let nowhere = ["reproduce", "--device", "gpu", "--adapter", "no such card"];
    let said = refusal(&nowhere);
    assert!(said.contains("error: device gpu:"), "{said}");
}

#[test]
fn profile_reports_every_command_and_writes_a_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let paths = ["report.json", "trace.json"].map(|name| folder.path().join(name));
    let texts = paths.each_ref().map(|path| path.to_str().expect("UTF-8"));
    let output = bench(&[
        "profile",
        "--workload",
        "wbc",
        "--job",
        "train",
        "--batch",
        "8",
        "--repetitions",
        "3",
        "--threads",
        "2",
        "--json",
        texts[0],
        "--trace",
        texts[1],
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let [report, trace] = paths
        .map(|path| fs::read(path).expect("a file"))
        .map(|text| serde_json::from_slice::<Value>(&text).expect("JSON"));
    assert_eq!(report["command"], "profile");
    let rows = report["rows"].as_array().expect("rows");
    let events = trace["traceEvents"].as_array().expect("events");
    let process = events.iter().find(|event| event["name"] == "process_name");
    let process = process.expect("what computed")["args"]["name"].as_str();
    assert!(process.is_some_and(|name| name.contains("threads on")));
    for algebra in ["compact2", "blocks2"] {
        let rows: Vec<_> = rows.iter().filter(|r| r["algebra"] == algebra).collect();
        let shares = rows.iter().map(|r| r["share"].as_f64().expect("a share"));
        assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9);
        let products = rows.iter().filter(|r| r["kernel"] == "block_matmul");
        assert!(products.clone().count() >= 3);
        for row in products {
            assert!(row["gflop_per_s"].as_f64().is_some_and(|rate| rate > 0.0));
        }
        let track = usize::from(algebra == "blocks2");
        let mut end = 0.0;
        let complete = |e: &&Value| e["ph"] == "X" && e["tid"] == track;
        let spans: Vec<_> = events.iter().filter(complete).collect();
        assert_eq!(spans.len(), rows.len());
        for span in spans {
            let of = |name: &str| span[name].as_f64().expect("microseconds");
            assert!(of("ts") >= end - 1e-6, "commands follow each other");
            end = of("ts") + of("dur");
        }
    }
    let refused = [
        (&["--workload", "vgg"][..], "'vgg' is not known"),
        (
            &["--workload", "wbc", "--job", "train", "--regime", "ct-pt"],
            "encrypted weights",
        ),
        (&["--workload", "wbc", "--batch", "0"], "batch"),
    ];
    for (arguments, reason) in refused {
        let said = refusal(&[&["profile"], arguments].concat());
        assert!(said.contains(reason), "{said}");
    }
}

//! The command line as a user meets it: results, reports, and errors that name what was wrong.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

mod data;
mod gpu;

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

#[test]
fn reproduce_reports_what_the_format_says() {
    let folder = tempfile::tempdir().expect("a folder");
    write_digits(folder.path(), 640, 70);
    let json = folder.path().join("report.json");
    let (data, json_text) = (folder.path().to_str(), json.to_str());
    let (data, json_text) = (data.expect("UTF-8"), json_text.expect("UTF-8"));
    let arguments = [
        "reproduce",
        "--quick",
        "--only",
        "mlp",
        "--data",
        data,
        "--threads",
        "2",
        "--json",
        json_text,
    ];
    let output = bench(&arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.is_empty(), "progress bars are for terminals: {said}");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        table.contains("mnist-mlp: MNIST, 640 to train, 70 to test; 1 epoch\n"),
        "{table}"
    );
    assert!(table.contains("The papers claim"), "{table}");

    let report: Value = serde_json::from_slice(&fs::read(&json).expect("a report")).expect("JSON");
    assert_eq!(report["schema"], "furthermore-report/1");
    assert_eq!(report["command"], "reproduce");
    for key in [
        "cpu",
        "cores",
        "isa",
        "memory_bytes",
        "os",
        "rustc",
        "commit",
        "dirty",
        "threads",
        "date",
        "adapter",
    ] {
        assert!(
            report["environment"].get(key).is_some(),
            "environment.{key}"
        );
    }
    let rows = report["rows"].as_array().expect("rows");
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let named: Vec<_> = rows
        .iter()
        .map(|r| (text(&r["job"]), text(&r["regime"]), text(&r["algebra"])))
        .collect();
    let mut expected = Vec::new();
    for algebra in ["compact2", "blocks2"] {
        let jobs = [
            ("train", "ct-ct", 1),
            ("infer", "ct-pt", 3),
            ("infer", "ct-ct", 3),
        ];
        for (job, regime, times) in jobs {
            for _ in 0..times {
                expected.push((job.to_owned(), regime.to_owned(), algebra.to_owned()));
            }
        }
    }
    assert_eq!(named, expected);
    for row in rows {
        assert_eq!(row["status"], "ok", "{row}");
        assert_eq!(row["workload"], "mnist-mlp");
        assert_eq!(row["data"], "mnist");
        assert!(row["repetitions"].as_u64().expect("a count") >= 10, "{row}");
        for key in [
            "plain_seconds",
            "encrypted_seconds",
            "overhead",
            "encrypt_seconds",
            "decrypt_seconds",
        ] {
            assert!(row[key].as_f64().expect(key) > 0.0, "{key}: {row}");
        }
        let training = row["job"] == "train";
        // The whole test set is a batch of 70.
        let whole = training || row["batch"] == 70;
        assert_eq!(row["plain_accuracy"].is_null(), !whole, "{row}");
        if whole {
            let accuracy = |key: &str| row[key].as_f64().expect("an accuracy");
            let apart = accuracy("plain_accuracy") - accuracy("encrypted_accuracy");
            assert!(apart.abs() <= 0.05, "{row}");
        }
        assert!(
            row["plain_error"].is_null() && row["outputs"].is_null(),
            "{row}"
        );
        assert_eq!(row["plain_f64_accuracy"].is_null(), !training);
        assert_eq!(row["weight_max_abs_error"].is_null(), !training);
        assert_eq!(row["output_max_abs_error"].is_null(), training);
        assert_eq!(row["total_plain_seconds"].is_null(), !training);
    }
    let batches = |row: &Value| row["batch"].as_u64().expect("a batch");
    assert_eq!(
        rows.iter().map(batches).take(4).collect::<Vec<_>>(),
        [64, 1, 32, 70]
    );
    let claims = report["conclusions"].as_array().expect("conclusions");
    assert_eq!(claims.len(), 6);
    for claim in claims {
        assert_eq!(claim["papers_overhead"], 10.0);
        assert_eq!(
            claim["equal"],
            claim["job"] == "infer"
                || claim["accuracy_difference"].as_f64().expect("a difference") <= 0.006
        );
    }
}

#[test]
fn the_use_cases_of_the_papers_run() {
    let folder = tempfile::tempdir().expect("a folder");
    write_digits(folder.path(), 192, 30);
    let json = folder.path().join("report.json");
    let output = bench(&[
        "reproduce",
        "--quick",
        "--epochs",
        "1",
        "--algebra",
        "compact2",
        "--dtype",
        "f64",
        "--data",
        folder.path().to_str().expect("UTF-8"),
        "--json",
        json.to_str().expect("UTF-8"),
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&fs::read(&json).expect("a report")).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    let trained: Vec<&Value> = rows.iter().filter(|row| row["job"] == "train").collect();
    let names: Vec<&str> = trained
        .iter()
        .filter_map(|row| row["workload"].as_str())
        .collect();
    let expected = [
        "mnist-mlp",
        "mnist-lenet",
        "wbc-forward",
        "wbc-inverse",
        "angio",
    ];
    assert_eq!(names, expected);
    for row in &trained {
        // In f64 the same computation gives the same weights.
        assert!(
            row["weight_max_abs_error"].as_f64().expect("weights") < 1e-9,
            "{row}"
        );
        let regression = row["workload"]
            .as_str()
            .is_some_and(|name| name.starts_with("wbc"));
        assert_eq!(row["plain_accuracy"].is_null(), regression);
        let errors = [
            &row["plain_error"],
            &row["encrypted_error"],
            &row["outputs"],
        ];
        for error in errors {
            let count = error.as_array().map(Vec::len);
            let expected = match row["workload"].as_str() {
                Some("wbc-forward") => Some(8),
                Some("wbc-inverse") => Some(3),
                _ => None,
            };
            assert_eq!(count, expected, "{row}");
        }
    }
    for row in rows.iter().filter(|row| row["job"] == "infer") {
        assert!(
            row["output_max_abs_error"].as_f64().expect("outputs") < 1e-9,
            "{row}"
        );
    }
}

#[test]
fn masks_that_ruin_training_end_the_run_with_the_operation_and_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    write_digits(folder.path(), 640, 70);
    let data = folder.path().to_str().expect("UTF-8");
    let output = bench(&[
        "reproduce",
        "--only",
        "mlp",
        "--data",
        data,
        "--mask",
        "uniform",
        "--epochs",
        "20",
        "--algebra",
        "compact2",
    ]);
    assert!(!output.status.success());
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!table.contains("NaN"), "{table}");
    let failed = table
        .lines()
        .find(|line| line.starts_with("failed:"))
        .expect("a reason");
    for part in ["step ", "of epoch", "mask policies"] {
        assert!(failed.contains(part), "{failed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_results() {
    let folder = tempfile::tempdir().expect("a folder");
    write_digits(folder.path(), 192, 30);
    let data = folder.path().to_str().expect("UTF-8");
    let run = |seed: &str, name: &str| {
        let json = folder.path().join(name);
        let path = json.to_str().expect("UTF-8");
        let output = bench(&[
            "reproduce",
            "--quick",
            "--only",
            "mlp",
            "--data",
            data,
            "--threads",
            "2",
            "--algebra",
            "compact2",
            "--seed",
            seed,
            "--json",
            path,
        ]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let report: Value =
            serde_json::from_slice(&fs::read(json).expect("a report")).expect("JSON");
        [
            "weight_max_abs_error",
            "output_max_abs_error",
            "encrypted_accuracy",
        ]
        .map(|key| {
            report["rows"]
                .as_array()
                .expect("rows")
                .iter()
                .map(|r| r[key].clone())
                .collect::<Vec<_>>()
        })
    };
    let first = run("5", "a.json");
    assert_eq!(first, run("5", "b.json"));
    assert_ne!(first, run("6", "c.json"));
}

#[test]
fn bad_options_are_named() {
    let cases = [
        (&["--algebra", "compact1"][..], "unknown algebra 'compact1'"),
        (
            &["--algebra", "compact2,paillier"],
            "unknown algebra 'paillier'",
        ),
        (&["--algebra", "real"], "real is plaintext"),
        (
            &["--algebra", "compact2,compact2"],
            "compact2 is named twice",
        ),
        (&["--dtype", "f16"], "unknown element type 'f16'"),
        (&["--device", "abacus"], "'abacus'"),
        (&["--threads", "0"], "--threads: 0"),
        (&["--json", "/nowhere/at/all.json"], "/nowhere/at/all.json"),
        (&["--data", "/nowhere"], "/nowhere"),
        (
            &["--only", "cifar"],
            "'cifar' matches nothing of: mnist-mlp",
        ),
        (&["--mask", "none"], "'none'"),
        (&["--epochs", "0"], "--epochs"),
    ];
    for (options, expected) in cases {
        let said = refusal(&[&["reproduce", "--quick"], options].concat());
        assert!(said.contains(expected), "{options:?}: {said}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_furthermore-bench"))
        .args(["reproduce", "--quick"])
        .env("FURTHERMORE_ISA", "mmx")
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("'mmx'"), "{said}");
}

#[test]
fn bad_data_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("UTF-8").to_owned();
    let images = folder.path().join("train-images-idx3-ubyte");
    let run = || refusal(&["reproduce", "--quick", "--data", &data]);

    write_digits(folder.path(), 64, 10);
    fs::remove_file(&images).expect("it was written");
    assert!(run().contains("train-images-idx3-ubyte"), "missing file");

    fs::write(&images, idx(2052, &[64, 28, 28], &[0; 64 * 784])).expect("a file");
    let said = run();
    assert!(
        said.contains("0x00000804") && said.contains("0x00000803"),
        "wrong magic number: {said}"
    );

    fs::write(&images, idx(2051, &[64, 28, 28], &[0; 1000])).expect("a file");
    let said = run();
    assert!(
        said.contains("train-images-idx3-ubyte"),
        "truncated: {said}"
    );

    write_digits(folder.path(), 63, 10);
    let said = run();
    assert!(
        said.contains("too few"),
        "fewer images than a batch: {said}"
    );
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

//! The papers' use cases from the command line: reports, the same results for the same seed, and bad
//! options, data and masks named.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{bench, idx, refusal, write_digits};

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
    let all = [
        ("train", "ct-ct", 1),
        ("infer", "ct-pt", 3),
        ("infer", "ct-ct", 3),
    ];
    for (algebra, jobs) in [
        ("compact2", &all[..]),
        ("blocks2", &all),
        // A batch of one is no batch of three messages.
        ("packed4", &[("infer", "ct-pt", 2)]),
        ("graded1", &[("infer", "ct-pt", 3)]),
        ("reduced1", &all),
    ] {
        for &(job, regime, times) in jobs {
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
    assert_eq!(claims.len(), 11);
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
        "compact2,packed4,graded1",
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
    for row in rows.iter().filter(|row| row["algebra"] != "compact2") {
        assert_eq!(row["status"], "ok", "{row}");
        let apart = row["output_max_abs_error"].as_f64().expect("outputs");
        assert!(apart < 1e-9, "{row}");
    }
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

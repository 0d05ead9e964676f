//! Commands on a graphics processor. Without one every test says that it is skipped; with
//! `FURTHERMORE_REQUIRE_GPU=1` it fails then.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use serde_json::Value;

use super::{bench, write_digits};

/// Whether there is nothing to run on, which may be so.
fn no_adapter() -> bool {
    let required = std::env::var("FURTHERMORE_REQUIRE_GPU").is_ok_and(|v| v == "1");
    let none = furthermore::device::Gpu::adapters().is_empty() && !required;
    if none {
        // To the stream itself: the harness keeps what passing tests print.
        let test = std::thread::current();
        let test = test.name().unwrap_or("a test");
        writeln!(
            std::io::stderr(),
            "skipped: {test}: this machine has no graphics adapter"
        )
        .expect("somewhere to say so");
    }
    none
}

#[test]
fn a_graphics_processor_gives_the_same_accuracies() {
    if no_adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    write_digits(folder.path(), 640, 70);
    let accuracies = ["cpu", "gpu"].map(|device| {
        let json = folder.path().join(device);
        let paths = [folder.path(), &json].map(|path| path.to_str().expect("UTF-8"));
        let output = bench(&[
            "reproduce",
            "--quick",
            "--only",
            "mlp",
            "--device",
            device,
            "--data",
            paths[0],
            "--json",
            paths[1],
        ]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let report = fs::read(&json).expect("a report");
        let report: Value = serde_json::from_slice(&report).expect("JSON");
        assert_eq!(
            report["environment"]["adapter"].is_string(),
            device == "gpu"
        );
        let rows = report["rows"].as_array().expect("rows").iter();
        let whole = rows.filter(|row| row["job"] == "train" || row["batch"] == 70);
        whole
            .map(|row| {
                assert_eq!(row["device"], device);
                let of = |name: &str| row[name].as_f64().expect("an accuracy");
                [of("plain_accuracy"), of("encrypted_accuracy")]
            })
            .collect::<Vec<_>>()
    });
    assert_eq!(accuracies[0], accuracies[1]);
    assert!(
        accuracies[0].iter().all(|pair| pair[0] > 0.9),
        "{accuracies:?}"
    );
}

#[test]
fn kernels_of_a_graphics_processor_are_timed_on_it() {
    if no_adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let output = bench(&[
        "kernels",
        "--device",
        "gpu",
        "--algebra",
        "compact2",
        "--filter",
        "softmax 256|cast",
        "--repetitions",
        "2",
        "--json",
        json.to_str().expect("UTF-8"),
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&fs::read(&json).expect("a report")).expect("JSON");
    assert!(report["environment"]["adapter"].is_string());
    let rows = report["rows"].as_array().expect("rows");
    // Softmax and its logarithm, plain and encrypted; casts are the processor's.
    assert_eq!(rows.len(), 4, "{rows:?}");
    for row in rows {
        assert_eq!(row["device"], "gpu");
        assert!(row["plain_seconds"].as_f64().is_some_and(|s| s > 0.0));
    }
}

#[test]
fn tune_keeps_what_it_found() {
    if no_adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_furthermore-bench"))
        .args(["tune", "--algebra", "compact2", "--filter"])
        .args(["block_matmul 1x784x128 (pt-pt|ct-pt)", "--json"])
        .arg(&json)
        .env("XDG_CACHE_HOME", folder.path())
        .env("HOME", folder.path())
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&fs::read(&json).expect("a report")).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    for row in rows {
        let of = |name: &str| row[name].as_f64().expect("a number");
        assert!(of("tried") > 1.0 && of("seconds") <= of("untuned_seconds"));
    }
    let kept = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(kept.contains("kept for"), "{kept}");
}

//! Polynomials in place of activations from the command line: reports, and bad options named.

use std::fs;

use serde_json::Value;

use super::{bench, refusal, write_digits};

/// Runs a method on small digits and returns the report's rows.
fn rows(method: &str, degree: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    write_digits(folder.path(), 320, 50);
    let json = folder.path().join("report.json");
    let output = bench(&[
        "polynomials",
        "--workload",
        "mlp",
        "--method",
        method,
        "--degree",
        degree,
        "--quick",
        "--data",
        folder.path().to_str().expect("UTF-8"),
        "--threads",
        "2",
        "--json",
        json.to_str().expect("UTF-8"),
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["relu1", method, "320 to train, 50 to test; 1 epoch\n"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let report: Value = serde_json::from_slice(&fs::read(&json).expect("a report")).expect("JSON");
    assert_eq!(report["schema"], "furthermore-report/1");
    assert_eq!(report["command"], "polynomials");
    report["rows"].as_array().expect("rows").clone()
}

#[test]
fn each_method_has_a_row_an_activation_and_one_a_network() {
    let mut originals = Vec::new();
    for (method, degree) in [
        ("minimax", "4"),
        ("chebyshev", "3"),
        ("learned", "2"),
        ("square", "2"),
    ] {
        let rows = rows(method, degree);
        let named: Vec<_> = rows
            .iter()
            .map(|r| (r["job"].as_str(), r["name"].as_str()))
            .collect();
        let expected = [
            ("activation", "relu1"),
            ("network", "original"),
            ("network", "replaced"),
            ("network", "replaced, trained on"),
            ("network", "original, trained on"),
        ];
        assert_eq!(named, expected.map(|(job, name)| (Some(job), Some(name))));
        for row in &rows {
            assert_eq!(row["status"], "ok", "{row}");
            assert_eq!(
                (&row["method"], &row["data"]),
                (&method.into(), &"mnist".into())
            );
            assert_eq!(row["degree"].to_string(), degree);
        }
        let accuracy = |nth: usize| rows[nth]["accuracy"].as_f64().expect("an accuracy");
        originals.push([accuracy(1), accuracy(4)]);
        let activation = &rows[0];
        assert_eq!(activation["function"], "relu");
        assert!(activation["accuracy"].is_null());
        if method == "square" {
            assert!(activation["interval"].is_null() && activation["max_error"].is_null());
            continue;
        }
        let end = |nth: usize| activation["interval"][nth].as_f64().expect("an end");
        assert!(end(0) < 0.0 && end(1) > 0.0, "{activation}");
        // No parabola or cubic is nearer to relu than 1/16 of half the longest symmetric interval inside.
        let (found, within) = (&activation["max_error"], (-end(0)).min(end(1)));
        let found = found.as_f64().expect("an error");
        let least = if method == "minimax" {
            0.0
        } else {
            within / 16.0
        };
        assert!(found > least && found < end(1) - end(0), "{activation}");
    }
    // The network as it is hangs on no method.
    assert!(originals.iter().all(|accuracy| *accuracy == originals[0]));
}

#[test]
fn bad_options_are_named() {
    let refused = |options: &[&str], parts: &[&str]| {
        let said = refusal(&[&["polynomials"], options].concat());
        for part in parts {
            assert!(said.contains(part), "'{part}' is not in '{said}'");
        }
    };
    refused(&["--workload", "resnet"], &["--workload", "resnet"]);
    refused(&["--workload", "mlp", "--method", "taylor"], &["taylor"]);
    for degree in ["0", "64"] {
        refused(
            &["--workload", "mlp", "--degree", degree],
            &["--degree", degree],
        );
    }
    refused(
        &["--workload", "mlp", "--method", "square", "--degree", "3"],
        &["--degree", "a square has degree 2"],
    );
    for margin in ["-0.1", "NaN", "inf"] {
        let margin = format!("--margin={margin}");
        refused(&["--workload", "mlp", &margin], &["--margin", "from 0 on"]);
    }
    refused(&["--workload", "wbc", "--data", "."], &["--data", "digits"]);
    let nowhere = "/nowhere/at/all.json";
    refused(
        &["--workload", "mlp", "--quick", "--json", nowhere],
        &[nowhere],
    );
}

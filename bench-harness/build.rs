//! Records what a report has to name: the compiler, and the commit the program was built from.

use std::process::Command;

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn main() {
    for watched in [
        "kernels-cpu",
        "shaders",
        "engine",
        "bench-harness",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed=../{watched}");
    }
    if let Some(folder) = output("git", &["rev-parse", "--absolute-git-dir"]) {
        println!("cargo::rerun-if-changed={folder}/HEAD");
        println!("cargo::rerun-if-changed={folder}/logs/HEAD");
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let compiler = output(&rustc, &["--version"]).unwrap_or_default();
    println!("cargo::rustc-env=FURTHERMORE_RUSTC={compiler}");
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_default();
    println!("cargo::rustc-env=FURTHERMORE_COMMIT={commit}");
    // Reports under results/ do not change what the program does.
    let status = output(
        "git",
        &["status", "--porcelain", "--", "..", ":!../results"],
    );
    let dirty = status.is_none_or(|changes| !changes.is_empty());
    println!("cargo::rustc-env=FURTHERMORE_DIRTY={dirty}");
}

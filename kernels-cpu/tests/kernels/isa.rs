//! Instruction sets: which this machine has, how one is asked for, and what is not tested here.

use std::collections::HashSet;
use std::io::Write;
use std::process::Command;

use crate::support::{Algebra, Case, Kind, Prepared};
use furthermore_kernels_cpu::function_map::Function;
use furthermore_kernels_cpu::{Exec, ISA_VARIABLE, Isa};

/// Every name that some machine has.
const KNOWN: [&str; 3] = ["portable", "avx2", "avx512"];

#[test]
fn names_lead_back() {
    let available = Isa::available();
    assert_eq!(
        available[0],
        Isa::PORTABLE,
        "the portable path is always there"
    );
    assert!(available.is_sorted(), "slowest first");
    let names: HashSet<_> = available.iter().map(|isa| isa.name()).collect();
    assert_eq!(names.len(), available.len());
    for isa in &available {
        assert_eq!(Isa::named(isa.name()), Ok(*isa));
        assert_eq!(isa.to_string(), isa.name());
        assert!(KNOWN.contains(&isa.name()));
    }
    assert_eq!(Isa::best(), available[available.len() - 1]);
}

/// What is asked for in vain is named, and so is everything that could have been asked for.
#[test]
fn unknown_names_are_refused() {
    for name in ["", "bogus", "AVX2", "avx2 ", "sse", "avx-512", "neon"] {
        let error = Isa::named(name).expect_err("no machine has it").to_string();
        assert!(error.contains(&format!("'{name}'")), "{error}");
        for isa in Isa::available() {
            assert!(error.contains(isa.name()), "{error} lacks {isa}");
        }
    }
}

/// A machine without an instruction set leaves its path untested, and says so: written past the
/// test harness's capture, because silence is not a pass.
#[test]
fn missing_instruction_sets_are_said() {
    for name in KNOWN {
        if let Err(error) = Isa::named(name) {
            writeln!(std::io::stderr(), "skipped: every test of {name}: {error}")
                .expect("standard error can be written to");
        }
    }
}

/// Not a test by itself: what the next test runs in processes with an environment of their own.
#[test]
fn report_forced() {
    match Isa::from_env() {
        Ok(isa) => println!("chosen: {isa}"),
        Err(error) => println!("refused: {error}"),
    }
}

/// The variable forces each instruction set, an empty one forces nothing, and an unknown one is an
/// error, not a fallback.
#[test]
fn the_variable_forces() {
    let with = |value: Option<&str>| {
        let this = std::env::current_exe().expect("a test knows where it is");
        let mut command = Command::new(this);
        command.args(["--exact", "isa::report_forced", "--nocapture"]);
        command.env_remove(ISA_VARIABLE);
        if let Some(value) = value {
            command.env(ISA_VARIABLE, value);
        }
        let output = command.output().expect("a test can run itself");
        String::from_utf8(output.stdout).expect("names are text")
    };
    let best = format!("chosen: {}", Isa::best());
    assert!(with(None).contains(&best));
    assert!(with(Some("")).contains(&best));
    for isa in Isa::available() {
        assert!(with(Some(isa.name())).contains(&format!("chosen: {isa}\n")));
    }
    let refused = with(Some("bogus"));
    assert!(
        refused.contains("refused: ") && refused.contains("'bogus'"),
        "{refused}"
    );
    assert!(refused.contains("portable"), "{refused}");
}

/// Every instruction set and the portable path agree with the same oracle, which is what makes them
/// interchangeable; the fused ones round less often, so bits may differ.
#[test]
fn all_agree_on_one_network_layer() {
    let algebra = Algebra::compact2([0.75, -0.5]);
    let case = Case::plain(64, 100, 10, Kind::Cipher, Kind::Cipher)
        .then(Some(Kind::Cipher), Some(Function::Relu));
    let prepared = Prepared::<f32>::new(&algebra, case, 1);
    for isa in Isa::available() {
        prepared.check(&Exec { isa, threads: 2 });
    }
}

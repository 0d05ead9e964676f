//! The list of `furthermore-bench parity` as tests: a test a case, on the processor and on a graphics
//! processor where there is one. With `FURTHERMORE_REQUIRE_GPU=1` a missing adapter is a failure; not
//! every adapter stores half precision, and what needs that says that it is skipped.

use std::io::Write as _;
use std::sync::OnceLock;

use furthermore::device::gpu::GpuOptions;
use furthermore::device::{Cpu, Gpu};
use furthermore::{Algebra, Error};
use furthermore_bench::parity::{CASES, Parity, Row, Status, table_supports};

/// One device that stores single precision and one that stores half, for all tests.
fn gpus() -> &'static [Result<Gpu, String>; 2] {
    static FOUND: OnceLock<[Result<Gpu, String>; 2]> = OnceLock::new();
    FOUND.get_or_init(|| {
        [false, true].map(|half| {
            let options = GpuOptions {
                half,
                ..GpuOptions::default()
            };
            let found = Gpu::with_options(&options);
            let required = std::env::var("FURTHERMORE_REQUIRE_GPU").is_ok_and(|v| v == "1");
            let allowed = matches!(found, Err(Error::NoHalfPrecision { .. }));
            if let (Err(error), true) = (&found, required && !allowed) {
                panic!("FURTHERMORE_REQUIRE_GPU=1, and {error}");
            }
            found.map_err(|error| error.to_string())
        })
    })
}

fn parity() -> Parity {
    let algebras = [Algebra::Real, Algebra::Compact(2), Algebra::Blocks(2)];
    let [gpu, half] = gpus().clone().map(Result::ok);
    let cpu = Cpu::new().expect("an instruction set of this machine");
    Parity::new(&algebras, cpu, gpu, half)
}

/// Says which devices a case goes without, to the stream itself: the harness keeps what passing tests
/// print.
fn say_what_is_skipped(name: &str) {
    for (what, found) in ["gpu", "f16 storage"].into_iter().zip(gpus()) {
        if let Err(reason) = found {
            writeln!(std::io::stderr(), "skipped: {name}: {what}: {reason}")
                .expect("somewhere to say so");
        }
    }
}

fn check(name: &str) {
    say_what_is_skipped(name);
    let (_, cases) = CASES
        .iter()
        .find(|(n, _)| *n == name)
        .expect("a case of that name");
    let parity = parity();
    let rows = parity.run(*cases);
    assert!(!rows.is_empty(), "{name} checks nothing");
    let failed: Vec<_> = rows.iter().filter(|row| row.status != Status::Ok).collect();
    assert!(
        failed.is_empty(),
        "{} of {}: {failed:#?}",
        failed.len(),
        rows.len()
    );
    hold_to_support_table(&rows);
    hold_to_negative_control(&rows, &parity.negative_control());
}

/// Cases without a result that is right: what is shown is that a run is refused.
const REFUSALS: [&str; 4] = [
    "minus infinity",
    "slots apart",
    "a constant too large",
    "by a number that leaves none",
];

/// The results of every kernel compared have been made wrong, and that was noticed.
fn hold_to_negative_control(rows: &[Row], control: &Row) {
    assert_eq!(control.kernel, "negative-control");
    let compared = rows.iter().filter(|row| row.max_abs_error.is_some());
    let mut kernels: Vec<&str> = compared.map(|row| row.kernel.as_str()).collect();
    kernels.sort_unstable();
    kernels.dedup();
    if control.status == Status::Skipped {
        let refusal = |row: &Row| row.kernel != "slot_maxima" && REFUSALS.contains(&&row.shape[..]);
        assert!(rows.iter().all(refusal), "{rows:#?}");
        return;
    }
    assert_eq!(control.status, Status::Ok, "{}", control.note);
    // The guard's own is judged by what it ends.
    let all = format!("of {} kernels", kernels.len().max(1));
    assert!(control.note.contains(&all), "{}: {kernels:?}", control.note);
}

/// What SUPPORT.md says of these kernels is what they have just shown.
fn hold_to_support_table(rows: &[Row]) {
    let table = include_str!("../../SUPPORT.md");
    for row in rows.iter().filter(|row| !row.shape.is_empty()) {
        assert!(table_supports(table, row), "SUPPORT.md lacks {row:?}");
    }
}

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        #[test]
        fn every_case_has_a_test() {
            let tested = [$(stringify!($name)),*];
            for (name, _) in CASES {
                assert!(tested.contains(name), "{name}");
            }
        }
    };
}

cases!(
    block_matmul,
    conv2d,
    conv2d_gradients,
    conv2d_pooled,
    conv2d_pooled_gradients,
    what_relu_hides_is_seen,
    pool,
    pool_gradient,
    the_first_of_equal_elements_wins,
    slots_apart_are_seen,
    function_map,
    function_map_gradient,
    poly_map_and_its_gradient,
    poly_map_coefficient_gradient,
    poly_map_of_a_constant_too_large,
    what_the_guard_sees,
    linear,
    multiply,
    divide,
    reduce,
    long_axes,
    an_axis_of_no_elements,
    max_gradient,
    softmax_and_its_logarithm,
    losses,
    sgd,
    adam,
    clip,
    slot_maxima,
    linear_map,
    linear_map_of_what_is_not_finite,
    transpose,
    interleave,
    tiles,
    strided_copy,
);

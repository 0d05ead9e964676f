//! What sums, products and quotients refuse.

use super::{ABSURD, EXEC, compact, ones, out, refused, untouched};
use furthermore_kernels_cpu::elementwise::{Broadcast, divide, linear, multiply};
use furthermore_kernels_cpu::{Arithmetic, Exec, KernelError, Planes, PlanesMut};

#[test]
fn elementwise_kernels() {
    let compact = compact();
    let arithmetic = &compact.arithmetic;
    let name = |operand| ("elementwise", operand);
    // A row of six, or of what else a broadcast of b makes of it.
    type Kernel = fn(
        &Exec,
        &Arithmetic,
        &Broadcast,
        Planes<'_, f32>,
        Planes<'_, f32>,
        &mut PlanesMut<'_, f32>,
    ) -> Result<(), KernelError>;
    let kernels: [Kernel; 3] = [
        |exec, arithmetic, broadcast, a, b, to| {
            linear(exec, arithmetic, broadcast, (1.0, a), (1.0, b), to)
        },
        multiply,
        |exec, arithmetic, broadcast, a, b, to| {
            divide(exec, arithmetic, broadcast, a, b, to).map(|_| ())
        },
    ];
    for kernel in kernels {
        let run = |a: (usize, usize), b: (usize, usize), output: (usize, usize)| {
            let (a, b, mut output) = (ones(a.0, a.1), ones(b.0, b.1), out(output.0, output.1));
            let rows = Broadcast::new(&[2, 3], &[3]).expect("the shapes agree");
            let to = &mut output.view_mut();
            let outcome = kernel(&EXEC, arithmetic, &rows, a.view(), b.view(), to);
            if outcome.is_err() {
                untouched(&output);
            }
            outcome
        };
        run((2, 6), (1, 3), (2, 6)).expect("all fits");
        refused(run((3, 6), (2, 3), (2, 6)), name("a"), true, (1, 3));
        refused(run((2, 6), (3, 3), (2, 6)), name("b"), true, (1, 3));
        refused(run((2, 6), (0, 3), (2, 6)), name("b"), true, (1, 0));
        refused(run((2, 6), (2, 3), (1, 6)), name("output"), true, (2, 1));
        refused(run((1, 6), (2, 3), (1, 6)), name("output"), true, (2, 1));
        refused(run((1, 6), (1, 3), (2, 6)), name("output"), true, (1, 2));
        for has in [0, 3, 5, 7] {
            refused(run((2, has), (2, 3), (2, 6)), name("a"), false, (6, has));
        }
        for has in [0, 2, 6] {
            refused(run((2, 6), (2, has), (2, 6)), name("b"), false, (3, has));
        }
        for has in [0, 5, 7] {
            refused(
                run((2, 6), (2, 3), (2, has)),
                name("output"),
                false,
                (6, has),
            );
        }
    }
}

/// Shapes whose products pass every number do not broadcast, do not fit, or have nothing to do.
#[test]
fn absurd_sizes() {
    let compact = compact();
    let mut fitting = 0;
    for x in ABSURD {
        for y in ABSURD {
            for z in ABSURD {
                for b in [[x, y, 1], [1, y, z], [1, 1, 1], [y, z, x]] {
                    let Ok(broadcast) = Broadcast::new(&[x, y, z], &b) else {
                        continue;
                    };
                    let empty = || Planes::new(&[], 2, usize::MAX, 0).expect("nothing is needed");
                    let mut output = PlanesMut::new(&mut [], 2, usize::MAX, 0).expect("as above");
                    let outcome = multiply::<f32>(
                        &EXEC,
                        &compact.arithmetic,
                        &broadcast,
                        empty(),
                        empty(),
                        &mut output,
                    );
                    let fits = [x, y, z].contains(&0) && b.contains(&0);
                    assert_eq!(outcome.is_ok(), fits, "{:?} and {b:?}", [x, y, z]);
                    fitting += usize::from(fits);
                }
            }
        }
    }
    assert!(fitting > 7 * 7, "{fitting}");
}

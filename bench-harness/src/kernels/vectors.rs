//! Kernels that go over their operands once: functions, polynomials, arithmetic, sums, steps,
//! conversions.

use furthermore_kernels_cpu::convert::{cast, deinterleave, interleave, into_tiles, linear_map};
use furthermore_kernels_cpu::elementwise::{Broadcast, divide, linear, multiply};
use furthermore_kernels_cpu::function_map::{Function, function_map, function_map_gradient};
use furthermore_kernels_cpu::poly_map::{Coefficients, poly_map};
use furthermore_kernels_cpu::reduce::{self, Axis};
use furthermore_kernels_cpu::update::{self, Adam};
use furthermore_kernels_cpu::{Arithmetic, Element, Exec, KernelError};

use super::operands::{Operand, call};
use super::{Algebras, Case, Regime, Side};

/// Elements of tensors that stay in a core's caches, and of tensors past the last level.
const SMALL: usize = 1 << 16;
const LARGE: usize = 1 << 24;
const DEGREES: [usize; 3] = [3, 15, 63];
/// Rows and classes of a loss.
const LOGITS: [usize; 2] = [256, 10];
const ADAM: Adam = Adam {
    learning_rate: 1e-6,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-6,
    weight_decay: 0.0,
};

/// What a kernel works on: tensors of `len` elements under one algebra.
struct Tensors<T> {
    exec: Exec,
    arithmetic: Arithmetic,
    /// To read; `b` is plaintext in ct-pt.
    a: Operand<T>,
    b: Operand<T>,
    /// To write.
    y: Operand<T>,
    /// An optimiser's memory.
    m: Operand<T>,
    u: Operand<T>,
}

/// A kernel as a row measures it.
struct Pass<T> {
    kernel: String,
    shape: String,
    len: usize,
    /// Tensors of `len` elements that a call moves, `b` not counted.
    moved: usize,
    /// It reads `b`, which may be plaintext.
    two: bool,
    body: fn(&mut Tensors<T>) -> Result<(), KernelError>,
}

impl<T: Element> Pass<T> {
    fn one(
        kernel: &str,
        len: usize,
        moved: usize,
        body: fn(&mut Tensors<T>) -> Result<(), KernelError>,
    ) -> Self {
        Self {
            kernel: kernel.to_owned(),
            shape: len.to_string(),
            len,
            moved,
            two: false,
            body,
        }
    }

    fn shaped(self, shape: &str) -> Self {
        Self {
            shape: shape.to_owned(),
            ..self
        }
    }

    fn case(self, exec: Exec, algebras: &Algebras) -> Case {
        let Self {
            len, moved, body, ..
        } = self;
        let sides = algebras
            .of_two()
            .filter(|(regime, ..)| self.two || *regime != Regime::CtPt)
            .map(|(regime, algebra, arithmetic)| {
                let dim = arithmetic.dim();
                let right = if regime == Regime::CtPt { 1 } else { dim };
                let planes = dim * moved + if self.two { right } else { 0 };
                let arithmetic = arithmetic.clone();
                Side {
                    regime,
                    algebra,
                    flop: 0.0,
                    bytes: (planes * len * size_of::<T>()) as f64,
                    prepare: Box::new(move || {
                        let mut tensors = Tensors {
                            exec,
                            arithmetic: arithmetic.clone(),
                            a: Operand::random(dim, len),
                            b: Operand::random(right, len),
                            y: Operand::random(dim, len),
                            m: Operand::zeros(dim, len),
                            u: Operand::zeros(dim, len),
                        };
                        call(move || body(&mut tensors))
                    }),
                }
            });
        Case {
            kernel: self.kernel,
            shape: self.shape,
            sides: sides.collect(),
        }
    }
}

/// One case a kernel and size.
pub(super) fn cases<T: Element>(exec: Exec, algebras: &Algebras) -> Vec<Case> {
    let mut cases = Vec::new();
    for function in Function::ALL {
        cases.push(map::<T>(exec, algebras, function, false, SMALL));
    }
    for function in [Function::Relu, Function::Sigmoid, Function::Tanh] {
        cases.push(map::<T>(exec, algebras, function, true, SMALL));
        cases.push(map::<T>(exec, algebras, function, false, LARGE));
    }
    for degree in DEGREES {
        cases.push(polynomial::<T>(exec, algebras, degree));
    }
    cases.extend(
        passes::<T>()
            .into_iter()
            .map(|pass| pass.case(exec, algebras)),
    );
    cases.extend(conversions::<T>(exec, algebras));
    cases
}

fn map<T: Element>(
    exec: Exec,
    algebras: &Algebras,
    function: Function,
    gradient: bool,
    len: usize,
) -> Case {
    let sides = algebras.of_one().map(|(regime, algebra, arithmetic)| {
        let dim = arithmetic.dim();
        let arithmetic = arithmetic.clone();
        // A gradient is read and written in place.
        let moved = if gradient { 3 } else { 2 };
        Side {
            regime,
            algebra,
            flop: 0.0,
            bytes: (moved * dim * len * size_of::<T>()) as f64,
            prepare: Box::new(move || {
                let arithmetic = arithmetic.clone();
                let x = Operand::<T>::random(dim, len);
                let mut y = Operand::<T>::zeros(dim, len);
                call(move || {
                    let (x, y) = (x.view()?, &mut y.view_mut()?);
                    if gradient {
                        function_map_gradient(&exec, &arithmetic, function, x, y).map(drop)
                    } else {
                        function_map(&exec, &arithmetic, function, x, y).map(drop)
                    }
                })
            }),
        }
    });
    let suffix = if gradient { "_gradient" } else { "" };
    Case {
        kernel: format!("function_map{suffix} {}", function.name()),
        shape: len.to_string(),
        sides: sides.collect(),
    }
}

fn polynomial<T: Element>(exec: Exec, algebras: &Algebras, degree: usize) -> Case {
    let len = SMALL;
    let sides = algebras.of_two().map(|(regime, algebra, arithmetic)| {
        let dim = arithmetic.dim();
        let arithmetic = arithmetic.clone();
        let coefficients = if regime == Regime::CtCt { dim } else { 1 };
        Side {
            regime,
            algebra,
            // Horner's rule in each slot.
            flop: (2 * degree * arithmetic.slots() * len) as f64,
            bytes: (2 * dim * len * size_of::<T>()) as f64,
            prepare: Box::new(move || {
                let arithmetic = arithmetic.clone();
                let c = Operand::<T>::random(coefficients, degree + 1);
                let x = Operand::<T>::random(dim, len);
                let mut y = Operand::<T>::zeros(dim, len);
                call(move || {
                    let (c, x) = (Coefficients::Tensor(c.view()?), x.view()?);
                    poly_map(&exec, &arithmetic, c, x, &mut y.view_mut()?).map(drop)
                })
            }),
        }
    });
    Case {
        kernel: "poly_map".to_owned(),
        shape: format!("{len} degree {degree}"),
        sides: sides.collect(),
    }
}

/// Arithmetic, sums and steps.
fn passes<T: Element>() -> Vec<Pass<T>> {
    let mut passes = Vec::new();
    for len in [SMALL, LARGE] {
        let two = |kernel: &str, body| Pass {
            two: true,
            ..Pass::one(kernel, len, 2, body)
        };
        passes.push(two("elementwise add", |t| {
            let (a, b) = ((1.0, t.a.view()?), (1.0, t.b.view()?));
            let same = Broadcast::same(a.1.len());
            linear(&t.exec, &t.arithmetic, &same, a, b, &mut t.y.view_mut()?)
        }));
        passes.push(two("elementwise multiply", |t| {
            let (a, b) = (t.a.view()?, t.b.view()?);
            let same = Broadcast::same(a.len());
            multiply(&t.exec, &t.arithmetic, &same, a, b, &mut t.y.view_mut()?)
        }));
        passes.push(two("elementwise divide", |t| {
            let (a, b) = (t.a.view()?, t.b.view()?);
            let same = Broadcast::same(a.len());
            divide(&t.exec, &t.arithmetic, &same, a, b, &mut t.y.view_mut()?).map(drop)
        }));
    }
    let len = SMALL;
    passes.push(Pass::one("reduce slot_maxima", len, 1, |t| {
        reduce::slot_maxima(&t.exec, &t.arithmetic, t.a.view()?).map(drop)
    }));
    passes.push(
        Pass::one("reduce sum", len, 1, |t| {
            let axis = Axis {
                outer: 1,
                length: SMALL / 256,
                inner: 256,
            };
            let mut y = t.y.head_mut(256)?;
            reduce::sum(&t.exec, &axis, t.a.view()?, &mut y)
        })
        .shaped("256x256 rows"),
    );
    passes.push(
        Pass::one("reduce sum", len, 1, |t| {
            let axis = Axis {
                outer: 256,
                length: SMALL / 256,
                inner: 1,
            };
            let mut y = t.y.head_mut(256)?;
            reduce::sum(&t.exec, &axis, t.a.view()?, &mut y)
        })
        .shaped("256x256 columns"),
    );
    passes.push(
        Pass::one("reduce max", len, 1, |t| {
            let axis = Axis {
                outer: 256,
                length: SMALL / 256,
                inner: 1,
            };
            let mut y = t.y.head_mut(256)?;
            reduce::max(&t.exec, &t.arithmetic, &axis, t.a.view()?, &mut y).map(drop)
        })
        .shaped("256x256 columns"),
    );
    let logits = LOGITS[0] * LOGITS[1];
    let shape = format!("{}x{}", LOGITS[0], LOGITS[1]);
    passes.push(
        Pass::one("reduce softmax", logits, 2, |t| {
            let y = &mut t.y.view_mut()?;
            reduce::softmax(&t.exec, &t.arithmetic, t.a.view()?, LOGITS[1], y).map(drop)
        })
        .shaped(&shape),
    );
    passes.push(
        Pass::one("reduce softmax_cross_entropy", logits, 2, |t| {
            let (x, target) = (t.a.view()?, t.b.view()?);
            let y = &mut t.y.head_mut(1)?;
            reduce::softmax_cross_entropy(&t.exec, &t.arithmetic, x, target, LOGITS[1], y).map(drop)
        })
        .shaped(&shape),
    );
    passes.push(
        Pass::one("reduce softmax_cross_entropy_gradient", logits, 3, |t| {
            let (x, target) = (t.a.view()?, t.b.view()?);
            let y = &mut t.y.view_mut()?;
            reduce::softmax_cross_entropy_gradient(&t.exec, &t.arithmetic, x, target, LOGITS[1], y)
                .map(drop)
        })
        .shaped(&shape),
    );
    passes.push(Pass::one("update sgd", len, 3, |t| {
        let (g, p) = (t.a.view()?, &mut t.y.view_mut()?);
        update::sgd(&t.exec, 1e-6, 0.0, g, p, None).map(drop)
    }));
    passes.push(Pass::one("update momentum", len, 5, |t| {
        let (g, p, v) = (t.a.view()?, &mut t.y.view_mut()?, &mut t.m.view_mut()?);
        update::sgd(&t.exec, 1e-6, 0.0, g, p, Some((0.9, v))).map(drop)
    }));
    passes.push(Pass::one("update adam", len, 7, |t| {
        let (g, p) = (t.a.view()?, &mut t.y.view_mut()?);
        let (m, u) = (&mut t.m.view_mut()?, &mut t.u.view_mut()?);
        update::adam(&t.exec, &t.arithmetic, &ADAM, 1, g, p, m, u).map(drop)
    }));
    passes.push(Pass::one("update clip", len, 2, |t| {
        update::clip(&t.exec, &t.arithmetic, 0.5, &mut t.y.view_mut()?).map(drop)
    }));
    passes.push(
        Pass::one("convert into_tiles", 64 * 28 * 28, 2, |t| {
            into_tiles(&t.exec, 64, t.a.view()?, &mut t.y.view_mut()?)
        })
        .shaped("64x28x28"),
    );
    passes
}

/// Layouts and element types.
fn conversions<T: Element>(exec: Exec, algebras: &Algebras) -> Vec<Case> {
    let len = SMALL;
    let case = |kernel: &str, sides: Vec<Side>| Case {
        kernel: format!("convert {kernel}"),
        shape: len.to_string(),
        sides,
    };
    let encrypt = algebras.of_one().map(|(regime, algebra, arithmetic)| {
        let (dim, slots) = (arithmetic.dim(), arithmetic.slots());
        let matrix = arithmetic.from_slots().to_vec();
        Side {
            regime,
            algebra,
            flop: 0.0,
            bytes: ((dim + slots) * len * size_of::<T>()) as f64,
            prepare: Box::new(move || {
                let (x, mut y) = (
                    Operand::<T>::random(slots, len),
                    Operand::<T>::zeros(dim, len),
                );
                let matrix = matrix.clone();
                call(move || {
                    let x = x.view()?;
                    let inputs: [&[T]; 2] = [x.plane(0), x.plane(slots - 1)];
                    linear_map(&exec, &matrix, &inputs[..slots], &mut y.view_mut()?)
                })
            }),
        }
    });
    let two_slots = |side: &Side| side.algebra.slots() <= 2;
    let mut cases = vec![case("encrypt", encrypt.filter(two_slots).collect())];
    for into in [true, false] {
        let sides = algebras.of_one().map(|(regime, algebra, arithmetic)| {
            let dim = arithmetic.dim();
            Side {
                regime,
                algebra,
                flop: 0.0,
                bytes: (2 * dim * len * size_of::<T>()) as f64,
                prepare: Box::new(move || {
                    let mut planes = Operand::<T>::random(dim, len);
                    let mut blocks = Operand::<T>::random(1, dim * len);
                    call(move || {
                        if into {
                            let blocks = &mut blocks.view_mut()?;
                            interleave(&exec, planes.view()?, blocks.plane_mut(0))
                        } else {
                            let blocks = blocks.view()?;
                            deinterleave(&exec, blocks.plane(0), &mut planes.view_mut()?)
                        }
                    })
                }),
            }
        });
        let name = if into { "interleave" } else { "deinterleave" };
        cases.push(case(name, sides.collect()));
    }
    let sides = algebras.of_one().map(|(regime, algebra, arithmetic)| {
        let dim = arithmetic.dim();
        Side {
            regime,
            algebra,
            flop: 0.0,
            bytes: (dim * len * (size_of::<f32>() + size_of::<half::f16>())) as f64,
            prepare: Box::new(move || {
                let x = Operand::<f32>::random(dim, len);
                let mut y = vec![half::f16::ZERO; dim * len];
                call(move || {
                    let mut y = furthermore_kernels_cpu::PlanesMut::new(&mut y, dim, len, len)?;
                    cast(&exec, x.view()?, &mut y)
                })
            }),
        }
    });
    cases.push(case("cast f32 to f16", sides.collect()));
    cases
}

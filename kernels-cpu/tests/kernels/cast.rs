//! Element types: one rounding to the nearest, ties to even, by an oracle that searches the values
//! of the narrow type for the nearest.

use crate::support::{Noise, execs};
use furthermore_kernels_cpu::convert::{Cast, cast};
use furthermore_kernels_cpu::{Element, Exec, Isa, KernelError, Planes, PlanesMut};
use half::{bf16, f16};

/// A storage type by its bits: sign, exponent, fraction.
trait Narrow: Copy + Send + Sync + PartialEq + std::fmt::Debug {
    const FRACTION: u32;
    const EXPONENT: u32;
    fn bits(self) -> u16;
    fn from_bits(bits: u16) -> Self;

    fn infinity() -> u16 {
        ((1 << Self::EXPONENT) - 1) << Self::FRACTION
    }

    /// The value by the definition of the format, for magnitudes up to what follows the largest.
    fn magnitude(bits: u16) -> f64 {
        let (exponent, fraction) = (bits >> Self::FRACTION, bits % (1 << Self::FRACTION));
        let bias = (1 << (Self::EXPONENT - 1)) - 1;
        let unit = 2f64.powi(i32::from(exponent.max(1)) - bias - Self::FRACTION as i32);
        let leading = if exponent == 0 {
            0
        } else {
            1u32 << Self::FRACTION
        };
        f64::from(leading + u32::from(fraction)) * unit
    }

    /// The nearest value's bits: by bisection among magnitudes, the even one of two at equal distance.
    /// Infinity stands where the next power of two would.
    fn nearest(x: f64) -> u16 {
        let sign = u16::from(x.is_sign_negative()) << 15;
        let x = x.abs();
        if x >= Self::magnitude(Self::infinity()) {
            return sign | Self::infinity();
        }
        let (mut low, mut high) = (0, Self::infinity());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if Self::magnitude(middle) <= x {
                low = middle;
            } else {
                high = middle;
            }
        }
        // Both differences are exact: neighbours lie within a factor of two, or near zero.
        let (below, above) = (x - Self::magnitude(low), Self::magnitude(high) - x);
        let up = above < below || (above == below && low % 2 == 1);
        sign | if up { high } else { low }
    }
}

impl Narrow for f16 {
    const FRACTION: u32 = 10;
    const EXPONENT: u32 = 5;
    fn bits(self) -> u16 {
        self.to_bits()
    }
    fn from_bits(bits: u16) -> Self {
        f16::from_bits(bits)
    }
}

impl Narrow for bf16 {
    const FRACTION: u32 = 7;
    const EXPONENT: u32 = 8;
    fn bits(self) -> u16 {
        self.to_bits()
    }
    fn from_bits(bits: u16) -> Self {
        bf16::from_bits(bits)
    }
}

/// Runs the kernel between guards of three numbers on either side.
fn run<A: Cast<B>, B: Copy + Send + Sync + PartialEq + std::fmt::Debug>(
    exec: &Exec,
    from: &[A],
    guard: B,
) -> Vec<B> {
    let mut to = vec![guard; from.len() + 6];
    let len = from.len();
    cast(
        exec,
        Planes::plain(from),
        &mut PlanesMut::plain(&mut to[3..len + 3]),
    )
    .expect("the operands fit");
    for at in (0..3).chain(len + 3..len + 6) {
        assert_eq!(to[at], guard, "written beside the output, {exec:?}");
    }
    to[3..len + 3].to_vec()
}

/// Every value of the narrow type widens to what its definition says, and comes back as it was.
fn widening<N: Narrow + Cast<T>, T: Element + Cast<N>>() {
    let all: Vec<N> = (0..=u16::MAX).map(N::from_bits).collect();
    for exec in execs() {
        let wide = run(&exec, &all, T::one());
        let back = run(&exec, &wide, N::from_bits(1));
        for ((x, wide), back) in all.iter().zip(&wide).zip(&back) {
            let (magnitude, negative) = (x.bits() & 0x7fff, x.bits() >> 15 == 1);
            assert_eq!(wide.is_sign_negative(), negative, "{x:?}");
            if magnitude > N::infinity() {
                assert!(wide.is_nan() && back.bits() & 0x7fff > N::infinity());
                continue;
            }
            let value = if magnitude == N::infinity() {
                f64::INFINITY
            } else {
                N::magnitude(magnitude)
            };
            assert_eq!(wide.wide().abs(), value, "{x:?} {exec:?}");
            assert_eq!(back.bits(), x.bits(), "{x:?} {exec:?}");
        }
    }
}

/// Numbers about every value of the narrow type: itself, the middle between it and the next, and
/// the nearest numbers of `T` beside those.
fn about_values<N: Narrow, T: Element>() -> Vec<T> {
    let mut numbers = Vec::new();
    for bits in 0..N::infinity() {
        let (x, next) = (N::magnitude(bits), N::magnitude(bits + 1));
        let ulp = T::epsilon().wide() / 2.0;
        for middle in [x, x + (next - x) / 2.0] {
            for shift in [0.0, -ulp, 2.0 * ulp, -1e-4, 1e-4] {
                numbers.push(T::of(middle + middle * shift));
            }
        }
    }
    let negative: Vec<T> = numbers.iter().map(|x| -*x).collect();
    numbers.extend(negative);
    numbers
}

fn narrowing<N: Narrow, T: Element + Cast<N>>() {
    let mut noise = Noise::new(1);
    let mut numbers = about_values::<N, T>();
    // Of all magnitudes, from below the smallest to past the largest.
    numbers.extend(
        (0..20_000).map(|_| T::of(noise.uniform(-1.0, 1.0) * noise.uniform(-160.0, 135.0).exp2())),
    );
    let most = N::magnitude(N::infinity());
    numbers.extend([0.0, -0.0, most, -most, 1e300, -1e300, f64::INFINITY].map(T::of));
    numbers.extend([T::max_value(), T::min_positive_value(), T::neg_infinity()]);
    let expected: Vec<u16> = numbers.iter().map(|x| N::nearest(x.wide())).collect();
    for exec in execs() {
        let found = run(&exec, &numbers, N::from_bits(1));
        for ((x, found), expected) in numbers.iter().zip(found).zip(&expected) {
            assert_eq!(found.bits(), *expected, "{x:?} to {found:?}, {exec:?}");
        }
        let nan = run(&exec, &[T::nan(), -T::nan()], N::from_bits(1));
        assert!(
            nan.iter().all(|x| x.bits() & 0x7fff > N::infinity()),
            "{exec:?}"
        );
    }
}

#[test]
fn f16_widens() {
    widening::<f16, f32>();
    widening::<f16, f64>();
}

#[test]
fn bf16_widens() {
    widening::<bf16, f32>();
    widening::<bf16, f64>();
}

#[test]
fn f32_to_f16() {
    narrowing::<f16, f32>();
}

#[test]
fn f64_to_f16() {
    narrowing::<f16, f64>();
}

#[test]
fn f32_to_bf16() {
    narrowing::<bf16, f32>();
}

#[test]
fn f64_to_bf16() {
    narrowing::<bf16, f64>();
}

/// By way of the nearest f32 these would be rounded twice, to the wrong side.
#[test]
fn one_rounding_from_f64() {
    // Just above the middle between 1 and the next f16 or bf16, by less than an f32 can tell.
    let above = |fraction: i32| 1.0 + 2f64.powi(-fraction - 1) + 2f64.powi(-40);
    for exec in execs() {
        let f = run(&exec, &[above(10), -above(10)], f16::ZERO);
        assert_eq!(
            f,
            [1.0 + 1.0 / 1024.0, -1.0 - 1.0 / 1024.0].map(f16::from_f32)
        );
        let b = run(&exec, &[above(7), -above(7)], bf16::ZERO);
        assert_eq!(
            b,
            [1.0 + 1.0 / 128.0, -1.0 - 1.0 / 128.0].map(bf16::from_f32)
        );
    }
}

/// The last place of an f32, by bits: what the language's own conversion is not asked about.
#[test]
fn f64_to_f32_and_back() {
    let mut noise = Noise::new(2);
    let singles: Vec<f32> = (0..40_000)
        .map(|_| f32::from_bits(noise.next() as u32))
        .filter(|x| x.is_finite() && x.to_bits() & 0x7fff_ffff < 0x7f7f_ffff)
        .collect();
    // A quarter, a half and three quarters of the way to the next number away from zero.
    let next: Vec<f32> = singles
        .iter()
        .map(|x| f32::from_bits(x.to_bits() + 1))
        .collect();
    for exec in execs() {
        let wide = run(&exec, &singles, 0.5f64);
        let far = run(&exec, &next, 0.5f64);
        for (x, wide) in singles.iter().zip(&wide) {
            // An f32 is a whole multiple of a power of two by its definition.
            let bits = x.to_bits() & 0x7fff_ffff;
            let (exponent, fraction) = (bits >> 23, bits % (1 << 23));
            let leading = if exponent == 0 { 0 } else { 1 << 23 };
            let value = f64::from(leading + fraction) * 2f64.powi(exponent.max(1) as i32 - 150);
            assert_eq!(wide.abs(), value, "{exec:?}");
        }
        for (part, tie) in [(0.25, false), (0.5, true), (0.75, false)] {
            let between: Vec<f64> = wide
                .iter()
                .zip(&far)
                .map(|(a, b)| a + part * (b - a))
                .collect();
            let found = run(&exec, &between, 0.5f32);
            for ((found, x), next) in found.iter().zip(&singles).zip(&next) {
                let up = if tie {
                    x.to_bits() % 2 == 1
                } else {
                    part > 0.5
                };
                let expected = if up { next } else { x };
                assert_eq!(found.to_bits(), expected.to_bits(), "{part} {exec:?}");
            }
        }
        let edges = [
            1e300,
            -1e300,
            f64::NAN,
            1e-300,
            -1e-300,
            3.4028235677973366e38,
        ];
        let found = run(&exec, &edges, 0.5f32);
        let infinity = f32::INFINITY;
        assert_eq!(found[..2], [infinity, -infinity]);
        assert!(found[2].is_nan());
        assert_eq!(found[3].to_bits(), 0);
        assert_eq!(found[4].to_bits(), 1 << 31);
        assert_eq!(
            found[5], infinity,
            "the middle past the largest goes to the even side"
        );
    }
}

/// Planes are converted each for itself, and nothing between them is touched, for awkward lengths.
#[test]
fn planes_and_lengths() {
    for isa in Isa::available() {
        for threads in [1, 3] {
            let exec = Exec { isa, threads };
            for len in [0, 1, 7, 8, 9, 16, 17, 31, 255, 256, 257, 40_001] {
                let (from, stride) = (vec![1.5f64; 2 * len + 5], len + 5);
                let mut to = vec![f16::NEG_ONE; 2 * len + 5];
                let input = Planes::new(&from, 2, stride, len).expect("it fits");
                let mut output = PlanesMut::new(&mut to, 2, stride, len).expect("it fits");
                cast(&exec, input, &mut output).expect("the operands fit");
                for (at, x) in to.iter().enumerate() {
                    let inside = at % stride < len;
                    let expected = if inside {
                        f16::from_f32(1.5)
                    } else {
                        f16::NEG_ONE
                    };
                    assert_eq!(*x, expected, "{at} of {len} {exec:?}");
                }
            }
        }
    }
}

/// What does not fit is refused, and the output left alone.
#[test]
fn refused() {
    let exec = execs()[0];
    let from = [1.0f32; 6];
    let mut to = [bf16::ZERO; 6];
    let error = cast(
        &exec,
        Planes::plain(&from),
        &mut PlanesMut::plain(&mut to[..5]),
    );
    let length = KernelError::Length {
        kernel: "convert",
        operand: "output",
        needs: 6,
        has: 5,
    };
    assert_eq!(error, Err(length));
    let input = Planes::new(&from, 2, 3, 3).expect("it fits");
    let error = cast(&exec, input, &mut PlanesMut::plain(&mut to[..3]));
    let planes = KernelError::PlaneCount {
        kernel: "convert",
        operand: "output",
        needs: 2,
        has: 1,
    };
    assert_eq!(error, Err(planes));
    assert_eq!(to, [bf16::ZERO; 6]);
}

/// The oracle finds ties and neighbours, and tells one value from the next.
#[test]
fn the_oracle_rounds_to_even() {
    assert_eq!(f16::nearest(1.0 + 1.0 / 2048.0), 0x3c00);
    assert_eq!(f16::nearest(1.0 + 3.0 / 2048.0), 0x3c02);
    assert_eq!(f16::nearest(65519.99), 0x7bff);
    assert_eq!(f16::nearest(65520.0), 0x7c00);
    assert_eq!(f16::nearest(-(2f64.powi(-25))), 0x8000);
    assert_eq!(f16::nearest(1.0 + 1.1 / 2048.0), 0x3c01);
    assert_eq!(bf16::nearest(1.0 + 1.0 / 256.0), 0x3f80);
    assert_eq!(bf16::nearest(f64::INFINITY), 0x7f80);
}

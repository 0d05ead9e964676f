//! Elementary functions on vectors.

use super::Simd;
use crate::element::Element;

/// `exp(x)`: x = n ln 2 + r with |r| <= ln 2 / 2, the series of exp(r), times 2^n.
///
/// NaN stays NaN; past the range it is zero or infinity.
#[inline(always)]
pub(crate) fn exp<T: Element, S: Simd<T>>(x: S) -> S {
    let wide = |x: f64| S::splat(T::of(x));
    // `max(a, b)` gives b where a is NaN, so the order of operands lets NaN through.
    let inside = wide(T::EXP_RANGE.0).max(x);
    let minus = |x: S| wide(0.0).sub(x);
    let inside = minus(minus(wide(T::EXP_RANGE.1)).max(minus(inside)));
    let n = inside.mul(wide(std::f64::consts::LOG2_E)).round();
    let r = n.mul_add(wide(-T::LN_2.0), inside);
    let r = n.mul_add(wide(-T::LN_2.1), r);
    let mut reciprocal = 1.0;
    let mut coefficients = [1.0; 16];
    for (k, c) in coefficients.iter_mut().enumerate().skip(1) {
        reciprocal /= k as f64;
        *c = reciprocal;
    }
    let mut sum = wide(coefficients[T::EXP_TERMS]);
    for k in (0..T::EXP_TERMS).rev() {
        sum = sum.mul_add(r, wide(coefficients[k]));
    }
    sum.scale_by_power(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::simd::WithSimd;

    struct Exp<T>(Vec<T>);

    impl<T: Element> WithSimd<T> for Exp<T> {
        type Output = Vec<T>;
        fn run<S: Simd<T>>(self) -> Vec<T> {
            self.0
                .iter()
                .map(|x| exp::<T, S>(S::splat(*x)).lanes()[0])
                .collect()
        }
    }

    fn worst<T: Element>(isa: Isa, low: f64, high: f64) -> f64 {
        let count = 20_000;
        let at = |i: usize| T::of(low + (high - low) * i as f64 / count as f64);
        let points: Vec<T> = (0..=count).map(at).collect();
        let values = isa.run(Exp(points.clone()));
        let ulp = T::epsilon().wide();
        let error = |(x, y): (&T, &T)| {
            let exact = x.wide().exp();
            (y.wide() - exact).abs() / (exact * ulp).max(T::min_positive_value().wide() * ulp)
        };
        points.iter().zip(&values).map(error).fold(0.0, f64::max)
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for isa in Isa::available() {
            let single = worst::<f32>(isa, -87.0, 88.7);
            assert!(single <= 2.0, "{isa}: {single} ulp");
            let denormal = worst::<f32>(isa, -104.0, -87.0);
            assert!(denormal <= 2.0, "{isa}: {denormal} ulp");
            let double = worst::<f64>(isa, -708.0, 709.7);
            assert!(double <= 2.0, "{isa}: {double} ulp");
        }
    }

    #[test]
    fn exp_at_the_edges() {
        for isa in Isa::available() {
            let ends = vec![
                f32::NAN,
                f32::INFINITY,
                f32::NEG_INFINITY,
                0.0,
                100.0,
                -200.0,
            ];
            let values = isa.run(Exp(ends));
            assert!(values[0].is_nan(), "{isa}");
            assert_eq!(
                values[1..],
                [f32::INFINITY, 0.0, 1.0, f32::INFINITY, 0.0],
                "{isa}"
            );
        }
    }
}

//! The bilinear program of a product of polynomials over an algebra, by Karatsuba's rule.

use crate::algebra::{Bilinear, Combination, Term};

/// A product of sums of coefficients: which of each operand, and with what sign it goes into which
/// coefficients of the result.
struct Product {
    left: Vec<usize>,
    right: Vec<usize>,
    outputs: Vec<(usize, f64)>,
}

impl Product {
    /// The same of coefficients further up.
    fn shifted(mut self, left: usize, right: usize, output: usize) -> Self {
        self.left.iter_mut().for_each(|i| *i += left);
        self.right.iter_mut().for_each(|i| *i += right);
        self.outputs.iter_mut().for_each(|(i, _)| *i += output);
        self
    }
}

/// The products of polynomials with `left` and `right` coefficients.
///
/// Operands are cut into `a0 + a1 x^h` and `b0 + b1 x^h`: three products of halves, `a0 b0`, `a1 b1`
/// and `(a0 + a1)(b0 + b1)`, give what four would (Karatsuba and Ofman, 1962). Where one operand ends
/// below h only the other is cut, and a constant multiplies each coefficient: nothing is to be saved.
fn karatsuba(left: usize, right: usize) -> Vec<Product> {
    if left == 1 || right == 1 {
        let each = |i: usize| Product {
            left: vec![i.min(left - 1)],
            right: vec![i.min(right - 1)],
            outputs: vec![(i, 1.0)],
        };
        return (0..left.max(right)).map(each).collect();
    }
    let half = left.max(right).div_ceil(2);
    if left <= half {
        let low = karatsuba(left, half).into_iter();
        let high = karatsuba(left, right - half).into_iter();
        return low.chain(high.map(|p| p.shifted(0, half, half))).collect();
    }
    if right <= half {
        let low = karatsuba(half, right).into_iter();
        let high = karatsuba(left - half, right).into_iter();
        return low.chain(high.map(|p| p.shifted(half, 0, half))).collect();
    }
    let middle = |mut p: Product| {
        let both = |terms: &[usize], high: usize| -> Vec<usize> {
            let above = terms.iter().filter(|&&i| i < high).map(|i| i + half);
            terms.iter().copied().chain(above).collect()
        };
        p.left = both(&p.left, left - half);
        p.right = both(&p.right, right - half);
        p.shifted(0, 0, half)
    };
    // The middle coefficients are what the third product has more than the other two.
    let outer = |mut p: Product| {
        let less: Vec<_> = p.outputs.iter().map(|(i, w)| (i + half, -w)).collect();
        p.outputs.extend(less);
        p
    };
    let mut products = Vec::new();
    products.extend(karatsuba(half, half).into_iter().map(outer));
    let high = karatsuba(left - half, right - half)
        .into_iter()
        .map(|mut p| {
            let less: Vec<_> = p.outputs.iter().map(|(i, w)| (i + half, -w)).collect();
            let own = p.outputs.iter().map(|(i, w)| (i + 2 * half, *w));
            p.outputs = own.chain(less).collect();
            p.left.iter_mut().for_each(|i| *i += half);
            p.right.iter_mut().for_each(|i| *i += half);
            p
        });
    products.extend(high);
    products.extend(karatsuba(half, half).into_iter().map(middle));
    for product in &mut products {
        gather(&mut product.outputs);
    }
    products
}

/// Adds up what is named twice.
fn gather(outputs: &mut Vec<(usize, f64)>) {
    outputs.sort_by_key(|(i, _)| *i);
    outputs.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    outputs.retain(|(_, weight)| *weight != 0.0);
}

/// The program of polynomials with so many coefficients, lowest first, whose coefficients have `dim`
/// coordinates and are multiplied by `base`.
pub(crate) fn product(base: &Bilinear, dim: usize, coefficients: [usize; 2]) -> Bilinear {
    let products = karatsuba(coefficients[0], coefficients[1]);
    let combine = |terms: &[usize], combination: &Combination| -> Combination {
        let planes = terms
            .iter()
            .flat_map(|i| combination.iter().map(move |c| (i, c)));
        planes
            .map(|(i, (plane, weight))| (i * dim + plane, *weight))
            .collect()
    };
    let (mut left, mut right, mut terms) = (Vec::new(), Vec::new(), Vec::new());
    for product in &products {
        let (before, after) = (left.len(), right.len());
        left.extend(base.left.iter().map(|c| combine(&product.left, c)));
        right.extend(base.right.iter().map(|c| combine(&product.right, c)));
        for term in &base.terms {
            let outputs = product.outputs.iter().flat_map(|(i, sign)| {
                let planes = term.outputs.iter();
                planes.map(move |(plane, weight)| (i * dim + plane, sign * weight))
            });
            terms.push(Term {
                left: before + term.left,
                right: after + term.right,
                outputs: outputs.collect(),
            });
        }
    }
    let [left_planes, right_planes] = coefficients.map(|count| count * dim);
    let program = Bilinear { left, right, terms };
    program.check([left_planes, right_planes, left_planes + right_planes - dim]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of coefficients goes into the coefficient of their sum, once, and nothing else
    /// does.
    #[test]
    fn products_are_those_of_polynomials() {
        for left in 1..=17 {
            for right in 1..=17 {
                let mut found = vec![0.0; left * right * (left + right)];
                for product in karatsuba(left, right) {
                    for i in &product.left {
                        for j in &product.right {
                            for (k, weight) in &product.outputs {
                                found[(i * right + j) * (left + right) + k] += weight;
                            }
                        }
                    }
                }
                for (at, weight) in found.iter().enumerate() {
                    let (i, j, k) = (
                        at / (left + right) / right,
                        at / (left + right) % right,
                        at % (left + right),
                    );
                    assert_eq!(*weight, f64::from(u8::from(i + j == k)), "{left} {right}");
                }
            }
        }
    }

    #[test]
    fn fewer_products_than_coefficients_squared() {
        let counts = [(1, 1), (2, 3), (3, 7), (4, 9), (8, 27), (9, 43)];
        for (coefficients, products) in counts {
            assert_eq!(karatsuba(coefficients, coefficients).len(), products);
        }
        assert_eq!(karatsuba(1, 5).len(), 5);
    }
}

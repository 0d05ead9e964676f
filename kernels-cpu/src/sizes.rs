//! Arithmetic on sizes that a caller chooses: what passes the largest number stays there, and does not
//! come round to a small one.

/// The product of sizes; zero where one of them is, however large the others.
pub(crate) fn product(sizes: &[usize]) -> usize {
    sizes.iter().copied().fold(1, usize::saturating_mul)
}

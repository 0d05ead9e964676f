//! Sums, means and maxima along an axis, softmax, and losses.

mod axis;
mod loss;
mod softmax;

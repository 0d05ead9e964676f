//! Every kernel as a plan of one command, on plaintexts and ciphertexts, against functions on plain
//! arrays: kernels act slot by slot, so what is expected of a slot is that function of the slots read.

mod elements;
mod harness;
mod images;
mod layouts;
mod products;
mod refused;
mod rows;
mod steps;

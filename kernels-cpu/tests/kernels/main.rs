//! Every kernel on every instruction set against an independent f64 oracle: one test program, so
//! that the kernels are compiled for it once.

mod block_matmul;
mod block_matmul_blocking;
mod cast;
mod conv2d;
mod conv2d_errors;
mod conv2d_pooled;
mod conv2d_threads;
mod convert;
mod elementwise;
mod errors;
mod function_map;
mod isa;
mod layout;
mod negative_control;
mod poly_map;
mod pool;
mod pool_errors;
mod pool_rectified;
mod reduce;
mod slot_maxima;
mod strided;
mod support;
mod update;

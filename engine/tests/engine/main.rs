//! The engine against oracles that know nothing of its code: one test program, so that it is linked
//! once. What a run allocates is counted by a program of its own, `allocations.rs`.

mod blocks;
mod commands;
mod errors;
mod errors_network;
mod errors_run;
mod errors_session;
mod files;
mod fits;
mod functions;
mod gradients;
mod guard;
mod hybrid;
mod keys;
mod layers;
mod negative_control;
mod networks;
mod normalization;
mod npy;
mod onnx;
mod plans;
mod polynomials;
mod properties;
mod ring;
mod samples;
mod support;
mod trainer;
mod training;
mod verify;

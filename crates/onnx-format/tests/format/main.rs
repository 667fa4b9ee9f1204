//! The codec on files as others write them, on its own files, and on damaged ones.

mod damage;
mod declared;
mod models;
mod older_sets;
mod operators;
mod pytorch;
mod quantized;
mod reading;
mod refusals;
mod round_trip;
mod tensors;

//! libFuzzer's entry into [`onnx2int_fuzz::idx`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onnx2int_fuzz::idx(bytes));

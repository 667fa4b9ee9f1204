//! libFuzzer's entry into [`onnx2int_fuzz::certificate`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onnx2int_fuzz::certificate(bytes));

//! Which of tract's kernels run.

/// Turns tract away from its AVX2 kernel for integer products, where that is the one it would
/// take.
///
/// In tract 0.23.9 the inner loop of `avx2_mmm_i32_8x8` loads with a legacy SSE `movq` between AVX
/// instructions; on processors where that costs a transition (AMD Zen 3 among them) an integer
/// graph runs seven to ten times slower than with the 128-bit kernel, which gives the same bits.
/// The price: tract offers its FMA kernels for floats to processors with AVX2 only, and takes AVX
/// ones instead, 10 to 20 percent slower. The instruction set is one for the whole process, so that
/// it cannot be chosen for each graph. Processors with VNNI have integer kernels of their own. The
/// environment variable `TRACT_CPU_ISA` has the last word.
pub(crate) fn prefer_fast_integer_products() {
    #[cfg(target_arch = "x86_64")]
    {
        let has_vnni = std::arch::is_x86_feature_detected!("avx512vnni")
            || std::arch::is_x86_feature_detected!("avxvnni");
        if !has_vnni {
            // Refused only where another part of the process has set it, which then stands.
            let _ = tract_onnx::tract_core::knobs::set_config_global("TRACT_CPU_ISA", "-avx2");
        }
    }
}

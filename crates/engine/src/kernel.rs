//! Which instructions are used.

use std::fmt;

#[cfg(any(target_arch = "aarch64", test))]
use crate::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512Vnni, AvxVnni};
use crate::lanes::{Portable, PortablePairs};

/// A set of instructions that the engine's kernels are compiled for. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// AVX-512 with VNNI: four products of bytes in each of sixteen lanes at once.
    Avx512Vnni,
    /// AVX-VNNI: four products of bytes in each of eight lanes.
    AvxVnni,
    /// AVX2: pairs of products of 16 bits in eight lanes.
    Avx2,
    /// NEON of 64-bit ARM: products of 16 bits in four lanes.
    Neon,
    /// No special instructions, products of bytes.
    Portable,
    /// No special instructions, pairs of products of 16 bits: what AVX2 and NEON do, for tests anywhere.
    PortablePairs,
}

impl Kernel {
    /// Every kernel, the fastest first.
    pub const ALL: [Self; 6] =
        [Self::Avx512Vnni, Self::AvxVnni, Self::Avx2, Self::Neon, Self::Portable, Self::PortablePairs];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512Vnni => "avx512-vnni",
            Self::AvxVnni => "avx-vnni",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
            Self::PortablePairs => "portable-pairs",
        }
    }

    /// The kernel of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kernel| kernel.name() == name)
    }

    /// Whether this processor has the instructions.
    pub fn is_available(self) -> bool {
        self.instructions().is_some()
    }

    /// Whether it needs no special instructions: slow, and there to be compared with.
    pub const fn is_portable(self) -> bool {
        matches!(self, Self::Portable | Self::PortablePairs)
    }

    /// The fastest kernel of this processor.
    pub fn fastest() -> Self {
        Self::ALL.into_iter().find(|kernel| kernel.is_available()).unwrap_or(Self::Portable)
    }

    pub(crate) fn instructions(self) -> Option<Instructions> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => Avx512Vnni::detect().map(Instructions::Avx512Vnni),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => AvxVnni::detect().map(Instructions::AvxVnni),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::detect().map(Instructions::Avx2),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512Vnni | Self::AvxVnni | Self::Avx2 => None,
            #[cfg(any(target_arch = "aarch64", test))]
            Self::Neon => Neon::detect().map(Instructions::Neon),
            #[cfg(not(any(target_arch = "aarch64", test)))]
            Self::Neon => None,
            Self::Portable => Some(Instructions::Portable(Portable)),
            Self::PortablePairs => Some(Instructions::PortablePairs(PortablePairs)),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kernel with the proof that it may be used.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(any(target_arch = "aarch64", test))]
    Neon(Neon),
    Portable(Portable),
    PortablePairs(PortablePairs),
}

/// `$work` with `$lanes` bound to the instruction set.
macro_rules! with_lanes {
    ($instructions:expr, |$lanes:ident| $work:expr) => {
        match $instructions {
            #[cfg(target_arch = "x86_64")]
            $crate::kernel::Instructions::Avx512Vnni($lanes) => $work,
            #[cfg(target_arch = "x86_64")]
            $crate::kernel::Instructions::AvxVnni($lanes) => $work,
            #[cfg(target_arch = "x86_64")]
            $crate::kernel::Instructions::Avx2($lanes) => $work,
            #[cfg(any(target_arch = "aarch64", test))]
            $crate::kernel::Instructions::Neon($lanes) => $work,
            $crate::kernel::Instructions::Portable($lanes) => $work,
            $crate::kernel::Instructions::PortablePairs($lanes) => $work,
        }
    };
}
pub(crate) use with_lanes;

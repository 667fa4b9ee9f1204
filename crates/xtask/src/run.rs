//! Which run of the pipeline: whose files are made, compared or proven.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// A run. Each has a folder of its own.
#[derive(Args, Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Run {
    /// The run with a short training on a subset, for a quick check; its files are in reports/mnist-quick
    #[arg(long)]
    pub quick: bool,
    /// The network; the files of another one than the standard one are in a folder of its name, such as
    /// reports/mnist-tiny
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pub network: Network,
}

/// What `onnx2int train --network` knows.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Network {
    /// The CNN of PyTorch's MNIST example
    #[default]
    Standard,
    /// Under 64 kB of 8-bit weights
    Small,
    /// Under 12 kB of 8-bit weights
    Tiny,
}

impl Run {
    /// That of `cargo xtask run-all --quick`.
    pub(crate) const QUICK: Self = Self { quick: true, network: Network::Standard };

    /// Where its results are.
    pub(crate) fn dir(self) -> String {
        let Self { quick, network } = self;
        let network = network.name().map_or(String::new(), |name| format!("-{name}"));
        format!("reports/mnist{network}{}", if quick { "-quick" } else { "" })
    }

    /// The command that makes it.
    pub(crate) fn command(self) -> String {
        [vec!["cargo".to_owned(), "xtask".to_owned(), "run-all".to_owned()], self.options()]
            .concat()
            .join(" ")
    }

    /// The options that choose it, here and in `onnx2int train`.
    pub(crate) fn options(self) -> Vec<String> {
        let Self { quick, network } = self;
        let network = network.name().map(|name| ["--network".to_owned(), name.to_owned()]);
        network.into_iter().flatten().chain(quick.then(|| "--quick".to_owned())).collect()
    }
}

impl Network {
    /// The name, of any but the default one.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Standard => None,
            Self::Small => Some("small"),
            Self::Tiny => Some("tiny"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_its_folder_and_its_command() {
        let run = |network, quick| Run { network, quick };
        for (run, folder, command) in [
            (run(Network::Standard, false), "reports/mnist", "cargo xtask run-all"),
            (run(Network::Standard, true), "reports/mnist-quick", "cargo xtask run-all --quick"),
            (run(Network::Tiny, false), "reports/mnist-tiny", "cargo xtask run-all --network tiny"),
            (
                run(Network::Small, true),
                "reports/mnist-small-quick",
                "cargo xtask run-all --network small --quick",
            ),
        ] {
            assert_eq!((run.dir().as_str(), run.command().as_str()), (folder, command));
        }
    }
}

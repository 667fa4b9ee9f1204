//! A plan as text, for `onnx2int inspect --plan`.

use std::fmt;

use super::{Arena, Plan, Step, Work};

impl Work {
    /// What the step is called, and how it is carried out.
    fn describe(&self) -> (&'static str, String) {
        match self {
            Self::Import { .. } => ("import", String::new()),
            Self::Convolution { layer, walk } => {
                let pool = if layer.pooled { ", then the greatest of 2x2" } else { "" };
                let blocks = layer.packed.blocks.len();
                (
                    "convolution",
                    format!("{}x{} pixels, {blocks} blocks of filters{pool}", walk.rows, walk.columns),
                )
            }
            Self::MatrixProduct { layer } => {
                ("matrix product", format!("{} blocks of columns", layer.packed.blocks.len()))
            }
            Self::Depthwise { walk, .. } => ("depthwise", format!("{}x{} pixels", walk.rows, walk.columns)),
            Self::Border(border) => {
                let rows = border.rows.0 + border.height + border.rows.1;
                let kind = if border.widened { " as i16" } else { "" };
                ("border", format!("{rows}x{}{kind}, filled with {}", border.bordered_width(), border.fill))
            }
            Self::Reorder(reorder) => {
                ("reorder", format!("from {} channels to {}", reorder.from_channels, reorder.to_channels))
            }
            Self::MaxPool(pool) => ("max pool", format!("{}x{}", pool.kernel[0], pool.kernel[1])),
            Self::Table(table) => ("table", format!("{} tables of bytes", table.starts.len())),
            Self::Sum(_) => ("sum", "of two branches".to_owned()),
            Self::Concat { places, .. } => ("concat", format!("of {} branches", places.len())),
            Self::Interpreted(interpreted) => {
                let operators: Vec<&str> =
                    interpreted.graph.nodes().map(|(_, node)| node.op.name()).collect();
                ("interpreted", format!("{}: no fast path", operators.join(", ")))
            }
        }
    }
}

impl Plan {
    /// Writes a line for each step and the sums of them.
    pub(crate) fn write(&self, f: &mut fmt::Formatter<'_>, kernel: &str, group: usize) -> fmt::Result {
        let (one, many) = (Arena::new(self, 1), Arena::new(self, group));
        writeln!(f, "kernel {kernel}")?;
        writeln!(
            f,
            "{:<4} {:<16} {:>12} {:>10} {:>10}  {:<32} how",
            "step", "work", "MAC/image", "constants", "output", "value"
        )?;
        for (index, step) in self.steps.iter().enumerate() {
            let (work, how) = step.work.describe();
            writeln!(
                f,
                "{index:<4} {work:<16} {:>12} {:>10} {:>10}  {:<32} {how}",
                step.multiply_adds,
                step.constant_bytes(),
                self.buffers[step.output.0].bytes(),
                step.name,
            )?;
        }
        let multiply_adds: u64 = self.steps.iter().map(|step| step.multiply_adds).sum();
        let constants: usize = self.steps.iter().map(Step::constant_bytes).sum();
        let slow = self.steps.iter().filter(|step| matches!(step.work, Work::Interpreted(_))).count();
        writeln!(f, "{multiply_adds} multiply-adds an image, {constants} bytes of weights and constants")?;
        writeln!(f, "arena: {} bytes for one image, {} for a group of {group}", one.bytes(), many.bytes())?;
        match slow {
            0 => writeln!(f, "every step has a fast path"),
            _ => writeln!(
                f,
                "{slow} of {} steps have no fast path and run in the interpreter",
                self.steps.len()
            ),
        }
    }
}

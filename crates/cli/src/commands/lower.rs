//! `onnx2int lower`: all transforms, in order.

use anyhow::{Context, bail};
use onnx2int_graph::cost::multiply_adds;
use onnx2int_graph::{Relation, Stage, verify};
use onnx2int_transforms::{can_end_in_floats, compare, sanitize_with_float_tail};

use super::transform;
use crate::arguments::Lower;
use crate::execution::{self, Interpreter, MOST_PROBED};
use crate::{console, files};

pub(crate) fn run(arguments: &Lower) -> anyhow::Result<()> {
    let model = files::read_model(&arguments.model)?;
    let quantized = transform::with_preprocessing(&model.graph, &arguments.options)?;
    if let Some(found) = execution::stage(&quantized)
        && found != Stage::Quantized
    {
        bail!(
            "cannot lower {:?}: expected a model at stage {:?}, found one at stage {:?}",
            arguments.model,
            Stage::Quantized.name(),
            found.name()
        );
    }
    let stem = stem(&model.file);
    let path = |stage: Stage| arguments.output_dir.join(stage.file_name(stem));
    files::check_writable(&path(Stage::ScaleOut))?;
    let mut made = Vec::new();
    let interpreter = Interpreter::new(arguments.threads.count());
    let whole = execution::probe(&quantized);
    // A large network is compared once, from end to end, and not at each step.
    let at_once = multiply_adds(&quantized) > MOST_PROBED;
    let probe = if at_once { execution::without_images(&whole) } else { whole.clone() };
    let mut graph = quantized.clone();
    for stage in &Stage::ALL[2..] {
        let with_tail = arguments.allow_float_tail && *stage == Stage::Sanitized;
        let applied = match with_tail {
            true => sanitize_with_float_tail(&graph, &interpreter, &probe).map_err(anyhow::Error::new),
            false => transform::step(&graph, *stage, &arguments.options, &interpreter, &probe),
        };
        let applied = match applied {
            Ok(applied) => applied,
            Err(error) if with_tail => {
                return Err(error)
                    .with_context(|| format!("cannot lower {:?}; nothing was written", arguments.model));
            }
            Err(error) => {
                let without = execution::without_images(&whole);
                let hint = *stage == Stage::Sanitized
                    && sanitize_with_float_tail(&graph, &interpreter, &without).is_ok();
                let error = match hint {
                    true => error.context(
                        "with --allow-float-tail, what is not quantized at its end is left in floats",
                    ),
                    false => error,
                };
                return Err(keep_for_replay(arguments, &graph, *stage, error));
            }
        };
        transform::print(&applied.record);
        if *stage == Stage::Sanitized && !arguments.allow_float_tail {
            onnx2int_transforms::survey(&applied.graph).with_context(|| {
                let hint = if can_end_in_floats(&applied.graph) {
                    "; --allow-float-tail leaves them and what comes behind them in floats"
                } else {
                    ""
                };
                format!("cannot lower {:?}; nothing was written{hint}", arguments.model)
            })?;
        }
        graph = applied.graph.clone();
        made.push((*stage, applied));
    }
    if at_once {
        let compared =
            compare(verify(&quantized)?, verify(&graph)?, Relation::WithinOneUnit, &interpreter, &whole)
                .with_context(|| format!("{:?} and its integer graph differ", arguments.model))?;
        console::note(format_args!(
            "a large network: compared once, quantized against scale_out, on {} image; largest difference of a logit {:.3e}",
            compared.images,
            compared.largest_gap.unwrap_or(0.0)
        ));
    }
    // Nothing is written before everything succeeded.
    for (stage, applied) in &made {
        transform::write(&path(*stage), applied, *stage)?;
    }
    console::note(format_args!("wrote {} models to {:?}", made.len(), arguments.output_dir));
    if let Some(tail) = super::verify::tail_text(&graph) {
        console::note(format_args!("{tail}"));
    }
    Ok(())
}

/// The name that the files of all stages share.
fn stem(file: &str) -> &str {
    let stem = file.strip_suffix(".onnx").unwrap_or(file);
    stem.strip_suffix("_quantized").unwrap_or(stem)
}

/// Writes the graph that a transform failed on and says how to repeat the failure.
fn keep_for_replay(
    arguments: &Lower,
    graph: &onnx2int_graph::Graph,
    stage: Stage,
    error: anyhow::Error,
) -> anyhow::Error {
    let from = stage.previous().unwrap_or(Stage::Quantized);
    let input = match from {
        Stage::Quantized => arguments.model.clone(),
        _ => {
            let path = arguments.output_dir.join(
                from.file_name(stem(&arguments.model.file_name().unwrap_or_default().to_string_lossy())),
            );
            let saved = onnx2int_graph::verify(graph)
                .context("the graph before is not valid")
                .and_then(|graph| files::write_model(&path, graph));
            match saved {
                Ok(()) => path,
                Err(second) => {
                    return error.context(format!("cannot keep the graph before the failure: {second:#}"));
                }
            }
        }
    };
    error.context(format!(
        "cannot lower {:?}; repeat the failing step with\n  onnx2int transform {} --model {input:?} --output {:?}",
        arguments.model,
        stage.made_by(),
        arguments.output_dir.join(stage.file_name("replay")),
    ))
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn stages_share_the_stem_of_the_quantized_model() {
        assert_eq!(stem("mnist_cnn_quantized.onnx"), "mnist_cnn");
        assert_eq!(stem("net.onnx"), "net");
        assert_eq!(stem("net"), "net");
    }
}

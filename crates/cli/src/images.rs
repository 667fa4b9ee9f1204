//! Which images a command works on, and what a model is given for their pixels.

use std::path::{Path, PathBuf};

use anyhow::bail;
use onnx2int_dataset::{ImageSource, Normalization, OpenOptions, View, WantedShape, open};
use onnx2int_evaluation::{ModelInput, ScoredModel};
use onnx2int_graph::Graph;

use crate::arguments::{Data, Preprocessing, Source};
use crate::files::Model;
use crate::{console, files};

/// The images that the user asks for.
pub(crate) struct Wanted<'a> {
    pub(crate) data: &'a Data,
    pub(crate) source: &'a Source,
    pub(crate) labels: Option<&'a Path>,
    /// Only so many.
    pub(crate) first: Option<usize>,
    /// Only these, if there are any.
    pub(crate) chosen: &'a [usize],
}

impl Wanted<'_> {
    /// The images, with their positions in the source: those of a source of the user's own for a
    /// model that takes `shape`, or MNIST's test images.
    pub(crate) fn open(&self, shape: WantedShape) -> anyhow::Result<(Box<dyn ImageSource>, Vec<usize>)> {
        let (path, mut first) = (self.path(), self.first);
        if let (None, Some(number)) = (path, &self.source.images) {
            // As `path` found that this is one.
            first = number.to_string_lossy().parse().ok();
        }
        let source: Box<dyn ImageSource> = match path {
            Some(path) => open(path, &self.options(shape))?,
            None if self.labels.is_some() || self.source.size.is_some() => {
                bail!("--labels and --size are for images of your own; give them with --images PATH")
            }
            None => Box::new(files::load_dataset(&self.data.data_dir)?.test),
        };
        let count = source.len();
        let positions: Vec<usize> = match (self.chosen, first) {
            ([], None) => return Ok((source, (0..count).collect())),
            ([], Some(first)) if first == 0 || first > count => {
                bail!("cannot take the first {first} images: expected 1 to {count}")
            }
            ([], Some(first)) => (0..first).collect(),
            (chosen, _) => chosen.to_vec(),
        };
        Ok((Box::new(View::select(source, positions.clone())?), positions))
    }

    /// The source of the user's own. A number that is no file is none: it was the option for the
    /// first images once, and still is.
    fn path(&self) -> Option<&Path> {
        let path = self.source.images.as_deref()?;
        let is_number = path.to_str().is_some_and(|text| text.parse::<usize>().is_ok());
        (!is_number || path.exists()).then_some(path)
    }

    fn options(&self, wanted: WantedShape) -> OpenOptions {
        OpenOptions { wanted, size: self.source.size, labels: self.labels.map(PathBuf::from) }
    }
}

/// A model to be run on images, with the preprocessing that the user gives.
pub(crate) fn scored(model: &Model, given: &Preprocessing) -> anyhow::Result<ScoredModel> {
    let scored = ScoredModel::of(&model.graph, &model.file, &model.digest)?;
    if matches!(scored.input, ModelInput::Bytes) {
        if !given.mean.is_empty() || !given.std.is_empty() {
            console::note(format_args!("{}: takes pixels as they are, without --mean and --std", model.file));
        }
        return Ok(scored);
    }
    Ok(scored.with_normalization(&normalization(&model.graph, &model.file, given)?)?)
}

/// What the user gives, else what the metadata says, else what is assumed; the last is told.
pub(crate) fn normalization(
    graph: &Graph,
    file: &str,
    given: &Preprocessing,
) -> anyhow::Result<Normalization> {
    let stored = Normalization::of(graph);
    let is_assumed = stored.is_none() && (given.mean.is_empty() || given.std.is_empty());
    let other = stored.unwrap_or_else(|| Normalization::assumed(graph));
    let either = |given: &[f32], other: Vec<f32>| if given.is_empty() { other } else { given.to_vec() };
    let normalization =
        Normalization::new(&either(&given.mean, other.means()), &either(&given.std, other.stds()))?;
    if is_assumed {
        console::note(format_args!(
            "{file}: the model does not tell its preprocessing; assumed is (x/255 - mean)/std with {}; give --mean and \
             --std if it was trained otherwise",
            describe(&normalization)
        ));
    }
    Ok(normalization)
}

fn describe(normalization: &Normalization) -> String {
    let list = |numbers: Vec<f32>| numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    format!("mean {} and std {}", list(normalization.means()), list(normalization.stds()))
}

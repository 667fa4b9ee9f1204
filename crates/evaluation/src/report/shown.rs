//! The images that a report draws: those whose class changes, and those that the last model is most wrong about.

use onnx2int_dataset::ImageSource;
use serde::{Deserialize, Serialize};

use super::{ChangedImage, Report};
use crate::{EvaluationError, Score};

/// Nobody looks at more.
const CHANGED_SHOWN: usize = 48;
pub(crate) const WORST_SHOWN: usize = 24;

/// So many bytes of pixels; further images have scores and no pixels.
const PIXEL_BYTES: usize = 512 << 10;

/// Bars of more classes say nothing to anyone.
const MOST_CLASSES: usize = 64;

/// One test image with what models made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShownImage {
    /// Its index in the test set.
    pub image: usize,
    /// What it shows.
    pub label: u32,
    /// What each row gave that the image is shown for, in the order of the rows.
    pub scores: Vec<ShownScores>,
    /// What it looks like, where that is known.
    pub pixels: Option<Pixels>,
}

/// The raw outputs of one model for one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShownScores {
    /// The row's name.
    pub stage: String,
    /// The class given.
    pub class: u32,
    /// The outputs of all classes in the model's own unit.
    pub outputs: Vec<f64>,
}

/// The bytes of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pixels {
    /// 1 is gray, 3 is red, green and blue.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// `[channels, height, width]`, row-major.
    pub bytes: Vec<u8>,
}

impl ShownImage {
    /// What the row of that name gave, if the image is shown for it.
    pub(crate) fn scores_of(&self, stage: &str) -> Option<&ShownScores> {
        self.scores.iter().find(|scores| scores.stage == stage)
    }
}

/// Chooses images and gathers their scores; of no model there is nothing to choose.
pub(super) fn shown_images(scores: &[&Score], changed: &[ChangedImage]) -> Vec<ShownImage> {
    let (Some(&first), Some(&last)) = (scores.first(), scores.last()) else { return Vec::new() };
    if first.logits.classes() > MOST_CLASSES {
        return Vec::new();
    }
    let mut images: Vec<usize> = changed.iter().map(|changed| changed.flip.image).collect();
    images.sort_unstable();
    images.dedup();
    images.truncate(CHANGED_SHOWN);
    images.extend(
        worst(last).into_iter().filter(|image| images.binary_search(image).is_err()).collect::<Vec<_>>(),
    );
    let is_shown = |row: usize, image: usize| {
        let changes = |row: usize| {
            row.checked_sub(1).is_some_and(|before| {
                scores
                    .get(row)
                    .is_some_and(|score| score.predictions[image] != scores[before].predictions[image])
            })
        };
        row == 0 || row + 1 == scores.len() || changes(row) || changes(row + 1)
    };
    let scores_of = |image| {
        let rows = scores.iter().enumerate().filter(|(row, _)| is_shown(*row, image));
        rows.map(|(_, score)| ShownScores {
            stage: score.name().to_owned(),
            class: score.predictions[image],
            outputs: score.logits.units(image),
        })
        .collect()
    };
    images
        .into_iter()
        .map(|image| ShownImage { image, label: first.labels[image], scores: scores_of(image), pixels: None })
        .collect()
}

/// The images that a model gets wrong, the one first whose label is furthest behind.
fn worst(score: &Score) -> Vec<usize> {
    let mut wrong: Vec<(f64, usize)> = (0..score.images())
        .filter(|&image| score.predictions[image] != score.labels[image])
        .map(|image| {
            let outputs = score.logits.units(image);
            (outputs[score.predictions[image] as usize] - outputs[score.labels[image] as usize], image)
        })
        .collect();
    wrong.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    wrong.truncate(WORST_SHOWN);
    wrong.into_iter().map(|(_, image)| image).collect()
}

impl Report {
    /// Adds the pixels of the images that it shows.
    ///
    /// # Errors
    /// [`EvaluationError::NotComparable`] for other images than those that were scored, and what the source says.
    pub fn draw(&mut self, images: &dyn ImageSource) -> Result<(), EvaluationError> {
        if let Some(difference) = self.difference_of_images(images) {
            return Err(EvaluationError::NotComparable {
                score: self.dataset.name.clone(),
                reference: "the images to be shown".to_owned(),
                difference,
            });
        }
        let shape = images.shape();
        let bytes = shape.channels * shape.height * shape.width;
        let drawn = PIXEL_BYTES.checked_div(bytes).unwrap_or(0);
        for shown in self.shown_images.iter_mut().take(drawn) {
            let bytes = images.read(&[shown.image])?;
            let (channels, height, width) = (shape.channels, shape.height, shape.width);
            shown.pixels = Some(Pixels { channels, height, width, bytes });
        }
        Ok(())
    }

    fn difference_of_images(&self, images: &dyn ImageSource) -> Option<String> {
        // Scored may be the first ones only.
        if images.len() < self.dataset.images {
            return Some(format!("{} and {} images", self.dataset.images, images.len()));
        }
        let labels = images.labels()?;
        let mut images_per_label = vec![0; self.dataset.images_per_label.len()];
        for &label in &labels[..self.dataset.images] {
            match images_per_label.get_mut(label as usize) {
                Some(count) => *count += 1,
                None => return Some(format!("{} classes and label {label}", images_per_label.len())),
            }
        }
        if images_per_label != self.dataset.images_per_label {
            return Some(format!(
                "{:?} and {images_per_label:?} images of each label",
                self.dataset.images_per_label
            ));
        }
        let shown = self.shown_images.iter().find(|shown| labels[shown.image] != shown.label)?;
        Some(format!("labels {} and {} of image {}", shown.label, labels[shown.image], shown.image))
    }
}

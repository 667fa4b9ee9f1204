//! A network that is ready to be asked.

use burn::module::Module;
use burn::tensor::{Tensor as BurnTensor, TensorData};
use onnx2int_dataset::{CLASSES, Images, SIDE};
use onnx2int_graph::{Graph, Tensor};

use crate::network::Network;
use crate::{EpochSummary, Recipe, TrainingError, export};

/// Images that are run at once; more would only take memory.
const CHUNK: usize = 200;

/// The outcome of [`crate::train`].
#[derive(Clone, Debug)]
pub struct Trained {
    network: Network,
    recipe: Recipe,
    history: Vec<EpochSummary>,
}

impl Trained {
    /// Freezes a network that may have been in training.
    pub(crate) fn new(network: &Network, recipe: Recipe, history: Vec<EpochSummary>) -> Self {
        Self { network: network.valid(), recipe, history }
    }

    /// The recipe that it was made by.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// What each epoch came to, in order.
    pub fn history(&self) -> &[EpochSummary] {
        &self.history
    }

    /// The network's answer for the chosen images, normalized as the recipe says: f32
    /// `[indices, 10]`, natural logarithms of the classes' probabilities.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn log_probabilities(&self, images: &Images, indices: &[usize]) -> Tensor {
        let device = self.recipe.backend.device();
        let mut answers = Vec::with_capacity(indices.len() * CLASSES);
        for chunk in indices.chunks(CHUNK) {
            let pixels = images.gather_normalized(chunk, &self.recipe.normalization.into());
            let pixels = TensorData::new(pixels, [chunk.len(), 1, SIDE, SIDE]);
            let answer = self.network.forward(BurnTensor::from_data(pixels, &device), None, None).into_data();
            answers.extend_from_slice(answer.as_slice::<f32>().expect("every tensor of this crate is f32"));
        }
        Tensor::from_vec(&[indices.len(), CLASSES], answers).expect("ten answers an image")
    }

    /// The part of the chosen images whose class is right, from 0 to 1; none of none.
    ///
    /// # Panics
    /// If an index is out of range, or the images have no labels.
    pub fn accuracy(&self, images: &Images, indices: &[usize]) -> Option<f64> {
        if indices.is_empty() {
            return None;
        }
        let answers = self.log_probabilities(images, indices);
        let answers = answers.as_slice::<f32>().expect("log-probabilities are f32");
        let right =
            answers.chunks(CLASSES).zip(indices).filter(|(row, index)| argmax(row) == images.label(**index));
        Some(right.count() as f64 / indices.len() as f64)
    }

    /// The network as a float graph with readable names: the first stage.
    ///
    /// # Errors
    /// The graph was refused, which the crate's tests rule out.
    pub fn to_graph(&self) -> Result<Graph, TrainingError> {
        Ok(export::graph(&self.network, self.recipe.normalization)?)
    }
}

/// The first class of the greatest log-probability.
fn argmax(row: &[f32]) -> u32 {
    let mut best = 0;
    for (class, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = class;
        }
    }
    best as u32
}

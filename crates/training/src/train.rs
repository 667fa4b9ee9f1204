//! The training loop.

use std::time::Instant;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device};
use onnx2int_dataset::Images;
use onnx2int_graph::digest::hexadecimal;
use sha2::{Digest, Sha256};

use crate::batch::Batch;
use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::network::{DropoutMasks, Network};
use crate::optimizer::AdamW;
use crate::random::{Purpose, Stream};
use crate::schedule::learning_rate;
use crate::{Checkpoints, EpochSummary, Observer, Plan, Progress, Recipe, Trained, TrainingError};

/// Trains the network on the training part of `images`; their validation part judges each epoch.
///
/// # Errors
/// The recipe is impossible, the observer asked to stop, the loss is not a number any more, or a
/// checkpoint cannot be read or written or is of another run.
pub fn train(
    recipe: &Recipe,
    images: &Images,
    checkpoints: Checkpoints<'_>,
    observer: &mut dyn Observer,
) -> Result<Trained, TrainingError> {
    let split = images.split();
    recipe.check(split.training.len())?;
    let file = match checkpoints {
        Checkpoints::None => None,
        Checkpoints::Fresh(directory) | Checkpoints::Resume(directory) => {
            Some(CheckpointFile::new(directory, recipe, &digest(images)))
        }
    };
    if let Some(file) = &file {
        file.check_writable()?;
    }
    let mut run = Run::new(recipe);
    match (&file, checkpoints) {
        (Some(file), Checkpoints::Resume(_)) => {
            if let Some(checkpoint) = file.read()? {
                run.restore(checkpoint).map_err(|reason| file.damaged(reason))?;
            }
        }
        (Some(file), _) => file.remove()?,
        (None, _) => {}
    }

    let indices = recipe.training_indices(split.training.clone());
    let validation: Vec<usize> = split.validation.collect();
    observer.started(&Plan {
        epochs: recipe.epochs,
        epochs_done: run.history.len(),
        steps_per_epoch: indices.len() / recipe.batch_size,
        training_images: indices.len(),
        validation_images: validation.len(),
    });
    while run.history.len() < recipe.epochs {
        let training_loss = run.epoch(images, &indices, file.is_some(), observer)?;
        let validation_accuracy = run.trained().accuracy(images, &validation);
        let summary = EpochSummary { epoch: run.history.len() + 1, training_loss, validation_accuracy };
        run.history.push(summary);
        if let Some(file) = &file {
            file.write(&run.checkpoint().map_err(|reason| file.damaged(reason))?)?;
        }
        observer.finished_epoch(&summary);
    }
    Ok(run.trained())
}

/// A run between two steps.
struct Run<'a> {
    recipe: &'a Recipe,
    /// With automatic differentiation.
    device: Device,
    network: Network,
    optimizer: ModuleOptimizer,
    history: Vec<EpochSummary>,
}

impl<'a> Run<'a> {
    fn new(recipe: &'a Recipe) -> Self {
        let device = recipe.backend.device().autodiff();
        Self {
            recipe,
            network: Network::new(recipe.seed, &device),
            device,
            optimizer: ModuleOptimizer::from(AdamW { weight_decay: recipe.weight_decay }),
            history: Vec::new(),
        }
    }

    /// Makes the next epoch's steps and gives their mean loss.
    fn epoch(
        &mut self,
        images: &Images,
        indices: &[usize],
        saves: bool,
        observer: &mut dyn Observer,
    ) -> Result<f64, TrainingError> {
        let Recipe { epochs, seed, batch_size, learning_rate: peak, normalization, max_shift, .. } =
            *self.recipe;
        let epochs_done = self.history.len();
        let epoch = epochs_done + 1;
        let stream = |purpose| Stream::new(seed, purpose, epochs_done as u64);
        let (mut dropout, mut shifts) = (stream(Purpose::Dropout), stream(Purpose::Shift));
        let mut order = indices.to_vec();
        stream(Purpose::Order).shuffle(&mut order);

        let steps = order.len() / batch_size;
        let mut total_loss = 0.0;
        let start = Instant::now();
        for (done, chosen) in order.chunks_exact(batch_size).enumerate() {
            if observer.cancelled() {
                let epochs_saved = if saves { epochs_done } else { 0 };
                return Err(TrainingError::Interrupted { epoch, epochs, epochs_saved });
            }
            let batch = Batch::new(images, chosen, normalization, max_shift, &mut shifts, &self.device);
            let masks = DropoutMasks::draw(&mut dropout, batch_size, &self.device);
            let learning_rate = learning_rate(peak, epochs_done * steps + done, epochs * steps);
            let loss = self.step(batch, &masks, learning_rate);
            let step = done + 1;
            if !loss.is_finite() {
                return Err(TrainingError::Diverged { epoch, step, loss, learning_rate: peak });
            }
            total_loss += f64::from(loss);
            let images_per_second = (step * batch_size) as f64 / start.elapsed().as_secs_f64();
            observer.stepped(&Progress { epoch, step, loss, learning_rate, images_per_second });
        }
        Ok(total_loss / steps as f64)
    }

    /// Changes the weights once and gives the loss before the change: the mean negative
    /// log-probability of the right class.
    fn step(&mut self, batch: Batch, masks: &DropoutMasks, learning_rate: f64) -> f32 {
        let [count, _, _, _] = batch.images.dims();
        let log_probabilities = self.network.forward(batch.images, Some(masks));
        let loss = (log_probabilities * batch.classes).sum().div_scalar(-(count as f32));
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        self.network = self.optimizer.step(learning_rate, self.network.clone(), gradients);
        loss.into_scalar()
    }

    fn trained(&self) -> Trained {
        Trained::new(&self.network, self.recipe.clone(), self.history.clone())
    }

    fn checkpoint(&self) -> Result<Checkpoint, String> {
        Ok(Checkpoint {
            history: self.history.clone(),
            weights: self
                .network
                .clone()
                .into_record()
                .into_bytes()
                .map_err(|error| error.to_string())?
                .to_vec(),
            optimizer: self.optimizer.into_bytes().map_err(|error| error.to_string())?.to_vec(),
        })
    }

    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), String> {
        let Checkpoint { history, weights, optimizer } = checkpoint;
        let record =
            ModuleRecord::from_bytes(Bytes::from_bytes_vec(weights)).map_err(|error| error.to_string())?;
        self.network =
            Network::zeros(&self.device).try_load_record(record).map_err(|error| error.to_string())?;
        self.optimizer = ModuleOptimizer::from(AdamW { weight_decay: self.recipe.weight_decay })
            .from_bytes(Bytes::from_bytes_vec(optimizer))
            .map_err(|error| error.to_string())?;
        self.history = history;
        Ok(())
    }
}

/// SHA-256 of pixels and labels, in hexadecimal.
fn digest(images: &Images) -> String {
    let mut hasher = Sha256::new();
    hasher.update(images.pixels());
    hasher.update(images.labels());
    hexadecimal(&hasher.finalize())
}

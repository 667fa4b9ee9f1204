//! The training loop.

use std::time::Instant;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device, Tensor, TensorData};
use onnx2int_dataset::{CLASSES, Images, MNIST_SHAPE, SIDE};
use onnx2int_graph::digest::hexadecimal;
use sha2::{Digest, Sha256};

use crate::average::Average;
use crate::batch::Batch;
use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::network::{DropoutMasks, Network};
use crate::optimizer::AdamW;
use crate::quantization::Quantizers;
use crate::random::{Purpose, Stream};
use crate::{Checkpoints, EpochSummary, Observer, Plan, Progress, Recipe, Trained, TrainingError};

/// Trains the network on the training part of `images`; their validation part judges each epoch.
///
/// # Errors
/// The images are not of MNIST's form, the recipe is impossible, the observer asked to stop, the loss is not a number any more, or a
/// checkpoint cannot be read or written or is of another run.
pub fn train(
    recipe: &Recipe,
    images: &Images,
    checkpoints: Checkpoints<'_>,
    observer: &mut dyn Observer,
) -> Result<Trained, TrainingError> {
    check_images(images)?;
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
        let losses = run.epoch(images, &indices, file.is_some(), observer)?;
        let summary = EpochSummary {
            epoch: run.history.len() + 1,
            training_loss: mean(&losses),
            validation_accuracy: run.trained().accuracy(images, &validation),
            losses: losses
                .chunks(losses.len().div_ceil(CURVE_POINTS))
                .map(|part| mean(part) as f32)
                .collect(),
        };
        run.history.push(summary.clone());
        if let Some(file) = &file {
            file.write(&run.checkpoint().map_err(|reason| file.damaged(reason))?)?;
        }
        observer.finished_epoch(&summary);
    }
    Ok(run.trained())
}

/// The seconds that each of `count` steps of a recipe takes, from the choice of its images to the
/// changed weights. The run does not go on from there; this is for comparing speeds.
///
/// # Errors
/// The images are not of MNIST's form, the recipe is impossible, or the observer asked to stop.
pub fn time_steps(
    recipe: &Recipe,
    images: &Images,
    count: usize,
    observer: &mut dyn Observer,
) -> Result<Vec<f64>, TrainingError> {
    /// Notes when each step ended, and ends the run after the last one.
    struct Clock<'a> {
        ends: Vec<Instant>,
        count: usize,
        inner: &'a mut dyn Observer,
    }

    impl Observer for Clock<'_> {
        fn stepped(&mut self, _: &Progress) {
            self.ends.push(Instant::now());
        }

        fn cancelled(&mut self) -> bool {
            self.ends.len() > self.count || self.inner.cancelled()
        }
    }

    check_images(images)?;
    let part = images.split().training;
    recipe.check(part.len())?;
    let indices = recipe.training_indices(part);
    let mut run = Run::new(recipe);
    // The end of the first step is where the clock starts.
    let mut clock = Clock { ends: Vec::with_capacity(count + 1), count, inner: observer };
    while clock.ends.len() <= count {
        match run.epoch(images, &indices, false, &mut clock) {
            Err(TrainingError::Interrupted { .. }) if clock.ends.len() > count => break,
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Ok(clock.ends.windows(2).map(|ends| (ends[1] - ends[0]).as_secs_f64()).collect())
}

/// The networks are for images of MNIST's form.
fn check_images(images: &Images) -> Result<(), TrainingError> {
    let labels = images.labels();
    let fit = labels.is_some_and(|labels| labels.iter().all(|&label| (label as usize) < CLASSES));
    match fit && images.shape() == MNIST_SHAPE {
        true => Ok(()),
        false => Err(TrainingError::Images { shape: images.shape(), labeled: labels.is_some() }),
    }
}

/// Training images that the ranges of activations are observed on, as many as the quantizer takes.
const OBSERVED: usize = 1000;
/// Points of an epoch's curve of the loss.
const CURVE_POINTS: usize = 50;

fn mean(losses: &[f32]) -> f64 {
    losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64
}

/// A run between two steps.
struct Run<'a> {
    recipe: &'a Recipe,
    /// With automatic differentiation.
    device: Device,
    /// Always there between two steps.
    network: Option<Network>,
    optimizer: ModuleOptimizer,
    /// None where the recipe keeps the last weights.
    average: Option<Average>,
    history: Vec<EpochSummary>,
}

impl<'a> Run<'a> {
    fn new(recipe: &'a Recipe) -> Self {
        let device = recipe.backend.device().autodiff();
        let network = Network::new(recipe.architecture, recipe.kernels, recipe.seed, &device);
        Self {
            recipe,
            average: (recipe.averaging > 0.0).then(|| Average::new(&network)),
            network: Some(network),
            device,
            optimizer: ModuleOptimizer::from(AdamW { weight_decay: recipe.weight_decay }),
            history: Vec::new(),
        }
    }

    /// Makes the next epoch's steps and gives the loss of each.
    fn epoch(
        &mut self,
        images: &Images,
        indices: &[usize],
        saves: bool,
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>, TrainingError> {
        let Recipe { epochs, seed, batch_size, learning_rate: peak, schedule, averaging, .. } = *self.recipe;
        let epochs_done = self.history.len();
        let epoch = epochs_done + 1;
        let stream = |purpose| Stream::new(seed, purpose, epochs_done as u64);
        let (mut dropout, mut movements) = (stream(Purpose::Dropout), stream(Purpose::Augmentation));
        let mut order = indices.to_vec();
        stream(Purpose::Order).shuffle(&mut order);

        let steps = order.len() / batch_size;
        let quantizers = self.quantizers(images, indices);
        let mut losses = Vec::with_capacity(steps);
        let start = Instant::now();
        for (done, chosen) in order.chunks_exact(batch_size).enumerate() {
            if observer.cancelled() {
                let epochs_saved = if saves { epochs_done } else { 0 };
                return Err(TrainingError::Interrupted { epoch, epochs, epochs_saved });
            }
            let batch = Batch::new(images, chosen, self.recipe, &mut movements, &self.device);
            let masks = DropoutMasks::draw(self.recipe.architecture, &mut dropout, batch_size, &self.device);
            let overall = epochs_done * steps + done;
            let learning_rate = schedule.learning_rate(peak, overall, epochs * steps);
            let loss = self.step(batch, &masks, quantizers.as_ref(), learning_rate);
            let step = done + 1;
            if !loss.is_finite() {
                return Err(TrainingError::Diverged { epoch, step, loss, learning_rate: peak });
            }
            losses.push(loss);
            if let (Some(average), Some(network)) = (&mut self.average, &self.network) {
                average.update(network, averaging, overall);
            }
            let images_per_second = (step * batch_size) as f64 / start.elapsed().as_secs_f64();
            observer.stepped(&Progress { epoch, step, loss, learning_rate, images_per_second });
        }
        Ok(losses)
    }

    /// Changes the weights once and gives the loss before the change: the mean negative
    /// log-probability of the right class.
    fn step(
        &mut self,
        batch: Batch,
        masks: &DropoutMasks,
        quantizers: Option<&Quantizers>,
        learning_rate: f64,
    ) -> f32 {
        let [count, _, _, _] = batch.images.dims();
        // Taken, so that the optimizer has the only copy of each parameter and may change it in place.
        let network = self.network.take().expect("every step leaves a network");
        let log_probabilities = network.forward(batch.images, Some(masks), quantizers);
        let loss = (log_probabilities * batch.classes).sum().div_scalar(-(count as f32));
        let value = loss.clone().into_scalar();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        self.network = Some(self.optimizer.step(learning_rate, network, gradients));
        value
    }

    /// The quantizers of the next epoch, if it is one that rounds. They cover what the network makes
    /// of [`OBSERVED`] training images, as it is now.
    fn quantizers(&self, images: &Images, indices: &[usize]) -> Option<Quantizers> {
        let settings = self.recipe.quantization?;
        if self.history.len() + settings.epochs < self.recipe.epochs {
            return None;
        }
        let network = self.network().valid();
        let device = self.recipe.backend.device();
        let observed: Vec<usize> =
            indices.iter().copied().step_by(indices.len().div_ceil(OBSERVED)).collect();
        let chunks = observed.chunks(self.recipe.batch_size).map(|chosen| {
            let pixels = images.gather_normalized(chosen, &self.recipe.normalization.into());
            let pixels = TensorData::new(pixels, [chosen.len(), 1, SIDE, SIDE]);
            network.greatest_activations(Tensor::from_data(pixels, &device))
        });
        let greatest = chunks.reduce(|most, next| most.iter().zip(next).map(|(a, b)| a.max(b)).collect())?;
        let input_scale = self.recipe.normalization.as_quantization().0 as f32;
        Some(Quantizers::new(settings, input_scale, &greatest))
    }

    fn network(&self) -> &Network {
        self.network.as_ref().expect("every step leaves a network")
    }

    /// The network as it would be kept if the run ended here.
    fn trained(&self) -> Trained {
        let network = self.average.as_ref().map_or_else(|| self.network(), Average::network);
        Trained::new(network, self.recipe.clone(), self.history.clone())
    }

    fn checkpoint(&self) -> Result<Checkpoint, String> {
        Ok(Checkpoint {
            history: self.history.clone(),
            weights: record(self.network())?,
            optimizer: self.optimizer.into_bytes().map_err(|error| error.to_string())?.to_vec(),
            average: self.average.as_ref().map_or(Ok(Vec::new()), |average| record(average.network()))?,
        })
    }

    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), String> {
        let Checkpoint { history, weights, optimizer, average } = checkpoint;
        let network = self.load(weights)?;
        self.average = match self.average {
            Some(_) => Some(Average::new(&self.load(average)?)),
            None => None,
        };
        self.network = Some(network);
        self.optimizer = ModuleOptimizer::from(AdamW { weight_decay: self.recipe.weight_decay })
            .from_bytes(Bytes::from_bytes_vec(optimizer))
            .map_err(|error| error.to_string())?;
        self.history = history;
        Ok(())
    }

    /// The network of a record.
    fn load(&self, record: Vec<u8>) -> Result<Network, String> {
        let record =
            ModuleRecord::from_bytes(Bytes::from_bytes_vec(record)).map_err(|error| error.to_string())?;
        let network = Network::zeros(self.recipe.architecture, self.recipe.kernels, &self.device);
        network.try_load_record(record).map_err(|error| error.to_string())
    }
}

fn record(network: &Network) -> Result<Vec<u8>, String> {
    Ok(network.clone().into_record().into_bytes().map_err(|error| error.to_string())?.to_vec())
}

/// SHA-256 of pixels and labels, in hexadecimal.
fn digest(images: &Images) -> String {
    let mut hasher = Sha256::new();
    hasher.update(images.pixels());
    // One byte a label, as there are few classes; checkpoints of earlier versions were told by these bytes.
    hasher.update(images.labels().unwrap_or_default().iter().map(|&label| label as u8).collect::<Vec<u8>>());
    hexadecimal(&hasher.finalize())
}

//! Whole runs on a few hundred images of the repository's MNIST.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use onnx2int_dataset::{CLASSES, Dataset, Images, SIDE};
use onnx2int_graph::metadata::ChannelNormalization;
use onnx2int_graph::{Graph, Source, Stage, Tensor, verify_stage};
use onnx2int_training::{
    Architecture, Backend, Checkpoints, EpochSummary, Kernels, Observer, Plan, Progress, QuantizedTraining,
    Recipe, Schedule, Trained, TrainingError, train,
};

/// The first images of the training set.
fn images(count: usize) -> Images {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/mnist");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mnist");
    let dataset = Dataset::load(&directory, &cache).expect("data/mnist is intact");
    dataset.train.select(&Vec::from_iter(0..count))
}

/// Two epochs of four steps.
fn recipe() -> Recipe {
    Recipe { epochs: 2, batch_size: 16, subset: Some(64), ..Recipe::default() }
}

/// Every weight and bias with its name.
fn constants(graph: &Graph) -> Vec<(String, Tensor)> {
    let mut constants = Vec::new();
    for (_, value) in graph.values() {
        if let Source::Constant(tensor) = &value.source {
            constants.push((value.name.clone(), tensor.clone()));
        }
    }
    constants
}

fn weights(trained: &Trained) -> Vec<(String, Tensor)> {
    constants(&trained.to_graph().expect("the network can be exported"))
}

/// Writes down what it is told, and stops a run before a certain step.
#[derive(Default)]
struct Recorder {
    plans: Vec<Plan>,
    losses: Vec<f32>,
    epochs: Vec<EpochSummary>,
    stop_after: Option<usize>,
}

impl Observer for Recorder {
    fn started(&mut self, plan: &Plan) {
        self.plans.push(*plan);
    }
    fn stepped(&mut self, progress: &Progress) {
        assert_eq!(progress.step, self.losses.len() % self.plans[0].steps_per_epoch + 1);
        self.losses.push(progress.loss);
    }
    fn finished_epoch(&mut self, summary: &EpochSummary) {
        self.epochs.push(summary.clone());
    }
    fn cancelled(&mut self) -> bool {
        self.stop_after.is_some_and(|steps| self.losses.len() >= steps)
    }
}

#[test]
fn learns_and_tells() {
    let images = images(660);
    let recipe = Recipe { epochs: 3, batch_size: 20, subset: None, ..Recipe::default() };
    let mut recorder = Recorder::default();
    let trained = train(&recipe, &images, Checkpoints::None, &mut recorder).unwrap();
    assert_eq!(
        recorder.plans,
        [Plan {
            epochs: 3,
            epochs_done: 0,
            steps_per_epoch: 30,
            training_images: 605,
            validation_images: 55
        }]
    );
    assert_eq!(recorder.losses.len(), 90);
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&recorder.losses[..5]), mean(&recorder.losses[85..]));
    assert!(first > 1.8 && last < 1.0, "{first} {last}");
    assert_eq!(recorder.epochs, trained.history());
    let validation: Vec<usize> = images.split().validation.collect();
    let accuracy = trained.accuracy(&images, &validation);
    assert!(accuracy > Some(0.6), "{accuracy:?}");
    assert_eq!(accuracy, recorder.epochs[2].validation_accuracy);
    assert_eq!(trained.accuracy(&images, &[]), None);
}

#[test]
fn a_resumed_run_ends_in_the_same_weights() {
    assert_resumes(&recipe());
}

/// Their state is in the checkpoint as well.
#[test]
fn averages_and_quantizers_survive_an_interruption() {
    let quantization = Some(QuantizedTraining { epochs: 2, weight_bits: 4, mantissa_bits: 4 });
    assert_resumes(&Recipe { averaging: 0.9, quantization, ..recipe() });
}

/// A run of two epochs of four steps.
#[expect(clippy::unwrap_used, reason = "a test fails by it")]
fn assert_resumes(recipe: &Recipe) {
    let images = images(96);
    let uninterrupted = train(recipe, &images, Checkpoints::None, &mut ()).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder { stop_after: Some(6), ..Recorder::default() };
    let error = train(recipe, &images, Checkpoints::Fresh(folder.path()), &mut recorder).unwrap_err();
    assert_eq!(
        error.to_string(),
        "training was interrupted in epoch 2 of 2; epoch 1 is saved and can be resumed"
    );

    let mut recorder = Recorder::default();
    let resumed = train(recipe, &images, Checkpoints::Resume(folder.path()), &mut recorder).unwrap();
    assert_eq!((recorder.plans[0].epochs_done, recorder.losses.len()), (1, 4));
    assert_eq!(weights(&resumed), weights(&uninterrupted));
    assert_eq!(resumed.history(), uninterrupted.history());

    // A finished run is not trained again.
    let mut recorder = Recorder::default();
    let finished = train(recipe, &images, Checkpoints::Resume(folder.path()), &mut recorder).unwrap();
    assert_eq!(recorder.losses.len(), 0);
    assert_eq!(weights(&finished), weights(&uninterrupted));
}

/// burn's flex backend divides its work by the threads of rayon's pool, but adds up in an order that does not depend
/// on them.
#[test]
fn weights_are_the_same_on_any_number_of_threads() {
    let images = images(160);
    // Batches of the real size: small products are not divided at all.
    let recipe = Recipe { epochs: 1, batch_size: 64, subset: Some(128), ..Recipe::default() };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        weights(&pool.install(|| train(&recipe, &images, Checkpoints::None, &mut ()).unwrap()))
    };
    let first = on(1);
    for threads in [2, 3] {
        assert!(on(threads) == first, "other weights on {threads} threads");
    }
}

#[test]
fn a_checkpoint_folder_that_cannot_be_written_is_told_before_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("checkpoints");
    fs::write(&in_the_way, "a file").unwrap();
    for checkpoints in [Checkpoints::Fresh(&in_the_way), Checkpoints::Resume(&in_the_way)] {
        let mut recorder = Recorder::default();
        let error = train(&recipe(), &images(96), checkpoints, &mut recorder).unwrap_err();
        assert!(error.to_string().contains("checkpoints"), "{error}");
        assert!(recorder.plans.is_empty(), "the training had begun");
    }
}

#[test]
fn a_run_can_be_stopped_before_anything_is_saved() {
    let images = images(96);
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder { stop_after: Some(0), ..Recorder::default() };
    let error = train(&recipe(), &images, Checkpoints::Resume(folder.path()), &mut recorder).unwrap_err();
    assert_eq!(error.to_string(), "training was interrupted in epoch 1 of 2; no epoch was saved");
}

#[test]
fn a_run_killed_while_it_saves_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let short = Recipe { epochs: 1, batch_size: 8, subset: Some(8), ..recipe() };
    let small = images(24);
    let names = || -> Vec<_> {
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    fs::write(folder.path().join(".onnx2int-killed.tmp"), "half of the first one").unwrap();
    train(&short, &small, Checkpoints::Resume(folder.path()), &mut ()).unwrap();
    assert_eq!(names(), ["training.checkpoint"]);

    fs::write(folder.path().join(".onnx2int-killed.tmp"), "half of the next one").unwrap();
    let resumed = train(&short, &small, Checkpoints::Resume(folder.path()), &mut ()).unwrap();
    assert_eq!(resumed.history().len(), 1);
}

#[test]
fn a_checkpoint_of_another_run_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let short = Recipe { epochs: 1, batch_size: 8, subset: Some(8), ..recipe() };
    let small = images(24);
    train(&short, &small, Checkpoints::Fresh(folder.path()), &mut ()).unwrap();

    let other = Recipe { seed: 9, learning_rate: 0.5, ..short.clone() };
    let message = train(&other, &small, Checkpoints::Resume(folder.path()), &mut ()).unwrap_err().to_string();
    assert!(
        message.contains("learning rate is 0.002 there and 0.5 here, seed is 1 there and 9 here"),
        "{message}"
    );

    let message =
        train(&short, &images(23), Checkpoints::Resume(folder.path()), &mut ()).unwrap_err().to_string();
    assert!(message.contains("training data is "), "{message}");
}

#[test]
fn a_damaged_checkpoint_is_refused_and_a_fresh_run_replaces_it() {
    let folder = tempfile::tempdir().unwrap();
    let short = Recipe { epochs: 1, batch_size: 8, subset: Some(8), ..recipe() };
    let small = images(24);
    train(&short, &small, Checkpoints::Fresh(folder.path()), &mut ()).unwrap();
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let intact = fs::read(&files[0]).unwrap();
    let first_line = intact.iter().position(|&byte| byte == b'\n').unwrap();
    let mut flipped = intact.clone();
    flipped[first_line + 5_000] ^= 1;
    for (damaged, reason) in [
        (&intact[..intact.len() - 1], "bytes after the first line"),
        (&intact[..first_line], "it has no first line"),
        (&flipped, "SHA-256"),
        (b"{}\n", "missing field"),
        (b"", "it has no first line"),
    ] {
        fs::write(&files[0], damaged).unwrap();
        let message =
            train(&short, &small, Checkpoints::Resume(folder.path()), &mut ()).unwrap_err().to_string();
        assert!(message.contains("is not an intact checkpoint") && message.contains(reason), "{message}");
    }
    train(&short, &small, Checkpoints::Fresh(folder.path()), &mut ()).unwrap();
    let resumed = train(&short, &small, Checkpoints::Resume(folder.path()), &mut ()).unwrap();
    assert_eq!(resumed.history().len(), 1);
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "not a folder").unwrap();
    let short = Recipe { epochs: 1, batch_size: 8, subset: Some(8), ..recipe() };
    let error = train(&short, &images(24), Checkpoints::Fresh(&blocked), &mut ()).unwrap_err();
    assert!(matches!(error, TrainingError::Io { .. }), "{error}");
    assert!(error.to_string().contains("training.checkpoint"), "{error}");
}

#[test]
fn the_two_backends_agree() {
    let stock = Recipe { kernels: Kernels::Stock, ..Recipe::default() };
    assert_same_training(&stock, &Recipe { backend: Backend::NdArray, ..stock.clone() });
}

#[test]
fn fused_and_stock_kernels_agree() {
    for architecture in Architecture::ALL {
        let fused = Recipe { architecture, kernels: Kernels::Fused, ..Recipe::default() };
        assert_same_training(&fused, &Recipe { kernels: Kernels::Stock, ..fused.clone() });
    }
}

/// Averaging and rounding change what a run ends in.
#[test]
fn options_of_the_recipe_have_an_effect() {
    let images = images(96);
    let tiny = Recipe { architecture: Architecture::Tiny, ..recipe() };
    let end = |recipe: &Recipe| weights(&train(recipe, &images, Checkpoints::None, &mut ()).unwrap());
    let plain = end(&tiny);
    let quantization = Some(QuantizedTraining { epochs: 1, weight_bits: 2, mantissa_bits: 23 });
    for other in [
        Recipe { averaging: 0.9, ..tiny.clone() },
        Recipe { label_smoothing: 0.1, ..tiny.clone() },
        Recipe { max_rotation: 20.0, ..tiny.clone() },
        Recipe { schedule: Schedule::Cosine, ..tiny.clone() },
        Recipe { quantization, ..tiny.clone() },
    ] {
        assert_ne!(end(&other), plain, "{other:?}");
    }
}

/// Both recipes end in the same weights, up to rounding.
#[expect(clippy::unwrap_used, reason = "a test fails by it")]
fn assert_same_training(one: &Recipe, other: &Recipe) {
    let images = images(13);
    let losses = |recipe: &Recipe| {
        let recipe = Recipe { epochs: 1, batch_size: 4, subset: None, ..recipe.clone() };
        let mut recorder = Recorder::default();
        let trained = train(&recipe, &images, Checkpoints::None, &mut recorder).unwrap();
        (recorder.losses, weights(&trained))
    };
    let (flex, ndarray) = (losses(one), losses(other));
    assert_eq!(flex.0.len(), 3);
    for (a, b) in flex.0.iter().zip(&ndarray.0) {
        assert!((a - b).abs() < 1e-4, "{:?} {:?}", flex.0, ndarray.0);
    }
    // Adam's first steps go by the sign of the gradient: where it is all but zero, rounding decides
    // it. Such weights are few, and differ by at most the steps' learning rates.
    for ((name, a), (_, b)) in flex.1.iter().zip(&ndarray.1) {
        let (a, b) = (a.as_slice::<f32>().unwrap(), b.as_slice::<f32>().unwrap());
        let differences: Vec<f32> = a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect();
        assert!(differences.iter().all(|&difference| difference < 1e-2), "{name}");
        let apart = differences.iter().filter(|&&difference| difference > 1e-4).count();
        assert!(apart * 100 <= a.len(), "{name}: {apart} of {}", a.len());
    }
}

#[test]
fn the_exported_graph_computes_what_the_module_computes() {
    let images = images(96);
    let normalization = ChannelNormalization::new(0.1307, 0.3081).unwrap();
    let trained = train(&Recipe { normalization, ..recipe() }, &images, Checkpoints::None, &mut ()).unwrap();
    let graph = trained.to_graph().unwrap();
    let verified = verify_stage(&graph, Stage::Float).unwrap();

    let indices: Vec<usize> = (80..92).collect();
    let pixels = images.gather_normalized(&indices, &normalization.into());
    let input = Tensor::from_vec(&[indices.len(), 1, SIDE, SIDE], pixels).unwrap();
    let found = onnx2int_interpreter::run(verified, &[input]).unwrap();
    let expected = trained.log_probabilities(&images, &indices);
    assert_eq!((found[0].shape(), expected.shape()), (&[12, CLASSES][..], &[12, CLASSES][..]));
    let largest = Cell::new(0.0_f32);
    for (a, b) in found[0].as_slice::<f32>().unwrap().iter().zip(expected.as_slice::<f32>().unwrap()) {
        largest.set(largest.get().max((a - b).abs()));
    }
    assert!(largest.get() < 1e-4, "{largest:?}");
}

#[test]
fn the_exported_graph_has_readable_names() {
    let images = images(24);
    let short = Recipe { epochs: 1, batch_size: 8, subset: Some(8), ..recipe() };
    let graph = train(&short, &images, Checkpoints::None, &mut ()).unwrap().to_graph().unwrap();
    let nodes: Vec<&str> = graph.nodes().map(|(_, node)| node.name.as_str()).collect();
    assert_eq!(
        nodes,
        ["conv1", "relu1", "conv2", "relu2", "pool", "flatten", "fc1", "relu3", "fc2", "log_softmax"]
    );
    let shapes: Vec<(String, Vec<usize>)> =
        constants(&graph).into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect();
    let expected: [(&str, &[usize]); 8] = [
        ("conv1.weight", &[32, 1, 3, 3]),
        ("conv1.bias", &[32]),
        ("conv2.weight", &[64, 32, 3, 3]),
        ("conv2.bias", &[64]),
        ("fc1.weight", &[128, 12544]),
        ("fc1.bias", &[128]),
        ("fc2.weight", &[10, 128]),
        ("fc2.bias", &[10]),
    ];
    assert_eq!(shapes, expected.map(|(name, shape)| (name.to_owned(), shape.to_vec())));
    let types: Vec<String> = graph
        .inputs()
        .iter()
        .chain(graph.outputs())
        .map(|&id| format!("{}: {}", graph.value(id).name, graph.value(id).ty))
        .collect();
    assert_eq!(types, ["input: f32[N,1,28,28]", "log_probabilities: f32[N,10]"]);
    let metadata: Vec<(&str, &str)> =
        graph.metadata().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        metadata,
        [("onnx2int.mean", "0.12941177"), ("onnx2int.stage", "float"), ("onnx2int.std", "0.3081")]
    );
}

//! How good a stage is, and how far it is from the stage before.
//!
//! ```text
//! model + images --score--> Score --compare (with another Score)--> Comparison
//! Scores + graphs --Report::assemble--> Report --render--> report.json, report.md, report.html, terminal table
//! ```
//!
//! - [`score`] runs a model on labelled images, which are read a batch at a time, and keeps every raw output; the class of an image is
//!   the argmax of the raw outputs, whatever their element type. Nothing beside the file helps.
//! - [`compare`] sets two scores of the same images side by side: agreement, the largest logit
//!   gap, the images whose class changed, and by [`PairedTest`] whether more was lost than chance
//!   explains.
//! - [`trace`] runs a model and digests every inner integer tensor image by image, so that two runtimes, or a runtime
//!   and a simulation of hardware, can be compared in every bit; [`tensor_values`] gives the elements where they differ.
//! - [`noise`] sets what the integer-only model has inside beside what the float model has there, layer by layer.
//! - [`Training`] is how the float network was trained, as `onnx2int train` tells it, and [`Sweep`] what accuracy costs, as
//!   `cargo xtask sweep` measured it.
//! - [`Report`] is plain data that holds nothing that differs from run to run; times and peak memory
//!   live in [`Timing`]. Each renderer of [`render`] reads a `Report` and nothing else.
//!
//! The crate reads and writes no files: it turns data into text and bytes, and back. It never
//! changes a graph.

mod compare;
mod error;
mod json_text;
mod logits;
mod model;
mod noise;
pub mod render;
mod report;
mod score;
mod score_file;
mod sweep;
mod timing;
mod trace;
mod training;

pub use compare::{Comparison, Flip, GapMeasure, LogitGap, compare};
pub use error::EvaluationError;
pub use logits::{Logits, Margin, OutputKind};
pub use model::{ModelInput, ScoredModel};
pub use noise::{
    ActivationNoise, Histogram, Isolated, LayerUse, MultiplierBits, Noise, NoiseModels, NoiseSource,
    NoiseSources, WeightNoise, noise,
};
pub use onnx2int_statistics::{Accuracy, PairedTest, Verdict, wilson_interval};
pub use report::{
    Census, ChangedImage, ComparisonSummary, Confusion, ConstantSummary, DatasetSummary, Evidence,
    GraphSummary, LayerBound, NodeSummary, NoteRecord, OverflowProof, Pixels, Report, ReportInputs,
    RescaleBound, RuntimeBits, SameBits, SelfTest, SelfTestImage, ShownImage, ShownScores, SiteRecord,
    StageInput, StageRow, TransformRecord, ValueSummary,
};
pub use score::{Execution, Score, logits, score};
pub use score_file::{SCORE_SCHEMA, ScoreHeader};
pub use sweep::{Sweep, SweepChart, SweepOutcome, SweepPoint, SweepSeries, SweepSetting, Varied};
pub use timing::{TIMING_SCHEMA, Timing, TimingEntry};
pub use trace::{
    LeftOut, TRACE_SCHEMA, TensorValues, Trace, TracedTensor, VALUES_SCHEMA, tensor_values, trace,
};
pub use training::{TestAccuracy, Training, TrainingEpoch};

//! A small pipeline and its report, for the tests of what is made of reports.

use std::collections::BTreeMap;

use onnx2int_evaluation::{
    Evidence, Logits, NoteRecord, Report, ReportInputs, RescaleBound, Score, ScoredModel, SiteRecord,
    StageInput, TestAccuracy, Training, TrainingEpoch, TransformRecord,
};
use onnx2int_graph::{DType, Dim, GemmAttributes, Graph, GraphEditor, Op, Tensor, TensorType};

pub(crate) const LABELS: [u32; 6] = [0, 1, 2, 2, 1, 0];

/// A float model with three classes that ends in `LogSoftmax`.
pub(crate) fn float_graph() -> Graph {
    let mut editor = GraphEditor::new("float");
    let image = editor.add_input("image", images(DType::F32)).unwrap();
    let weight = Tensor::from_vec(&[784, 3], vec![0.5_f32; 784 * 3]).unwrap();
    let weight = editor.add_constant("fc_weight", weight).unwrap();
    let flat = editor.add_node("flatten", Op::Flatten { axis: 1 }, [Some(image)], "flat").unwrap();
    let gemm = Op::Gemm(GemmAttributes::default());
    let logits = editor.add_node("fc", gemm, [Some(flat), Some(weight)], "logits").unwrap();
    let softmax = Op::LogSoftmax { axis: 1 };
    let output = editor.add_node("log_softmax", softmax, [Some(logits)], "output").unwrap();
    editor.set_outputs([output]);
    editor.set_metadata("onnx2int.stage", "float");
    editor.finish().unwrap()
}

/// Its integers, at the stage `stage`.
pub(crate) fn integer_graph(stage: &str) -> Graph {
    let mut editor = GraphEditor::new("integers");
    let image = editor.add_input("image", images(DType::U8)).unwrap();
    let weight = Tensor::from_vec(&[784, 3], vec![5_i8; 784 * 3]).unwrap();
    let weight = editor.add_constant("fc_weight", weight).unwrap();
    let bias = editor.add_constant("fc_bias", Tensor::vector(vec![1_i32, 2, 3])).unwrap();
    let flat = editor.add_node("flatten", Op::Flatten { axis: 1 }, [Some(image)], "flat").unwrap();
    let product = editor.add_node("fc", Op::MatMulInteger, [Some(flat), Some(weight)], "sums").unwrap();
    let logits = editor.add_node("fc_bias_add", Op::Add, [Some(product), Some(bias)], "logits").unwrap();
    editor.set_outputs([logits]);
    editor.set_metadata("onnx2int.stage", stage);
    editor.set_metadata("onnx2int.logit_scale", "0.25");
    editor.finish().unwrap()
}

fn images(dtype: DType) -> TensorType {
    TensorType::new(dtype, [Dim::symbol("N"), Dim::Fixed(1), Dim::Fixed(28), Dim::Fixed(28)])
}

pub(crate) fn score(graph: &Graph, file: &str, values: Tensor) -> Score {
    let digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let model = ScoredModel::of(graph, file, digest).unwrap();
    let logits = Logits::new(file, LABELS.len(), values, model.output, model.logit_scale).unwrap();
    Score::new(&model, "tract", LABELS.to_vec(), logits).unwrap()
}

pub(crate) struct Pipeline {
    pub(crate) graphs: [Graph; 3],
    pub(crate) scores: [Score; 3],
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        let graphs = [float_graph(), integer_graph("integer"), integer_graph("scale_out")];
        let logits = [[8, 0, 1], [0, 8, 1], [0, 1, 8], [4, 0, 5], [5, 4, 0], [8, 1, 0]];
        let float: Vec<f32> = logits
            .iter()
            .flat_map(|row| {
                let mut reals = row.map(|logit| logit as f32 * 0.25);
                // What quantizing loses: enough to be seen, not enough to change a class.
                reals[1] += 0.03125;
                let sum: f32 = reals.iter().map(|value| value.exp()).sum();
                reals.map(|value| value - sum.ln())
            })
            .collect();
        let integer = logits.concat();
        let mut scale_out = integer.clone();
        // Image 3 goes wrong, image 4 becomes right, image 0 keeps its class.
        scale_out[9] += 1;
        scale_out[13] += 2;
        scale_out[0] -= 1;
        let shape = [LABELS.len(), 3];
        let scores = [
            score(&graphs[0], "tiny.onnx", Tensor::from_vec(&shape, float).unwrap()),
            score(&graphs[1], "tiny_integer.onnx", Tensor::from_vec(&shape, integer).unwrap()),
            score(&graphs[2], "tiny_scale_out.onnx", Tensor::from_vec(&shape, scale_out).unwrap()),
        ];
        Self { graphs, scores }
    }

    pub(crate) fn stages(&self) -> Vec<StageInput<'_>> {
        self.scores
            .iter()
            .zip(&self.graphs)
            .map(|(score, graph)| StageInput { score, graph, file_bytes: 12_345 })
            .collect()
    }
}

pub(crate) fn report() -> Report {
    let pipeline = Pipeline::new();
    Report::assemble(inputs(&pipeline.stages())).unwrap()
}

pub(crate) fn inputs<'a>(stages: &'a [StageInput<'a>]) -> ReportInputs<'a> {
    let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    ReportInputs {
        model: "tiny",
        dataset: "the tiny test set",
        stages,
        transforms: vec![TransformRecord {
            stage: "scale_out".to_owned(),
            transform: "scale-out".to_owned(),
            sites: vec![SiteRecord {
                node: "fc".to_owned(),
                change: "its dequantizer is gone".to_owned(),
                notes: vec![NoteRecord { name: "logit scale".to_owned(), value: 0.25 }],
                error_bounds: Vec::new(),
            }],
            details: BTreeMap::from([("probe".to_owned(), serde_json::json!({ "images": 16, "gap": 0.1 }))]),
        }],
        rescale_bounds: vec![
            RescaleBound { layer: "conv1".to_owned(), errors: vec![0.001, 0.25, 0.1 + 0.2] },
            RescaleBound { layer: "fc1".to_owned(), errors: vec![1e-5] },
        ],
        evidence: Evidence::default(),
        training: Some(training()),
        parameters: pairs(&[("epochs", "5"), ("seed", "1")]),
        versions: pairs(&[("onnx2int", "0.1.0"), ("burn", "0.22.1")]),
    }
}

/// Three epochs whose losses fall by a factor, then stay within noise.
pub(crate) fn training() -> Training {
    let loss = |part: usize| 2.3 * 0.9_f64.powi(part as i32).max(0.03) * (1.0 + 0.2 * (part % 3) as f64);
    let epochs = (0..3).map(|index| {
        let losses: Vec<f64> = (20 * index..20 * (index + 1)).map(loss).collect();
        TrainingEpoch {
            epoch: index + 1,
            training_loss: losses.iter().sum::<f64>() / 20.0,
            validation_accuracy: [Some(0.9), Some(0.987_654), None][index],
            losses,
        }
    });
    Training {
        recipe: BTreeMap::from(
            [("epochs", "3"), ("network", "a|b")].map(|(a, b)| (a.to_owned(), b.to_owned())),
        ),
        steps_per_epoch: 1_040,
        epochs: epochs.collect(),
        test_accuracy: TestAccuracy { correct: 5, images: 6 },
    }
}

//! A network that is made in no time, of the form of the trained one, for tests in which its worth does not matter.

use std::fs;

use onnx2int_graph::{Graph, Stage, verify_stage};

use crate::binary::Folder;

const NETWORK: &str = r#"
graph tiny
meta onnx2int.mean = "0.12941177"
meta onnx2int.stage = "float"
meta onnx2int.std = "0.3081"
in    %input: f32[N,1,28,28]
const %conv1.weight: f32[3,1,3,3] = cycle [0.5, -0.25, 0.125, -0.75, 1.0]
const %conv1.bias: f32[3] = [0.1, -0.2, 0.0]
const %conv2.weight: f32[4,3,3,3] = cycle [0.25, -0.125, 0.0625, 0.375, -0.25, 0.125, -0.3125]
const %conv2.bias: f32[4] = [0.05, -0.1, 0.2, 0.0]
const %fc1.weight: f32[8,196] = cycle [0.03, -0.02, 0.01, 0.05, -0.04, 0.02, -0.03, 0.015, 0.025, -0.01, -0.005]
const %fc1.bias: f32[8] = [0.5, -0.5, 0.25, 0.0, 0.125, -0.25, 0.75, 0.3]
const %fc2.weight: f32[10,8] = cycle [0.3, -0.2, 0.1, 0.5, -0.4, 0.2, -0.3, 0.15, 0.25, -0.1, -0.05]
const %fc2.bias: f32[10] = cycle [0.1, -0.1, 0.05]
%conv1: f32[N,3,28,28] = Conv(%input, %conv1.weight, %conv1.bias) pads=[1,1,1,1]
%relu1: f32[N,3,28,28] = Relu(%conv1)
%conv2: f32[N,4,28,28] = Conv(%relu1, %conv2.weight, %conv2.bias) pads=[1,1,1,1]
%relu2: f32[N,4,28,28] = Relu(%conv2)
%pool: f32[N,4,7,7] = MaxPool(%relu2) kernel_shape=[4,4] strides=[4,4]
%flatten: f32[N,196] = Flatten(%pool)
%fc1: f32[N,8] = Gemm(%flatten, %fc1.weight, %fc1.bias) transB=1
%relu3: f32[N,8] = Relu(%fc1)
%fc2: f32[N,10] = Gemm(%relu3, %fc2.weight, %fc2.bias) transB=1
%log_softmax: f32[N,10] = LogSoftmax(%fc2)
out %log_softmax
"#;

/// The names of the stages from quantized on, and what makes each.
pub(crate) fn made_stages() -> impl Iterator<Item = (&'static str, &'static str)> {
    Stage::ALL[1..].iter().map(|stage| (stage.name(), stage.made_by()))
}

/// Writes the network to `models/net.onnx` of a folder.
pub(crate) fn write_float(folder: &Folder) {
    let graph = Graph::from_text(NETWORK).unwrap();
    let bytes = onnx2int_onnx_format::encode(verify_stage(&graph, Stage::Float).unwrap());
    fs::create_dir_all(folder.path("models")).unwrap();
    fs::write(folder.path("models/net.onnx"), bytes).unwrap();
}

//! From the burn module to a float graph.
//!
//! The names are those that every later stage keeps. Dropout does nothing at inference and is
//! gone. burn's `Linear` stores `[inputs, outputs]`; the graph has PyTorch's and ONNX's customary
//! `[outputs, inputs]` under a `Gemm` with `trans_b`.

use burn::module::Param;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use onnx2int_dataset::SIDE;
use onnx2int_graph::metadata::{self, ChannelNormalization, Normalization};
use onnx2int_graph::{
    ConvAttributes, DType, Dim, EditError, GemmAttributes, Graph, GraphEditor, Op, Pads, PoolWindow, Stage,
    Tensor, TensorType, ValueId,
};

use crate::network::Network;

/// The trained network as a graph: `input: f32[N,1,28,28]` to `log_probabilities: f32[N,10]`.
pub(crate) fn graph(network: &Network, normalization: ChannelNormalization) -> Result<Graph, EditError> {
    let mut editor = GraphEditor::new("mnist_cnn");
    let shape = [Dim::symbol("N"), Dim::Fixed(1), Dim::Fixed(SIDE), Dim::Fixed(SIDE)];
    let input = editor.add_input("input", TensorType::new(DType::F32, shape))?;

    let blueprint = network.architecture.blueprint();
    let pools = blueprint.convolutions.iter().filter(|convolution| convolution.pool).count();
    let mut x = input;
    let (mut relus, mut pooled) = (0, 0);
    for (index, (layer, convolution)) in network.convolutions.iter().zip(blueprint.convolutions).enumerate() {
        x = conv(&mut editor, &format!("conv{}", index + 1), layer, x)?;
        relus += 1;
        x = unary(&mut editor, &format!("relu{relus}"), Op::Relu, x)?;
        if convolution.pool {
            pooled += 1;
            let name = if pools == 1 { "pool".to_owned() } else { format!("pool{pooled}") };
            let pool = PoolWindow {
                kernel_shape: vec![2, 2],
                strides: vec![2, 2],
                pads: Pads::symmetric(0, 2),
                dilations: vec![1, 1],
                ceil_mode: false,
            };
            x = unary(&mut editor, &name, Op::MaxPool(pool), x)?;
        }
    }
    x = unary(&mut editor, "flatten", Op::Flatten { axis: 1 }, x)?;
    for (index, layer) in network.linear.iter().enumerate() {
        if index > 0 {
            relus += 1;
            x = unary(&mut editor, &format!("relu{relus}"), Op::Relu, x)?;
        }
        x = linear(&mut editor, &format!("fc{}", index + 1), layer, x)?;
    }
    let output =
        editor.add_node("log_softmax", Op::LogSoftmax { axis: 1 }, vec![Some(x)], "log_probabilities")?;

    editor.set_outputs(vec![output]);
    editor.set_metadata(metadata::STAGE, Stage::Float.name());
    Normalization::from(normalization).record(&mut editor);
    editor.finish()
}

fn conv(editor: &mut GraphEditor, name: &str, layer: &Conv2d, x: ValueId) -> Result<ValueId, EditError> {
    let weight = editor.add_constant(&format!("{name}.weight"), tensor(layer.weight.val()))?;
    let bias = bias(editor, name, layer.bias.as_ref())?;
    let op = Op::Conv(ConvAttributes::padded(1, 2));
    editor.add_node(name, op, vec![Some(x), Some(weight), bias], &format!("{name}_output"))
}

fn linear(editor: &mut GraphEditor, name: &str, layer: &Linear, x: ValueId) -> Result<ValueId, EditError> {
    let weight = editor.add_constant(&format!("{name}.weight"), tensor(layer.weight.val().transpose()))?;
    let bias = bias(editor, name, layer.bias.as_ref())?;
    let op = Op::Gemm(GemmAttributes { trans_b: true, ..GemmAttributes::default() });
    editor.add_node(name, op, vec![Some(x), Some(weight), bias], &format!("{name}_output"))
}

fn bias(
    editor: &mut GraphEditor,
    layer: &str,
    bias: Option<&Param<burn::Tensor<1>>>,
) -> Result<Option<ValueId>, EditError> {
    bias.map(|bias| editor.add_constant(&format!("{layer}.bias"), tensor(bias.val()))).transpose()
}

fn unary(editor: &mut GraphEditor, name: &str, op: Op, x: ValueId) -> Result<ValueId, EditError> {
    editor.add_node(name, op, vec![Some(x)], &format!("{name}_output"))
}

/// A burn tensor's elements in row-major order.
fn tensor<const RANK: usize>(values: burn::Tensor<RANK>) -> Tensor {
    let shape = values.dims();
    let data = values.into_data();
    let elements = data.as_slice::<f32>().expect("every tensor of this crate is f32").to_vec();
    Tensor::from_vec(&shape, elements).expect("a tensor fills its own shape")
}

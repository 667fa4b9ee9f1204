//! What is written is read as it was.

use onnx2int_graph::{
    Activation, AveragePoolAttributes, ConvAttributes, DType, Dim, Graph, GraphEditor, Op, Pads, PoolWindow,
    QuantizationAnnotation, Source, Tensor, TensorType, ValueId, Verified, verify,
};
use onnx2int_onnx_format::{decode, encode};
use proptest::prelude::*;
use prost::Message;
use tract_onnx::pb::ModelProto;

/// One attempt to add a node: which operator, and which of the values so far it reads.
#[derive(Clone, Debug)]
struct Step {
    operator: usize,
    /// Counted from the newest value, round and round.
    first: usize,
    second: usize,
    numbers: [i8; 4],
    optional: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..OPERATORS, any::<[u8; 2]>(), any::<[i8; 4]>(), any::<bool>());
    let step = step.prop_map(|(operator, [first, second], numbers, optional)| Step {
        operator,
        first: first.into(),
        second: second.into(),
        numbers,
        optional,
    });
    prop::collection::vec(step, 1..20)
}

const OPERATORS: usize = 24;

/// A graph of whatever steps the type rules let through.
fn grow(steps: &[Step]) -> Graph {
    let mut editor = GraphEditor::new("grown");
    let shape = vec![Dim::symbol("batch"), 2.into(), 4.into(), 4.into()];
    let float =
        editor.add_input("float input", TensorType::new(DType::F32, shape.clone())).expect("the name is new");
    let byte = editor.add_input("byte input", TensorType::new(DType::U8, shape)).expect("the name is new");
    let mut values = vec![float, byte];
    for (index, step) in steps.iter().enumerate() {
        if let Some(value) = try_step(&mut editor, &values, index, step) {
            values.push(value);
        }
    }
    let outputs: Vec<_> = values.iter().rev().take(2).copied().collect();
    editor.set_outputs(outputs);
    editor.set_metadata("onnx2int.stage", "float");
    editor.finish().expect("every step was accepted")
}

fn try_step(editor: &mut GraphEditor, values: &[ValueId], index: usize, step: &Step) -> Option<ValueId> {
    let pick = |back: usize| values[values.len() - 1 - back % values.len()];
    let (first, second) = (pick(step.first), pick(step.second));
    let dtype = editor.graph().value(first).ty.dtype;
    let [n, m, ..] = step.numbers;
    let mut constant = |role: &str, tensor: Tensor| {
        editor.add_constant(&format!("{role} of step {index}"), tensor).expect("the step is new")
    };
    let (op, inputs) = match step.operator {
        0 => (Op::Relu, vec![Some(first)]),
        1 => (Op::Add, vec![Some(first), Some(second)]),
        2 => (Op::Mul, vec![Some(first), Some(constant("factor", Tensor::scalar(f32::from(n))))]),
        3 => (Op::Max, vec![Some(first), Some(second), Some(first)]),
        4 => (Op::Flatten { axis: i64::from(n % 5) }, vec![Some(first)]),
        5 => (Op::Cast { to: DType::ALL[n.unsigned_abs() as usize % 6] }, vec![Some(first)]),
        6 => (Op::Shape { start: n.into(), end: step.optional.then_some(m.into()) }, vec![Some(first)]),
        7 => (Op::Softmax { axis: i64::from(n % 3) }, vec![Some(first)]),
        8 => {
            let weights = (0..36).map(|k| f32::from(n) * k as f32).collect();
            let weights = constant("weights", Tensor::from_vec(&[2, 2, 3, 3], weights).ok()?);
            let bias = step.optional.then(|| constant("bias", Tensor::vector(vec![f32::from(m); 2])));
            let attributes = ConvAttributes::padded(m.unsigned_abs().into(), 2);
            (Op::Conv(attributes), vec![Some(first), Some(weights), bias])
        }
        9 => {
            let weights = constant("weights", Tensor::from_vec(&[2, 2, 1, 1], step.numbers.to_vec()).ok()?);
            let zero_point = step.optional.then(|| constant("zero point", Tensor::scalar(n as u8)));
            let w_zero_point = constant("weights zero point", Tensor::scalar(m));
            let inputs = vec![Some(first), Some(weights), zero_point, Some(w_zero_point)];
            (Op::ConvInteger(ConvAttributes::padded(0, 2)), inputs)
        }
        10 => {
            let scale = constant("scale", Tensor::scalar(f32::from(m).abs() + 0.25));
            let zero_point = step.optional.then(|| constant("zero point", Tensor::scalar(n)));
            (Op::QuantizeLinear { axis: 1 }, vec![Some(first), Some(scale), zero_point])
        }
        11 => {
            let scale = constant("scale", Tensor::vector(vec![0.5_f32, 2.0]));
            let zero_point = constant("zero point", Tensor::vector(vec![n as u8, m as u8]));
            (Op::DequantizeLinear { axis: 1 }, vec![Some(first), Some(scale), Some(zero_point)])
        }
        12 => (Op::Transpose { perm: vec![0, 2, 3, 1] }, vec![Some(first)]),
        13 => (Op::Concat { axis: 1 }, vec![Some(first), Some(second)]),
        14 => {
            let shape = constant("shape", Tensor::vector(vec![0, i64::from(n), -1]));
            (Op::Reshape { allow_zero: step.optional }, vec![Some(first), Some(shape)])
        }
        15 => {
            let low = step.optional.then(|| constant("low", Tensor::scalar(f32::from(n))));
            let high = constant("high", Tensor::scalar(f32::from(m)));
            (Op::Clip, vec![Some(first), low, Some(high)])
        }
        16 => (Op::ArgMax { axis: i64::from(n % 4), keepdims: step.optional }, vec![Some(first)]),
        17 => {
            let window = PoolWindow {
                kernel_shape: vec![2, 3],
                strides: vec![1 + usize::from(n.unsigned_abs() % 3), 1],
                pads: Pads::symmetric(usize::from(step.optional), 2),
                dilations: vec![1, 1],
                ceil_mode: n > 0,
            };
            let attributes = AveragePoolAttributes { window, count_include_pad: m > 0 };
            (Op::AveragePool(attributes), vec![Some(first)])
        }
        18 => {
            let axes = step.optional.then(|| constant("axes", Tensor::vector(vec![i64::from(n % 4)])));
            (
                Op::ReduceMean { keepdims: m > 0 },
                vec![Some(first)].into_iter().chain(axes.map(Some)).collect(),
            )
        }
        19 => {
            let pads = [n, m].map(|pad| i64::from(pad % 4));
            let pads = constant("pads", Tensor::vector(pads.to_vec()));
            let axes = constant("axes", Tensor::vector(vec![-1_i64]));
            let value = step.optional.then(|| constant("value", Tensor::scalar(n as u8)));
            (Op::Pad, vec![Some(first), Some(pads), value, Some(axes)])
        }
        20 => {
            let alpha = f32::from(n);
            let activation = if step.optional {
                Activation::LeakyRelu { alpha }
            } else {
                Activation::HardSigmoid { alpha, beta: f32::from(m) }
            };
            (Op::Activation(activation), vec![Some(first)])
        }
        21 => {
            let mut parameter = |role| Some(constant(role, Tensor::vector(vec![f32::from(n), f32::from(m)])));
            let parameters = ["normal scale", "offset", "mean", "variance"].map(&mut parameter);
            let epsilon = f32::from(m);
            (Op::BatchNormalization { epsilon }, [Some(first)].into_iter().chain(parameters).collect())
        }
        22 => (Op::PRelu, vec![Some(first), Some(constant("slope", Tensor::scalar(f32::from(n))))]),
        _ => (Op::Constant(Tensor::vector(step.numbers.to_vec())), vec![]),
    };
    let output =
        editor.add_node(&format!("step {index}"), op.clone(), inputs.clone(), &format!("value {index}"));
    let output = output.ok()?;
    if let (Op::QuantizeLinear { .. }, [_, Some(scale), Some(zero_point)]) = (op, inputs.as_slice()) {
        assert_eq!(dtype, DType::F32);
        let name = |id: ValueId| editor.graph().value(id).name.clone();
        let annotation = QuantizationAnnotation { scale: name(*scale), zero_point: name(*zero_point) };
        editor.annotate(output, Some(annotation));
    }
    Some(output)
}

fn verified(graph: &Graph) -> Verified<'_> {
    verify(graph).unwrap_or_else(|error| panic!("{error}\n{}", graph.to_text()))
}

proptest! {
    #[test]
    fn a_graph_survives(steps in steps()) {
        let graph = grow(&steps);
        let bytes = encode(verified(&graph));
        let read = decode(&bytes).unwrap_or_else(|error| panic!("{error}\n{}", graph.to_text()));
        prop_assert_eq!(&read, &graph);
        prop_assert_eq!(encode(verified(&read)), bytes);
    }
}

/// Two convolution steps, a quantizer and a reshape, none of which the type rules refuse.
fn sample() -> Graph {
    let step = |operator, first| Step { operator, first, second: 0, numbers: [2, 1, 3, 4], optional: true };
    // The float input is the second newest value at first.
    grow(&[step(8, 1), step(10, 0), step(4, 0)])
}

#[test]
fn files_say_what_tools_ask_for() {
    let graph = sample();
    let model = ModelProto::decode(encode(verified(&graph)).as_slice()).unwrap();
    assert_eq!((model.ir_version, model.producer_name.as_str()), (10, "onnx2int"));
    assert_eq!(model.producer_version, env!("CARGO_PKG_VERSION"));
    let [opset] = model.opset_import.as_slice() else { panic!("expected one operator set") };
    assert_eq!((opset.domain.as_str(), opset.version), ("", 21));
    let proto = model.graph.expect("it holds a graph");
    assert!(proto.initializer.iter().all(|tensor| !tensor.raw_data.is_empty()));
    // Every result has a type: as an output, or as an inner value.
    let results = graph.values().filter(|(_, value)| matches!(value.source, Source::Node(_))).count();
    let outputs = proto.output.len();
    assert_eq!(proto.value_info.len() + outputs, results);
    assert!(proto.value_info.iter().all(|info| info.r#type.is_some()));
}

#[test]
fn a_file_of_ours_that_is_cut_short_anywhere_is_refused() {
    let mut editor = onnx2int_graph::GraphEditor::from(sample());
    editor.set_metadata("onnx2int.stage", "float");
    let bytes = encode(verified(&editor.finish().unwrap()));
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn the_same_graph_gives_the_same_bytes() {
    let first = encode(verified(&sample()));
    for _ in 0..5 {
        assert_eq!(encode(verified(&sample())), first);
    }
}

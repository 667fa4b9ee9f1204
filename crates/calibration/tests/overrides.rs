//! What is said of single tensors and nodes.

#![expect(clippy::unwrap_used, reason = "what a test's own functions cannot do fails the test")]

use onnx2int_calibration::{
    LogitScales, Method, MethodName, NodeOverride, Overrides, Placement, Quantized, Settings, TensorOverride,
    quantize,
};
use onnx2int_dataset::{Images, Normalization, PIXELS};
use onnx2int_graph::{Graph, Stage, metadata, verify, verify_stage};

const NETWORK: &str = "
in    %input: f32[N,1,28,28]
const %conv.weight: f32[3,1,3,3] = cycle [0.5, -0.25, 0.125, -0.75, 1.0]
const %fc.weight: f32[4,147] = cycle [0.03, -0.02, 0.01, 0.05, -0.04, 0.02, -0.03]
%conv: f32[N,3,28,28] = Conv(%input, %conv.weight) pads=[1,1,1,1]
%relu: f32[N,3,28,28] = Relu(%conv)
%sigmoid: f32[N,3,28,28] = Sigmoid(%relu)
%pool: f32[N,3,7,7] = MaxPool(%sigmoid) kernel_shape=[4,4] strides=[4,4]
%flatten: f32[N,147] = Flatten(%pool)
%fc: f32[N,4] = Gemm(%flatten, %fc.weight) transB=1
out %fc
";

fn quantized(overrides: Overrides) -> Result<Quantized, String> {
    let graph = Graph::from_text(NETWORK).unwrap();
    let pixels = (0..30 * PIXELS).map(|i| ((i * 37) % 251) as u8 * u8::from(i % 5 != 0)).collect();
    let images = Images::new(pixels, vec![0; 30]).unwrap();
    let indices: Vec<usize> = (0..30).collect();
    let settings = Settings {
        per_axis: true,
        weight_bits: 8,
        logits: LogitScales::Shared,
        placement: Placement::Integer,
        method: Method::MinMax,
        equalize: false,
        correct_bias: false,
        overrides,
        threads: 2,
    };
    let verified = verify(&graph).unwrap();
    quantize(verified, &images, &indices, &Normalization::default(), settings)
        .map_err(|error| error.to_string())
}

fn tensor(name: &str, tensor: TensorOverride) -> Overrides {
    Overrides { tensors: [(name.to_owned(), tensor)].into(), ..Overrides::default() }
}

fn node(name: &str, node: NodeOverride) -> Overrides {
    Overrides { nodes: [(name.to_owned(), node)].into(), ..Overrides::default() }
}

fn node_type(graph: &Graph, name: &str) -> String {
    graph.value(graph.value_by_name(name).unwrap()).ty.to_string()
}

#[test]
fn a_tensor_has_the_parameters_that_are_fixed() {
    let parameters = |overrides: Overrides, name: &str| {
        let found = quantized(overrides).unwrap();
        verify_stage(&found.graph, Stage::Quantized).unwrap();
        found.activations.into_iter().find(|tensor| tensor.name == name).unwrap()
    };
    let none = TensorOverride::default();
    let range = TensorOverride { range: Some([0.0, 51.0]), ..none };
    assert_eq!(parameters(tensor("relu", range), "relu").scale, 0.2);
    let fixed = TensorOverride { scale: Some(0.5), zero_point: Some(7), ..none };
    for name in ["relu", "input"] {
        let found = parameters(tensor(name, fixed), name);
        assert_eq!((found.scale, found.zero_point), (0.5, 7));
    }
    let narrow = TensorOverride { calibration: Some(MethodName::Percentile), percentile: Some(80.0), ..none };
    let (plain, chosen) =
        (parameters(Overrides::default(), "relu"), parameters(tensor("relu", narrow), "relu"));
    assert!(chosen.scale < 0.95 * plain.scale, "{chosen:?} {plain:?}");
    // The others are chosen by the method of the settings.
    let sigmoid = |overrides| parameters(overrides, "sigmoid");
    assert_eq!(sigmoid(tensor("relu", narrow)), sigmoid(Overrides::default()));
}

#[test]
fn a_layer_has_the_weights_that_are_asked_for() {
    let codes = |overrides| {
        let graph = quantized(overrides).unwrap().graph;
        let value = graph.value(graph.value_by_name("conv.weight_quantized").unwrap());
        value.constant().unwrap().as_slice::<i8>().unwrap().iter().map(|code| code.abs()).max()
    };
    assert_eq!(codes(Overrides::default()), Some(127));
    let four = NodeOverride { weight_bits: Some(4), per_axis: None };
    assert_eq!(codes(node("conv", four)), Some(7));
    assert_eq!(codes(node("fc", four)), Some(127));
    let scales = |per_axis, layer| {
        let overrides = node(layer, NodeOverride { weight_bits: None, per_axis: Some(per_axis) });
        node_type(&quantized(overrides).unwrap().graph, &format!("{layer}.weight_scale"))
    };
    assert_eq!((scales(true, "conv"), scales(false, "conv")), ("f32[3]".to_owned(), "f32[]".to_owned()));
    assert_eq!((scales(true, "fc"), scales(false, "fc")), ("f32[4]".to_owned(), "f32[]".to_owned()));
}

#[test]
fn what_is_excluded_stays_float() {
    let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let of_node = |name| Overrides { exclude_nodes: named(&[name]), ..Overrides::default() };
    for layer in ["conv", "fc"] {
        let graph = quantized(of_node(layer)).unwrap().graph;
        assert_eq!(node_type(&graph, &format!("{layer}.weight")).split('[').next(), Some("f32"));
        assert!(graph.value_by_name(&format!("{layer}.weight_quantized")).is_none());
        assert!(graph.outputs().contains(&graph.value_by_name("fc").unwrap()), "logits are not quantized");
        // No stage allows it, and none is claimed; lower names the layer.
        assert!(!graph.metadata().contains_key(metadata::STAGE));
        let refusal = verify_stage(&graph, Stage::Quantized).unwrap_err().to_string();
        assert!(refusal.contains(layer), "{refusal}");
    }
    let both = Overrides { exclude_op_types: named(&["Sigmoid"]), ..Overrides::default() };
    let names: Vec<String> =
        quantized(both).unwrap().activations.into_iter().map(|tensor| tensor.name).collect();
    assert_eq!(names, ["input", "sigmoid"], "nothing is quantized in front of it");
}

#[test]
fn an_entry_that_matches_nothing_is_named_with_the_nearest_name() {
    let refusal = |overrides| quantized(overrides).unwrap_err();
    let fixed = TensorOverride { range: Some([0.0, 1.0]), ..TensorOverride::default() };
    let four = NodeOverride { weight_bits: Some(4), per_axis: None };
    let excluded = |nodes: &[&str], op_types: &[&str]| Overrides {
        exclude_nodes: nodes.iter().map(|&name| name.to_owned()).collect(),
        exclude_op_types: op_types.iter().map(|&name| name.to_owned()).collect(),
        ..Overrides::default()
    };
    for (overrides, entry, hint) in [
        (tensor("rellu", fixed), "tensors.\"rellu\"", "nearest name is \"relu\""),
        (tensor("pool", fixed), "tensors.\"pool\"", "name \"sigmoid\""),
        (tensor("conv", fixed), "tensors.\"conv\"", "it is not quantized"),
        (node("cnv", four), "nodes.\"cnv\"", "nearest name is \"conv\""),
        (node("pool", four), "nodes.\"pool\"", "no quantized layer"),
        (node("conv", NodeOverride::default()), "nodes.\"conv\"", "found neither"),
        (excluded(&["fcc"], &[]), "\"fcc\" in exclude_nodes", "nearest name is \"fc\""),
        (excluded(&[], &["Softmx"]), "\"Softmx\" in exclude_op_types", "no operator has this name"),
    ] {
        let message = refusal(overrides);
        assert!(message.contains(entry) && message.contains(hint), "{message}");
    }
}

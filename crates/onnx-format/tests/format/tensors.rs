//! Tensors, in every way that ONNX stores them.

use onnx2int_graph::{DType, Tensor};
use onnx2int_onnx_format::{ExternalData, decode_with_data};
use prost::Message as _;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType, Segment};
use tract_onnx::pb::{SparseTensorProto, StringStringEntryProto, TensorProto};

use crate::models::{data_type, floats, graph, model, node, problem, read_graph};

/// What the file's `t` is read as.
fn tensor(proto: TensorProto) -> Tensor {
    let mut graph = graph(vec![node("Identity", &["t"], "y")]);
    graph.initializer = vec![TensorProto { name: "t".to_owned(), ..proto }];
    let graph = read_graph(graph);
    let t = graph.value_by_name("t").expect("the identity reads it");
    graph.value(t).constant().expect("it is an initializer").clone()
}

fn refusal(proto: TensorProto) -> String {
    let mut graph = graph(vec![node("Identity", &["t"], "y")]);
    graph.initializer = vec![TensorProto { name: "t".to_owned(), ..proto }];
    let text = problem(graph);
    text.strip_prefix("initializer \"t\": ").expect("the initializer is at fault").to_owned()
}

/// A tensor without data.
fn empty(dtype: DType, dims: &[i64]) -> TensorProto {
    TensorProto { data_type: data_type(dtype) as i32, dims: dims.to_vec(), ..TensorProto::default() }
}

#[test]
fn typed_and_raw_data_are_the_same() {
    let samples = [
        Tensor::from_vec(&[2, 2], vec![-0.0_f32, 1.5, f32::MAX, f32::MIN_POSITIVE]),
        Tensor::from_vec(&[2, 2], vec![0_u8, 127, 128, 255]),
        Tensor::from_vec(&[2, 2], vec![0_i8, 127, -128, -1]),
        Tensor::from_vec(&[2, 2], vec![0, i32::MAX, i32::MIN, -1]),
        Tensor::from_vec(&[2, 2], vec![0, i64::MAX, i64::MIN, -1]),
        Tensor::from_vec(&[2, 2], vec![true, false, false, true]),
    ];
    for sample in samples {
        let sample = sample.unwrap();
        let raw = TensorProto { raw_data: sample.to_le_bytes(), ..empty(sample.dtype(), &[2, 2]) };
        let mut typed = empty(sample.dtype(), &[2, 2]);
        match &sample {
            Tensor::F32(a) => typed.float_data = a.iter().copied().collect(),
            Tensor::U8(a) => typed.int32_data = a.iter().map(|&v| v.into()).collect(),
            Tensor::I8(a) => typed.int32_data = a.iter().map(|&v| v.into()).collect(),
            Tensor::I32(a) => typed.int32_data = a.iter().copied().collect(),
            Tensor::I64(a) => typed.int64_data = a.iter().copied().collect(),
            Tensor::Bool(a) => typed.int32_data = a.iter().map(|&v| v.into()).collect(),
        }
        assert_eq!(tensor(raw), sample);
        assert_eq!(tensor(typed), sample);
    }
}

#[test]
fn scalars_and_empty_tensors() {
    let scalar = TensorProto { int32_data: vec![7], ..empty(DType::U8, &[]) };
    assert_eq!(tensor(scalar), Tensor::scalar(7_u8));
    assert_eq!(tensor(empty(DType::F32, &[2, 0])), Tensor::from_vec::<f32>(&[2, 0], vec![]).unwrap());
}

#[test]
fn a_claim_of_gigabytes_is_refused_before_allocating() {
    let four_gigabytes = [32_768, 32_768];
    assert_eq!(
        refusal(empty(DType::F32, &four_gigabytes)),
        "shape [32768, 32768] takes 1073741824 elements, found 0"
    );
    for dims in [[1 << 40, 1 << 40, 1], [0, 1 << 40, 1], [1 << 20, 1 << 20, 1 << 20]] {
        let text = refusal(empty(DType::U8, &dims));
        assert!(text.contains("is too large"), "{text}");
    }
}

#[test]
fn elements_must_fill_the_shape() {
    let short = TensorProto { raw_data: vec![0; 12], ..empty(DType::F32, &[4]) };
    assert_eq!(refusal(short), "shape [4] takes 4 elements, found 3");
    let long = TensorProto { int64_data: vec![0; 5], ..empty(DType::I64, &[4]) };
    assert_eq!(refusal(long), "shape [4] takes 4 elements, found 5");
    let odd = TensorProto { raw_data: vec![0; 15], ..empty(DType::F32, &[4]) };
    assert_eq!(refusal(odd), "15 bytes are no whole number of f32 elements");
    let negative = empty(DType::F32, &[-1]);
    assert_eq!(refusal(negative), "negative extent in shape [-1]");
}

#[test]
fn elements_must_fit_their_type() {
    let large = TensorProto { int32_data: vec![256], ..empty(DType::U8, &[1]) };
    assert_eq!(refusal(large), "256 does not fit u8");
    let small = TensorProto { int32_data: vec![-129], ..empty(DType::I8, &[1]) };
    assert_eq!(refusal(small), "-129 does not fit i8");
    let truth = TensorProto { int32_data: vec![2], ..empty(DType::Bool, &[1]) };
    assert_eq!(refusal(truth), "2 does not fit bool");
    let raw_truth = TensorProto { raw_data: vec![2], ..empty(DType::Bool, &[1]) };
    assert_eq!(refusal(raw_truth), "expected truth values 0 and 1, found 2");
}

#[test]
fn data_in_the_wrong_place_is_refused() {
    let both = TensorProto { raw_data: vec![0; 8], ..floats("t", &[2]) };
    assert_eq!(refusal(both), "both raw_data and a typed field hold elements");
    let elsewhere = TensorProto { float_data: vec![1.0], ..empty(DType::I64, &[1]) };
    assert_eq!(refusal(elsewhere), "1 elements are not in the field of type i64");
}

/// Bytes are all that is read: no path leads out of the model's folder, or to any other file in it.
#[test]
fn external_data_is_refused_wherever_it_lies() {
    for location in ["weights.bin", "../../../../etc/passwd", "/etc/passwd", "a/../../b", ""] {
        let file = StringStringEntryProto { key: "location".to_owned(), value: location.to_owned() };
        for data_location in [Some(DataLocation::External as i32), Some(DataLocation::Default as i32), None] {
            let external =
                TensorProto { data_location, external_data: vec![file.clone()], ..empty(DType::F32, &[4]) };
            assert_eq!(refusal(external), "its data is in another file; save the model as a single file");
        }
    }
}

#[test]
fn external_data_is_what_the_caller_gives() {
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: key.to_owned(), value: value.to_owned() };
    let external = |more: &[(&str, &str)]| {
        let mut external_data = vec![entry("location", "w.data")];
        external_data.extend(more.iter().map(|(key, value)| entry(key, value)));
        let data_location = Some(DataLocation::External as i32);
        TensorProto { data_location, external_data, ..empty(DType::F32, &[2]) }
    };
    let read = |tensor: TensorProto, given: Result<Vec<u8>, String>| {
        let mut asked = Vec::new();
        let mut graph = graph(vec![node("Identity", &["t"], "y")]);
        graph.initializer = vec![TensorProto { name: "t".to_owned(), ..tensor }];
        let graph = decode_with_data(&model(graph).encode_to_vec(), &mut |part| {
            asked.push(part.clone());
            given.clone()
        });
        (graph.map_err(|error| error.to_string()), asked)
    };
    let bytes: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    let part = |offset| ExternalData { location: "w.data".to_owned(), offset, length: 8 };
    for (more, offset) in [(vec![], 0), (vec![("offset", "4096"), ("length", "8")], 4096)] {
        let (graph, asked) = read(external(&more), Ok(bytes.clone()));
        assert_eq!(asked, [part(offset)]);
        let graph = graph.unwrap();
        let constant = graph.values().find_map(|(_, value)| value.constant());
        assert_eq!(constant.and_then(|tensor| tensor.as_slice::<f32>()), Some(&[1.5, -2.0][..]));
    }
    let refused = |tensor: TensorProto, given: Result<Vec<u8>, String>, words: &str| {
        let message = read(tensor, given).0.unwrap_err();
        assert!(message.contains(words), "{message}");
    };
    refused(external(&[]), Err("no such file".to_owned()), "no such file");
    refused(external(&[]), Ok(vec![0; 7]), "expected 8 bytes of \"w.data\", got 7");
    refused(
        external(&[("length", "9")]),
        Ok(bytes.clone()),
        "f32[2] takes 8 bytes, 9 are said to be in \"w.data\"",
    );
    refused(
        external(&[("offset", "-1")]),
        Ok(bytes.clone()),
        "offset \"-1\" of its data is no number of bytes",
    );
    let both = TensorProto { raw_data: vec![0; 8], ..external(&[]) };
    refused(both, Ok(bytes), "both here and in another file");
}

#[test]
fn other_ways_of_storing_are_refused() {
    let segment = TensorProto { segment: Some(Segment { begin: 0, end: 1 }), ..floats("t", &[1]) };
    assert_eq!(refusal(segment), "tensors in segments are not supported");
}

#[test]
fn other_element_types_are_refused_by_name() {
    let half = TensorProto { data_type: DataType::Float16 as i32, ..TensorProto::default() };
    assert_eq!(
        refusal(half),
        "element type FLOAT16 is not supported; expected FLOAT, UINT8, INT8, INT32, INT64 or BOOL"
    );
    let unknown = TensorProto { data_type: 99, ..TensorProto::default() };
    assert!(refusal(unknown).starts_with("element type number 99 is not supported"));
}

#[test]
fn sparse_tensors_are_refused() {
    let mut graph = graph(vec![node("Add", &["x", "t"], "y")]);
    graph.sparse_initializer =
        vec![SparseTensorProto { values: Some(floats("t", &[1])), ..SparseTensorProto::default() }];
    assert_eq!(problem(graph), "initializer \"t\": sparse tensors are not supported");
}

#[test]
fn an_initializer_without_a_name_is_refused() {
    let mut graph = graph(vec![node("Relu", &["x"], "y")]);
    graph.initializer = vec![floats("", &[1])];
    assert_eq!(problem(graph), "initializer \"\": it has no name");
}

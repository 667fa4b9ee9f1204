//! Inner tensors of a model, digested and dumped in every runtime.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use onnx2int_dataset::{Images, PIXELS};
use onnx2int_evaluation::{EvaluationError, Execution, ScoredModel, Trace, tensor_values, trace};
use onnx2int_graph::{Graph, verify};
use onnx2int_runtimes::RuntimeKind;
use sha2::{Digest, Sha256};

const TEXT: &str = "
    in %image: u8[N,1,28,28]
    const %w: i8[784,3] = cycle [1, -2, 3, 5, -7]
    %flat = Flatten(%image) axis=1 @flatten
    %sum = MatMulInteger(%flat, %w, 0u8, 0i8) @product
    %real = Cast(%sum) to=f32 @real
    %byte = QuantizeLinear(%real, 64.0, 128u8) @quantize
    %wide = Cast(%byte) to=i32 @widen
    %logits = Add(%sum, %wide) @add
    out %logits";

fn graph() -> Graph {
    Graph::from_text(TEXT).unwrap()
}

fn images() -> Images {
    let pixels = (0..7 * PIXELS).map(|at| (at * at % 251) as u8).collect();
    Images::new(pixels, vec![0; 7]).unwrap()
}

fn traced(runtime: RuntimeKind, images: &Images, execution: Execution) -> Trace {
    let graph = graph();
    let model = ScoredModel::of(&graph, "m.onnx", "00").unwrap();
    trace(verify(&graph).unwrap(), runtime, &model, images, execution, &|_| ()).unwrap()
}

fn values(names: &[&str], images: &Images) -> Result<Vec<u8>, EvaluationError> {
    let graph = graph();
    let model = ScoredModel::of(&graph, "m.onnx", "00")?;
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let execution = Execution { batch: 2, threads: 2 };
    let verified = verify(&graph).unwrap();
    let runtime = RuntimeKind::Interpreter;
    Ok(tensor_values(verified, runtime, &model, images, &names, execution, &|_| ())?.bytes)
}

#[test]
fn every_runtime_and_every_batch_gives_the_same_digests() {
    let reference = traced(RuntimeKind::Interpreter, &images(), Execution { batch: 1, threads: 1 });
    let names: Vec<_> = reference.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["flat", "sum", "byte", "wide", "logits"]);
    assert_eq!(reference.digests.len(), 7 * 5 * 8);
    assert_eq!(
        (reference.tensors[2].shape.as_slice(), reference.tensors[2].op),
        (&[3][..], "QuantizeLinear")
    );
    for runtime in RuntimeKind::OF_ANY_STAGE {
        for batch in [2, 3, 100] {
            let other = traced(runtime, &images(), Execution { batch, threads: 2 });
            assert_eq!(other.digests, reference.digests, "{runtime}, batch {batch}");
            assert_eq!(
                (other.outputs, other.tensors),
                (reference.outputs.clone(), reference.tensors.clone())
            );
        }
    }
    // An image has its digests wherever it stands.
    let alone = traced(RuntimeKind::Tract, &images().select(&[5]), Execution { batch: 1, threads: 1 });
    assert_eq!(alone.digests, reference.digests[5 * 40..6 * 40]);
    assert_ne!(alone.images_digest, reference.images_digest);
}

#[test]
fn the_elements_are_those_that_were_digested() {
    let reference = traced(RuntimeKind::Interpreter, &images(), Execution { batch: 3, threads: 1 });
    let records = values(&["byte", "real", "sum"], &images().select(&[6, 2])).unwrap();
    let (bytes, floats) = (3, 12);
    assert_eq!(records.len(), 2 * (bytes + floats + 12));
    for (record, image) in records.chunks(27).zip([6, 2]) {
        for (elements, tensor) in [(&record[..3], 2), (&record[15..], 1)] {
            let digest = &reference.digests[(image * 5 + tensor) * 8..][..8];
            assert_eq!(digest, &Sha256::digest(elements)[..8], "image {image}, tensor {tensor}");
        }
        for (float, sum) in record[3..15].chunks(4).zip(record[15..].chunks(4)) {
            let float = f32::from_le_bytes(float.try_into().unwrap());
            assert_eq!(float, i32::from_le_bytes(sum.try_into().unwrap()) as f32);
        }
    }
}

#[test]
fn what_no_node_computes_is_refused_by_name() {
    for name in ["w", "image", "nothing"] {
        let message = values(&[name], &images()).unwrap_err().to_string();
        assert!(message.contains(&format!("no node computes a tensor {name:?}")), "{message}");
    }
    let none = images().select(&[]);
    assert!(matches!(values(&["sum"], &none).unwrap_err(), EvaluationError::NoImages { .. }));
}

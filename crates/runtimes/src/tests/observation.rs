//! Any value of a graph as an output.

use onnx2int_graph::ValueId;

use super::*;

const TEXT: &str = "
    in %x: i32[N,2], %y: i32[N,2]
    const %c: i32[2] = [10, 20]
    %sum = Add(%x, %c)
    %product = Mul(%sum, %y)
    %last = Relu(%product)
    out %last";

fn observed(kind: RuntimeKind, names: &[&str]) -> Vec<Tensor> {
    let graph = graph(TEXT);
    let ids: Vec<ValueId> = names.iter().map(|name| graph.value_by_name(name).unwrap()).collect();
    let session = prepare(kind, verify(&graph).unwrap(), &ids).unwrap();
    let rows = |elements: Vec<i32>| Tensor::from_vec(&[2, 2], elements).unwrap();
    session.run(&[rows(vec![1, 2, 3, 4]), rows(vec![-1, 1, 1, 1])]).unwrap()
}

#[test]
fn inner_values_come_in_the_order_asked_for() {
    for kind in RuntimeKind::OF_ANY_STAGE {
        let outputs = observed(kind, &["product", "last", "sum", "product"]);
        let numbers: Vec<_> = outputs.iter().map(|tensor| tensor.to_i64_vec().unwrap()).collect();
        assert_eq!(
            numbers,
            [vec![-11, 22, 13, 24], vec![0, 22, 13, 24], vec![11, 22, 13, 24], vec![-11, 22, 13, 24]],
            "{kind}"
        );
    }
}

#[test]
fn inputs_and_constants_can_be_asked_for_with_or_without_computed_values() {
    for kind in RuntimeKind::OF_ANY_STAGE {
        let outputs = observed(kind, &["c", "y", "sum"]);
        assert_eq!(outputs[0].to_i64_vec().unwrap(), [10, 20], "{kind}");
        assert_eq!(outputs[1].to_i64_vec().unwrap(), [-1, 1, 1, 1], "{kind}");
        assert_eq!(outputs[2].to_i64_vec().unwrap(), [11, 22, 13, 24], "{kind}");
        assert_eq!(observed(kind, &["x"])[0].to_i64_vec().unwrap(), [1, 2, 3, 4], "{kind}");
        assert!(observed(kind, &[]).is_empty(), "{kind}");
    }
}

#[test]
fn shapes_come_back_as_numbers() {
    let graph = graph("in %x: u8[N,3]\n %s = Shape(%x)\n %wide = Cast(%x) to=i64\n out %s, %wide");
    for kind in RuntimeKind::OF_ANY_STAGE {
        let x = noise(DType::U8, &[2, 3]);
        let outputs = run(kind, &graph, std::slice::from_ref(&x)).unwrap();
        assert_eq!(outputs[0], Tensor::vector(vec![2i64, 3]), "{kind}");
        assert_eq!(outputs[1].to_i64_vec(), x.to_i64_vec(), "{kind}");
    }
}

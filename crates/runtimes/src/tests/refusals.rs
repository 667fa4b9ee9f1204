//! What is refused, and how it is said.

use std::error::Error;

use super::*;

#[test]
fn wrong_inputs_are_refused_alike_by_every_runtime() {
    let graph = graph("in %x: u8[N,2]\n %y = Cast(%x) to=i32\n out %y");
    for kind in RuntimeKind::OF_ANY_STAGE {
        let error = run(kind, &graph, &[noise(DType::F32, &[1, 2])]).unwrap_err();
        assert_eq!(error.to_string(), "these are not the inputs of the graph");
        assert_eq!(
            error.source().unwrap().to_string(),
            r#"input "x": expected u8[N,2], found f32[1,2]"#,
            "{kind}"
        );
    }
}

#[test]
fn the_interpreter_says_which_node_overflows() {
    let graph = graph("in %x: i32[N]\n %y = Mul(%x, 65536i32) @scale_up\n out %y");
    let error = run(RuntimeKind::Interpreter, &graph, &[Tensor::vector(vec![1, 65536])]).unwrap_err();
    let node = error.source().unwrap();
    assert_eq!(node.to_string(), r#"node "scale_up" (Mul of i32[2], i32[])"#);
    assert_eq!(node.source().unwrap().to_string(), "element 1 is 65536 * 65536, which i32 cannot hold");
}

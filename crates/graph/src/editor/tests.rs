//! Tests of the editor, before and after in graph text.

use super::*;
use crate::{DType, Dim, verify};

const CHAIN: &str = "\
in %x: f32[N,4]
%a: f32[N,4] = Relu(%x)
%b: f32[N,4] = Softmax(%a)
out %a, %b
";

/// An editor of a graph text.
fn edit(text: &str) -> GraphEditor {
    GraphEditor::from(Graph::from_text(text).unwrap())
}

fn value(editor: &GraphEditor, name: &str) -> ValueId {
    editor.graph().value_by_name(name).unwrap()
}

fn node(editor: &GraphEditor, name: &str) -> NodeId {
    editor.graph().node_by_name(name).unwrap()
}

/// The graph as text; it must be one that the verifier takes.
fn finished(editor: GraphEditor) -> String {
    let graph = editor.finish().unwrap();
    verify(&graph).unwrap();
    graph.to_full_text()
}

#[test]
fn finish_sorts_depth_first_sweeps_and_is_idempotent() {
    let mut editor = GraphEditor::new("fragment");
    let ty = TensorType::new(DType::F32, [Dim::symbol("N")]);
    let x = editor.add_input("x", ty.clone()).unwrap();
    editor.add_input("unused", ty).unwrap();
    editor.add_constant("swept", Tensor::scalar(1.0_f32)).unwrap();
    let late = editor.add_constant("late", Tensor::scalar(2.0_f32)).unwrap();
    let a = editor.add_node("a", Op::Relu, [Some(x)], "a").unwrap();
    editor.add_node("dead", Op::Relu, [Some(a)], "dead").unwrap();
    let b = editor.add_node("b", Op::Add, [Some(x), Some(late)], "b").unwrap();
    let c = editor.add_node("c", Op::Sub, [Some(b), Some(a), None], "c");
    assert!(matches!(c, Err(EditError::Type { .. })), "Sub takes two operands");
    let c = editor.add_node("c", Op::Sub, [Some(b), Some(a)], "c").unwrap();
    editor.set_outputs([c, x]);
    let graph = editor.finish().unwrap();
    // Inputs stay, used or not; operands are asked for from left to right.
    let expected = "\
in %x: f32[N]
in %unused: f32[N]
const %late: f32[] = 2.0
%b: f32[N] = Add(%x, %late)
%a: f32[N] = Relu(%x)
%c: f32[N] = Sub(%b, %a)
out %c, %x
";
    assert_eq!(graph.to_text(), expected);
    assert_eq!(GraphEditor::from(graph.clone()).finish().unwrap(), graph);
}

#[test]
fn finish_infers_types_anew_and_cuts_operands_left_out_at_the_end() {
    let mut editor = edit("in %x: f32[N,4]\n%c = Clip(%x, 0.0, 1.0)\n%y = Softmax(%c)\nout %y");
    let (x, c) = (value(&editor, "x"), node(&editor, "c"));
    editor.retype_input(x, TensorType::fixed(DType::F32, &[2, 7]));
    editor.set_input(c, 1, None);
    editor.set_input(c, 2, None);
    assert_eq!(
        finished(editor),
        "in %x: f32[2,7]\n%c: f32[2,7] = Clip(%x)\n%y: f32[2,7] = Softmax(%c)\nout %y\n"
    );
}

#[test]
fn finish_refuses_what_does_not_fit_by_the_name_of_the_node() {
    let mut editor = edit(CHAIN);
    let x = value(&editor, "x");
    editor.retype_input(x, TensorType::fixed(DType::I32, &[4]));
    let error = editor.finish().unwrap_err();
    let EditError::Type { node, op, source } = &error else { panic!("{error}") };
    assert_eq!((node.as_str(), *op), ("b", "Softmax"));
    assert_eq!(source.to_string(), "expected operand 0 of type f32, found i32[4]");
}

#[test]
fn finish_refuses_cycles() {
    let mut editor = edit(CHAIN);
    let (a, b) = (node(&editor, "a"), value(&editor, "b"));
    editor.set_input(a, 0, Some(b));
    assert_eq!(editor.finish(), Err(EditError::Cycle { node: "a".to_owned() }));

    let mut editor = edit(CHAIN);
    let (a, a_node) = (value(&editor, "a"), node(&editor, "a"));
    editor.set_input(a_node, 0, Some(a));
    assert_eq!(editor.finish(), Err(EditError::Cycle { node: "a".to_owned() }));
}

#[test]
fn a_replaced_value_is_replaced_everywhere() {
    let mut editor = edit("in %x: f32[N,4]\n%a = Relu(%x)\n%b = Add(%a, %a)\n%c = Sub(%b, %a)\nout %a, %c");
    let (a, x) = (value(&editor, "a"), value(&editor, "x"));
    editor.replace_uses(a, x).unwrap();
    assert_eq!(
        finished(editor),
        "in %x: f32[N,4]\n%b: f32[N,4] = Add(%x, %x)\n%c: f32[N,4] = Sub(%b, %x)\nout %x, %c\n"
    );
}

#[test]
fn a_replacement_has_the_type_of_what_it_replaces() {
    let mut editor = edit("in %x: f32[N,4], %z: f32[M,4]\n%a = Relu(%x)\n%b = Relu(%z)\nout %a, %b");
    let (a, z) = (value(&editor, "a"), value(&editor, "z"));
    let error = editor.replace_uses(a, z).unwrap_err();
    assert_eq!(error.to_string(), "\"z\" of type f32[M,4] cannot replace \"a\" of type f32[N,4]");
    // Without the check, types downstream follow.
    editor.redirect_uses(a, z);
    assert!(finished(editor).contains("out %z, %b"));
}

#[test]
fn a_node_goes_between_a_value_and_all_of_its_uses() {
    let mut editor = edit(CHAIN);
    let a = value(&editor, "a");
    editor.insert_after(a, "square", Op::Mul, &[a], "squared").unwrap();
    assert_eq!(
        finished(editor),
        "in %x: f32[N,4]\n%a: f32[N,4] = Relu(%x)\n%squared: f32[N,4] = Mul(%a, %a) @square\n\
         %b: f32[N,4] = Softmax(%squared)\nout %squared, %b\n"
    );
    let mut editor = edit(CHAIN);
    let a = value(&editor, "a");
    let error = editor.insert_after(a, "cast", Op::Cast { to: DType::I32 }, &[], "cast").unwrap_err();
    assert!(matches!(error, EditError::TypeMismatch { .. }), "{error}");
}

#[test]
fn a_changed_node_keeps_its_names_and_has_its_new_type_at_once() {
    let mut editor = edit(CHAIN);
    let (b, x) = (node(&editor, "b"), value(&editor, "x"));
    editor.replace_node(b, Op::Cast { to: DType::I32 }, [Some(x)]);
    assert_eq!(editor.graph().value(value(&editor, "b")).ty.to_string(), "i32[N,4]");
    assert_eq!(
        finished(editor),
        "in %x: f32[N,4]\n%a: f32[N,4] = Relu(%x)\n%b: i32[N,4] = Cast(%x) to=i32\nout %a, %b\n"
    );
}

#[test]
fn names_are_taken_once_and_come_free_again() {
    let mut editor = edit(CHAIN);
    let (x, a) = (value(&editor, "x"), value(&editor, "a"));
    let taken = |name: &str| EditError::NameTaken { name: name.to_owned() };
    assert_eq!(editor.add_node("b", Op::Relu, [Some(x)], "c"), Err(taken("b")));
    assert_eq!(editor.add_node("c", Op::Relu, [Some(x)], "b"), Err(taken("b")));
    assert_eq!(editor.add_input("a", TensorType::fixed(DType::F32, &[])), Err(taken("a")));
    assert_eq!(editor.rename_value(a, "x"), Err(taken("x")));
    assert_eq!(editor.rename_value(a, "a"), Ok(()));
    assert_eq!(editor.rename_value(a, "e"), Ok(()));
    assert_eq!(editor.add_constant("a", Tensor::scalar(1.0_f32)).map(|_| ()), Ok(()));
    // Refused edits leave nothing behind.
    let c = editor.add_node("c", Op::Relu, [Some(x)], "c").unwrap();
    assert_eq!((editor.unique_name("b"), editor.unique_name("f")), ("b_2".to_owned(), "f".to_owned()));
    editor.set_outputs([c]);
    assert_eq!(finished(editor), "in %x: f32[N,4]\n%c: f32[N,4] = Relu(%x)\nout %c\n");
}

#[test]
fn an_annotation_goes_with_the_constants_that_it_names() {
    let text = "\
in %x: f32[N]
const %s: f32[] = 0.5
const %z: u8[] = 3
%q: u8[N] = QuantizeLinear(%x, %s, %z)
%d: f32[N] = DequantizeLinear(%q, %s, %z)
annotate %q scale=s zero_point=z
out %d
";
    assert_eq!(finished(edit(text)), text);
    let mut editor = edit(text);
    let quantize = node(&editor, "q");
    let dequantize = node(&editor, "d");
    editor.set_input(quantize, 2, None);
    editor.set_input(dequantize, 2, None);
    assert!(!finished(editor).contains("annotate"));
}

#[test]
fn metadata_is_set_and_removed() {
    let mut editor = edit(CHAIN);
    editor.set_metadata("onnx2int.stage", "float");
    editor.set_metadata("other", "1");
    editor.set_metadata("other", "2");
    editor.remove_metadata("onnx2int.stage");
    assert!(finished(editor).starts_with("meta other = \"2\"\nin "));
}

#[test]
fn shapes_are_followed_while_a_graph_is_made() {
    let mut editor = edit("in %x: f32[N,2,3]\n%shape = Shape(%x)\n%n = Gather(%shape, 0i64)\nout %n");
    let (x, n) = (value(&editor, "x"), value(&editor, "n"));
    let axes = editor.add_constant("axes", Tensor::vector(vec![0_i64])).unwrap();
    let rest = editor.add_constant("rest", Tensor::vector(vec![-1_i64])).unwrap();
    let batch = editor.add_node("batch", Op::Unsqueeze, [Some(n), Some(axes)], "batch").unwrap();
    let target =
        editor.add_node("target", Op::Concat { axis: 0 }, [Some(batch), Some(rest)], "target").unwrap();
    let y = editor.add_node("y", Op::Reshape { allow_zero: false }, [Some(x), Some(target)], "y").unwrap();
    assert_eq!(editor.graph().value(y).ty.to_string(), "f32[N,6]");
}

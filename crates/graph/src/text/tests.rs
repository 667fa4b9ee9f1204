//! Tests of the text form: goldens, refusals, round trips, and arbitrary input.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::{MAX_REPEATED_ELEMENTS, ParseError};
use crate::{
    Activation, AveragePoolAttributes, ConvAttributes, DType, Dim, Graph, GraphEditor, Op, Pads, PoolWindow,
    QuantizationAnnotation, Tensor, TensorType, ValueId,
};

/// The whole grammar, as the printer writes it.
const EVERYTHING: &str = "\
graph mnist_cnn
meta \"odd key\" = \"line\\nbreak \\\"quoted\\\"\"
meta onnx2int.stage = \"float\"
in %x: f32[N,1,5,5]
in %\"odd name\": f32[\"N+1\",2]
const %w: f32[2,1,3,3] = splat 0.5
const %b: f32[2] = [0.1, -1e-7]
const %q_scale2: f32[1] = [0.1]
const %\"q zero\": u8[1] = [0]
const %shape: i64[2] = [0, -1]
%y: f32[N,2,5,5] = Conv(%x, %w, %b) pads=[1,1,1,1] @/conv1/Conv
%r: f32[N,2,5,5] = Relu(%y)
%q: u8[N,2,5,5] = QuantizeLinear(%r, %q_scale2, %\"q zero\")
%p: u8[N,2,2,2] = MaxPool(%q) kernel_shape=[2,2] strides=[2,2]
%d: f32[N,2,2,2] = DequantizeLinear(%p, 0.1)
%f: f32[N,8] = Reshape(%d, %shape)
%c: f32[8,3] = Constant() value=f32[8,3] splat 1.0
%g: f32[N,3] = Gemm(%f, %c) alpha=2.0 @fc1
%l: f32[N,3] = Clip(%g, _, 6.0)
%class: i64[N] = ArgMax(%l) axis=1 keepdims=0
annotate %q scale=q_scale2 zero_point=\"q zero\"
out %class, %g
";

/// Every operator, each attribute once at another value than its default.
const EVERY_OPERATOR: &str = "\
in %x: f32[N,2,7,7]
in %u: u8[N,2,7,7]
in %m: f32[4,5]
const %w: f32[4,1,3,3] = splat 0.5
const %wi: i8[4,1,3,3] = splat 3
const %b: f32[5,4] = splat 0.5
const %bi: i8[5,4] = splat 1
const %mi: u8[4,5] = splat 1
const %shape: i64[2] = [-1, 10]
const %indices: i64[2] = [0, -1]
const %starts: i64[1] = [1]
const %ends: i64[1] = [9223372036854775807]
const %axes: i64[1] = [3]
const %steps: i64[1] = [2]
const %minus: i64[1] = [-1]
const %starts_and_ends: i64[2] = [1, 2]
const %ones: f32[5] = splat 1.0
%conv: f32[N,4,2,2] = Conv(%x, %w) strides=[2,3] pads=[1,0,0,1] dilations=[2,1] group=2
%convi: i32[N,4,5,5] = ConvInteger(%u, %wi, 3u8, 0i8) group=2
%gemm: f32[5,5] = Gemm(%m, %b) alpha=0.5 beta=2.0 transA=1 transB=1
%matmul: f32[4,4] = MatMul(%m, %b)
%matmuli: i32[4,4] = MatMulInteger(%mi, %bi, _, 1i8)
%pool: f32[N,2,4,4] = MaxPool(%x) kernel_shape=[3,3] strides=[2,2] pads=[1,1,1,1] ceil_mode=1
%average: f32[N,2,4,3] = AveragePool(%x) kernel_shape=[3,3] strides=[2,3] pads=[1,0,1,0] ceil_mode=1 count_include_pad=1
%dilated: f32[N,2,3,5] = AveragePool(%x) kernel_shape=[3,3] dilations=[2,1]
%global: f32[N,2,1,1] = GlobalAveragePool(%x)
%mean: f32[N,2,7] = ReduceMean(%x, %axes) keepdims=0
%normal: f32[4,5] = BatchNormalization(%m, %ones, %ones, %ones, %ones) epsilon=0.25
%leaky: f32[4,5] = LeakyRelu(%m) alpha=0.25
%elu: f32[4,5] = Elu(%m) alpha=-0.0
%hardsigmoid: f32[4,5] = HardSigmoid(%m) alpha=0.25 beta=0.75
%hardswish: f32[4,5] = HardSwish(%m)
%sigmoid: f32[4,5] = Sigmoid(%m)
%tanh: f32[4,5] = Tanh(%m)
%softplus: f32[4,5] = Softplus(%m)
%erf: f32[4,5] = Erf(%m)
%gelu: f32[4,5] = Gelu(%m) tanh=1
%prelu: f32[4,5] = PRelu(%m, %ones)
%pad: f32[4,8] = Pad(%m, %starts_and_ends, 0.5, %minus)
%q: u8[4,5] = QuantizeLinear(%m, 0.5) axis=0
%d: f32[4,5] = DequantizeLinear(%q, 0.5) axis=-1
%relu: f32[4,5] = Relu(%m)
%clip: f32[4,5] = Clip(%m, -1.0, 1.0)
%add: f32[4,5] = Add(%m, 1e-45)
%sub: f32[4,5] = Sub(%m, -0.0)
%mul: f32[4,5] = Mul(%m, inf)
%div: f32[4,5] = Div(%m, -inf)
%max: f32[4,5] = Max(%m, %relu, %clip)
%min: f32[4,5] = Min(%m)
%cast: bool[4,5] = Cast(%m) to=bool
%logsoftmax: f32[4,5] = LogSoftmax(%m) axis=0
%softmax: f32[4,5] = Softmax(%m) axis=1
%flatten: f32[1,20] = Flatten(%m) axis=0
%reshape: f32[2,10] = Reshape(%m, %shape) allowzero=1
%transpose: f32[5,4] = Transpose(%m) perm=[1,0]
%concat: f32[8,5] = Concat(%m, %relu) axis=0
%gather: f32[4,2] = Gather(%m, %indices) axis=1
%slice: f32[N,2,7,3] = Slice(%x, %starts, %ends, %axes, %steps)
%unsqueeze: f32[4,5,7,1] = Unsqueeze(%cube, %axes)
%squeeze: f32[4,5,7] = Squeeze(%unsqueeze, %axes)
%identity: f32[4,5] = Identity(%m)
%dropout: f32[4,5] = Dropout(%m, 0.25, false)
%constant: bool[2] = Constant() value=bool[2] [true, false]
%shape_of: i64[2] = Shape(%x) start=1 end=-1
%argmax: i64[4,1] = ArgMax(%m) axis=-1
";

/// The text of [`EVERY_OPERATOR`] with every result an output.
fn every_operator() -> String {
    let results: Vec<_> = EVERY_OPERATOR
        .lines()
        .filter(|line| line.starts_with('%'))
        .map(|line| &line[..line.find(':').unwrap()])
        .collect();
    let text = EVERY_OPERATOR.replacen("in %m:", "in %cube: f32[4,5,7]\nin %m:", 1);
    format!("{text}out {}\n", results.join(", "))
}

fn refusal(text: &str) -> ParseError {
    Graph::from_text(text).unwrap_err()
}

#[test]
fn the_whole_grammar_survives() {
    let graph = Graph::from_text(EVERYTHING).unwrap();
    assert_eq!(graph.to_full_text(), EVERYTHING);
    assert_eq!(graph.to_text(), EVERYTHING);
    assert_eq!(Graph::from_text(&graph.to_full_text()).unwrap(), graph);
}

#[test]
fn every_operator_is_printed_as_it_is_written() {
    let text = every_operator();
    let graph = Graph::from_text(&text).unwrap();
    let printed = graph.to_full_text();
    for line in text.lines() {
        assert!(printed.lines().any(|other| other == line), "{line}\nis not in\n{printed}");
    }
    assert_eq!(Graph::from_text(&printed).unwrap(), graph);
}

#[test]
fn defaults_and_types_are_filled_in() {
    let graph = Graph::from_text(
        "in %x: f32[N,1,3,3]  # a comment\n\n\
         # const %ignored: f32[] = 1.0\n\
         const %w: f32[1,1,3,3] = cycle [1, 2]\n\
         %y=Conv( %x , %w )pads=[1,1,1,1]@conv\n\
         %t = Transpose(%y)\n\
         out %t",
    )
    .unwrap();
    assert_eq!(
        graph.to_text(),
        "in %x: f32[N,1,3,3]\n\
         const %w: f32[1,1,3,3] = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0]\n\
         %y: f32[N,1,3,3] = Conv(%x, %w) pads=[1,1,1,1] @conv\n\
         %t: f32[3,3,1,N] = Transpose(%y) perm=[3,2,1,0]\n\
         out %t\n"
    );
}

#[test]
fn large_constants_are_digests_for_people() {
    let elements: Vec<i8> = (0..65).collect();
    let mut editor = GraphEditor::new("fragment");
    let x = editor.add_input("x", TensorType::fixed(DType::I8, &[65])).unwrap();
    let tensor = Tensor::vector(elements);
    let digest = tensor.digest();
    let c = editor.add_constant("c", tensor).unwrap();
    let y = editor.add_node("y", Op::Add, [Some(x), Some(c)], "y").unwrap();
    editor.set_outputs([y]);
    let graph = editor.finish().unwrap();
    assert!(graph.to_text().contains(&format!("const %c: i8[65] = #{}\n", &digest[..16])));
    assert_eq!(Graph::from_text(&graph.to_full_text()).unwrap(), graph);
    let error = refusal(&graph.to_text());
    assert_eq!((error.line, error.column), (2, 20));
    assert!(error.expected.contains("to_full_text"), "{error}");
}

#[test]
fn a_constant_is_inline_only_where_the_literal_says_all() {
    let stays = |change: fn(&mut GraphEditor, ValueId, ValueId)| {
        let mut editor =
            GraphEditor::from(Graph::from_text("in %x: i32[N]\n%y = Add(%x, 7i32)\nout %y").unwrap());
        let id = |editor: &GraphEditor, name| editor.graph().value_by_name(name).unwrap();
        let (y, constant) = (id(&editor, "y"), id(&editor, "y_b"));
        change(&mut editor, y, constant);
        let graph = editor.finish().unwrap();
        assert_eq!(Graph::from_text(&graph.to_full_text()).unwrap(), graph);
        graph.to_text().contains("const ")
    };
    assert!(!stays(|_, _, _| {}));
    assert!(stays(|editor, _, constant| editor.rename_value(constant, "seven").unwrap()));
    assert!(stays(|editor, y, constant| editor.set_outputs([y, constant])));
    assert!(stays(|editor, y, constant| {
        let again = editor.add_node("z", Op::Mul, [Some(y), Some(constant)], "z").unwrap();
        editor.set_outputs([again]);
    }));
    assert!(stays(|editor, _, constant| {
        let annotation = QuantizationAnnotation { scale: "y_b".to_owned(), zero_point: "y_b".to_owned() };
        editor.annotate(constant, Some(annotation));
    }));
}

#[test]
fn floats_keep_their_bits() {
    let bits =
        [0, 0x8000_0000, 1, 0x3dcc_cccd, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffc0_0001];
    let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
    let mut editor = GraphEditor::new("fragment");
    let c = editor.add_constant("c", Tensor::vector(values)).unwrap();
    editor.set_outputs([c]);
    let text = editor.finish().unwrap().to_full_text();
    assert_eq!(
        text,
        "const %c: f32[9] = [0.0, -0.0, 1e-45, 0.1, 3.4028235e38, inf, -inf, nan, nan:0xffc00001]\nout %c\n"
    );
    let graph = Graph::from_text(&text).unwrap();
    let (_, value) = graph.values().next().unwrap();
    let read: Vec<u32> =
        value.constant().unwrap().as_slice::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
    assert_eq!(read, bits);
}

#[test]
fn refusals_point_at_what_is_wrong() {
    let head = "in %x: f32[N,4]\n";
    let mut failures = Vec::new();
    for (line, column, expected) in [
        ("x = Relu(%x)", 1, "`graph`, `meta`, `in`, `const`, `annotate`, `out`, or a node"),
        ("graph late", 1, "the `graph` line above all others"),
        ("meta key = bare", 12, "a quoted value"),
        ("in %x: f32[N]", 4, "a name that is not taken"),
        ("in %y: f16[N]", 8, "an element type"),
        ("in %y: f32[N+1]", 13, "`,` or `]`"),
        ("in %y: f32[-1]", 12, "an extent"),
        ("in % y: f32[N]", 6, "a name directly after `%`"),
        ("const %c: f32[N] = splat 1", 20, "a constant whose extents are numbers"),
        ("const %c: f32[2] = [1]", 20, "as many elements as [2] has"),
        ("const %c: u8[1] = [256]", 20, "an element of type u8"),
        ("const %c: f32[1] = [1e39]", 21, "an element of type f32"),
        ("const %c: f32[1] = 1.0", 20, "`[` and elements, `splat` or `cycle`"),
        ("const %c: f32[2] = cycle []", 20, "a pattern of at least one element"),
        ("%y = Relu(%z)", 11, "a value that is defined above"),
        ("%y = Rely(%x)", 6, "the name of an operator"),
        ("%y = Add(%x, 1)", 14, "a scalar literal"),
        ("%y = Add(%x, 300u8)", 14, "a scalar literal"),
        ("%y = Add(%x, 1.0", 17, "`,` or `)`"),
        ("%y = Relu(%x) axis=1", 15, "an attribute of Relu"),
        ("%y = Relu(%x) junk", 19, "`=` and the attribute's value"),
        ("%y = Softmax(%x) axis=1 axis=1", 25, "an attribute that is not there yet"),
        ("%y = Softmax(%x) axis=one", 18, "axis=an integer"),
        ("%y = Cast(%x)", 14, "the attribute `to` of Cast"),
        ("%y: f32[N,5] = Relu(%x)", 5, "f32[N,4], which follows from the operands"),
        ("%y = Add(%x, 1u8)", 6, "operand 1 of type f32 by Add \"y\""),
        ("%y = Relu(%x) @n more", 18, "the end of the line"),
        ("%x = Relu(%x)", 1, "a name that is not taken"),
        ("annotate %x scale=s", 20, "`zero_point=` and the name of a constant"),
        ("annotate %z scale=s zero_point=z", 10, "a value that is defined above"),
        ("out %z", 5, "a value that is defined above"),
        ("meta \"a\\q\" = \"\"", 8, "one of the escapes"),
        ("meta \"open", 11, "a closing `\"`"),
    ] {
        let error = refusal(&format!("{head}{line}\n"));
        if (error.line, error.column) != (2, column) || !error.expected.contains(expected) {
            failures.push(format!("{line}: {error}, not column {column} and {expected:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let error = refusal("in %x: f32[N]\n%y = Relu(%x)");
    assert!(error.expected.starts_with("an `out` line"), "{error}");
    let error = refusal("in %x: f32[N]\n%y = Relu(%x) @n\n%z = Relu(%x) @n");
    assert_eq!(error.to_string(), "line 3, column 16: expected a node name that is not taken, found \"n\"");
}

#[test]
fn a_short_text_cannot_ask_for_much_memory() {
    for text in [
        "const %w: f32[999999999999] = splat 0".to_owned(),
        "const %w: u8[18446744073709551615,18446744073709551615] = splat 0".to_owned(),
        "const %w: u8[9223372036854775807,9223372036854775807] = cycle [1]".to_owned(),
        format!("const %w: u8[{}] = splat 0", MAX_REPEATED_ELEMENTS + 1),
        format!("const %v: u8[{MAX_REPEATED_ELEMENTS}] = splat 0\nconst %w: u8[1] = splat 0"),
    ] {
        refusal(&text);
    }
    // Extents are numbers only; nothing is as large as they say.
    refusal("in %x: f32[9223372036854775807,9223372036854775807]\n%y = Flatten(%x) axis=0\nout %y");
    let huge = "in %x: f32[1,9223372036854775807,8,8]\nconst %w: f32[1,9223372036854775807,0,1] = []\n\
                %y = Conv(%x, %w) group=9223372036854775807\nout %y";
    refusal(huge);
}

#[test]
fn a_deep_graph_is_no_deep_recursion() {
    let mut text = "const %v0: i64[1] = [1]\n".to_owned();
    for i in 0..20_000 {
        text.push_str(&format!("%v{} = Identity(%v{i})\n", i + 1));
    }
    text.push_str("out %v20000");
    assert_eq!(Graph::from_text(&text).unwrap().nodes().len(), 20_000);
}

#[test]
fn verifier_fixtures_survive() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify");
    let mut good = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("good-") {
            good += 1;
            let graph = Graph::from_text(&fs::read_to_string(&path).unwrap()).unwrap();
            assert_eq!(Graph::from_text(&graph.to_full_text()).unwrap(), graph, "{}", path.display());
        }
    }
    // One of each stage, and one with a float tail.
    assert_eq!(good, crate::Stage::ALL.len() + 1);
}

/// One thing done to a graph that is being made.
#[derive(Clone, Debug)]
struct Step {
    kind: usize,
    /// Picks operands among the values that are there.
    picks: [usize; 3],
    numbers: [i64; 3],
    float: u32,
    name: String,
    /// Whether constants get the name that prints them inline.
    named_by_role: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (
        0..27_usize,
        any::<[usize; 3]>(),
        prop::array::uniform3(-2..4_i64),
        any::<u32>(),
        prop_oneof!["[a-z]{1,3}", "[a-z:./_-]{1,4}", "\\PC{0,3}", any::<String>()],
        any::<bool>(),
    )
        .prop_map(|(kind, picks, numbers, float, name, named_by_role)| Step {
            kind,
            picks,
            numbers,
            float,
            name,
            named_by_role,
        })
}

/// A graph made of the steps that the editor takes; the others are passed over.
fn graph_of(steps: &[Step]) -> Graph {
    let mut editor = GraphEditor::new("made up");
    let n = Dim::symbol("N");
    let mut values = vec![
        editor
            .add_input("x", TensorType::new(DType::F32, [n.clone(), 2.into(), 6.into(), 6.into()]))
            .unwrap(),
        editor.add_input("u", TensorType::new(DType::U8, [n, Dim::symbol("odd name"), 3.into()])).unwrap(),
    ];
    for step in steps {
        if let Some(value) = take_step(&mut editor, step, &values) {
            values.push(value);
        }
    }
    // Some values are of no use, so that nodes and constants are swept.
    let outputs: Vec<_> = values.iter().enumerate().filter(|(i, _)| i % 4 != 3).map(|(_, &id)| id).collect();
    editor.set_outputs(outputs);
    editor.set_metadata(&steps.first().map_or_else(String::new, |step| step.name.clone()), "\u{7f}\"\\\r\n");
    editor.finish().unwrap()
}

fn take_step(editor: &mut GraphEditor, step: &Step, values: &[ValueId]) -> Option<ValueId> {
    let output = editor.unique_name(&step.name);
    let [a, b, c] = step.picks.map(|pick| values[pick % values.len()]);
    let [i, j, k] = step.numbers;
    let extents = |low: i64| step.numbers[..2].iter().map(|&v| v.max(low) as usize).collect::<Vec<_>>();
    let float = f32::from_bits(step.float);
    let float = if float.is_nan() { 0.5 } else { float };
    let tensor = match k {
        -2 => Tensor::scalar(float),
        -1 => Tensor::scalar(i as i8),
        0 => Tensor::scalar(step.float as i32),
        1 => Tensor::vector(vec![i; 1 + j.unsigned_abs() as usize]),
        2 => Tensor::from_vec(&[2, 1], vec![i >= 0, j >= 0]).unwrap(),
        _ => Tensor::vector(vec![i as u8, j as u8]),
    };
    if step.kind == 0 {
        return editor.add_constant(&output, tensor).ok();
    }
    let window = ConvAttributes {
        strides: extents(1),
        pads: Pads { begin: extents(0), end: vec![0, 1] },
        dilations: vec![1, 1],
        group: 1,
    };
    let pool = PoolWindow {
        kernel_shape: vec![2, 3],
        strides: window.strides.clone(),
        pads: Pads::symmetric(usize::from(step.named_by_role), 2),
        dilations: vec![1, 1],
        ceil_mode: i > 0,
    };
    let average = AveragePoolAttributes {
        window: PoolWindow { dilations: vec![1, 2], ..pool.clone() },
        count_include_pad: j > 0,
    };
    let (op, mut inputs) = match step.kind {
        1 => (Op::Relu, vec![Some(a)]),
        2 => (Op::Flatten { axis: i }, vec![Some(a)]),
        3 => (Op::Softmax { axis: i }, vec![Some(a)]),
        4 => (Op::Transpose { perm: (0..editor.graph().value(a).ty.rank()).rev().collect() }, vec![Some(a)]),
        5 => (Op::Cast { to: DType::ALL[step.picks[1] % 6] }, vec![Some(a)]),
        6 => (Op::ArgMax { axis: i, keepdims: j > 0 }, vec![Some(a)]),
        7 => (Op::Shape { start: i, end: (j > 0).then_some(j) }, vec![Some(a)]),
        8 => (Op::Constant(tensor.clone()), vec![]),
        9 => (Op::Concat { axis: i }, vec![Some(a), Some(a)]),
        10 => (Op::Gather { axis: i }, vec![Some(a), Some(b)]),
        11 => (Op::Add, vec![Some(a), Some(b)]),
        12 => (Op::Max, vec![Some(a), Some(b), Some(c)]),
        13 => (Op::Conv(window), vec![Some(a)]),
        14 => (Op::MaxPool(pool), vec![Some(a)]),
        15 => (Op::QuantizeLinear { axis: i }, vec![Some(a)]),
        16 => (Op::DequantizeLinear { axis: i }, vec![Some(a)]),
        17 => (Op::Reshape { allow_zero: j > 0 }, vec![Some(a), Some(b)]),
        18 => (Op::Clip, vec![Some(a), None, Some(b)]),
        19 => (Op::Squeeze, vec![Some(a)]),
        20 => (Op::GlobalAveragePool, vec![Some(a)]),
        21 => (Op::ReduceMean { keepdims: j > 0 }, vec![Some(a)]),
        22 => (Op::PRelu, vec![Some(a), Some(b)]),
        23 => (Op::Pad, vec![Some(a), Some(b)]),
        24 => (Op::Activation(Activation::HardSigmoid { alpha: float, beta: i as f32 }), vec![Some(a)]),
        25 => (Op::AveragePool(average), vec![Some(a)]),
        _ => (Op::Identity, vec![Some(a)]),
    };
    let mut constant = |editor: &mut GraphEditor, tensor: Tensor| {
        let base = if step.named_by_role {
            format!("{output}_{}", op.operand_role(inputs.len()))
        } else {
            "c".to_owned()
        };
        let name = editor.unique_name(&base);
        inputs.push(Some(editor.add_constant(&name, tensor).unwrap()));
    };
    match step.kind {
        13 => constant(editor, Tensor::from_vec(&[2, 2, 2, 2], vec![float; 16]).unwrap()),
        15 | 16 => constant(editor, Tensor::scalar(float)),
        _ => {}
    }
    let node = if step.named_by_role { output.clone() } else { editor.unique_name("node") };
    let value = editor.add_node(&node, op, inputs, &output).ok()?;
    if step.named_by_role {
        let annotation =
            QuantizationAnnotation { scale: format!("{output}_scale"), zero_point: "c".to_owned() };
        editor.annotate(value, Some(annotation));
    }
    Some(value)
}

proptest! {
    #[test]
    fn graphs_survive(steps in prop::collection::vec(step(), 1..40)) {
        let graph = graph_of(&steps);
        let text = graph.to_full_text();
        let read = Graph::from_text(&text);
        prop_assert_eq!(read.as_ref(), Ok(&graph), "{}", text);
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in any::<String>()) {
        let _ = Graph::from_text(&text);
    }

    #[test]
    fn text_of_our_own_words_does_not_panic(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "\n", "\n", "in", "const", "out", "graph", "meta", "annotate", "%", "%x", "%y", ":", "=", "(", ")", "[",
                "]", ",", "f32[", "i64[2]", "u8[]", "N", "Conv(", "Relu(%x)", "Reshape(%x, %y)", "splat", "cycle", "1",
                "-1", "0u8", "9999999999", "pads=", "axis=", "@", "\"", "\\u{", "#", "_", " ", "Constant() value=",
            ]),
            0..40,
        )
    ) {
        let _ = Graph::from_text(&words.concat());
        let _ = Graph::from_text(&words.join(" "));
    }

    #[test]
    fn a_damaged_text_is_refused_or_survives(
        position in any::<prop::sample::Index>(),
        length in 0..12_usize,
        insert in prop_oneof![Just(String::new()), "[0-9%,\\[\\]()-]{1,4}", any::<String>()],
        other in any::<bool>(),
    ) {
        let text = if other { every_operator() } else { EVERYTHING.to_owned() };
        let characters: Vec<char> = text.chars().collect();
        let start = position.index(characters.len());
        let end = (start + length).min(characters.len());
        let damaged: String =
            characters[..start].iter().copied().chain(insert.chars()).chain(characters[end..].iter().copied()).collect();
        if let Ok(graph) = Graph::from_text(&damaged) {
            let text = graph.to_full_text();
            let read = Graph::from_text(&text).map(|graph| graph.to_full_text());
            prop_assert_eq!(read, Ok(text));
        }
    }
}

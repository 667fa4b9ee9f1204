//! Tract against the interpreter, operator family by operator family.

use super::*;

/// Both runtimes' outputs for 1 and for 3 images of noise.
fn both(text: &str) -> Vec<(Vec<Tensor>, Vec<Tensor>)> {
    let graph = graph(text);
    let sessions = [RuntimeKind::Tract, RuntimeKind::Interpreter].map(|kind| session(kind, &graph));
    [1, 3]
        .into_iter()
        .map(|images| {
            let inputs: Vec<Tensor> = graph
                .inputs()
                .iter()
                .map(|&id| {
                    let ty = &graph.value(id).ty;
                    let shape: Vec<usize> =
                        ty.shape.iter().map(|dim| dim.fixed().unwrap_or(images)).collect();
                    noise(ty.dtype, &shape)
                })
                .collect();
            let [tract, interpreter] = sessions.each_ref().map(|session| session.run(&inputs).unwrap());
            (tract, interpreter)
        })
        .collect()
}

fn check_equal(text: &str) {
    for (tract, interpreter) in both(text) {
        assert_eq!(tract, interpreter, "{text}");
    }
}

/// Largest difference of floats, relative to the largest float.
fn relative_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape(), b.shape());
    let (a, b) = (a.as_slice::<f32>().unwrap(), b.as_slice::<f32>().unwrap());
    let largest = b.iter().fold(1e-6f32, |largest, v| largest.max(v.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

fn check_close(text: &str) {
    for (tract, interpreter) in both(text) {
        for (a, b) in tract.iter().zip(&interpreter) {
            let difference = relative_difference(a, b);
            assert!(difference < 1e-6, "{difference} in\n{text}");
        }
    }
}

#[test]
fn integer_convolutions_are_equal() {
    for (w_type, w_zero_point) in [("i8", "0i8"), ("u8", "128u8"), ("i8", "-3i8")] {
        check_equal(&format!(
            "in %x: u8[N,2,7,6]
             const %w: {w_type}[4,2,3,3] = cycle [1,127,3,100,5,0,77]
             %y = ConvInteger(%x, %w, 33u8, {w_zero_point}) pads=[1,1,1,1]
             %z = ConvInteger(%x, %w, 0u8, {w_zero_point}) strides=[2,2] dilations=[2,1]
             out %y, %z"
        ));
    }
}

#[test]
fn grouped_and_one_dimensional_integer_convolutions_are_equal() {
    check_equal(
        "in %x: u8[N,4,9]
         const %w: i8[6,2,3] = cycle [-128,127,3,-100,5]
         %y = ConvInteger(%x, %w, 128u8, 0i8) group=2 pads=[2,1]
         out %y",
    );
}

#[test]
fn sums_beyond_24_bits_keep_every_bit() {
    // 12 544 products of up to 255 * 127 reach 2^28: a detour through f32 would show.
    check_equal(
        "in %x: u8[N,12544]
         const %w: i8[12544,3] = cycle [127,126,-1,125,124,123,-2]
         %y = MatMulInteger(%x, %w, 0u8, 0i8)
         %z = MatMulInteger(%x, %w, 3u8, 1i8)
         out %y, %z",
    );
    check_equal(
        "in %x: u8[N,256,8,8]
         const %w: i8[2,256,8,8] = cycle [127,126,-1,125,124,123,-2]
         %y = ConvInteger(%x, %w, 0u8, 0i8)
         out %y",
    );
}

#[test]
fn plain_tract_takes_sums_through_f32() {
    let graph = graph(
        "in %x: u8[N,599]
         const %w: i8[599,1] = splat 127
         %y = MatMulInteger(%x, %w, 0u8, 0i8)
         out %y",
    );
    // Two odd sums, one on either side of 2^24, from which on f32 holds every other integer.
    let images = [255u8, 201].into_iter().flat_map(|pixel| [pixel; 599]).collect();
    let x = Tensor::from_vec(&[2, 599], images).unwrap();
    let sums = |kind| run(kind, &graph, std::slice::from_ref(&x)).unwrap()[0].to_i64_vec().unwrap();
    let exact = [19_398_615, 15_290_673];
    assert_eq!(sums(RuntimeKind::Interpreter), exact);
    assert_eq!(sums(RuntimeKind::Tract), exact);
    assert_eq!(sums(RuntimeKind::TractPlain), [19_398_616, 15_290_673]);
}

#[test]
fn pads_of_bytes_are_equal() {
    check_equal(
        "in %x: u8[N,2,4,3]
         const %everywhere: i64[8] = [0, 1, 2, 0, 0, 3, 0, 1]
         const %channels: i64[2] = [0, 2]
         const %axes: i64[1] = [-3]
         %y = Pad(%x, %everywhere, 128u8)
         %z = Pad(%x, %channels, 255u8, %axes)
         %v = Pad(%x, %everywhere)
         out %y, %z, %v",
    );
}

#[test]
fn rescaling_to_bytes_is_equal() {
    check_equal(
        "in %x: i32[N,3,2,2]
         const %half: i32[3,1,1] = [4194304, 2097152, 5]
         const %power: i32[3,1,1] = [8388608, 4194304, 8388608]
         const %m: i32[3,1,1] = [65536, 33333, 100]
         const %high: i32[3,1,1] = [32639, 32085, 21390950]
         %relu = Relu(%x)
         %cut = Min(%relu, %high)
         %scaled = Mul(%cut, %m)
         %up = Add(%scaled, %half)
         %down = Div(%up, %power)
         %bytes = Cast(%down) to=u8
         %uniform = Div(%up, 8388608i32)
         %wrapped = Cast(%x) to=u8
         %signed = Cast(%x) to=i8
         out %bytes, %uniform, %wrapped, %signed",
    );
}

#[test]
fn elementwise_integers_are_equal() {
    check_equal(
        "in %x: i32[N,4]
         const %b: i32[4] = [-5, 0, 1000, 99999999]
         %add = Add(%x, %b)
         %sub = Sub(%b, %x)
         %max = Max(%x, %b, 3i32)
         %min = Min(%x, %b)
         %clip = Clip(%x, -1000003i32, 1000003i32)
         %class = ArgMax(%x) axis=1 keepdims=0
         out %add, %sub, %max, %min, %clip, %class",
    );
}

#[test]
fn pooling_and_movement_are_equal() {
    for dtype in ["u8", "i8", "f32"] {
        check_equal(&format!(
            "in %x: {dtype}[N,2,5,5]
             const %to: i64[3] = [0, -1, 5]
             %pool = MaxPool(%x) kernel_shape=[2,2] strides=[2,2]
             %padded = MaxPool(%x) kernel_shape=[3,3] strides=[2,2] pads=[1,1,1,1]
             %flat = Flatten(%pool)
             %rows = Reshape(%x, %to)
             %turned = Transpose(%x) perm=[0,2,3,1]
             %joined = Concat(%x, %x) axis=1
             out %pool, %padded, %flat, %rows, %turned, %joined"
        ));
    }
}

#[test]
fn classes_of_floats_are_equal() {
    check_equal("in %x: f32[N,10]\n %class = ArgMax(%x) axis=1 keepdims=1\n out %class");
}

#[test]
fn float_layers_are_close() {
    check_close(
        "in %x: f32[N,2,8,8]
         const %w: f32[3,2,3,3] = cycle [0.1,-0.7,0.3,1.5,-0.2]
         const %b: f32[3] = [0.5,-0.5,0.0]
         const %fc: f32[5,48] = cycle [0.3,-0.1,0.25]
         const %m: f32[5,4] = cycle [0.7,-0.1,0.2]
         %conv = Conv(%x, %w, %b) pads=[1,1,1,1]
         %relu = Relu(%conv)
         %pool = MaxPool(%relu) kernel_shape=[2,2] strides=[2,2]
         %flat = Flatten(%pool)
         %gemm = Gemm(%flat, %fc) transB=1
         %product = MatMul(%gemm, %m)
         %log = LogSoftmax(%gemm) axis=1
         %soft = Softmax(%gemm) axis=1
         out %conv, %gemm, %product, %log, %soft",
    );
}

/// The QDQ form of a layer, per tensor and per channel.
const QDQ: &str = "
    in %x: f32[N,2,6,6]
    const %w: i8[3,2,3,3] = cycle [127,-35,64,3,-127]
    const %w_scale: f32[3] = [0.011, 0.007, 0.003]
    const %w_zero_point: i8[3] = [0, 0, 0]
    const %b: i32[3] = [100, -100, 7]
    const %b_scale: f32[3] = [0.00022, 0.00014, 0.00006]
    const %b_zero_point: i32[3] = [0, 0, 0]
    %x_q = QuantizeLinear(%x, 0.02, 128u8)
    %x_d = DequantizeLinear(%x_q, 0.02, 128u8)
    %w_d = DequantizeLinear(%w, %w_scale, %w_zero_point) axis=0
    %b_d = DequantizeLinear(%b, %b_scale, %b_zero_point) axis=0
    %y = Conv(%x_d, %w_d, %b_d) pads=[1,1,1,1]
    %y_q = QuantizeLinear(%y, 0.05, 0u8)
    %y_d = DequantizeLinear(%y_q, 0.05, 0u8)
    out %x_q, %y, %y_q, %y_d";

#[test]
fn quantized_values_differ_by_one_step_at_most() {
    for (tract, interpreter) in both(QDQ) {
        assert!(relative_difference(&tract[1], &interpreter[1]) < 1e-6);
        for output in [0, 2] {
            let bytes = |tensors: &[Tensor]| tensors[output].to_i64_vec().unwrap();
            let steps: Vec<i64> =
                bytes(&tract).into_iter().zip(bytes(&interpreter)).map(|(a, b)| (a - b).abs()).collect();
            assert!(steps.iter().all(|&step| step <= 1));
            // Only next to a rounding boundary: seldom.
            assert!(steps.iter().sum::<i64>() * 50 <= steps.len() as i64, "{steps:?}");
        }
    }
}

#[test]
fn one_session_serves_threads_and_batch_sizes_at_once() {
    let graph = graph(QDQ);
    for kind in RuntimeKind::OF_ANY_STAGE {
        let session = session(kind, &graph);
        let alone: Vec<_> =
            (1..=6).map(|images| session.run(&[noise(DType::F32, &[images, 2, 6, 6])]).unwrap()).collect();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (session, alone) = (&session, &alone);
                scope.spawn(move || {
                    for step in 0..12 {
                        let images = (thread * 2 + step) % 6 + 1;
                        let outputs = session.run(&[noise(DType::F32, &[images, 2, 6, 6])]).unwrap();
                        assert_eq!(outputs, alone[images - 1]);
                    }
                });
            }
        });
    }
}

#[test]
fn parts_of_a_batch_give_what_the_batch_gives() {
    let graph = graph(
        "in %x: u8[N,1,6,6]
         const %w: i8[2,1,3,3] = cycle [1,-2,3,-4,5]
         %y = ConvInteger(%x, %w, 33u8, 0i8) pads=[1,1,1,1]
         out %y",
    );
    let images = noise(DType::U8, &[11, 1, 6, 6]);
    for kind in RuntimeKind::OF_ANY_STAGE {
        let session = session(kind, &graph);
        let whole = session.run(std::slice::from_ref(&images)).unwrap();
        let parts = crate::run_parallel(session.as_ref(), &images, 4, 2, &|_| ()).unwrap();
        assert_eq!(parts, whole, "{kind}");
    }
}

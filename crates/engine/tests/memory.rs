//! What the engine allocates. One test, as all tests of a file share an allocator.

use onnx2int_engine::Engine;
use onnx2int_graph::{Graph, verify};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

#[test]
fn a_run_takes_the_packed_weights_and_the_planned_arena() {
    let row = (0..64).map(|index| (index * 37 % 255 - 127).to_string()).collect::<Vec<_>>().join(", ");
    let weights = vec![row; 3136].join(", ");
    let text = format!(
        "in %x: u8[N,1,56,56]
         const %first: i8[1,1,3,3] = [1, 2, 3, 4, 5, 6, 7, 8, 9]
         const %last: i8[3136,64] = [{weights}]
         %sums: i32[N,1,56,56] = ConvInteger(%x, %first, 3u8, 0i8) pads=[1,1,1,1]
         %relu: i32[N,1,56,56] = Relu(%sums)
         %clipped: i32[N,1,56,56] = Min(%relu, 8159i32)
         %scaled: i32[N,1,56,56] = Mul(%clipped, 262144i32)
         %rounded: i32[N,1,56,56] = Add(%scaled, 4194304i32)
         %shifted: i32[N,1,56,56] = Div(%rounded, 8388608i32)
         %byte: u8[N,1,56,56] = Cast(%shifted) to=u8
         %flat: u8[N,3136] = Flatten(%byte)
         %logits: i32[N,64] = MatMulInteger(%flat, %last, 0u8, 0i8)
         out %logits"
    );
    let before = ALLOCATOR.current_usage();
    let engine = {
        let graph = Graph::from_text(&text).unwrap();
        Engine::new(verify(&graph).unwrap()).unwrap()
    };
    let mut scratch = engine.scratch(1);
    let (pixels, mut logits) = (vec![7; 56 * 56], vec![0; 64]);
    let planned = engine.constant_bytes() + scratch.bytes();
    let held = ALLOCATOR.current_usage() - before;
    assert!(held < planned + (1 << 16), "{held} bytes are held, {planned} planned");

    let resting = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    engine.run_into(&mut scratch, &pixels, &mut logits).unwrap();
    let more = ALLOCATOR.peak_usage() - resting;
    assert!(more < 4096, "{more} bytes were allocated by a run");
    assert!(logits.iter().any(|&logit| logit != 0));
}

//! What a caller may rely on.

use onnx2int_engine::{Engine, EngineError, Kernel, Options};
use onnx2int_graph::{Graph, Tensor, verify};

#[test]
fn a_batch_into_the_callers_memory_gives_the_same_logits() {
    let text = "in %x: u8[N,5]
        const %w: i8[5,2] = [1, -2, 3, -4, 5, -6, 7, -8, 9, -10]
        %sums: i32[N,2] = MatMulInteger(%x, %w, 3u8, 0i8)
        out %sums";
    let graph = Graph::from_text(text).unwrap();
    let engine = Engine::new(verify(&graph).unwrap()).unwrap();
    let pixels: Vec<u8> = (0..5 * 60).map(|index| (index * 7 % 256) as u8).collect();
    let expected = engine.run(&[Tensor::from_vec(&[60, 5], pixels.clone()).unwrap()]).unwrap();
    for group in [1, 7, 100] {
        let mut scratch = engine.scratch(group);
        let mut logits = [0; 120];
        engine.run_into(&mut scratch, &pixels, &mut logits).unwrap();
        assert_eq!(Some(&logits[..]), expected[0].as_slice::<i32>());
    }
    let error = engine.run_into(&mut engine.scratch(1), &pixels[..9], &mut [0; 2]).unwrap_err();
    assert!(matches!(error, EngineError::Length { found: 9, images: 1, expected: 5, .. }), "{error}");
}

#[test]
fn what_the_engine_does_not_run_is_named() {
    let float = Graph::from_text("in %x: f32[N,2]\n%y: f32[N,2] = Relu(%x)\nout %y").unwrap();
    let error = Engine::new(verify(&float).unwrap()).err().unwrap();
    assert!(error.to_string().contains("not at stage scale_out"), "{error}");

    let text = "in %x: u8[N,2]\nconst %w: i8[2,1] = [3, -4]\n\
                %sum: i32[N,1] = MatMulInteger(%x, %w, 33u8, 0i8)\nout %sum";
    let graph = Graph::from_text(text).unwrap();
    let missing = Kernel::ALL.into_iter().find(|kernel| !kernel.is_available()).unwrap();
    let options = Options { kernel: Some(missing), ..Options::default() };
    let error = Engine::with_options(verify(&graph).unwrap(), options).err().unwrap();
    assert!(error.to_string().contains(missing.name()) && error.to_string().contains("portable"), "{error}");

    let engine = Engine::new(verify(&graph).unwrap()).unwrap();
    let wrong = Tensor::from_vec(&[1, 3], vec![1_u8, 2, 3]).unwrap();
    assert!(matches!(engine.run(&[wrong]).unwrap_err(), EngineError::Inputs(_)));
}

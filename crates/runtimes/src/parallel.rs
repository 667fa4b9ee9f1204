//! A batch spread over threads.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ndarray::{Axis, Slice};
use onnx2int_graph::{Array, Element, Tensor, TensorType, match_tensor};

use crate::{RuntimeError, Session};

/// Runs `session` on all images along the first axis of `input`, `batch` of them at a time on each
/// of `threads` threads, and joins the outputs along their first axes, in the images' order.
///
/// The session must take one input, and give outputs whose first axis is the batch. The result
/// does not depend on the number of threads; of several errors the one of the earliest images is
/// returned. `progress` is called from any thread, with the number of images done since its last
/// call.
///
/// # Errors
/// What the session refuses, an input without axes, and outputs that cannot be joined.
pub fn run_parallel(
    session: &dyn Session,
    input: &Tensor,
    batch: usize,
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Tensor>, RuntimeError> {
    let Some(&images) = input.shape().first() else {
        return Err(RuntimeError::NoBatch { found: TensorType::of(input) });
    };
    run_batches(session, images, batch, threads, &|part| Ok(images_of(input, &part)), progress)
}

/// As [`run_parallel`], on images that are made when they are needed: `input` gives the tensor of a
/// range of the `images`, with these along its first axis, and is called from any thread. Memory
/// holds the inputs of one batch for each thread, and all outputs.
///
/// # Errors
/// What `input` fails with, what the session refuses, and outputs that cannot be joined.
pub fn run_batches<E: From<RuntimeError> + Send>(
    session: &dyn Session,
    images: usize,
    batch: usize,
    threads: usize,
    input: &(dyn Fn(Range<usize>) -> Result<Tensor, E> + Sync),
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Tensor>, E> {
    type Slot<E> = Option<Result<Vec<Tensor>, E>>;
    let parts = parts(images, batch.max(1));
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Slot<E>>> = Mutex::new(parts.iter().map(|_| None).collect());

    let work = || {
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(position) else { break };
            let result = input(part.clone()).and_then(|input| Ok(session.run(&[input])?));
            if result.is_err() {
                // No part is begun any more. Those before this one are done or under way, so that
                // the earliest error is known once all threads are back.
                next.store(parts.len(), Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner)[position] = Some(result);
            progress(part.len());
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.clamp(1, parts.len()) {
            scope.spawn(work);
        }
        work();
    });

    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Without an error every part has a result; with one, only parts after it may lack theirs.
    let outputs = results.into_iter().flatten().collect::<Result<Vec<_>, _>>()?;
    Ok(joined(&parts, &outputs)?)
}

/// Images `0..images` in runs of `batch` and a rest; one empty run if there are none.
fn parts(images: usize, batch: usize) -> Vec<Range<usize>> {
    if images == 0 {
        return std::iter::once(0..0).collect();
    }
    (0..images).step_by(batch).map(|start| start..images.min(start.saturating_add(batch))).collect()
}

fn images_of(input: &Tensor, part: &Range<usize>) -> Tensor {
    fn sliced<T: Element>(array: &Array<T>, part: &Range<usize>) -> Tensor {
        Tensor::from_array(array.slice_axis(Axis(0), Slice::from(part.clone())).into())
    }
    match_tensor!(input, array => sliced(array, part))
}

/// Each output of all parts, one after the other.
fn joined(parts: &[Range<usize>], results: &[Vec<Tensor>]) -> Result<Vec<Tensor>, RuntimeError> {
    fn concatenated<T: Element>(tensors: &[&Tensor]) -> Option<Tensor> {
        let views = tensors
            .iter()
            .map(|tensor| tensor.as_array::<T>().map(|array| array.view()))
            .collect::<Option<Vec<_>>>()?;
        let array = ndarray::concatenate(Axis(0), &views).ok()?;
        Some(Tensor::from_array(array.into()))
    }
    let count = results.first().map_or(0, Vec::len);
    (0..count)
        .map(|output| {
            let tensors: Vec<&Tensor> = results.iter().map(|tensors| &tensors[output]).collect();
            for (part, tensor) in parts.iter().zip(&tensors) {
                let rest = |tensor: &Tensor| (tensor.dtype(), tensor.shape().get(1..).map(<[usize]>::to_vec));
                if tensor.shape().first() != Some(&part.len()) || rest(tensor) != rest(tensors[0]) {
                    return Err(RuntimeError::PartResult {
                        output,
                        first: part.start,
                        expected: format!(
                            "a first axis of {} and otherwise {}",
                            part.len(),
                            TensorType::of(tensors[0])
                        ),
                        found: TensorType::of(tensor).to_string(),
                    });
                }
            }
            let whole = match tensors[0] {
                Tensor::F32(_) => concatenated::<f32>(&tensors),
                Tensor::U8(_) => concatenated::<u8>(&tensors),
                Tensor::I8(_) => concatenated::<i8>(&tensors),
                Tensor::I32(_) => concatenated::<i32>(&tensors),
                Tensor::I64(_) => concatenated::<i64>(&tensors),
                Tensor::Bool(_) => concatenated::<bool>(&tensors),
            };
            Ok(whole.expect("the parts have one element type and fit"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubles each image's only element; refuses images from some element on.
    struct Doubling {
        refuses_from: i32,
    }

    impl Session for Doubling {
        fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
            let elements = inputs[0].as_slice::<i32>().unwrap();
            if let Some(&refused) = elements.iter().find(|&&element| element >= self.refuses_from) {
                return Err(RuntimeError::TractRun {
                    graph: "doubling".into(),
                    message: refused.to_string(),
                });
            }
            let doubled: Vec<i32> = elements.iter().map(|element| 2 * element).collect();
            let odd: Vec<bool> = elements.iter().map(|element| element % 2 == 1).collect();
            Ok(vec![Tensor::from_vec(&[doubled.len(), 1], doubled).unwrap(), Tensor::vector(odd)])
        }
    }

    fn numbers(count: i32) -> Tensor {
        Tensor::from_vec(&[count as usize, 1], (0..count).collect()).unwrap()
    }

    #[test]
    fn outputs_are_the_same_for_any_batch_and_any_number_of_threads() {
        let session = Doubling { refuses_from: i32::MAX };
        let whole = session.run(&[numbers(23)]).unwrap();
        for batch in [0, 1, 4, 23, 100, usize::MAX] {
            for threads in [0, 1, 3] {
                let done = AtomicUsize::new(0);
                let outputs = run_parallel(&session, &numbers(23), batch, threads, &|images| {
                    done.fetch_add(images, Ordering::Relaxed);
                })
                .unwrap();
                assert_eq!(outputs, whole, "batch {batch}, {threads} threads");
                assert_eq!(done.into_inner(), 23);
            }
        }
    }

    #[test]
    fn inputs_are_made_when_they_are_needed() {
        #[derive(Debug, PartialEq)]
        enum Failure {
            Input(usize),
            Run(String),
        }
        impl From<RuntimeError> for Failure {
            fn from(error: RuntimeError) -> Self {
                Self::Run(error.to_string())
            }
        }
        let session = Doubling { refuses_from: 90 };
        let run = |missing: usize, images: usize| {
            let input = |part: Range<usize>| {
                let first = part.start as i32;
                match part.contains(&missing) {
                    true => Err(Failure::Input(missing)),
                    false => Ok(Tensor::from_vec(&[part.len(), 1], (first..part.end as i32).collect())
                        .expect("a number for each image")),
                }
            };
            run_batches(&session, images, 7, 3, &input, &|_| ())
        };
        assert_eq!(run(usize::MAX, 50).unwrap(), session.run(&[numbers(50)]).unwrap());
        assert_eq!(run(33, 100), Err(Failure::Input(33)));
        assert!(matches!(run(95, 100), Err(Failure::Run(message)) if message.contains("90")));
    }

    #[test]
    fn the_earliest_error_wins() {
        let session = Doubling { refuses_from: 10 };
        for _ in 0..20 {
            let error = run_parallel(&session, &numbers(100), 1, 4, &|_| ()).unwrap_err();
            assert_eq!(error.to_string(), r#"tract cannot run graph "doubling": 10"#);
        }
    }

    #[test]
    fn no_images_give_empty_outputs() {
        let outputs = run_parallel(&Doubling { refuses_from: 0 }, &numbers(0), 8, 2, &|_| ()).unwrap();
        assert_eq!(outputs[0].shape(), [0, 1]);
    }

    #[test]
    fn an_input_without_axes_is_refused() {
        let error =
            run_parallel(&Doubling { refuses_from: 0 }, &Tensor::scalar(1), 1, 1, &|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "expected an input whose first axis is the batch, found i32[]");
    }

    /// Gives one row however many images there are.
    struct OneRow;

    impl Session for OneRow {
        fn run(&self, _: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
            Ok(vec![Tensor::from_vec(&[1, 1], vec![7]).unwrap()])
        }
    }

    #[test]
    fn an_output_without_the_batch_is_refused() {
        assert!(run_parallel(&OneRow, &numbers(3), 1, 1, &|_| ()).is_ok());
        let error = run_parallel(&OneRow, &numbers(3), 2, 1, &|_| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "output 0 of images 0 and later: expected a first axis of 2 and otherwise i32[1,1], found i32[1,1]"
        );
    }
}

//! The engine: a plan, its kernel and its threads.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use onnx2int_graph::{DType, Graph, GraphEditor, Stage, Tensor, Verified, verify_stage};
use onnx2int_interpreter::check_inputs;
use rayon::prelude::*;

use crate::execute::{Group, native_bytes, tensor_of};
use crate::kernel::with_lanes;
use crate::plan::{self, Plan};
use crate::{EngineError, Kernel, Scratch};

/// The most images that go through a matrix product at once: four tiles of six.
const GROUP: usize = 24;

/// How an [`Engine`] runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The instructions to use; the fastest of this processor where none is named.
    pub kernel: Option<Kernel>,
    /// Threads: 1 where nothing is said, and then all work is done by the caller's.
    pub threads: Option<NonZeroUsize>,
}

/// A graph of stage scale_out, ready to run from any number of threads at once.
pub struct Engine {
    /// The graph's name and inputs, and nothing else of it.
    signature: Graph,
    plan: Plan,
    kernel: Kernel,
    /// None: the caller's thread does all.
    pool: Option<rayon::ThreadPool>,
    /// Memory of earlier runs, for the next ones.
    idle: Mutex<Vec<Scratch>>,
}

impl Engine {
    /// Plans a graph for the fastest instructions of this processor and the caller's thread.
    ///
    /// # Errors
    /// A graph that is not at stage scale_out, or whose values have no fixed extents for each image.
    pub fn new(graph: Verified<'_>) -> Result<Self, EngineError> {
        Self::with_options(graph, Options::default())
    }

    /// Plans a graph for these instructions and threads.
    ///
    /// # Errors
    /// As [`Engine::new`]; also a kernel that this processor lacks.
    pub fn with_options(graph: Verified<'_>, options: Options) -> Result<Self, EngineError> {
        let graph = graph.graph();
        verify_stage(graph, Stage::ScaleOut).map_err(|source| EngineError::Stage {
            graph: graph.name().to_owned(),
            source: Box::new(source),
        })?;
        let is_integer = |dtype| matches!(dtype, DType::U8 | DType::I8 | DType::I32 | DType::I64);
        if let Some((_, value)) = graph.values().find(|(_, value)| !is_integer(value.ty.dtype)) {
            return Err(EngineError::NotIntegers { value: value.name.clone(), ty: value.ty.to_string() });
        }
        let kernel = options.kernel.unwrap_or_else(Kernel::fastest);
        let instructions = kernel.instructions().ok_or_else(|| {
            let available = Kernel::ALL.into_iter().filter(|kernel| kernel.is_available());
            let available: Vec<&str> = available.map(Kernel::name).collect();
            EngineError::Kernel { kernel: kernel.name(), available: available.join(", ") }
        })?;
        let plan = with_lanes!(instructions, |lanes| plan::build(graph, lanes))?;
        let threads = options.threads.map_or(1, NonZeroUsize::get);
        let pool = match threads {
            1 => None,
            _ => Some(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?),
        };
        Ok(Self { signature: signature(graph), plan, kernel, pool, idle: Mutex::default() })
    }

    /// The instructions in use.
    pub const fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Memory for groups of up to that many images, at least one, on one thread.
    pub fn scratch(&self, images: usize) -> Scratch {
        Scratch::new(&self.plan, self.group(images))
    }

    /// Bytes of packed weights and constants.
    pub fn constant_bytes(&self) -> usize {
        self.plan.steps.iter().map(plan::Step::constant_bytes).sum()
    }

    /// The images of a group, where there are that many for a thread.
    fn group(&self, images: usize) -> usize {
        self.plan.batch.unwrap_or(images.min(GROUP)).max(1)
    }

    /// The outputs for a batch of any size; inputs are the graph's, in its order, batch first.
    ///
    /// # Errors
    /// Inputs that are not of the declared types and of one batch.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        check_inputs(&self.signature, inputs).map_err(|source| EngineError::Inputs(Box::new(source)))?;
        let images = inputs.first().map_or(0, |tensor| tensor.shape()[0]);
        let bytes: Vec<Cow<'_, [u8]>> = inputs.iter().map(native_bytes).collect();
        let sizes: Vec<usize> =
            self.plan.outputs.iter().map(|(port, _)| images * port.elements() * port.dtype.size()).collect();
        let mut outputs: Vec<Vec<u8>> = sizes.into_iter().map(|size| vec![0; size]).collect();
        let input_slices: Vec<&[u8]> = bytes.iter().map(AsRef::as_ref).collect();
        let mut output_slices: Vec<&mut [u8]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        self.run_all(None, images, &input_slices, &mut output_slices)?;
        let tensor = |((port, _), bytes): (&(plan::Port, _), &Vec<u8>)| {
            let mut shape = vec![images];
            shape.extend(&port.shape);
            tensor_of(port.dtype, &shape, bytes)
        };
        Ok(self.plan.outputs.iter().zip(&outputs).map(tensor).collect())
    }

    /// The logits of images, without allocation: `images` is `[N, ...]` as u8 in the order of the graph, `logits`
    /// is filled as `[N, ...]`. The batch runs on the caller's thread, in groups that fit `scratch`; a
    /// group of one image is divided among the engine's threads.
    ///
    /// # Errors
    /// A graph that has not one u8 input and one i32 output, and slices of other lengths than one batch has.
    pub fn run_into(
        &self,
        scratch: &mut Scratch,
        images: &[u8],
        logits: &mut [i32],
    ) -> Result<(), EngineError> {
        let ([input], [(output, _)]) = (&self.plan.inputs[..], &self.plan.outputs[..]) else {
            return Err(EngineError::NotImagesToLogits { graph: self.signature.name().to_owned() });
        };
        if (input.dtype, output.dtype) != (DType::U8, DType::I32) {
            return Err(EngineError::NotImagesToLogits { graph: self.signature.name().to_owned() });
        }
        let count = images.len() / input.elements().max(1);
        let check = |what: &str, found: usize, each: usize| {
            let expected = count * each;
            let wrong = EngineError::Length { what: what.to_owned(), found, images: count, expected };
            if found == expected { Ok(()) } else { Err(wrong) }
        };
        check("the slice of images", images.len(), input.elements())?;
        check("the slice of logits", logits.len(), output.elements())?;
        self.run_all(Some(scratch), count, &[images], &mut [bytes_of(logits)])
    }

    fn run_all(
        &self,
        scratch: Option<&mut Scratch>,
        images: usize,
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
    ) -> Result<(), EngineError> {
        let size = |port: &plan::Port| port.elements() * port.dtype.size();
        let input_sizes: Vec<usize> = self.plan.inputs.iter().map(size).collect();
        let output_sizes: Vec<usize> = self.plan.outputs.iter().map(|(port, _)| size(port)).collect();
        let Some(instructions) = self.kernel.instructions() else {
            unreachable!("the engine was made for this processor")
        };
        let run = |scratch: &mut Scratch, first: usize, count: usize, outputs: &mut [&mut [u8]]| {
            let inputs: Vec<&[u8]> = inputs
                .iter()
                .zip(&input_sizes)
                .map(|(input, size)| &input[first * size..(first + count) * size])
                .collect();
            let group =
                |threads| Group { plan: &self.plan, instructions, threads, inputs: &inputs, images: count };
            match &self.pool {
                // A larger batch is divided by images.
                Some(pool) if images == 1 => {
                    let threads = pool.current_num_threads();
                    pool.install(|| group(threads).run(scratch, outputs))
                }
                _ => group(1).run(scratch, outputs),
            }
        };
        match (scratch, &self.pool) {
            (Some(scratch), _) => {
                let group = scratch.images;
                for (first, count, mut outputs) in parts(outputs, &output_sizes, images, group) {
                    run(scratch, first, count, &mut outputs)?;
                }
                Ok(())
            }
            (None, Some(pool)) if images > 1 => {
                let threads = pool.current_num_threads();
                // As many groups for each thread, all of one size.
                let each = images.div_ceil(threads).div_ceil(GROUP);
                let group = self.group(images.div_ceil(threads * each));
                let parts = parts(outputs, &output_sizes, images, group);
                pool.install(|| {
                    parts.into_par_iter().try_for_each_init(
                        || self.borrowed(group),
                        |scratch, (first, count, mut outputs)| {
                            run(&mut scratch.memory, first, count, &mut outputs)
                        },
                    )
                })
            }
            (None, _) => {
                let mut scratch = self.borrowed(images);
                let group = scratch.memory.images;
                for (first, count, mut outputs) in parts(outputs, &output_sizes, images, group) {
                    run(&mut scratch.memory, first, count, &mut outputs)?;
                }
                Ok(())
            }
        }
    }

    /// Memory of an earlier run, if there is any for such groups.
    fn borrowed(&self, images: usize) -> Borrowed<'_> {
        let group = self.group(images);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = idle.iter().position(|scratch| scratch.images == group);
        let memory = fits.map(|position| idle.swap_remove(position));
        Borrowed { idle: &self.idle, memory: memory.unwrap_or_else(|| self.scratch(group)) }
    }
}

/// A graph of the same inputs without nodes, so that the tensors of the whole one need not be kept.
fn signature(graph: &Graph) -> Graph {
    let mut editor = GraphEditor::new(graph.name());
    for &input in graph.inputs() {
        let value = graph.value(input);
        let added = editor.add_input(&value.name, value.ty.clone());
        added.unwrap_or_else(|error| unreachable!("names are unique in a verified graph: {error}"));
    }
    editor.finish().unwrap_or_else(|error| unreachable!("inputs alone are a graph: {error}"))
}

/// Memory that goes back to the engine.
struct Borrowed<'a> {
    idle: &'a Mutex<Vec<Scratch>>,
    memory: Scratch,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Scratch::empty());
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }
}

/// A group of images: the first one, how many, and where each output of theirs goes.
type Part<'a> = (usize, usize, Vec<&'a mut [u8]>);

/// Divides outputs, of so many bytes for each image, into groups.
fn parts<'a>(outputs: &'a mut [&mut [u8]], sizes: &[usize], images: usize, group: usize) -> Vec<Part<'a>> {
    let mut rest: Vec<&'a mut [u8]> = outputs.iter_mut().map(|output| &mut output[..]).collect();
    let mut parts = Vec::with_capacity(images.div_ceil(group));
    for first in (0..images).step_by(group) {
        let count = group.min(images - first);
        let mut here = Vec::with_capacity(sizes.len());
        for (rest, size) in rest.iter_mut().zip(sizes) {
            let (taken, left) = std::mem::take(rest).split_at_mut(count * size);
            *rest = left;
            here.push(taken);
        }
        parts.push((first, count, here));
    }
    parts
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.write(f, self.kernel.name(), self.group(GROUP))
    }
}

/// The same memory as bytes.
fn bytes_of(elements: &mut [i32]) -> &mut [u8] {
    // SAFETY: every byte of an i32 is a byte, any bytes are an i32, and the length is that of the slice.
    #[expect(unsafe_code, reason = "the caller's logits are written as bytes of the machine's order")]
    unsafe {
        std::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), size_of_val(elements))
    }
}

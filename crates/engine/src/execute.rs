//! A group of images through the steps of a plan.

use std::borrow::Cow;

use onnx2int_graph::{DType, Element, Tensor, verify};
use onnx2int_interpreter::run;

use crate::EngineError;
use crate::kernel::{Instructions, with_lanes};
use crate::lanes::Lanes;
use crate::pack::Aligned;
use crate::plan::{Arena, BufferId, Interpreted, Plan, Step, Work};
use crate::steps::layer::{self, Layer, Part, Walk};

/// Below so many multiplications and additions another thread would take longer to wake than to help.
const LEAST_SHARED: u64 = 1_000_000;

/// Memory for the tensors of a group of images, to be used again and again.
///
/// One belongs to one thread at a time; [`crate::Engine::scratch`] makes it.
#[derive(Clone, Debug)]
pub struct Scratch {
    pub(crate) arena: Arena,
    memory: Aligned,
    /// The most images of a group.
    pub(crate) images: usize,
}

impl Scratch {
    pub(crate) fn new(plan: &Plan, images: usize) -> Self {
        let arena = Arena::new(plan, images);
        let memory = Aligned::zeroed(arena.bytes());
        Self { arena, memory, images }
    }

    /// None at all.
    pub(crate) fn empty() -> Self {
        Self { arena: Arena::default(), memory: Aligned::zeroed(0), images: 0 }
    }

    /// The bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.memory.bytes().len()
    }
}

/// What runs a group: the plan, the instructions, and the threads for a single image.
pub(crate) struct Group<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) instructions: Instructions,
    /// Large layers are divided among so many threads of the current pool.
    pub(crate) threads: usize,
    /// The images, in the order of the graph, as bytes of each input.
    pub(crate) inputs: &'a [&'a [u8]],
    pub(crate) images: usize,
}

impl Group<'_> {
    /// Runs all steps, and writes the outputs in the order of the graph.
    pub(crate) fn run(&self, scratch: &mut Scratch, outputs: &mut [&mut [u8]]) -> Result<(), EngineError> {
        let steps = &self.plan.steps;
        let mut next = 0;
        while next < steps.len() {
            if steps[next].takes_group() {
                self.group_step(&steps[next], scratch)?;
                next += 1;
                continue;
            }
            let length = steps[next..].iter().take_while(|step| !step.takes_group()).count();
            for image in 0..self.images {
                for step in &steps[next..next + length] {
                    self.image_step(step, image, scratch);
                }
            }
            next += length;
        }
        for ((port, buffer), output) in self.plan.outputs.iter().zip(outputs) {
            let bytes = port.elements() * port.dtype.size();
            for (image, output) in output.chunks_exact_mut(bytes.max(1)).enumerate().take(self.images) {
                let from = &scratch.memory.bytes()[scratch.arena.at_image(*buffer, image)];
                let buffer = &self.plan.buffers[buffer.0];
                let reorder = crate::steps::simple::Reorder {
                    elements: buffer.elements,
                    from_channels: buffer.channels,
                    to_channels: buffer.elements.max(1),
                };
                reorder_bytes(reorder, buffer.element_bytes, from, output);
            }
        }
        Ok(())
    }

    fn image_step(&self, step: &Step, image: usize, scratch: &mut Scratch) {
        let plan = self.plan;
        let output_bytes = plan.buffers[step.output.0].bytes();
        let mut inputs = [step.output; 2];
        for (slot, &input) in inputs.iter_mut().zip(&step.inputs) {
            *slot = input;
        }
        match &step.work {
            Work::Import { input, reorder } => {
                let element = plan.buffers[step.output.0].element_bytes;
                let bytes = reorder.elements * element;
                let from = &self.inputs[*input][image * bytes..][..bytes];
                let to = scratch.arena.at_image(step.output, image);
                let to = &mut scratch.memory.bytes_mut()[to][..bytes];
                if reorder.to_channels == 1 {
                    to.copy_from_slice(from);
                } else {
                    reorder_bytes(*reorder, element, from, to);
                }
            }
            Work::Concat { concat, places } => {
                for (&input, &(first, width)) in step.inputs.iter().zip(places) {
                    let (from, to) = pair(scratch, input, step.output, image);
                    let from = &from[..plan.buffers[input.0].bytes()];
                    with_lanes!(self.instructions, |lanes| {
                        lanes.vectorize(
                            #[inline(always)]
                            || concat.run(first, width, from, &mut to[..output_bytes]),
                        )
                    });
                }
            }
            Work::Sum(sum) => {
                let ranges =
                    [inputs[0], inputs[1], step.output].map(|buffer| scratch.arena.at_image(buffer, image));
                let [a, b, to] = ranges;
                if a == b {
                    let (a, to) = pair(scratch, inputs[0], step.output, image);
                    with_lanes!(self.instructions, |lanes| {
                        lanes.vectorize(
                            #[inline(always)]
                            || sum.run(lanes, a, a, &mut to[..output_bytes]),
                        )
                    });
                    return;
                }
                let slices = scratch.memory.bytes_mut().get_disjoint_mut([a, b, to]);
                let [a, b, to] = slices.unwrap_or_else(|_| unreachable!("buffers in use never overlap"));
                with_lanes!(self.instructions, |lanes| {
                    lanes.vectorize(
                        #[inline(always)]
                        || sum.run(lanes, a, b, &mut to[..output_bytes]),
                    )
                });
            }
            Work::Convolution { layer, walk } => {
                let (from, to) = pair(scratch, inputs[0], step.output, image);
                self.convolution(step, layer, *walk, from, &mut to[..output_bytes]);
            }
            Work::Depthwise { .. }
            | Work::Border(_)
            | Work::Reorder(_)
            | Work::MaxPool(_)
            | Work::Table(_) => {
                let (from, to) = pair(scratch, inputs[0], step.output, image);
                let to = &mut to[..output_bytes];
                let element = plan.buffers[step.output.0].element_bytes;
                with_lanes!(self.instructions, |lanes| {
                    lanes.vectorize(
                        #[inline(always)]
                        || match &step.work {
                            Work::Depthwise { depthwise, walk } => {
                                depthwise.run(lanes, *walk, from, to, 0..walk.rows);
                            }
                            Work::Border(border) => border.run(from, to),
                            Work::Reorder(reorder) => reorder_bytes(*reorder, element, from, to),
                            Work::MaxPool(pool) => pool.run(from, to),
                            Work::Table(table) => table.run(from, to),
                            _ => unreachable!("the other steps are handled above"),
                        },
                    )
                });
            }
            Work::MatrixProduct { .. } | Work::Interpreted(_) => unreachable!("these take a group"),
        }
    }

    /// All rows at once, or some on each thread.
    fn convolution(&self, step: &Step, layer: &Layer, walk: Walk, input: &[u8], output: &mut [u8]) {
        let rows = walk.output_rows(layer.pooled);
        if self.threads_for(step) == 1 || rows < 2 {
            self.layer(layer, walk, input, output, Part { rows: 0..rows, blocks: layer.all_blocks() });
            return;
        }
        let some = rows.div_ceil(self.threads);
        let row_bytes = output.len() / rows;
        rayon::scope(|scope| {
            for (part, output) in output.chunks_mut((some * row_bytes).max(1)).enumerate() {
                let rows = part * some..((part + 1) * some).min(rows);
                let part = Part { rows, blocks: layer.all_blocks() };
                scope.spawn(move |_| self.layer(layer, walk, input, output, part));
            }
        });
    }

    /// All blocks of filters at once, or some on each thread: one image has one row of results.
    fn matrix_product(&self, step: &Step, layer: &Layer, walk: Walk, input: &[u8], output: &mut [u8]) {
        let blocks = layer.all_blocks();
        let threads = self.threads_for(step).min(blocks.len());
        if threads == 1 || walk.columns > 1 {
            self.layer(layer, walk, input, output, Part { rows: 0..1, blocks });
            return;
        }
        let some = blocks.len().div_ceil(threads);
        let result_bytes = self.plan.buffers[step.output.0].element_bytes;
        rayon::scope(|scope| {
            let mut rest = output;
            for first in blocks.clone().step_by(some) {
                let part = Part { rows: 0..1, blocks: first..(first + some).min(blocks.end) };
                let filters: usize = layer.packed.blocks[part.blocks.clone()].iter().map(|b| b.filters).sum();
                let (output, others) = rest.split_at_mut(filters * result_bytes);
                rest = others;
                scope.spawn(move |_| self.layer(layer, walk, input, output, part));
            }
        });
    }

    /// More than one where a layer is worth it.
    fn threads_for(&self, step: &Step) -> usize {
        if step.multiply_adds < LEAST_SHARED { 1 } else { self.threads }
    }

    fn layer(&self, layer: &Layer, walk: Walk, input: &[u8], output: &mut [u8], part: Part) {
        with_lanes!(self.instructions, |lanes| layer::run(lanes, layer, walk, input, output, part));
    }

    fn group_step(&self, step: &Step, scratch: &mut Scratch) -> Result<(), EngineError> {
        match &step.work {
            Work::MatrixProduct { layer } => {
                let (input, output) = (step.inputs[0], step.output);
                let element = self.plan.buffers[input.0].element_bytes;
                let result = self.plan.buffers[output.0].element_bytes;
                let walk = Walk {
                    rows: 1,
                    columns: self.images,
                    row_step: 0,
                    column_step: scratch.arena.step(input) / element,
                    output_row_step: 0,
                    output_column_step: scratch.arena.step(output) / result,
                };
                let (from, to) = pair(scratch, input, output, 0);
                self.matrix_product(step, layer, walk, from, to);
                Ok(())
            }
            Work::Interpreted(interpreted) => self.interpreted(step, interpreted, scratch),
            _ => unreachable!("the other steps take an image"),
        }
    }

    fn interpreted(
        &self,
        step: &Step,
        interpreted: &Interpreted,
        scratch: &mut Scratch,
    ) -> Result<(), EngineError> {
        let failed = |source| EngineError::Interpreted { node: step.name.clone(), source: Box::new(source) };
        let mut inputs = Vec::with_capacity(step.inputs.len());
        for (&input, shape) in step.inputs.iter().zip(&interpreted.shapes) {
            let buffer = &self.plan.buffers[input.0];
            let mut bytes = Vec::with_capacity(self.images * buffer.bytes());
            for image in 0..self.images {
                let range = scratch.arena.at_image(input, image);
                bytes.extend_from_slice(&scratch.memory.bytes()[range][..buffer.bytes()]);
            }
            let mut full = vec![self.images];
            full.extend(shape);
            inputs.push(tensor_of(buffer.dtype, &full, &bytes));
        }
        let verified = verify(&interpreted.graph).unwrap_or_else(|error| {
            unreachable!("a node of a verified graph is valid alone: {error}");
        });
        let results = run(verified, &inputs).map_err(failed)?;
        let bytes = native_bytes(&results[0]);
        let each = self.plan.buffers[step.output.0].bytes();
        for (image, bytes) in bytes.chunks_exact(each.max(1)).enumerate() {
            let range = scratch.arena.at_image(step.output, image);
            scratch.memory.bytes_mut()[range][..each].copy_from_slice(bytes);
        }
        Ok(())
    }
}

/// What a step reads and what it writes.
fn pair(scratch: &mut Scratch, from: BufferId, to: BufferId, image: usize) -> (&[u8], &mut [u8]) {
    let ranges = [scratch.arena.at_image(from, image), scratch.arena.at_image(to, image)];
    let slices = scratch.memory.bytes_mut().get_disjoint_mut(ranges);
    let [from, to] = slices.unwrap_or_else(|_| unreachable!("buffers in use never overlap"));
    (from, to)
}

fn reorder_bytes(reorder: crate::steps::simple::Reorder, element: usize, from: &[u8], to: &mut [u8]) {
    match element {
        1 => reorder.run(from, to),
        2 => reorder.run(from.as_chunks::<2>().0, to.as_chunks_mut::<2>().0),
        4 => reorder.run(from.as_chunks::<4>().0, to.as_chunks_mut::<4>().0),
        _ => reorder.run(from.as_chunks::<8>().0, to.as_chunks_mut::<8>().0),
    }
}

/// The bytes of a tensor as the engine keeps them: in the order of the machine.
pub(crate) fn native_bytes(tensor: &Tensor) -> Cow<'_, [u8]> {
    if let Some(bytes) = tensor.as_slice::<u8>() {
        return Cow::Borrowed(bytes);
    }
    fn bytes<T: Element, const N: usize>(tensor: &Tensor, to: impl Fn(&T) -> [u8; N]) -> Option<Vec<u8>> {
        tensor.as_array::<T>().map(|array| array.iter().flat_map(to).collect())
    }
    let integers = bytes::<u8, 1>(tensor, |x| [*x])
        .or_else(|| bytes::<i8, 1>(tensor, |x| x.to_ne_bytes()))
        .or_else(|| bytes::<i32, 4>(tensor, |x| x.to_ne_bytes()))
        .or_else(|| bytes::<i64, 8>(tensor, |x| x.to_ne_bytes()));
    Cow::Owned(integers.unwrap_or_else(|| unreachable!("a graph of stage scale_out holds integers alone")))
}

/// The tensor of such bytes.
pub(crate) fn tensor_of(dtype: DType, shape: &[usize], bytes: &[u8]) -> Tensor {
    fn tensor<T: Element, const N: usize>(
        shape: &[usize],
        bytes: &[u8],
        from: fn([u8; N]) -> T,
    ) -> Option<Tensor> {
        let (elements, _) = bytes.as_chunks::<N>();
        Tensor::from_vec(shape, elements.iter().map(|&element| from(element)).collect()).ok()
    }
    let tensor = match dtype {
        DType::U8 => tensor(shape, bytes, u8::from_ne_bytes),
        DType::I8 => tensor(shape, bytes, i8::from_ne_bytes),
        DType::I32 => tensor(shape, bytes, i32::from_ne_bytes),
        DType::I64 => tensor(shape, bytes, i64::from_ne_bytes),
        DType::F32 | DType::Bool => None,
    };
    tensor.unwrap_or_else(|| unreachable!("a buffer has the elements that its shape says"))
}

//! The convolutional front as one operator of burn.
//!
//! burn's own operators compute the same from the same parameters; [`Front`] hands the parameters of
//! all convolutions to [`onnx2int_conv_stack`] and registers its backward pass with burn's automatic
//! differentiation. Nothing of the network is known here but its convolutions, so that the file and
//! that crate could be a crate of burn's.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Tensor, TensorData};
use onnx2int_conv_stack::{Shape, Stack, Tape};

/// What computes a stack of convolutions in one go.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    stack: Arc<Stack>,
    /// Tapes that no pass uses at the moment.
    tapes: Tapes,
}

type Tapes = Arc<Mutex<Vec<Tape>>>;

impl Front {
    pub(crate) fn new(stack: Stack) -> Self {
        Self { stack: Arc::new(stack), tapes: Tapes::default() }
    }

    /// The activations `[batch, filters, height, width]` behind the last convolution, its ReLU and
    /// its pooling. `convolutions` are weights and bias of each one of the stack; where there are
    /// `scales`, one a convolution, its outputs are rounded to 256 steps of it.
    pub(crate) fn forward(
        &self,
        images: Tensor<4>,
        convolutions: Vec<(Tensor<4>, Tensor<1>)>,
        scales: Option<&[f32]>,
    ) -> Tensor<4> {
        let batch = images.dims()[0];
        let parts = convolutions.into_iter().flat_map(|(weight, bias)| [weight.flatten(0, 3), bias]);
        let parameters: Tensor<1> = Tensor::cat(parts.collect(), 0);
        let images = images.into_data();
        let images = images.as_slice::<f32>().expect("every tensor of this crate is f32");
        let Shape { channels, height, width } = self.stack.output();
        let pass = |parameters: &FlexTensor, tape: &mut Tape| {
            let outputs = self.stack.forward(elements(parameters), scales, images, tape);
            FlexTensor::from_data(TensorData::new(outputs, [batch, channels, height, width]))
        };
        let mut tape = BorrowedTape::new(&self.tapes);
        if !parameters.device().is_autodiff() {
            let parameters =
                parameters.try_into_primitive::<Flex>().expect("the recipe's check leaves the flex backend");
            return Tensor::from_primitive::<Flex>(pass(&parameters, &mut tape.tape));
        }
        let parameters = parameters
            .try_into_primitive::<Autodiff<Flex>>()
            .expect("the recipe's check leaves the flex backend");
        let (parameters, node) = parameters.into_parts();
        let outputs = pass(&parameters, &mut tape.tape);
        let step = FrontBackward.prepare::<NoCheckpointing>([node]).compute_bound().stateful();
        Tensor::from_primitive::<Autodiff<Flex>>(match step {
            OpsKind::Tracked(step) => {
                let tape = Arc::new(Mutex::new(tape));
                step.finish(State { stack: self.stack.clone(), tape }, outputs)
            }
            OpsKind::UnTracked(step) => step.finish(outputs),
        })
    }
}

/// A tape that goes back to where it was taken from.
#[derive(Debug)]
struct BorrowedTape {
    tape: Tape,
    home: Tapes,
}

impl BorrowedTape {
    fn new(home: &Tapes) -> Self {
        let tape = home.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Self { tape, home: home.clone() }
    }
}

impl Drop for BorrowedTape {
    fn drop(&mut self) {
        let tape = std::mem::take(&mut self.tape);
        self.home.lock().unwrap_or_else(PoisonError::into_inner).push(tape);
    }
}

/// The derivative of [`Front::forward`].
#[derive(Debug)]
struct FrontBackward;

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug)]
struct State {
    stack: Arc<Stack>,
    tape: Arc<Mutex<BorrowedTape>>,
}

impl Backward<Flex, 1> for FrontBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let State { stack, tape } = ops.state;
        let outputs = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [Some(parent)] = ops.parents else { return };
        let mut tape = tape.lock().unwrap_or_else(PoisonError::into_inner);
        let found = stack.backward(elements(&outputs), &mut tape.tape);
        let count = found.len();
        gradients.register::<Flex>(parent.id, FlexTensor::from_data(TensorData::new(found, [count])));
    }
}

fn elements(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("every tensor of this crate is f32, and these are contiguous")
}

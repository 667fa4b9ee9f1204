//! Test images with what the engine makes of them, for the self-test of the page.

use onnx2int_dataset::ImageSource;
use onnx2int_graph::digest::hexadecimal;
use onnx2int_graph::{Tensor, ValueId, Verified};
use onnx2int_runtimes::{RuntimeKind, prepare};
use serde::{Deserialize, Serialize};

use crate::trace::{Selection, digest_of, image_bytes};
use crate::{EvaluationError, ScoredModel};

/// So many images, and as many of each class as of any other.
const IMAGES: usize = 20;

/// Images, and every bit of what the integer-only model makes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// SHA-256 of the model's file, in hexadecimal.
    pub digest: String,
    /// The runtime that computed it all.
    pub runtime: String,
    /// Rows of pixels of each image.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// The names of the inner tensors, in the order of the nodes.
    pub tensors: Vec<String>,
    /// The images.
    pub images: Vec<SelfTestImage>,
}

/// One image of a [`SelfTest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTestImage {
    /// Its index in the test set.
    pub image: usize,
    /// What it shows, where that is known.
    pub label: Option<u32>,
    /// `[height, width]`, row-major.
    pub pixels: Vec<u8>,
    /// The raw outputs.
    pub outputs: Vec<i64>,
    /// Of each inner tensor, the digest that a [`crate::Trace`] has of it, in hexadecimal.
    pub digests: Vec<String>,
}

impl SelfTest {
    /// Runs an integer-only model of one channel on some images of each class; none for another model.
    ///
    /// # Errors
    /// A model that takes no images or other ones, and what the runtime or the source says.
    pub fn of(
        graph: Verified<'_>,
        file: &str,
        digest: &str,
        images: &dyn ImageSource,
    ) -> Result<Option<Self>, EvaluationError> {
        let (model, shape) = (ScoredModel::of(graph.graph(), file, digest)?, images.shape());
        let runtime = RuntimeKind::fastest(graph.graph());
        if runtime != RuntimeKind::Engine(None)
            || shape.channels != 1
            || model.fixed_batch.is_some_and(|batch| batch != 1)
        {
            return Ok(None);
        }
        let selection = Selection::of(graph.graph());
        let failed = |source| model.failed(runtime, source);
        let prepared = |ids: &[ValueId]| prepare(runtime, graph, ids).map_err(failed);
        let (untouched, observed) = (prepared(graph.graph().outputs())?, prepared(&selection.values)?);
        let tested = chosen(images).into_iter().map(|image| {
            let pixels = images.read(&[image])?;
            let input = [model.input.tensor(shape, pixels.clone())];
            let outputs = untouched.run(&input).map_err(failed)?;
            let inner = observed.run(&input).map_err(failed)?;
            let digests = inner.iter().enumerate().map(|(position, tensor)| {
                Ok(hexadecimal(&digest_of(image_bytes(position, tensor, 1).map_err(failed)?.of(0))))
            });
            Ok(SelfTestImage {
                image,
                label: images.labels().map(|labels| labels[image]),
                pixels,
                outputs: outputs.first().and_then(Tensor::to_i64_vec).unwrap_or_default(),
                digests: digests.collect::<Result<_, EvaluationError>>()?,
            })
        });
        Ok(Some(Self {
            digest: digest.to_owned(),
            runtime: runtime.name().to_owned(),
            height: shape.height,
            width: shape.width,
            tensors: selection.values.iter().map(|&id| graph.graph().value(id).name.clone()).collect(),
            images: tested.collect::<Result<_, EvaluationError>>()?,
        }))
    }
}

/// The first images of each class, class by class; the first of all where classes are not known.
fn chosen(images: &dyn ImageSource) -> Vec<usize> {
    let Some(labels) = images.labels() else { return (0..images.len().min(IMAGES)).collect() };
    let classes = labels.iter().max().map_or(1, |&label| label as usize + 1);
    let of_each = (IMAGES / classes).max(1);
    let of_class = |class| {
        let of_class = labels.iter().enumerate().filter(move |&(_, &label)| label as usize == class);
        of_class.map(|(image, _)| image).take(of_each)
    };
    (0..classes).flat_map(of_class).take(IMAGES).collect()
}

#[cfg(test)]
mod tests {
    use onnx2int_graph::{Graph, verify};

    use super::*;

    /// Images of 2 x 2 pixels whose every pixel is their number.
    struct Numbered(Vec<u32>);

    impl ImageSource for Numbered {
        fn shape(&self) -> onnx2int_dataset::ImageShape {
            onnx2int_dataset::ImageShape { channels: 1, height: 2, width: 2 }
        }
        fn len(&self) -> usize {
            self.0.len()
        }
        fn labels(&self) -> Option<&[u32]> {
            Some(&self.0)
        }
        fn read(&self, indices: &[usize]) -> Result<Vec<u8>, onnx2int_dataset::DatasetError> {
            Ok(indices.iter().flat_map(|&index| [index as u8; 4]).collect())
        }
        fn name(&self, index: usize) -> String {
            index.to_string()
        }
    }

    #[test]
    fn some_images_of_each_class_have_every_bit() {
        let graph = |stage: &str| {
            let text = format!(
                "meta onnx2int.stage = \"{stage}\"
                 in %x: u8[N,1,2,2]
                 const %w: i8[4,2] = [1, 2, 3, 4, 5, 6, 7, -8]
                 %flat = Flatten(%x)
                 %sums = MatMulInteger(%flat, %w, 0u8, 0i8)
                 out %sums"
            );
            Graph::from_text(&text).unwrap()
        };
        let images = Numbered([vec![1; 30], vec![0, 1, 0]].concat());
        let integers = graph("scale_out");
        let test = SelfTest::of(verify(&integers).unwrap(), "m.onnx", "ab", &images).unwrap().unwrap();
        let chosen: Vec<usize> = test.images.iter().map(|image| image.image).collect();
        assert_eq!(chosen, [30, 32, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(test.tensors, ["flat", "sums"]);
        let one = &test.images[3];
        assert_eq!((one.pixels.as_slice(), one.outputs.as_slice()), ([1; 4].as_slice(), [16, 4].as_slice()));
        assert_eq!(one.digests[1], hexadecimal(&digest_of(&[16, 0, 0, 0, 4, 0, 0, 0])));
        // The engine runs the last stage alone.
        let earlier = graph("integer");
        assert_eq!(SelfTest::of(verify(&earlier).unwrap(), "m.onnx", "ab", &images).unwrap(), None);
    }
}

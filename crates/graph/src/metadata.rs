//! What a model's metadata says, under keys of our own.

use crate::{Dim, Graph, GraphEditor, Stage, ValueId};

/// The stage that the file is at.
pub const STAGE: &str = "onnx2int.stage";
/// The mean of the preprocessing `(x / 255 - mean) / std`, as decimal text of an f32; where channels
/// have means of their own, one after the other with commas between.
pub const MEAN: &str = "onnx2int.mean";
/// The standard deviation of the preprocessing, written as the mean is.
pub const STD: &str = "onnx2int.std";
/// What one unit of the integer logits stands for, as decimal text of an f32; see
/// [`output_scale_key`] for models of several outputs.
pub const LOGIT_SCALE: &str = "onnx2int.logit_scale";

/// The names of the nodes that stay in floats behind the integer part, one a line; see
/// [`crate::float_tail`].
pub const FLOAT_TAIL: &str = "onnx2int.float_tail";

/// The preprocessing `(x / 255 - mean) / std` of a pixel `x` of one channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelNormalization {
    /// Subtracted from the pixel over 255.
    pub mean: f32,
    /// Divides the difference; above 0.
    pub std: f32,
}

/// The preprocessing of an image: one [`ChannelNormalization`] for all channels, or one for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// At least one; a single one holds for any number of channels.
    channels: Vec<ChannelNormalization>,
}

/// Numbers that make no preprocessing.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum NormalizationError {
    /// A mean that is not finite, or a standard deviation that is not finite and above 0.
    #[error("mean {mean} and std {std}: expected finite numbers and a std above 0")]
    Numbers {
        /// The mean given.
        mean: f32,
        /// The standard deviation given.
        std: f32,
    },
    /// Means and standard deviations of different numbers of channels.
    #[error(
        "{means} means and {stds} standard deviations: expected one of each for every channel, or a single one for all"
    )]
    Counts {
        /// The means given.
        means: usize,
        /// The standard deviations given.
        stds: usize,
    },
}

impl Default for ChannelNormalization {
    /// Mean 33/255 and standard deviation 0.3081.
    ///
    /// MNIST's own mean is 0.1307, which is 33.33/255. With 33/255 the preprocessing is exactly
    /// `scale * (x - 33)` with `scale = 1 / (255 * std)`, so that a uint8 input with zero point 33
    /// loses nothing.
    fn default() -> Self {
        Self { mean: 33.0 / 255.0, std: 0.3081 }
    }
}

impl ChannelNormalization {
    /// A checked normalization.
    ///
    /// # Errors
    /// [`NormalizationError::Numbers`].
    pub fn new(mean: f32, std: f32) -> Result<Self, NormalizationError> {
        if mean.is_finite() && std.is_finite() && std > 0.0 {
            Ok(Self { mean, std })
        } else {
            Err(NormalizationError::Numbers { mean, std })
        }
    }

    /// The network's input for a pixel, computed in f32 as PyTorch's `ToTensor` and `Normalize` do.
    pub fn apply(self, pixel: u8) -> f32 {
        (f32::from(pixel) / 255.0 - self.mean) / self.std
    }

    /// The network's input for every pixel value.
    pub fn table(self) -> [f32; 256] {
        std::array::from_fn(|pixel| self.apply(pixel as u8))
    }

    /// Scale and zero point of the same map in the form `scale * (x - zero_point)`, exactly:
    /// `1 / (255 std)` and `255 mean`. The zero point is in general no integer.
    pub fn as_quantization(self) -> (f64, f64) {
        (1.0 / (255.0 * f64::from(self.std)), 255.0 * f64::from(self.mean))
    }
}

impl Default for Normalization {
    /// [`ChannelNormalization::default`] for all channels.
    fn default() -> Self {
        ChannelNormalization::default().into()
    }
}

impl From<ChannelNormalization> for Normalization {
    /// The same for all channels.
    fn from(channel: ChannelNormalization) -> Self {
        Self { channels: vec![channel] }
    }
}

impl Normalization {
    /// Means and standard deviations, each one for all channels or one for each channel; a single
    /// number beside several holds for all of them.
    ///
    /// # Errors
    /// [`NormalizationError`], also where there is no number at all.
    pub fn new(means: &[f32], stds: &[f32]) -> Result<Self, NormalizationError> {
        let count = means.len().max(stds.len());
        let fits = |numbers: &[f32]| numbers.len() == count || numbers.len() == 1;
        if count == 0 || !fits(means) || !fits(stds) {
            return Err(NormalizationError::Counts { means: means.len(), stds: stds.len() });
        }
        let of = |numbers: &[f32], channel: usize| numbers[if numbers.len() == 1 { 0 } else { channel }];
        let channels = (0..count)
            .map(|channel| ChannelNormalization::new(of(means, channel), of(stds, channel)))
            .collect::<Result<_, _>>()?;
        Ok(Self { channels })
    }

    /// What the metadata says, if both entries are there and make a normalization.
    pub fn of(graph: &Graph) -> Option<Self> {
        let numbers = |key: &str| -> Option<Vec<f32>> {
            graph.metadata().get(key)?.split(',').map(|number| number.trim().parse().ok()).collect()
        };
        Self::new(&numbers(MEAN)?, &numbers(STD)?).ok()
    }

    /// What is assumed of a model whose metadata does not say: MNIST's for images of `[1, 28, 28]`,
    /// and `x / 255` for any other.
    pub fn assumed(graph: &Graph) -> Self {
        let shape = graph.inputs().first().map(|&input| graph.value(input).ty.shape.as_slice());
        let is_mnist = shape.is_some_and(|shape| {
            let extents: Vec<_> = shape.iter().skip(1).map(Dim::fixed).collect();
            extents == [Some(1), Some(28), Some(28)]
        });
        match is_mnist {
            true => Self::default(),
            false => ChannelNormalization { mean: 0.0, std: 1.0 }.into(),
        }
    }

    /// Writes [`MEAN`] and [`STD`] into the metadata, so that [`Normalization::of`] reads them back.
    pub fn record(&self, editor: &mut GraphEditor) {
        let text = |numbers: Vec<f32>| numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        editor.set_metadata(MEAN, text(self.means()));
        editor.set_metadata(STD, text(self.stds()));
    }

    /// The means: one for all channels, or one for each.
    pub fn means(&self) -> Vec<f32> {
        self.channels.iter().map(|channel| channel.mean).collect()
    }

    /// The standard deviations, as many as means.
    pub fn stds(&self) -> Vec<f32> {
        self.channels.iter().map(|channel| channel.std).collect()
    }

    /// The channels that have numbers of their own; 1 where the same numbers hold for any number of
    /// channels.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Whether this is a preprocessing of images of so many channels.
    pub fn fits(&self, channels: usize) -> bool {
        self.channels.len() == 1 || self.channels.len() == channels
    }

    /// The preprocessing of one channel.
    ///
    /// # Panics
    /// If channels have numbers of their own and there is no such channel.
    pub fn channel(&self, channel: usize) -> ChannelNormalization {
        match *self.channels.as_slice() {
            [all] => all,
            ref each => each[channel],
        }
    }

    /// The preprocessing of all channels, where it is the same.
    pub fn uniform(&self) -> Option<ChannelNormalization> {
        let first = self.channels[0];
        self.channels.iter().all(|&channel| channel == first).then_some(first)
    }

    /// The network's input for a pixel of a channel; see [`ChannelNormalization::apply`].
    ///
    /// # Panics
    /// As [`Normalization::channel`].
    pub fn apply(&self, channel: usize, pixel: u8) -> f32 {
        self.channel(channel).apply(pixel)
    }

    /// The network's input for every pixel value of a channel.
    ///
    /// # Panics
    /// As [`Normalization::channel`].
    pub fn table(&self, channel: usize) -> [f32; 256] {
        self.channel(channel).table()
    }

    /// The network's input for whole images: `pixels` are `[images, channels, plane]` in row-major
    /// order, `plane` being the pixels of one channel, and so is the result.
    ///
    /// # Panics
    /// If channels have numbers of their own and there are more of them than that.
    pub fn normalize(&self, pixels: &[u8], channels: usize, plane: usize) -> Vec<f32> {
        // A single pair of numbers needs a single table.
        let distinct = if self.channels.len() == 1 { 1 } else { channels };
        let tables: Vec<[f32; 256]> = (0..distinct).map(|channel| self.table(channel)).collect();
        let planes = pixels.chunks(plane.max(1)).zip(tables.iter().cycle());
        planes.flat_map(|(plane, table)| plane.iter().map(|&pixel| table[usize::from(pixel)])).collect()
    }
}

/// The stage that the metadata names, if it names one.
pub fn stage(graph: &Graph) -> Option<Stage> {
    graph.metadata().get(STAGE).and_then(|name| Stage::from_name(name))
}

/// The key that says what one unit of an integer output stands for: [`LOGIT_SCALE`], with a point and
/// the output's name behind it where a model has several outputs.
pub fn output_scale_key(outputs: usize, name: &str) -> String {
    if outputs == 1 { LOGIT_SCALE.to_owned() } else { format!("{LOGIT_SCALE}.{name}") }
}

/// What one unit of an integer output stands for, if the metadata says so.
pub fn scale_of_output(graph: &Graph, output: ValueId) -> Option<f64> {
    let key = output_scale_key(graph.outputs().len(), &graph.value(output).name);
    let scale = graph.metadata().get(&key)?.trim().parse::<f64>().ok()?;
    (scale.is_finite() && scale > 0.0).then_some(scale)
}

/// What one unit of the integer logits stands for, if the metadata says so.
pub fn logit_scale(graph: &Graph) -> Option<f64> {
    let scale = graph.metadata().get(LOGIT_SCALE)?.trim().parse::<f64>().ok()?;
    (scale.is_finite() && scale > 0.0).then_some(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_maps_33_to_zero_and_is_affine() {
        let normalization = ChannelNormalization::default();
        assert_eq!(normalization.apply(33), 0.0);
        let (scale, _) = normalization.as_quantization();
        for pixel in 0..=255_u8 {
            let exact = scale * (f64::from(pixel) - 33.0);
            assert!((f64::from(normalization.apply(pixel)) - exact).abs() < 1e-6, "{pixel}");
        }
    }

    #[test]
    fn refuses_what_divides_by_nothing() {
        for (mean, std) in [(0.1307, 0.0), (f32::NAN, 1.0), (0.0, -1.0), (0.0, f32::INFINITY)] {
            assert!(ChannelNormalization::new(mean, std).is_err(), "{mean} {std}");
            assert!(Normalization::new(&[0.5, mean], &[0.5, std]).is_err(), "{mean} {std}");
        }
        assert_eq!(ChannelNormalization::new(0.5, 0.5).unwrap().apply(255), 1.0);
    }

    #[test]
    fn one_number_holds_for_all_channels_and_several_for_one_each() {
        let all = Normalization::new(&[0.5], &[0.25]).unwrap();
        assert_eq!((all.channels(), all.fits(3), all.apply(2, 255)), (1, true, 2.0));
        let each = Normalization::new(&[0.0, 0.5, 1.0], &[0.5]).unwrap();
        assert_eq!((each.channels(), each.fits(3), each.fits(1), each.fits(4)), (3, true, false, false));
        assert_eq!([0, 1, 2].map(|channel| each.apply(channel, 255)), [2.0, 1.0, 0.0]);
        assert_eq!(each.table(1)[255], 1.0);
        assert_eq!((each.uniform(), all.uniform()), (None, Some(all.channel(7))));
        assert_eq!(Normalization::new(&[0.5, 0.5], &[0.25]).unwrap().uniform(), all.uniform());
        for (means, stds) in [(&[0.0, 1.0][..], &[1.0, 1.0, 1.0][..]), (&[], &[1.0]), (&[], &[])] {
            let error = Normalization::new(means, stds).unwrap_err();
            assert_eq!(error, NormalizationError::Counts { means: means.len(), stds: stds.len() });
        }
    }

    #[test]
    fn images_are_normalized_channel_by_channel() {
        let normalization = Normalization::new(&[0.0, 0.5, 1.0], &[1.0]).unwrap();
        // Two images of three channels of one row of two pixels.
        let pixels = [0, 255, 0, 255, 0, 255, 255, 0, 255, 0, 255, 0];
        let expected = [0.0, 1.0, -0.5, 0.5, -1.0, 0.0, 1.0, 0.0, 0.5, -0.5, 0.0, -1.0];
        assert_eq!(normalization.normalize(&pixels, 3, 2), expected);
        assert_eq!(Normalization::default().normalize(&[], 3, 2), []);
    }

    #[test]
    fn metadata_says_what_was_recorded() {
        let graph = |normalization: &Normalization| {
            let text = "in %x: f32[N,3]\n %y = Relu(%x)\n out %y";
            let mut editor = GraphEditor::from(Graph::from_text(text).unwrap());
            normalization.record(&mut editor);
            editor.finish().unwrap()
        };
        let imagenet = Normalization::new(&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]).unwrap();
        let written = graph(&imagenet);
        assert_eq!(written.metadata()[MEAN], "0.485,0.456,0.406");
        assert_eq!(written.metadata()[STD], "0.229,0.224,0.225");
        assert_eq!(Normalization::of(&written), Some(imagenet));
        // As it was written before channels had numbers of their own.
        let written = graph(&Normalization::default());
        assert_eq!((&*written.metadata()[MEAN], &*written.metadata()[STD]), ("0.12941177", "0.3081"));
        assert_eq!(Normalization::of(&written), Some(Normalization::default()));
    }

    #[test]
    fn what_is_assumed_depends_on_the_images() {
        let assumed = |shape: &str| {
            let text = format!("in %x: f32{shape}\n%y = Relu(%x)\nout %y");
            Normalization::assumed(&Graph::from_text(&text).unwrap())
        };
        assert_eq!(assumed("[N,1,28,28]"), Normalization::default());
        for shape in ["[N,3,28,28]", "[N,1,H,28]", "[N,3,224,224]", "[N,784]"] {
            assert_eq!(assumed(shape).apply(0, 255), 1.0, "{shape}");
            assert_eq!(assumed(shape).apply(0, 0), 0.0, "{shape}");
        }
    }

    #[test]
    fn metadata_that_makes_no_normalization_is_none() {
        for (mean, std) in [("0.1,0.2", "1,1,1"), ("0.1,", "1"), ("", "1"), ("0.5", "0"), ("a", "1")] {
            let text = format!(
                "meta {MEAN} = \"{mean}\"\nmeta {STD} = \"{std}\"\nin %x: f32[N]\n%y = Relu(%x)\nout %y"
            );
            assert_eq!(Normalization::of(&Graph::from_text(&text).unwrap()), None, "{mean} / {std}");
        }
    }
}

//! Two traces of one model, side by side: what differs, how much, and where it begins.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, bail};
use serde::Serialize;

use super::trace::{Outputs, Tensor, Trace, Values, element_size};

/// How a trace differs from the reference's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    /// The images of both: the first ones.
    pub images: usize,
    /// The inner integer tensors compared for each of them.
    pub tensors: usize,
    /// Their elements, over all images.
    pub elements: u64,
    /// Integer tensors that are not compared, in either trace, and why.
    pub left_out: Vec<String>,
    /// The images of which some inner tensor differs.
    pub images_differing: usize,
    /// The tensors that differ for some image, in the order of the nodes.
    pub differing: Vec<TensorDifference>,
    /// The first difference: of the first image that differs, the first tensor.
    pub first: Option<FirstDifference>,
    /// The raw outputs.
    pub outputs: OutputDifference,
}

/// How one tensor differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TensorDifference {
    pub tensor: String,
    pub node: String,
    pub op: String,
    pub dtype: String,
    /// The images for which it differs.
    pub images: usize,
    /// Those for which no tensor before it differs: the difference begins at this node.
    pub begins: usize,
    /// The elements that differ, over all images.
    pub elements: u64,
    /// The largest difference of an element.
    pub largest: u64,
    /// The largest difference of an element where the difference begins at this node.
    pub largest_where_it_begins: u64,
}

/// One element that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FirstDifference {
    pub image: usize,
    pub node: String,
    pub tensor: String,
    /// The position along each axis of the tensor, without the batch.
    pub index: Vec<usize>,
    pub expected: i64,
    pub found: i64,
}

/// How raw outputs differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct OutputDifference {
    /// Outputs with other bits.
    pub elements: usize,
    pub of: usize,
    /// The largest difference.
    pub largest: f64,
    /// The same over the largest absolute output of the reference.
    pub relative: f64,
    /// Images whose class, the first greatest output, is another one.
    pub flips: usize,
}

/// The tensors and images whose elements are still to be looked at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Differing {
    /// Positions among the reference's tensors.
    pub tensors: Vec<usize>,
    /// Ascending.
    pub images: Vec<usize>,
}

impl Comparison {
    /// Whether every bit agrees.
    pub(crate) fn is_equal(&self) -> bool {
        self.images_differing == 0 && self.outputs.elements == 0
    }
}

/// Compares digests and raw outputs, and says whose elements [`count_elements`] must look at.
///
/// # Errors
/// Traces that are not of the same model, images and tensors: a comparison that left something out would look like one
/// that found it equal.
pub(crate) fn compare(reference: &Trace, other: &Trace) -> anyhow::Result<(Comparison, Differing)> {
    let names = positions_of_common_tensors(reference, other).with_context(|| {
        format!(
            "the traces of {} in {} and {} cannot be compared",
            reference.header.file, reference.header.runtime, other.header.runtime
        )
    })?;
    let images = other.header.images;
    let mut differing: Vec<(usize, TensorDifference)> = Vec::new();
    let mut by_tensor: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut images_differing = Vec::new();
    for image in 0..images {
        let differs =
            |&(ours, theirs): &(usize, usize)| reference.digest(image, ours) != other.digest(image, theirs);
        for (count, &(position, _)) in names.iter().filter(|pair| differs(pair)).enumerate() {
            let (images, begins) = by_tensor.entry(position).or_default();
            *images += 1;
            *begins += usize::from(count == 0);
            if count == 0 {
                images_differing.push(image);
            }
        }
    }
    for (position, (count, begins)) in by_tensor {
        let tensor = &reference.header.tensors[position];
        differing.push((
            position,
            TensorDifference {
                tensor: tensor.name.clone(),
                node: tensor.node.clone(),
                op: tensor.op.clone(),
                dtype: tensor.dtype.clone(),
                images: count,
                begins,
                elements: 0,
                largest: 0,
                largest_where_it_begins: 0,
            },
        ));
    }
    let left_out = reference.header.left_out.iter().chain(&other.header.left_out);
    let mut left_out: Vec<String> =
        left_out.map(|tensor| format!("{}: {}", tensor.name, tensor.reason)).collect();
    left_out.sort();
    left_out.dedup();
    let sizes = reference.header.tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>());
    let elements_of_an_image: usize = sizes.sum();
    let wanted = Differing {
        tensors: differing.iter().map(|(position, _)| *position).collect(),
        images: images_differing.clone(),
    };
    let comparison = Comparison {
        images,
        tensors: reference.header.tensors.len(),
        elements: (elements_of_an_image * images) as u64,
        left_out,
        images_differing: images_differing.len(),
        differing: differing.into_iter().map(|(_, difference)| difference).collect(),
        first: None,
        outputs: compare_outputs(reference, other)?,
    };
    Ok((comparison, wanted))
}

/// Positions of each tensor in both traces, in the reference's order.
fn positions_of_common_tensors(reference: &Trace, other: &Trace) -> anyhow::Result<Vec<(usize, usize)>> {
    let (ours, theirs) = (&reference.header, &other.header);
    if ours.digest != theirs.digest {
        bail!("they are of other model files: {} and {}", ours.digest, theirs.digest);
    }
    if theirs.images == 0 || theirs.images > ours.images {
        bail!("they are of {} and {} images; the reference needs as many", ours.images, theirs.images);
    }
    if ours.images == theirs.images && ours.images_digest != theirs.images_digest {
        bail!("they are of other images: {} and {}", ours.images_digest, theirs.images_digest);
    }
    if let Some(extra) = theirs.tensors.iter().find(|tensor| find(&ours.tensors, &tensor.name).is_none()) {
        bail!("tensor {:?} is in the second one only", extra.name);
    }
    let pair = |(position, tensor): (usize, &Tensor)| {
        let Some(found) = find(&theirs.tensors, &tensor.name) else {
            bail!("tensor {:?} is in the first one only", tensor.name);
        };
        let other = &theirs.tensors[found];
        if other != tensor {
            bail!("they describe tensor {:?} as {tensor:?} and as {other:?}", tensor.name);
        }
        Ok((position, found))
    };
    ours.tensors.iter().enumerate().map(pair).collect()
}

fn find(tensors: &[Tensor], name: &str) -> Option<usize> {
    tensors.iter().position(|tensor| tensor.name == name)
}

fn compare_outputs(reference: &Trace, other: &Trace) -> anyhow::Result<OutputDifference> {
    let classes = reference.classes();
    let count = other.header.images * classes;
    if other.outputs.len() != count {
        bail!("the raw outputs have {classes} and {} columns", other.classes());
    }
    let difference = match (&reference.outputs, &other.outputs) {
        // By their bits, so that a NaN is not overlooked, and -0.0 is not 0.0.
        (Outputs::F32(ours), Outputs::F32(theirs)) => {
            output_difference(&ours[..count], theirs, classes, |a, b| a.to_bits() != b.to_bits(), f64::from)
        }
        (Outputs::I32(ours), Outputs::I32(theirs)) => {
            output_difference(&ours[..count], theirs, classes, |a, b| a != b, f64::from)
        }
        (Outputs::F32(_), Outputs::I32(_)) | (Outputs::I32(_), Outputs::F32(_)) => {
            bail!("the raw outputs are f32 in one of them and i32 in the other")
        }
    };
    Ok(difference)
}

fn output_difference<T: Copy + PartialOrd>(
    ours: &[T],
    theirs: &[T],
    classes: usize,
    differs: impl Fn(T, T) -> bool,
    number: impl Fn(T) -> f64,
) -> OutputDifference {
    let mut difference = OutputDifference { of: ours.len(), ..OutputDifference::default() };
    let mut greatest = 0.0f64;
    for (&a, &b) in ours.iter().zip(theirs) {
        greatest = greatest.max(number(a).abs());
        if differs(a, b) {
            difference.elements += 1;
            let gap = (number(a) - number(b)).abs();
            // A NaN is as far from everything as can be.
            difference.largest = difference.largest.max(if gap.is_nan() { f64::MAX } else { gap });
        }
    }
    difference.relative = if difference.largest > 0.0 { difference.largest / greatest } else { 0.0 };
    let rows = ours.chunks_exact(classes.max(1)).zip(theirs.chunks_exact(classes.max(1)));
    difference.flips = rows.filter(|(a, b)| first_greatest(a) != first_greatest(b)).count();
    difference
}

fn first_greatest<T: PartialOrd>(row: &[T]) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}

/// Adds the elements of some images to what a comparison knows. The images come in ascending order, over one call or
/// several.
pub(crate) fn count_elements(
    comparison: &mut Comparison,
    expected: &Values,
    found: &Values,
) -> anyhow::Result<()> {
    if expected.images != found.images || expected.tensors != found.tensors {
        bail!("the elements written are not of the same images and tensors");
    }
    let record: usize = expected.tensors.iter().map(Tensor::bytes).sum::<anyhow::Result<usize>>()?;
    for (position, &image) in expected.images.iter().enumerate() {
        let mut start = position * record;
        let mut begun = false;
        for tensor in &expected.tensors {
            let range = start..start + tensor.bytes()?;
            start = range.end;
            let count = count(tensor, &expected.bytes, &found.bytes, range)?;
            let Some(first) = count.first else { continue };
            let entry = comparison.differing.iter_mut().find(|entry| entry.tensor == tensor.name);
            let entry = entry.with_context(|| {
                format!("the elements of {:?} differ although its digests agree", tensor.name)
            })?;
            entry.elements += count.elements;
            entry.largest = entry.largest.max(count.largest);
            if !begun {
                entry.largest_where_it_begins = entry.largest_where_it_begins.max(count.largest);
            }
            begun = true;
            comparison.first.get_or_insert(FirstDifference {
                image,
                node: tensor.node.clone(),
                tensor: tensor.name.clone(),
                index: unraveled(first.0, &tensor.shape),
                expected: first.1,
                found: first.2,
            });
        }
        if !begun {
            bail!("image {image}: the digests differ, but the elements written do not");
        }
    }
    Ok(())
}

/// What differs between the elements of a tensor for an image.
struct Count {
    elements: u64,
    largest: u64,
    /// Position, expected and found element.
    first: Option<(usize, i64, i64)>,
}

fn count(tensor: &Tensor, expected: &[u8], found: &[u8], range: Range<usize>) -> anyhow::Result<Count> {
    let size = element_size(&tensor.dtype)?;
    let mut count = Count { elements: 0, largest: 0, first: None };
    let (expected, found) = (&expected[range.clone()], &found[range]);
    if expected == found {
        return Ok(count);
    }
    for (index, (a, b)) in expected.chunks_exact(size).zip(found.chunks_exact(size)).enumerate() {
        if a != b {
            let (a, b) = (integer(&tensor.dtype, a), integer(&tensor.dtype, b));
            count.elements += 1;
            count.largest = count.largest.max(a.abs_diff(b));
            count.first.get_or_insert((index, a, b));
        }
    }
    Ok(count)
}

/// A little-endian integer of a type that [`element_size`] knows.
fn integer(dtype: &str, bytes: &[u8]) -> i64 {
    let mut wide = [if dtype != "u8" && bytes.last().is_some_and(|&high| high > 127) { 255 } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(wide)
}

/// The position along each axis of the element at `position` in row-major order.
fn unraveled(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&extent| {
            let along = position % extent.max(1);
            position /= extent.max(1);
            along
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::super::trace::tests::made_up;
    use super::*;

    const TENSORS: [(&str, &str, &str); 3] =
        [("sum", "ConvInteger", "i32"), ("byte", "QuantizeLinear", "u8"), ("last", "MatMulInteger", "i32")];

    fn trace(runtime: &str, digests: &[&[u8]], outputs: &[i32]) -> Trace {
        made_up(runtime, &TENSORS, digests, Outputs::I32(outputs.to_vec()))
    }

    fn reference() -> Trace {
        trace("interpreter", &[&[1, 2, 3], &[4, 5, 6], &[7, 8, 9]], &[5, 9, 5, 1, -7, -9])
    }

    fn values(images: &[usize], bytes: &[u8]) -> Values {
        Values {
            images: images.to_vec(),
            tensors: reference().header.tensors[1..].to_vec(),
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn equal_traces_are_equal_and_fewer_images_too() {
        let (comparison, differing) = compare(&reference(), &reference()).unwrap();
        assert!(comparison.is_equal());
        assert_eq!((comparison.images, comparison.tensors, comparison.elements), (3, 3, 18));
        assert_eq!(differing, Differing { tensors: vec![], images: vec![] });

        let shorter = trace("reference", &[&[1, 2, 3]], &[5, 9]);
        let (comparison, _) = compare(&reference(), &shorter).unwrap();
        assert!(comparison.is_equal());
        assert_eq!(comparison.images, 1);
    }

    #[test]
    fn differences_are_counted_by_tensor_and_by_where_they_begin() {
        let other = trace("tract", &[&[1, 2, 3], &[4, 0, 0], &[7, 8, 0]], &[5, 9, 5, 1, -9, -7]);
        let (mut comparison, differing) = compare(&reference(), &other).unwrap();
        assert!(!comparison.is_equal());
        assert_eq!(differing, Differing { tensors: vec![1, 2], images: vec![1, 2] });
        let counts: Vec<_> = comparison
            .differing
            .iter()
            .map(|entry| (entry.tensor.as_str(), entry.images, entry.begins))
            .collect();
        assert_eq!(counts, [("byte", 1, 1), ("last", 2, 1)]);
        let OutputDifference { elements, of, largest, relative, flips } = comparison.outputs;
        assert_eq!((elements, of, largest, flips), (2, 6, 2.0, 1));
        assert!((relative - 2.0 / 9.0).abs() < 1e-12);

        // Each record: two bytes, two i32.
        let expected =
            values(&[1, 2], &[9, 200, 1, 0, 0, 0, 255, 255, 255, 255, 3, 3, 0, 1, 0, 0, 0, 0, 0, 128]);
        let found = values(&[1, 2], &[9, 203, 1, 0, 0, 0, 1, 0, 0, 0, 3, 3, 1, 1, 0, 0, 255, 255, 255, 127]);
        count_elements(&mut comparison, &expected, &found).unwrap();
        let [byte, last] = &comparison.differing[..] else { panic!("{:?}", comparison.differing) };
        assert_eq!((byte.elements, byte.largest, byte.largest_where_it_begins), (1, 3, 3));
        let widest = u64::from(u32::MAX);
        assert_eq!((last.elements, last.largest, last.largest_where_it_begins), (3, widest, widest));
        let first = comparison.first.clone().unwrap();
        assert_eq!((first.image, first.node.as_str(), first.index), (1, "byte_node", vec![1]));
        assert_eq!((first.expected, first.found), (200, 203));
    }

    #[test]
    fn elements_that_contradict_the_digests_are_refused() {
        let other = trace("tract", &[&[1, 2, 3], &[4, 0, 6], &[7, 8, 9]], &[5, 9, 5, 1, -7, -9]);
        let (mut comparison, _) = compare(&reference(), &other).unwrap();
        let same = values(&[1], &[0; 10]);
        let message = count_elements(&mut comparison, &same, &same).unwrap_err().to_string();
        assert!(message.contains("image 1: the digests differ"), "{message}");
        let mut last_differs = same.clone();
        last_differs.bytes[9] = 1;
        let message = count_elements(&mut comparison, &same, &last_differs).unwrap_err().to_string();
        assert!(message.contains("\"last\" differ although"), "{message}");
        let message =
            count_elements(&mut comparison, &same, &values(&[2], &[0; 10])).unwrap_err().to_string();
        assert!(message.contains("not of the same images"), "{message}");
    }

    #[test]
    fn traces_that_say_nothing_about_each_other_are_refused() {
        let check = |change: &dyn Fn(&mut Trace), expected: &str| {
            let mut other = reference();
            change(&mut other);
            let message = format!("{:#}", compare(&reference(), &other).unwrap_err());
            assert!(message.contains(expected), "{message}");
        };
        check(&|other| other.header.digest = "m1".to_owned(), "other model files: m0 and m1");
        check(&|other| other.header.images_digest = "others".to_owned(), "other images");
        check(&|other| other.header.images = 4, "3 and 4 images");
        check(&|other| other.header.images = 0, "3 and 0 images");
        check(&|other| drop(other.header.tensors.pop()), "\"last\" is in the first one only");
        check(&|other| other.header.tensors[1].name = "odd".to_owned(), "\"odd\" is in the second one only");
        check(&|other| other.header.tensors[1].dtype = "i8".to_owned(), "describe tensor \"byte\"");
        check(&|other| other.outputs = Outputs::I32(vec![0; 3]), "2 and 1 columns");
        check(&|other| other.outputs = Outputs::F32(vec![0.0; 6]), "f32 in one of them");
    }

    #[test]
    fn floats_are_compared_by_their_bits() {
        let floats = |values: &[f32]| made_up("r", &[], &[&[], &[]], Outputs::F32(values.to_vec()));
        let ours = floats(&[1.0, 2.0, 0.0, f32::NAN]);
        assert!(compare(&ours, &ours).unwrap().0.is_equal());
        let outputs = compare(&ours, &floats(&[1.0, 2.5, -0.0, f32::NAN])).unwrap().0.outputs;
        assert_eq!((outputs.elements, outputs.largest, outputs.relative, outputs.flips), (2, 0.5, 0.25, 0));
        let outputs = compare(&ours, &floats(&[1.0, f32::NAN, 0.0, f32::NAN])).unwrap().0.outputs;
        assert_eq!((outputs.elements, outputs.largest, outputs.flips), (1, f64::MAX, 1));
    }

    #[test]
    fn integers_of_every_type_are_read_with_their_sign() {
        assert_eq!(integer("u8", &[255]), 255);
        assert_eq!(integer("i8", &[255]), -1);
        assert_eq!(integer("i32", &i32::MIN.to_le_bytes()), i64::from(i32::MIN));
        assert_eq!(integer("i64", &i64::MIN.to_le_bytes()), i64::MIN);
        assert_eq!(unraveled(17, &[2, 3, 4]), [1, 1, 1]);
    }
}

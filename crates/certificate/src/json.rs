//! Certificates as JSON text.

use std::collections::HashSet;
use std::fmt::{Display, Write as _};

use onnx2int_graph::Stage;
use onnx2int_graph::range::{Attained, headroom, needed_bits};
use serde::{Deserialize, Serialize};

use crate::CertificateError;
use crate::certificate::{Certificate, Layer, SCHEMA, TensorBounds};
use crate::certify::fits;

impl Certificate {
    /// The certificate as JSON: one line for each entry of a list, the same bytes on every run.
    pub fn to_json(&self) -> String {
        let mut text = String::from("{\n");
        let mut field = |name: &str, lines: Vec<String>, is_list: bool, is_last: bool| {
            let value = if is_list && !lines.is_empty() {
                format!("[\n  {}\n]", lines.join(",\n  "))
            } else if is_list {
                "[]".to_owned()
            } else {
                lines.concat()
            };
            let comma = if is_last { "" } else { "," };
            writeln!(text, "{name:?}: {value}{comma}").expect("a String takes everything");
        };
        field("schema", vec![line(&self.schema)], false, false);
        field("model", vec![line(&self.model)], false, false);
        field("stage", vec![line(&self.stage)], false, false);
        field("inputs", self.inputs.iter().map(line).collect(), true, false);
        field("constants", self.constants.iter().map(line).collect(), true, false);
        field("tensors", self.tensors.iter().map(line).collect(), true, false);
        field("layers", self.layers.iter().map(line).collect(), true, false);
        field("obligations", self.obligations.iter().map(line).collect(), true, true);
        text.push_str("}\n");
        text
    }

    /// Reads a certificate that may come from anywhere.
    ///
    /// It is then of this schema, and its entries do not contradict each other; whether they are
    /// true of a model is another matter, for which [`Certificate::difference`] compares it with
    /// the model's own.
    ///
    /// # Errors
    /// No JSON, another form or schema, lists whose lengths do not match, empty intervals, names
    /// that are there twice, widths that do not follow from the bounds.
    pub fn from_json(text: &[u8]) -> Result<Self, CertificateError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let invalid = |source| CertificateError::Json { schema: SCHEMA, source };
        let head: Head = serde_json::from_slice(text).map_err(invalid)?;
        if head.schema != SCHEMA {
            return Err(CertificateError::Schema { expected: SCHEMA, found: head.schema });
        }
        let certificate: Self = serde_json::from_slice(text).map_err(invalid)?;
        certificate.check()?;
        Ok(certificate)
    }

    fn check(&self) -> Result<(), CertificateError> {
        let stages = [Stage::Integer, Stage::ScaleOut].map(Stage::name);
        if !stages.contains(&self.stage.as_str()) {
            return inconsistent("the stage", format!("one of {stages:?}"), format!("{:?}", self.stage));
        }
        check_digest("the model", &self.model.sha256)?;
        let mut names = HashSet::new();
        let inputs = self.inputs.iter().map(|input| &input.name);
        let constants = self.constants.iter().map(|constant| &constant.name);
        let tensors = self.tensors.iter().map(|tensor| &tensor.name);
        for name in inputs.chain(constants).chain(tensors) {
            if !names.insert(name) {
                return inconsistent(format!("tensor {name:?}"), "one entry", "several");
            }
        }
        for input in &self.inputs {
            check_interval(format!("input {:?}", input.name), input.low, input.high)?;
        }
        for constant in &self.constants {
            check_digest(&format!("constant {:?}", constant.name), &constant.sha256)?;
        }
        self.tensors.iter().try_for_each(check_tensor)?;
        self.layers.iter().try_for_each(check_layer)
    }
}

fn check_tensor(tensor: &TensorBounds) -> Result<(), CertificateError> {
    let entity = format!("tensor {:?}", tensor.name);
    let channels = tensor.lows.len();
    if channels == 0 || tensor.highs.len() != channels {
        let found = format!("{channels} and {}", tensor.highs.len());
        return inconsistent(entity, "as many lows as highs, at least one", found);
    }
    match tensor.axis {
        None if channels == 1 => {}
        Some(1) if channels > 1 => {}
        axis => {
            let expected = "axis 1 with several bounds, or none with one";
            return inconsistent(entity, expected, format!("axis {axis:?} with {channels}"));
        }
    }
    for (&low, &high) in tensor.lows.iter().zip(&tensor.highs) {
        check_interval(&entity, low, high)?;
    }
    for runs in [&tensor.attained.lows, &tensor.attained.highs] {
        let mut left = channels as u64;
        for (index, (count, name)) in runs.iter().enumerate() {
            check_attained(&entity, name)?;
            let differs = index == 0 || runs[index - 1].1 != *name;
            match left.checked_sub(*count) {
                Some(rest) if *count > 0 && differs => left = rest,
                _ => {
                    return inconsistent(entity, format!("runs of {channels} channels"), format!("{runs:?}"));
                }
            }
        }
        if left > 0 {
            return inconsistent(entity, format!("runs of {channels} channels"), format!("{runs:?}"));
        }
    }
    Ok(())
}

fn check_layer(layer: &Layer) -> Result<(), CertificateError> {
    let entity = format!("layer {:?}", layer.node);
    let check_widths = |entity: &str, interval: (i64, i64), bits: u32, room: u32, names: &[String]| {
        check_interval(entity, interval.0, interval.1)?;
        let expected = (needed_bits(interval), headroom(interval), fits(interval));
        if (bits, room, names) != (expected.0, expected.1, expected.2.as_slice()) {
            let (bits_expected, room_expected, names_expected) = expected;
            return inconsistent(
                entity,
                format!("{bits_expected} bits, headroom {room_expected}, fits {names_expected:?}"),
                format!("{bits} bits, headroom {room}, fits {names:?}"),
            );
        }
        Ok(())
    };
    check_widths(&entity, (layer.low, layer.high), layer.bits, layer.headroom, &layer.fits)?;
    for (index, channel) in layer.channels.iter().enumerate() {
        let entity = format!("layer {:?}, channel {index}", layer.node);
        let interval = (channel.low, channel.high);
        check_widths(&entity, interval, channel.bits, channel.headroom, &channel.fits)?;
        check_attained(&entity, &channel.low_attained)?;
        check_attained(&entity, &channel.high_attained)?;
    }
    let low = layer.channels.iter().map(|channel| channel.low).min();
    let high = layer.channels.iter().map(|channel| channel.high).max();
    if (low, high) != (Some(layer.low), Some(layer.high)) {
        let expected = "the hull of its channels, of which there is at least one";
        return inconsistent(entity, expected, format!("[{}, {}]", layer.low, layer.high));
    }
    Ok(())
}

fn check_interval(entity: impl Display, low: i64, high: i64) -> Result<(), CertificateError> {
    if low <= high {
        return Ok(());
    }
    inconsistent(entity, "a low that is not above the high", format!("[{low}, {high}]"))
}

fn check_attained(entity: &str, name: &str) -> Result<(), CertificateError> {
    if Attained::ALL.iter().any(|attained| attained.name() == name) {
        return Ok(());
    }
    inconsistent(entity, "network, layer, or the name of an obstacle", format!("{name:?}"))
}

fn check_digest(entity: &str, digest: &str) -> Result<(), CertificateError> {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    if digest.len() == 64 && digest.as_bytes().iter().all(is_digit) {
        return Ok(());
    }
    inconsistent(entity, "a SHA-256 of 64 lower-case hexadecimal digits", format!("{digest:?}"))
}

fn inconsistent(
    entity: impl Display,
    expected: impl Display,
    found: impl Display,
) -> Result<(), CertificateError> {
    Err(CertificateError::Inconsistent {
        entity: entity.to_string(),
        expected: expected.to_string(),
        found: found.to_string(),
    })
}

fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our types have string keys and finite numbers")
}

//! A score as two files: JSON that people and scripts read, and the raw outputs beside it.
//!
//! The logits file holds nothing but the elements, row-major, little endian; element type, shape and
//! digest are in the JSON. `numpy.fromfile(path, "<i4").reshape(shape)` reads one.

use onnx2int_graph::{DType, Stage, Tensor};
use serde::{Deserialize, Serialize};

use crate::json_text::{from_json, to_json};
use crate::{EvaluationError, Logits, OutputKind, Score};

/// The schema of score files.
pub const SCORE_SCHEMA: &str = "onnx2int-score/2";

/// The JSON part of a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreHeader {
    schema: String,
    stage: Option<String>,
    file: String,
    digest: String,
    runtime: String,
    images: usize,
    correct: usize,
    accuracy: f64,
    accuracy_low: f64,
    accuracy_high: f64,
    /// Not in files of earlier versions, nor where there are few classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correct_of_five: Option<usize>,
    output: OutputKind,
    logit_scale: Option<f64>,
    logits: LogitsFile,
    labels: Vec<u32>,
    predictions: Vec<u32>,
}

/// What the logits file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LogitsFile {
    /// Its name, in the folder of the score file.
    file: String,
    dtype: String,
    shape: [usize; 2],
    byte_order: String,
    /// [`Tensor::digest`].
    digest: String,
}

impl Score {
    /// The JSON of this score, whose logits are in the file `logits_file` of the same folder.
    pub fn to_json(&self, logits_file: &str) -> String {
        let accuracy = self.accuracy();
        to_json(&ScoreHeader {
            schema: SCORE_SCHEMA.to_owned(),
            stage: self.stage.map(|stage| stage.name().to_owned()),
            file: self.file.clone(),
            digest: self.digest.clone(),
            runtime: self.runtime.clone(),
            images: self.images(),
            correct: self.correct,
            accuracy: accuracy.fraction,
            accuracy_low: accuracy.low,
            accuracy_high: accuracy.high,
            correct_of_five: self.correct_of_five,
            output: self.logits.kind(),
            logit_scale: self.logits.scale(),
            logits: LogitsFile {
                file: logits_file.to_owned(),
                dtype: self.logits.values().dtype().name().to_owned(),
                shape: [self.logits.images(), self.logits.classes()],
                byte_order: "little".to_owned(),
                digest: self.logits_digest(),
            },
            labels: self.labels.clone(),
            predictions: self.predictions.clone(),
        })
    }

    /// The contents of the logits file.
    pub fn logits_bytes(&self) -> Vec<u8> {
        self.logits.values().to_le_bytes()
    }
}

impl ScoreHeader {
    /// Parses a score file.
    ///
    /// # Errors
    /// [`EvaluationError::Schema`] or [`EvaluationError::Json`].
    pub fn from_json(text: &str) -> Result<Self, EvaluationError> {
        from_json("score file", SCORE_SCHEMA, text)
    }

    /// The name of the logits file, in the folder of the score file.
    pub fn logits_file(&self) -> &str {
        &self.logits.file
    }

    /// SHA-256 of the model file that was scored, in hexadecimal.
    pub fn model_digest(&self) -> &str {
        &self.digest
    }

    /// The score, from the contents of the logits file.
    ///
    /// Classes and counts are derived anew from the logits and compared with what the file says.
    ///
    /// # Errors
    /// [`EvaluationError::DamagedScore`] where the two files do not belong together, and whatever
    /// a score made of the same outputs would be refused for.
    pub fn with_logits(self, bytes: &[u8]) -> Result<Score, EvaluationError> {
        let damaged = |expected: String, found: String| EvaluationError::DamagedScore {
            file: self.file.clone(),
            expected,
            found,
        };
        let stage = match &self.stage {
            None => None,
            Some(name) => Some(
                Stage::from_name(name)
                    .ok_or_else(|| damaged("the name of a stage".to_owned(), format!("{name:?}")))?,
            ),
        };
        let values = self.tensor(bytes)?;
        if values.digest() != self.logits.digest {
            return Err(damaged(
                format!("logits of digest {} in {:?}", self.logits.digest, self.logits.file),
                values.digest(),
            ));
        }
        let logits = Logits::new(&self.file, self.images, values, self.output, self.logit_scale)?;
        let mut score = Score {
            stage,
            file: self.file.clone(),
            digest: self.digest.clone(),
            runtime: self.runtime.clone(),
            labels: self.labels.clone(),
            predictions: Vec::new(),
            correct: 0,
            correct_of_five: None,
            logits,
        };
        score.count()?;
        if (score.correct, &score.predictions) != (self.correct, &self.predictions) {
            return Err(damaged(
                format!("{} correct predictions, as the logits give them", score.correct),
                format!("{} correct, or other predictions", self.correct),
            ));
        }
        if self.correct_of_five.is_some() && score.correct_of_five != self.correct_of_five {
            return Err(damaged(
                format!("{:?} correct among five, as the logits give them", score.correct_of_five),
                format!("{:?}", self.correct_of_five),
            ));
        }
        Ok(score)
    }

    fn tensor(&self, bytes: &[u8]) -> Result<Tensor, EvaluationError> {
        let LogitsFile { file, dtype: dtype_name, shape, byte_order, digest: _ } = &self.logits;
        let damaged = |expected: String, found: String| EvaluationError::DamagedScore {
            file: self.file.clone(),
            expected,
            found,
        };
        if byte_order != "little" {
            return Err(damaged("byte order \"little\"".to_owned(), format!("{byte_order:?}")));
        }
        let dtype = DType::ALL
            .into_iter()
            .find(|dtype| dtype.name() == dtype_name)
            .ok_or_else(|| damaged("an element type".to_owned(), format!("{dtype_name:?}")))?;
        let size = shape.iter().try_fold(dtype.size(), |size, &extent| size.checked_mul(extent));
        if size != Some(bytes.len()) {
            return Err(damaged(
                format!("{dtype_name} of shape {shape:?} in {file:?}"),
                format!("{} bytes", bytes.len()),
            ));
        }
        let tensor = match dtype {
            DType::F32 => Tensor::from_vec(shape, elements(bytes, f32::from_le_bytes)),
            DType::U8 => Tensor::from_vec(shape, bytes.to_vec()),
            DType::I8 => Tensor::from_vec(shape, elements(bytes, i8::from_le_bytes)),
            DType::I32 => Tensor::from_vec(shape, elements(bytes, i32::from_le_bytes)),
            DType::I64 => Tensor::from_vec(shape, elements(bytes, i64::from_le_bytes)),
            DType::Bool => return Err(damaged("numbers".to_owned(), "bool".to_owned())),
        };
        Ok(tensor.expect("the size was checked"))
    }
}

fn elements<T, const SIZE: usize>(bytes: &[u8], decode: fn([u8; SIZE]) -> T) -> Vec<T> {
    let (elements, _) = bytes.as_chunks::<SIZE>();
    elements.iter().map(|&element| decode(element)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::tests::score_of;

    fn integers() -> Score {
        let values = Tensor::from_vec(&[2, 3], vec![-70_000, 5, 5, i32::MAX, 0, i32::MIN]).unwrap();
        let mut score = score_of("m_scale_out.onnx", &[1, 2], values, OutputKind::Logits, Some(0.1 + 0.2));
        score.stage = Some(Stage::ScaleOut);
        score
    }

    fn read(json: &str, bytes: &[u8]) -> Result<Score, EvaluationError> {
        ScoreHeader::from_json(json)?.with_logits(bytes)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let floats = Tensor::from_vec(&[2, 2], vec![0.1_f32, -1e-7, f32::MAX, f32::MIN_POSITIVE]).unwrap();
        let floats = score_of("other.onnx", &[0, 1], floats, OutputKind::LogProbabilities, None);
        for score in [integers(), floats] {
            let json = score.to_json("m.logits.bin");
            assert_eq!(ScoreHeader::from_json(&json).unwrap().logits_file(), "m.logits.bin");
            assert_eq!(read(&json, &score.logits_bytes()).unwrap(), score);
        }
    }

    #[test]
    fn the_file_reads_like_this() {
        insta::assert_snapshot!(integers().to_json("scale_out.logits.bin"), @r#"
        {
          "schema": "onnx2int-score/2",
          "stage": "scale_out",
          "file": "m_scale_out.onnx",
          "digest": "00",
          "runtime": "interpreter",
          "images": 2,
          "correct": 1,
          "accuracy": 0.5,
          "accuracy_low": 0.09453120573423071,
          "accuracy_high": 0.9054687942657693,
          "output": "logits",
          "logit_scale": 0.30000000000000004,
          "logits": {
            "file": "scale_out.logits.bin",
            "dtype": "i32",
            "shape": [2,3],
            "byte_order": "little",
            "digest": "851d73dd4da1d4e4d032ae181710e8127a5b6516f8343219940c00715599295a"
          },
          "labels": [1,2],
          "predictions": [1,0]
        }
        "#);
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused() {
        let score = integers();
        let (json, bytes) = (score.to_json("m.logits.bin"), score.logits_bytes());
        let mut other_bytes = bytes.clone();
        other_bytes[0] ^= 1;
        let cases = [
            (json.clone(), &bytes[..20], "found 20 bytes"),
            (json.clone(), &other_bytes[..], "logits of digest"),
            (json.replace("[1,0]", "[1,2]"), &bytes[..], "1 correct predictions"),
            (json.replace("\"i32\"", "\"i33\""), &bytes[..], "\"i33\""),
            (json.replace("\"i32\"", "\"bool\""), &bytes[..6], "found bool"),
            (json.replace("little", "big"), &bytes[..], "\"big\""),
            (json.replace("\"stage\": \"scale_out\"", "\"stage\": \"last\""), &bytes[..], "\"last\""),
        ];
        for (json, bytes, message) in cases {
            let found = read(&json, bytes).unwrap_err().to_string();
            assert!(found.contains(message), "{message}: {found}");
        }
    }

    #[test]
    fn files_from_before_five_were_counted_are_read() {
        let values = Tensor::from_vec(&[1, 6], vec![1, 2, 3, 4, 5, 6]).unwrap();
        let score = score_of("m.onnx", &[1], values, OutputKind::Logits, None);
        let json = score.to_json("m.logits.bin");
        let line = "  \"correct_of_five\": 1,\n";
        assert!(json.contains(line), "{json}");
        assert_eq!(read(&json.replace(line, ""), &score.logits_bytes()).unwrap(), score);
        let forged = json.replace("\"correct_of_five\": 1", "\"correct_of_five\": 0");
        let message = read(&forged, &score.logits_bytes()).unwrap_err().to_string();
        assert!(message.contains("correct among five"), "{message}");
    }

    #[test]
    fn a_shape_that_overflows_is_refused() {
        let score = integers();
        let json = score.to_json("m.logits.bin").replace("[2,3]", "[2,9223372036854775807]");
        assert!(matches!(read(&json, &score.logits_bytes()), Err(EvaluationError::DamagedScore { .. })));
    }
}

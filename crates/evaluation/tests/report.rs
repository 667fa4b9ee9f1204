//! A small report in every form.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod tiny;

use std::collections::BTreeMap;

use onnx2int_evaluation::{
    EvaluationError, PairedTest, Report, StageInput, TrainingEpoch, TransformRecord, render,
};
use onnx2int_graph::GraphEditor;

use tiny::{LABELS, Pipeline, inputs, integer_graph, report, score};

#[test]
fn on_a_terminal() {
    let text = render::terminal(&report());
    insta::assert_snapshot!(text, @r"
    stage      accuracy   95 % interval  as float  vs float     p  as before      gap  weights  nodes  f32
    float       83.33 %  43.65 to 96.99         -         -     -          -        -   9.4 kB      3    5
    integer     83.33 %  43.65 to 96.99  100.00 %     -0 +0  1.00   100.00 %  0.0280*   2.4 kB      3    0
    scale_out   83.33 %  43.65 to 96.99   66.67 %     -1 +1  1.00    66.67 %    0.500   2.4 kB      3    0

    * between the log-softmax of both: one of the two ends in LogSoftmax
    float: 5 of 6, 83.33 % [43.65, 96.99]
    integer: 5 of 6, 83.33 % [43.65, 96.99]; against float: none lost, none gained
    scale_out: 5 of 6, 83.33 % [43.65, 96.99]; against float: 1 lost, 1 gained, p = 1.00: within noise
    as float, as before: images with the same class; 6 images in all
    vs float: images lost and gained; p: how often chance alone makes such a difference (McNemar, mid-p)
    gap: the largest difference of a logit from the row before; f32: float tensors
    images whose class changed from the row before: scale_out 2 (1 lost, 1 gained, p = 1.00: within noise)
    rescale: within one unit; error bound at most 0.300 (conv1, channel 2)
    ");
}

#[test]
fn as_markdown() {
    insta::assert_snapshot!(render::markdown(&report()), @r#"
    # tiny

    Scored on 6 images of the tiny test set.
    Accuracy is 5 of 6, 83.33 % [43.65, 96.99] at `float` and 5 of 6, 83.33 % [43.65, 96.99] at `scale_out` (+0.00 percentage points).
    Against `float`, `scale_out` has 1 lost, 1 gained, p = 1.00: within noise.
    No float tensor is left in `integer`, `scale_out`.

    ## Stages

    | stage | made by | right | accuracy | 95 % interval | as float | as before | gap to float | gap to before | promised | runtime |
    | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |
    | float | train | 5 | 83.33 % | 43.65 to 96.99 | - | - | - | - | the float network | tract |
    | integer | integer-ops | 5 | 83.33 % | 43.65 to 96.99 | 100.00 % | 100.00 % | 0.0280\* | 0.0280\* | same real function | tract |
    | scale_out | scale-out | 5 | 83.33 % | 43.65 to 96.99 | 66.67 % | 66.67 % | 0.262\* | 0.500 | rescale within one unit | tract |

    The interval is Wilson's.
    "As float" and "as before" are the shares of images with the same class as the float model and as the row before; a gap is the largest difference of any logit from theirs, integers times their scale.

    \* between the log-softmax of both: one of the two ends in LogSoftmax.

    ## Images lost and gained

    | stage | against | lost | gained | p | exact p | verdict |
    | --- | --- | ---: | ---: | ---: | ---: | --- |
    | integer | float | 0 | 0 | 1.00 | 1.00 | no difference |
    | scale_out | float | 1 | 1 | 1.00 | 1.00 | within noise |
    | scale_out | integer | 1 | 1 | 1.00 | 1.00 | within noise |

    Lost are the images that only the other is right on, gained those that only this row is right on.
    If both were equally good, each of them would be a toss of a coin; p is how often chance alone parts them so far (McNemar's test, two-sided mid-p), and 0.05 or more is called noise.
    An interval is of one accuracy by itself: whether two of them overlap says little about models that were scored on the same images.

    ## Training

    Recipe: epochs 3, network a\|b.

    | epoch | mean loss | validation accuracy |
    | ---: | ---: | ---: |
    | 1 | 1.20 | 90.00 % |
    | 2 | 0.155 | 98.77 % |
    | 3 | 0.0835 | - |

    On the test images the trained network, before its export, was right on 5 of 6, 83.33 % [43.65, 96.99].

    ```text
    training loss, logarithmic
        5 ┤
          │  ▄
        2 ┤▀▀ █▄▄
          │      ▀▄▄▄
        1 ┤          █▀▀▄
      0.5 ┤             ▀▀▀▄ ▄
          │                 ▀ ▀▄▄▄
          │                       █▄▀▄
      0.2 ┤                          █▀▀▄
          │                              ▀▀▀▄▄
      0.1 ┤                                 ▀ ▀▄▀▀▄▄▀▄▄▀▀▄▀▀▄▀▀▄▄▀▄▄▀▀▄▀▀▄▀▀
     0.05 ┤
          └────────────────────┴─────────────────────┴─────────────────────┴
          0                    1                     2                     3
                                                       epochs of 1,040 steps
    ```

    ## Files and sizes

    | stage | file | file bytes | weight bytes | f32 weights | i32 weights | i8 weights | SHA-256 |
    | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |
    | float | tiny.onnx | 12,345 | 9,408 | 9,408 |  |  | 0123456789abcdef |
    | integer | tiny_integer.onnx | 12,345 | 2,364 |  | 12 | 2,352 | 0123456789abcdef |
    | scale_out | tiny_scale_out.onnx | 12,345 | 2,364 |  | 12 | 2,352 | 0123456789abcdef |

    Weights are all constants of the graph: kernels, biases, scales, zero points, shapes.

    ## Operators

    | operator | float | integer | scale_out |
    | --- | ---: | ---: | ---: |
    | Add |  | 1 | 1 |
    | Flatten | 1 | 1 | 1 |
    | Gemm | 1 |  |  |
    | LogSoftmax | 1 |  |  |
    | MatMulInteger |  | 1 | 1 |
    | all | 3 | 3 | 3 |

    ## Tensors by element type

    | type | float | integer | scale_out |
    | --- | ---: | ---: | ---: |
    | f32 | 5 |  |  |
    | i32 |  | 3 | 3 |
    | i8 |  | 1 | 1 |
    | u8 |  | 2 | 2 |
    | all | 5 | 6 | 6 |

    ## Confusion matrices

    `float`: a line a label, a column a predicted class.

    | label | 0 | 1 | 2 |
    | --- | ---: | ---: | ---: |
    | 0 | 2 |  |  |
    | 1 | 1 | 1 |  |
    | 2 |  |  | 2 |

    `scale_out`: a line a label, a column a predicted class.

    | label | 0 | 1 | 2 |
    | --- | ---: | ---: | ---: |
    | 0 | 2 |  |  |
    | 1 |  | 2 |  |
    | 2 | 1 |  | 1 |

    ## Images whose class changed

    | stage | image | label | before | after | outcome | margin before | margin after |
    | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |
    | scale_out | 3 | 2 | 2 | 0 | now wrong | 1 (12.50 %) | 0 (0.00 %) |
    | scale_out | 4 | 1 | 0 | 1 | now right | 1 (12.50 %) | 1 (12.50 %) |

    A margin is by how much the class given was ahead of the runner-up, in the unit of that model's outputs, and as a share of the largest range that its outputs have on any one image.

    ## What each transform did

    ### `scale-out` makes `scale_out`

    | node | change | numbers |
    | --- | --- | --- |
    | fc | its dequantizer is gone | logit scale: 0.25 |

    ## Rescale error bounds

    | layer | channels | largest bound | in channel | channels above 1/8 |
    | --- | ---: | ---: | ---: | ---: |
    | conv1 | 3 | 0.300 | 2 | 2 |
    | fc1 | 1 | 1.00e-5 | 0 | 0 |

    A rescale is off by at most one unit, and only where the exact result lies within the bound of a rounding boundary.

    ## Trade-offs

    Not measured of this float model: `cargo xtask sweep` measures accuracy against mantissa bits, calibration images and weight bits.

    ## Parameters

    | parameter | value |
    | --- | --- |
    | epochs | 5 |
    | seed | 1 |

    ## Versions

    | software | value |
    | --- | --- |
    | burn | 0.22.1 |
    | onnx2int | 0.1.0 |
    "#);
}

#[test]
fn a_record_of_the_transforms_reads_as_one_of_the_report() {
    let text = r#"{
        "transform": "scale-out",
        "stage": "scale_out",
        "sites": [{"node": "fc", "change": "its dequantizer is gone", "notes": [{"name": "logit scale", "value": 0.25}]}],
        "probe": {"images": 16, "gap": 0.1}
    }"#;
    let record: TransformRecord = serde_json::from_str(text).unwrap();
    assert_eq!(record, report().transforms[0]);
}

#[test]
fn json_holds_the_whole_report() {
    let report = report();
    let text = render::json(&report);
    assert_eq!(Report::from_json(&text).unwrap(), report);
    assert!(text.starts_with("{\n  \"schema\": \"onnx2int-report/4\",\n"), "{text}");
}

#[test]
fn equal_inputs_give_equal_files() {
    let (first, second) = (report(), report());
    assert_eq!(render::json(&first), render::json(&second));
    assert_eq!(render::markdown(&first), render::markdown(&second));
    // A report that went through its file renders the same.
    let read = Report::from_json(&render::json(&first)).unwrap();
    assert_eq!(render::markdown(&read), render::markdown(&first));
    assert_eq!(render::terminal(&read), render::terminal(&first));
}

#[test]
fn counts_and_comparisons_are_those_of_the_models() {
    let report = report();
    let [float, integer, scale_out] = &report.stages[..] else { panic!("three stages") };
    assert_eq!([float, integer, scale_out].map(|row| row.accuracy.correct), [5, 5, 5]);
    assert_eq!((float.versus_float.as_ref(), float.versus_previous.as_ref()), (None, None));
    assert_eq!(integer.versus_previous.as_ref().unwrap().agreeing, 6);
    let versus_integer = scale_out.versus_previous.as_ref().unwrap();
    assert_eq!((versus_integer.agreeing, versus_integer.different_outputs), (4, Some(3)));
    assert_eq!(versus_integer.largest_logit_gap.unwrap().value, 0.5);
    assert_eq!(versus_integer.reference, "integer");
    assert_eq!(scale_out.versus_float.as_ref().unwrap().reference, "float");
    assert_eq!(float.census.weight_bytes, BTreeMap::from([("f32".to_owned(), 784 * 3 * 4)]));
    assert_eq!(scale_out.census.total_weight_bytes(), 784 * 3 + 12);
    assert_eq!(report.dataset.images_per_label, [2, 2, 2]);
    assert_eq!(versus_integer.paired_test, PairedTest::of(1, 1));
    let changed: Vec<(usize, u32, u32)> =
        report.changed_images.iter().map(|c| (c.flip.image, c.flip.before, c.flip.after)).collect();
    assert_eq!(changed, [(3, 2, 0), (4, 0, 1)]);
    let matrix = &report.confusions[1].counts;
    assert_eq!(matrix.concat().iter().sum::<usize>(), LABELS.len());
    assert_eq!(matrix[2], [1, 0, 1]);
}

#[test]
fn no_terminal_line_is_wider_than_120_characters() {
    let mut report = report();
    for row in &mut report.stages {
        row.name = format!("{}_of_a_model_with_a_long_name", row.name);
    }
    let row = &report.stages[2].clone();
    for number in 0..20 {
        let mut row = row.clone();
        row.name = format!("model_{number}_with_quite_a_name");
        row.census.weight_bytes = BTreeMap::from([("f32".to_owned(), 999_990_000_000)]);
        row.census.nodes = 123_456;
        let changed = report.changed_images[0].clone();
        report.changed_images.extend(
            (0..3).map(|_| onnx2int_evaluation::ChangedImage { stage: row.name.clone(), ..changed.clone() }),
        );
        report.stages.push(row);
    }
    report.rescale_bounds[0].layer = "a_layer_whose_name_is_longer_than_it_should_be_by_far".repeat(3);
    let text = render::terminal(&report);
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 120, "{widest}:\n{text}");
    assert!(text.contains("model_19_with... 3 (1 lost, 1 gained, p = 1.00: within noise)"), "{text}");
}

#[test]
fn a_long_list_of_changed_images_is_cut_in_markdown_and_whole_in_json() {
    let mut report = report();
    let changed = report.changed_images[0].clone();
    report.changed_images = vec![changed; 1201];
    let text = render::markdown(&report);
    assert_eq!(text.matches("now wrong").count(), 200);
    assert!(text.contains("first 200 of 1,201"), "{text}");
    assert_eq!(Report::from_json(&render::json(&report)).unwrap().changed_images.len(), 1201);
}

#[test]
fn a_training_that_is_not_known_has_no_section() {
    let mut report = report();
    report.training = None;
    assert!(!render::markdown(&report).contains("Training"));
    let text = render::json(&report);
    assert_eq!(Report::from_json(&text).unwrap(), report);
    // As reports were written before there was this entry.
    assert_eq!(Report::from_json(&text.replace("  \"training\": null,\n", "")).unwrap(), report);
}

#[test]
fn of_a_long_training_the_last_epochs_are_shown() {
    let mut report = report();
    let training = report.training.as_mut().unwrap();
    let epoch = training.epochs[0].clone();
    training.epochs = (1..=1_234).map(|number| TrainingEpoch { epoch: number, ..epoch.clone() }).collect();
    let text = render::markdown(&report);
    assert!(!text.contains("\n| 1184 | ") && text.contains("\n| 1185 | "), "{text}");
    assert!(text.contains("the last 50 of 1,234 epochs"), "{text}");
    assert_eq!(Report::from_json(&render::json(&report)).unwrap(), report);
}

#[test]
fn names_cannot_break_the_page() {
    let mut report = report();
    report.parameters.insert("title".to_owned(), "a|b\n# <i>".to_owned());
    let text = render::markdown(&report);
    assert!(text.contains(r"| title | a\|b # \<i\> |"), "{text}");
}

#[test]
fn what_cannot_be_reported_is_refused() {
    let pipeline = Pipeline::new();
    let stages = pipeline.stages();
    assert!(matches!(Report::assemble(inputs(&[])).unwrap_err(), EvaluationError::NoScores));

    let twice = [stages[0], stages[1], stages[1]];
    let error = Report::assemble(inputs(&twice)).unwrap_err();
    assert!(matches!(&error, EvaluationError::DuplicateRow { name, .. } if name == "integer"), "{error}");

    let mut other = pipeline.scores[1].clone();
    other.labels[5] = 1;
    let different = [stages[0], StageInput { score: &other, ..stages[1] }];
    let error = Report::assemble(inputs(&different)).unwrap_err();
    assert!(matches!(error, EvaluationError::NotComparable { .. }), "{error}");

    let mut infinite = inputs(&stages);
    infinite.rescale_bounds[0].errors[1] = f64::INFINITY;
    let message = Report::assemble(infinite).unwrap_err().to_string();
    assert!(message.contains("\"conv1\", channel 1"), "{message}");
    let mut not_a_number = inputs(&stages);
    not_a_number.transforms[0].sites[0].notes[0].value = f64::NAN;
    let message = Report::assemble(not_a_number).unwrap_err().to_string();
    assert!(message.contains("\"logit scale\" of node \"fc\""), "{message}");
    let mut diverged = inputs(&stages);
    diverged.training.as_mut().unwrap().epochs[1].losses[0] = f64::INFINITY;
    let message = Report::assemble(diverged).unwrap_err().to_string();
    assert!(message.contains("losses of epoch 2, found inf"), "{message}");
    let damaged = render::json(&report()).replace("\"images\": 6\n    }", "\"images\": 0\n    }");
    let message = Report::from_json(&damaged).unwrap_err().to_string();
    assert!(message.contains("as test_accuracy, found 5 of 0"), "{message}");
}

#[test]
fn a_model_without_a_stage_is_a_row_of_its_own_name() {
    let graph = {
        let mut editor = GraphEditor::from(integer_graph("scale_out"));
        editor.remove_metadata("onnx2int.stage");
        editor.finish().unwrap()
    };
    let values = Pipeline::new().scores[2].logits.values().clone();
    let score = score(&graph, "other.onnx", values);
    let stages = [StageInput { score: &score, graph: &graph, file_bytes: 1 }];
    let report = Report::assemble(inputs(&stages)).unwrap();
    assert_eq!((report.stages[0].name.as_str(), report.stages[0].relation.as_ref()), ("other", None));
    assert!(report.confusions.is_empty());
    assert!(render::terminal(&report).contains("other"));
}

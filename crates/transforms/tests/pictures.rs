//! Runs the Before/After pictures in the head of every pass: Before, rewritten, is After.
//!
//! A picture is a fenced `text` block with `Before` and `After` at the start of a line. Lines that
//! begin with `in`, `out`, `const` or `meta` at the margin belong to both; what is indented belongs
//! to the section it stands in. Pictures are fragments: stage rules are not asked of them.

#![expect(clippy::unwrap_used, reason = "a test may stop where its own fixtures are wrong")]

use std::fs;
use std::path::{Path, PathBuf};

use onnx2int_graph::{Graph, Stage, Tensor, Verified, verify};
use onnx2int_transforms::passes::{EncodeWeights, Encoding};
use onnx2int_transforms::{Options, RewriteLog, Transform, transform_for};

/// The two graph texts of a picture.
struct Picture {
    line: usize,
    before: String,
    after: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Section {
    Both,
    Before,
    After,
}

/// Every picture among the `//!` lines of a file.
fn pictures(source: &str) -> Vec<Picture> {
    let mut found = Vec::new();
    let mut block: Option<Picture> = None;
    let mut section = Section::Both;
    for (index, line) in source.lines().enumerate() {
        let Some(text) = line.strip_prefix("//!") else { break };
        let text = text.strip_prefix(' ').unwrap_or(text);
        if text.starts_with("```") {
            match block.take() {
                Some(picture) if !picture.after.is_empty() => found.push(picture),
                Some(_) => {}
                None => {
                    block = Some(Picture { line: index + 1, before: String::new(), after: String::new() });
                    section = Section::Both;
                }
            }
            continue;
        }
        let Some(picture) = &mut block else { continue };
        let (target, statement) = if let Some(rest) = text.strip_prefix("Before") {
            section = Section::Before;
            (section, rest)
        } else if let Some(rest) = text.strip_prefix("After") {
            section = Section::After;
            (section, rest)
        } else if text.starts_with(' ') {
            (section, text)
        } else {
            (Section::Both, text)
        };
        if target != Section::After {
            picture.before.push_str(statement.trim());
            picture.before.push('\n');
        }
        if target != Section::Before {
            picture.after.push_str(statement.trim());
            picture.after.push('\n');
        }
    }
    found
}

fn pass_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/passes");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| path.file_stem().is_some_and(|stem| stem != "mod" && stem != "tests"))
        .collect();
    files.sort();
    files
}

/// The transform that has the file's name: `embed_act.rs` holds `embed-act`.
fn transform_of(file: &Path) -> Box<dyn Transform> {
    let name = file.file_stem().unwrap().to_str().unwrap().replace('_', "-");
    if name == EncodeWeights::NAME {
        return Box::new(EncodeWeights { stage: Stage::ScaleOut, encoding: Encoding::Narrow });
    }
    Stage::ALL
        .into_iter()
        .find(|stage| stage.made_by() == name)
        .and_then(|stage| transform_for(stage, &Options::default()))
        .unwrap_or_else(|| panic!("{} is named as no transform", file.display()))
}

fn interpreter(graph: Verified<'_>, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    onnx2int_interpreter::run(graph, inputs).map_err(|error| error.to_string())
}

fn parse(file: &Path, picture: &Picture, text: &str) -> Graph {
    Graph::from_text(text).unwrap_or_else(|error| {
        panic!("{}, picture at line {}: {error}\n{text}", file.display(), picture.line)
    })
}

#[test]
fn every_pass_does_what_its_pictures_show() {
    let files = pass_files();
    for file in &files {
        let transform = transform_of(file);
        let pictures = pictures(&fs::read_to_string(file).unwrap());
        assert!(!pictures.is_empty(), "{} has no picture", file.display());
        for picture in pictures {
            let before = parse(file, &picture, &picture.before);
            let after = parse(file, &picture, &picture.after);
            let place = format!("{}, picture at line {}", file.display(), picture.line);
            let verified = verify(&before).unwrap_or_else(|error| panic!("{place}, Before: {error}"));
            verify(&after).unwrap_or_else(|error| panic!("{place}, After: {error}"));
            let mut log = RewriteLog::default();
            let result = transform
                .rewrite(verified, &interpreter, &mut log)
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(result.to_full_text(), after.to_full_text(), "{place}");
            assert!(!log.sites().is_empty(), "{place}: nothing was logged");
        }
    }
    let transforms =
        Stage::ALL.into_iter().filter(|&stage| transform_for(stage, &Options::default()).is_some());
    // And encode-weights, which makes no stage.
    assert_eq!(files.len(), transforms.count() + 1, "one file for each transform");
}

//! Each writer killed, on a full disk, and in a folder that cannot be written: earlier files stay, one message tells
//! what happened, and the next run finishes as if nothing had been.
//!
//! `cargo xtask faults` kills the whole pipeline many times more.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::binary::{self, Folder, stage_file};
use crate::network;

/// A command that writes files.
struct Writer {
    arguments: Vec<String>,
    /// What it writes, in the order in which it does.
    outputs: Vec<String>,
}

impl Writer {
    fn new(line: &str, outputs: &[&str]) -> Self {
        let mut arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if matches!(arguments[0].as_str(), "quantize" | "evaluate") {
            arguments.extend(["--data-dir".to_owned(), binary::data_dir()]);
        }
        Self { arguments, outputs: outputs.iter().map(|&output| output.to_owned()).collect() }
    }

    fn arguments(&self) -> Vec<&str> {
        self.arguments.iter().map(String::as_str).collect()
    }
}

/// Every writer but the training, in an order in which each finds its input.
fn writers() -> Vec<Writer> {
    let lowered: Vec<String> =
        network::made_stages().skip(1).map(|(stage, _)| format!("models/{}", stage_file(stage))).collect();
    vec![
        Writer::new(
            "quantize --model models/net.onnx --output models/net_quantized.onnx --calibration-samples 20 --per-axis",
            &["models/net_quantized.onnx"],
        ),
        Writer::new(
            "transform sanitize --model models/net_quantized.onnx --output other/net_sanitized.onnx --record \
             records/sanitized.json",
            &["other/net_sanitized.onnx", "records/sanitized.json"],
        ),
        Writer {
            outputs: lowered,
            ..Writer::new("lower --model models/net_quantized.onnx --output-dir models", &[])
        },
        Writer::new(
            "evaluate --model models/net_scale_out.onnx --images 50 --output scores/scale_out.json",
            &["scores/scale_out.logits.bin", "scores/scale_out.json"],
        ),
        Writer::new("report --dir .", &["report.json", "report.md", "report.html"]),
    ]
}

/// A folder where every writer has been, and its files.
fn finished() -> (Folder, BTreeMap<String, Vec<u8>>) {
    let folder = Folder::new();
    network::write_float(&folder);
    for writer in writers() {
        folder.succeed(&writer.arguments());
        for output in &writer.outputs {
            assert!(folder.path(output).exists(), "{output}");
        }
    }
    let files = folder.files();
    assert_eq!(folder.leftovers(), Vec::<String>::new());
    (folder, files)
}

/// Fails unless a folder holds these files and no others.
#[track_caller]
fn assert_files(folder: &Folder, expected: &BTreeMap<String, Vec<u8>>, when: &str) {
    let found = folder.files();
    assert!(found.keys().eq(expected.keys()), "{when}: {:?}", found.keys());
    let different: Vec<_> = expected.iter().filter(|(name, bytes)| found[*name] != **bytes).collect();
    assert!(
        different.is_empty(),
        "{when}: {:?} differ",
        different.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
}

/// Kills a writer as soon as it has begun its `count`th file, or not if it is done before.
fn kill(folder: &Folder, writer: &Writer, count: usize) {
    let mut command = folder.command(&writer.arguments());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while child.try_wait().unwrap().is_none() && seen.len() < count {
        seen.extend(folder.leftovers());
    }
    // The child may have ended in this moment, which is as well.
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn a_killed_writer_leaves_whole_files_and_the_next_run_the_same_ones() {
    let (folder, reference) = finished();
    for writer in writers() {
        for count in 1..=2 {
            // First over nothing, then over what another model left.
            let earlier: Option<&[u8]> = if count == 1 { None } else { Some(b"of an earlier model") };
            for output in &writer.outputs {
                match earlier {
                    None => fs::remove_file(folder.path(output)).unwrap(),
                    Some(earlier) => fs::write(folder.path(output), earlier).unwrap(),
                }
            }
            kill(&folder, &writer, count);
            for output in &writer.outputs {
                let found = fs::read(folder.path(output)).ok();
                let whole = found.as_ref() == reference.get(output) || found.as_deref() == earlier;
                assert!(whole, "{output} is neither old nor new after {:?} was killed", writer.arguments);
            }
            folder.succeed(&writer.arguments());
            assert_files(&folder, &reference, "after a kill and another run");
        }
    }
}

#[test]
fn what_a_killed_writer_left_is_gone_after_the_next_run() {
    let (folder, reference) = finished();
    for writer in writers() {
        for output in &writer.outputs {
            let left = folder.path(output).with_file_name(".onnx2int-killed.tmp");
            fs::write(left, "half a file").unwrap();
        }
        folder.succeed(&writer.arguments());
        assert_files(&folder, &reference, "after a run where a killed one had been");
    }
}

#[test]
fn a_full_disk_is_told_by_name_and_harms_nothing() {
    let (folder, reference) = finished();
    for writer in writers() {
        let full = || {
            // A file cannot grow beyond the limit, as it cannot on a full disk; without the trap a signal would end
            // the writer before it is told so.
            let mut command = Command::new("sh");
            command.args(["-c", r#"trap '' XFSZ; ulimit -f 0; exec "$0" "$@""#]);
            let tool = folder.command(&writer.arguments());
            command.arg(tool.get_program()).args(tool.get_args());
            command.current_dir(folder.path(""));
            command
        };
        let message = binary::fail(&mut full());
        let first = writer.outputs[0].rsplit('/').next().unwrap();
        assert!(
            message.contains("cannot write") && message.contains(first),
            "{:?}: {message}",
            writer.arguments
        );
        assert_files(&folder, &reference, "after a full disk");

        // Where there was nothing there is nothing.
        writer.outputs.iter().for_each(|output| fs::remove_file(folder.path(output)).unwrap());
        let before = folder.files();
        binary::fail(&mut full());
        assert_files(&folder, &before, "after a full disk, without earlier files");
        folder.succeed(&writer.arguments());
        assert_files(&folder, &reference, "after a run with room again");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_told_by_name_and_harms_nothing() {
    let (folder, reference) = finished();
    for writer in writers() {
        for output in &writer.outputs {
            let path = folder.path(output);
            fs::remove_file(&path).unwrap();
            // A folder in the file's place stops the superuser as well.
            fs::create_dir(&path).unwrap();
            let message = folder.fail(&writer.arguments());
            let name = output.rsplit('/').next().unwrap();
            assert!(
                message.contains("cannot write") && message.contains(name),
                "{:?}: {message}",
                writer.arguments
            );
            fs::remove_dir(&path).unwrap();
            folder.succeed(&writer.arguments());
        }
        assert_files(&folder, &reference, "after a run with nothing in the way");
    }
}

#[test]
fn a_folder_that_is_read_only_is_told_by_name_and_harms_nothing() {
    let (folder, reference) = finished();
    let locked = folder.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    // Permissions do not bind the superuser; in /proc nobody can make a file.
    let binds = fs::write(locked.join("probe"), "").is_err();
    let target = if binds { "locked" } else { "/proc" };
    let data = ["--data-dir", &binary::data_dir()];
    let model = format!("{target}/net.onnx");
    let score = format!("{target}/score.json");
    let commands: [&[&str]; 6] = [
        &["quantize", "--model", "models/net.onnx", "--output", &model, data[0], data[1]],
        &["transform", "sanitize", "--model", "models/net_quantized.onnx", "--output", &model],
        &[
            "transform",
            "sanitize",
            "--model",
            "models/net_quantized.onnx",
            "--output",
            "new.onnx",
            "--record",
            &score,
        ],
        &["lower", "--model", "models/net_quantized.onnx", "--output-dir", target],
        &["evaluate", "--model", "models/net.onnx", "--output", &score, data[0], data[1]],
        &["train", "--quick", "--output", "new.onnx", "--checkpoint-dir", target, data[0], data[1]],
    ];
    for command in commands {
        let message = folder.fail(command);
        assert!(message.contains("cannot write") && message.contains(target), "{command:?}: {message}");
    }
    fs::remove_dir_all(&locked).unwrap();
    assert_files(&folder, &reference, "after attempts to write where one cannot");
}

/// The cache of unpacked data, of which a copy is 47 MB.
#[test]
fn a_cache_that_cannot_be_written_is_told_by_name() {
    let folder = Folder::new();
    network::write_float(&folder);
    fs::write(folder.path("cache"), "a file").unwrap();
    let arguments = ["evaluate", "--model", "models/net.onnx", "--data-dir", &binary::data_dir()];
    let message = binary::fail(folder.command(&arguments).env("XDG_CACHE_HOME", folder.path("cache")));
    assert!(
        message.contains("cannot make the cache folder") && message.contains("cache/onnx2int"),
        "{message}"
    );
}

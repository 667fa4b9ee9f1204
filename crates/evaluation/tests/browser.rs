//! `report.html` in a browser: opened from disk it writes nothing to the console and asks for nothing else.
//!
//! Where there is no Chromium the test says so in a line of its own and ends.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod tiny;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::Command;

use onnx2int_evaluation::render;

/// What Chromium is called on Debian, elsewhere, and by others.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|file| file.is_file())
}

#[test]
fn the_page_opens_from_disk_without_errors_and_without_requests() {
    let Some(chromium) = chromium() else {
        // Not by a macro, whose output the harness would keep to itself.
        writeln!(io::stderr(), "SKIPPED: no Chromium among {NAMES:?}; `apt-get install chromium` has one")
            .unwrap();
        return;
    };
    let folder = std::env::temp_dir().join(format!("onnx2int-browser-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let section = render::Section {
        id: "further".to_owned(),
        title: "Further".to_owned(),
        html: "<p id=\"answer\">no</p>".to_owned(),
        script: "document.getElementById('answer').textContent = 'further script ran';".to_owned(),
    };
    let page = folder.join("report.html");
    std::fs::write(&page, render::html(&tiny::report(), &[section])).unwrap();
    let requests = folder.join("requests.json");
    let output = Command::new(chromium)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args(["--enable-logging=stderr", "--no-first-run", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--log-net-log={}", requests.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let requests = std::fs::read_to_string(requests).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();

    assert!(dom.contains("further script ran"), "scripts run:\n{log}");
    assert!(!dom.contains("class=\"zoom\" hidden"), "the page's own as well");
    let console: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "{console:#?}");
    // Of what the page asked for, the log says so; the browser asks for things of its own.
    let asked: Vec<&str> = requests
        .lines()
        .filter(|line| {
            line.contains("\"network_isolation_key\":\"file://") && line.contains("\"url\":\"http")
        })
        .collect();
    assert!(asked.is_empty(), "{asked:#?}");
}

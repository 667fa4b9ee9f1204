//! `report.html` in a browser: opened from disk it writes nothing to the console and asks for nothing else.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod chromium;
mod tiny;

use std::path::Path;

use chromium::{Folder, chromium_or_skip, console};
use onnx2int_evaluation::render;
use onnx2int_graph::verify;

#[test]
fn the_page_opens_from_disk_without_errors_and_without_requests() {
    let Some(chromium) = chromium_or_skip() else { return };
    let folder = Folder::new("console");
    let section = render::Section {
        id: "further".to_owned(),
        title: "Further".to_owned(),
        html: "<p id=\"answer\">no</p>".to_owned(),
        script: "document.getElementById('answer').textContent = 'further script ran';".to_owned(),
    };
    let report = tiny::report();
    let graph = tiny::integer_graph("scale_out");
    let pad = render::try_it(&report, verify(&graph).unwrap());
    let page = folder.write("report.html", &render::html(&report, &[pad, section]));
    let requests = folder.0.join("requests.json");
    let arguments = ["--dump-dom".to_owned(), format!("--log-net-log={}", requests.display())];
    let output = folder.open(&chromium, &arguments, &page);
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let requests = std::fs::read_to_string(requests).unwrap();

    assert!(dom.contains("further script ran"), "scripts run:\n{log}");
    assert!(!dom.contains("class=\"zoom\" hidden"), "the page's own as well");
    assert!(console(&log).is_empty(), "{:#?}", console(&log));
    // Of what the page asked for, the log says so; the browser asks for things of its own.
    let asked: Vec<&str> = requests
        .lines()
        .filter(|line| {
            line.contains("\"network_isolation_key\":\"file://") && line.contains("\"url\":\"http")
        })
        .collect();
    assert!(asked.is_empty(), "{asked:#?}");
}

/// Pictures to look at, in the target folder: on a phone and on a desk, light and dark.
#[test]
fn the_page_has_two_themes_at_two_widths() {
    let Some(chromium) = chromium_or_skip() else { return };
    let folder = Folder::new("pictures");
    let report = tiny::report();
    let graph = tiny::integer_graph("scale_out");
    let pad = render::try_it(&report, verify(&graph).unwrap());
    let desk = folder.write("report.html", &render::html(&report, &[pad]));
    // A window is never as narrow as a phone, and a frame is.
    let frame = "<body style='margin:0'><iframe src='report.html' style='width:390px;height:2000px;border:0'></iframe>";
    let phone = folder.write("phone.html", frame);
    let mut pictures = Vec::new();
    for (name, address, width) in [("desk", &desk, 1280), ("phone", &phone, 500)] {
        for (scheme, theme) in [(0, "dark"), (1, "light")] {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}-{theme}.png"));
            let arguments = [
                format!("--blink-settings=preferredColorScheme={scheme}"),
                format!("--window-size={width},2000"),
                format!("--screenshot={}", path.display()),
            ];
            let log = folder.open(&chromium, &arguments, address).stderr;
            let picture = std::fs::read(&path);
            let log = String::from_utf8_lossy(&log);
            pictures.push(picture.unwrap_or_else(|error| panic!("{}: {error}\n{log}", path.display())));
        }
    }
    for pair in pictures.chunks(2) {
        assert!(pair.iter().all(|picture| picture.len() > 20_000), "there is something on it");
        assert_ne!(pair[0], pair[1], "dark is not light");
    }
}

//! A progress bar on a terminal, plain lines elsewhere, both on the standard error.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal a line is written this often at most.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Counts what is done of a known number of items. Can be told from several threads.
pub struct Progress {
    bar: ProgressBar,
    lines: Option<Mutex<Lines>>,
    label: String,
    total: u64,
    unit: &'static str,
}

struct Lines {
    started: Instant,
    last: Instant,
    /// What was done before this process began.
    first: u64,
}

impl Progress {
    /// Starts at 0 of `total` items, `unit` being their name in the plural.
    pub fn new(label: impl Into<String>, total: usize, unit: &'static str) -> Self {
        let label = label.into();
        let total = total as u64;
        let on_terminal = std::io::stderr().is_terminal();
        let bar = if on_terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
        bar.set_length(total);
        let template =
            format!("{{prefix}} {{bar:30}} {{pos}}/{{len}} {unit} {{per_sec}} {{msg}} {{eta}} left");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_prefix(label.clone());
        let now = Instant::now();
        let lines = (!on_terminal).then(|| Mutex::new(Lines { started: now, last: now, first: 0 }));
        Self { bar, lines, label, total, unit }
    }

    /// So many more are done.
    pub fn add(&self, items: usize) {
        self.bar.inc(items as u64);
        self.line();
    }

    /// So many are done in all.
    pub fn set(&self, items: usize) {
        self.bar.set_position(items as u64);
        self.line();
    }

    /// So many were done before.
    pub fn begin_at(&self, items: usize) {
        let items = items as u64;
        self.bar.set_position(items);
        self.bar.reset_eta();
        if let Some(lines) = &self.lines {
            lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner).first = items;
        }
    }

    /// Writes a line above the bar.
    pub fn note(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| tell(text));
    }

    /// What to show beside the bar.
    pub fn message(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self) {
        let Some(lines) = &self.lines else { return };
        // A thread that panicked while it wrote a line leaves nothing half done.
        let mut lines = lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if lines.last.elapsed() < LINE_INTERVAL {
            return;
        }
        lines.last = Instant::now();
        let done = self.bar.position();
        let rate = done.saturating_sub(lines.first) as f64 / lines.started.elapsed().as_secs_f64();
        let left = Duration::try_from_secs_f64((self.total.saturating_sub(done) as f64 / rate).round());
        let left = left.map_or(String::new(), |left| format!(", {left:?} left"));
        let decimals = if rate < 10.0 { 2 } else { 0 };
        let message = self.bar.message();
        let separator = if message.is_empty() { "" } else { ", " };
        tell(format_args!(
            "{}: {done}/{} {} ({rate:.decimals$}/s{separator}{message}{left})",
            self.label, self.total, self.unit
        ));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A closed standard error is nobody's loss.
fn tell(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

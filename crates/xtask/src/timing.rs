//! `report.timing.json`: how long the last run of each step took and what it needed.
//!
//! The file has the form of `onnx2int_evaluation::Timing`, written here without that crate, as everything that xtask
//! depends on is built before the first step can start.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::process::Finished;

const SCHEMA: &str = "onnx2int-timing/1";

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Timing {
    schema: String,
    entries: Vec<Entry>,
}

/// The last run of one step.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Entry {
    step: String,
    /// Wall time.
    seconds: f64,
    /// `null` where the system does not tell.
    peak_memory_bytes: Option<u64>,
    command: String,
    /// When it ended, as RFC 3339 in UTC.
    timestamp: String,
}

/// Puts the run of `step` that just ended into the timing file, in the place of its run before.
pub(crate) fn record(path: &Path, step: &str, command: String, finished: &Finished) -> anyhow::Result<()> {
    // A file that cannot be read, or is of another version, loses nothing that a run does not make anew.
    let read = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Timing>(&bytes).ok());
    let mut timing = read
        .filter(|timing| timing.schema == SCHEMA)
        .unwrap_or_else(|| Timing { schema: SCHEMA.to_owned(), entries: Vec::new() });
    let entry = Entry {
        step: step.to_owned(),
        seconds: (finished.elapsed.as_secs_f64() * 1e3).round() / 1e3,
        peak_memory_bytes: (finished.peak_memory > 0).then_some(finished.peak_memory),
        command,
        timestamp: now(),
    };
    match timing.entries.iter_mut().find(|earlier| earlier.step == step) {
        Some(earlier) => *earlier = entry,
        None => timing.entries.push(entry),
    }
    atomic_file::write(path, &serde_json::to_vec_pretty(&timing)?)
}

/// This moment as RFC 3339 in UTC.
pub(crate) fn now() -> String {
    rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// The moment so many seconds after 1970 as `2026-01-02T03:04:05Z`.
fn rfc3339(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    let (year, month, day) = civil_date(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{:02}Z", seconds % 60)
}

/// Year, month and day in the Gregorian calendar, so many days after 1970-01-01.
///
/// Years are counted from March, so that the leap day is a year's last; 400 of them have 146 097 days, and in a year
/// five months from March on have 153 days, again and again.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    let days = days_since_1970 + DAYS_FROM_MARCH_OF_YEAR_0;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_234_567_890), "2009-02-13T23:31:30Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let length = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut expected = (1970, 1, 1);
        for days in 0..200_000 {
            assert_eq!(civil_date(days), expected);
            let (year, month, day) = expected;
            expected = match (day < length(year, month), month < 12) {
                (true, _) => (year, month, day + 1),
                (false, true) => (year, month + 1, 1),
                (false, false) => (year + 1, 1, 1),
            };
        }
    }
}

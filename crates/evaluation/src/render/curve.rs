//! A curve as text: time to the right, a logarithmic scale upwards.
//!
//! It is drawn in half blocks and straight lines, which fixed-width fonts have everywhere; finer blocks and braille come
//! from another font on some machines, and then columns do not stand under each other.

/// Lines of the drawing; its two axes have titles and numbers beyond them.
const ROWS: usize = 12;

/// The longest line.
const WIDTH: usize = 72;

/// The longest number on the upward axis, `0.001` or `1e-12`.
const MARGIN: usize = 5;

/// What the numbers, a space and the axis leave.
const COLUMNS: usize = WIDTH - MARGIN - 2;

/// Beyond these, numbers are drawn at the edge; theirs are the longest exponents that fit the margin.
const SMALLEST: f64 = 1e-99;
const LARGEST: f64 = 1e99;

/// Draws what was measured in periods of equal length, each of which has one value or more at equal distances; with a
/// final line feed. `None` where no value is above 0.
///
/// A column is the mean over its stretch of time. 0 is at the lower edge.
pub(super) fn log_curve(periods: &[&[f64]], value_title: &str, time_title: &str) -> Option<String> {
    let means = means(periods, COLUMNS);
    // The axis is for what is drawn: a single part may be far off its column's mean.
    let drawn = || means.iter().copied().filter(|&mean| mean > 0.0);
    let lowest = drawn().reduce(f64::min)?.clamp(SMALLEST, LARGEST);
    let highest = drawn().reduce(f64::max)?.clamp(SMALLEST, LARGEST);
    let ticks = ticks(lowest, highest);
    let cells = draw(means.iter().map(|&mean| level(mean, &ticks)));
    let mut labels = vec![String::new(); ROWS];
    // Of several ticks in one row the lowest is told.
    for &tick in ticks.iter().rev() {
        labels[level(tick, &ticks) / 2] = tick_text(tick);
    }
    let mut text = format!("{value_title}\n");
    for row in (0..ROWS).rev() {
        let axis = if labels[row].is_empty() { '│' } else { '┤' };
        let cells: String = cells.iter().map(|halves| cell(halves[2 * row], halves[2 * row + 1])).collect();
        text += format!("{:>MARGIN$} {axis}{cells}", labels[row]).trim_end();
        text.push('\n');
    }
    text += &time_axis(periods.len());
    Some(format!("{text}{:>WIDTH$}\n", time_title))
}

/// Numbers for the axis, from one at or below `lowest` to one at or above `highest`: 1, 2 and 5 of each power of ten, or
/// the powers alone where those would be more than fit.
fn ticks(lowest: f64, highest: f64) -> Vec<f64> {
    let digits: &[u8] = if highest / lowest < 1e3 { &[1, 2, 5] } else { &[1] };
    let exponents = lowest.log10().floor() as i32 - 1..=highest.log10().floor() as i32 + 1;
    // Parsed, as a product would not always be the number nearest to what is printed.
    let number = |digit, exponent| format!("{digit}e{exponent}").parse().expect("digits are a number");
    let round: Vec<f64> =
        exponents.flat_map(|exponent| digits.iter().map(move |digit| number(digit, exponent))).collect();
    let first = round.iter().rposition(|&tick| tick <= lowest).unwrap_or(0);
    let last = round.iter().position(|&tick| tick >= highest).unwrap_or(round.len() - 1);
    // A constant curve has an axis too.
    round[first..=last.max(first + 1)].to_vec()
}

fn tick_text(tick: f64) -> String {
    if (0.001..10_000.0).contains(&tick) { format!("{tick}") } else { format!("{tick:e}") }
}

/// The half row of a value, counted from the lower edge.
fn level(value: f64, ticks: &[f64]) -> usize {
    let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
    let share = (value.clamp(low, high) / low).ln() / (high / low).ln();
    (share * (2 * ROWS - 1) as f64).round() as usize
}

/// The mean over the stretch of time that each column stands for.
fn means(periods: &[&[f64]], columns: usize) -> Vec<f64> {
    let mut means = vec![0.0; columns];
    let columns_per_period = columns as f64 / periods.len() as f64;
    for (index, values) in periods.iter().enumerate() {
        let columns_per_value = columns_per_period / values.len() as f64;
        for (position, &value) in values.iter().enumerate() {
            let start = index as f64 * columns_per_period + position as f64 * columns_per_value;
            let end = (start + columns_per_value).min(columns as f64);
            let (first, after) = (start as usize, end.ceil() as usize);
            for (column, mean) in (first..after).zip(&mut means[first..]) {
                // The part of the column that the value covers.
                *mean += value * (end.min(column as f64 + 1.0) - start.max(column as f64));
            }
        }
    }
    means
}

/// The half rows of each column that the curve fills: its level, and all on the way there from the column before.
fn draw(levels: impl Iterator<Item = usize>) -> Vec<[bool; 2 * ROWS]> {
    let mut before = None;
    levels
        .map(|level| {
            let filled = match before.replace(level) {
                Some(before) if before < level => before + 1..=level,
                Some(before) if before > level => level..=before - 1,
                _ => level..=level,
            };
            let mut halves = [false; 2 * ROWS];
            halves[filled].fill(true);
            halves
        })
        .collect()
}

fn cell(lower: bool, upper: bool) -> char {
    match (lower, upper) {
        (false, false) => ' ',
        (true, false) => '▄',
        (false, true) => '▀',
        (true, true) => '█',
    }
}

/// The axis, and below it the numbers of periods that have passed.
fn time_axis(periods: usize) -> String {
    let corner = MARGIN + 1;
    let digits = periods.to_string().len();
    let steps = (0..).flat_map(|exponent| [1, 2, 5].map(|digit| digit * 10_usize.pow(exponent)));
    let fits = |step: &usize| step * COLUMNS >= periods * (digits + 3);
    let step = { steps }.find(fits).unwrap_or(periods);
    let mut axis = vec!['─'; COLUMNS + 1];
    axis[0] = '└';
    let mut numbers = String::new();
    for passed in (0..=periods).step_by(step) {
        let column = COLUMNS * passed / periods;
        if passed > 0 {
            axis[column] = '┴';
        }
        let number = passed.to_string();
        let start = (corner + column - number.len() / 2).min(WIDTH - number.len());
        numbers += &" ".repeat(start - numbers.len());
        numbers += &number;
    }
    format!("{}{}\n{numbers}\n", " ".repeat(corner), axis.iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(periods: &[&[f64]]) -> String {
        log_curve(periods, "loss", "epochs").unwrap()
    }

    #[test]
    fn what_shrinks_by_the_same_factor_is_a_straight_line() {
        let values: Vec<f64> = (0..24).map(|step| 2.0 * 0.8_f64.powi(step)).collect();
        insta::assert_snapshot!(curve(&[&values[..12], &values[12..]]), @r"
        loss
            2 ┤▀▀▀▄▄
            1 ┤     ▀▀▀▄▄▄
              │           ▀▀▀▄▄
          0.5 ┤                ▀▀▀▄▄▄
              │                      ▀▀▀▄▄
          0.2 ┤                           ▀▀▀▄▄▄
          0.1 ┤                                 ▀▀▀▄▄
              │                                      ▀▀▀▄▄▄▄▄
         0.05 ┤                                              ▀▀▄▄▄
              │                                                   ▀▀▀▄▄▄
         0.02 ┤                                                         ▀▀▄▄▄
         0.01 ┤                                                              ▀▀▀
              └───────────────────────────────┴────────────────────────────────┴
              0                               1                                2
                                                                          epochs
        ");
    }

    #[test]
    fn values_stand_at_their_ticks_whatever_the_range() {
        for (low, high) in [(0.02, 2.0), (1.0, 2.0), (0.5, 200.0), (1e-5, 10.0), (1e-9, 1.0)] {
            let text = curve(&[&[high, low]]);
            let lines: Vec<&str> = text.lines().collect();
            for (line, value, half) in [(lines[1], high, '▀'), (lines[ROWS], low, '▄')] {
                let (label, cells) = line.split_once('┤').unwrap();
                assert_eq!(label.trim().parse(), Ok(value), "{text}");
                assert!(cells.contains(half), "{text}");
            }
        }
    }

    #[test]
    fn a_column_is_the_mean_of_its_stretch_of_time() {
        assert_eq!(means(&[&[1.0, 3.0], &[5.0, 7.0]], 2), [2.0, 6.0]);
        assert_eq!(means(&[&[1.0, 3.0]], 4), [1.0, 1.0, 3.0, 3.0]);
        assert_eq!(means(&[&[1.0, 4.0]], 3), [1.0, 2.5, 4.0]);
        // Periods are equally long, however many values they have.
        assert_eq!(means(&[&[8.0], &[1.0, 2.0]], 4), [8.0, 8.0, 1.0, 2.0]);
    }

    #[test]
    fn zero_is_at_the_lower_edge_and_no_curve_without_a_value_above_it() {
        assert_eq!(log_curve(&[&[0.0, 0.0]], "loss", "epochs"), None);
        assert_eq!(log_curve(&[], "loss", "epochs"), None);
        let text = curve(&[&[1.0, 0.0]]);
        assert!(text.lines().nth(ROWS).unwrap().ends_with('▄'), "{text}");
    }

    #[test]
    fn no_values_and_no_number_of_them_break_the_frame() {
        let falling: Vec<f64> = (1..=50).map(|step| 2.0 / f64::from(step)).collect();
        let shapes: [&[f64]; 7] = [
            &falling,
            &[0.3],
            &[0.3, 0.3],
            &[0.0, 1.0],
            &[f64::MAX, f64::MAX, f64::MIN_POSITIVE],
            &[f64::MIN_POSITIVE],
            &[1e99, 9e-99],
        ];
        for values in shapes {
            for periods in [1, 2, 3, 7, 10, 33, 64, 100, 999, 10_000] {
                let text = curve(&vec![values; periods]);
                assert_eq!(text.lines().count(), ROWS + 4, "{text}");
                let widest = text.lines().map(|line| line.chars().count()).max();
                assert!(widest <= Some(WIDTH), "{widest:?}:\n{text}");
                // Numbers of epochs do not run into each other, and there are several where there is more than one.
                let numbers: Vec<usize> = text
                    .lines()
                    .nth(ROWS + 2)
                    .unwrap()
                    .split(' ')
                    .filter_map(|word| word.parse().ok())
                    .collect();
                let step = numbers[1];
                assert!(numbers.iter().enumerate().all(|(index, &number)| number == index * step), "{text}");
                assert!(
                    numbers.len() > periods.min(5) && numbers[numbers.len() - 1] + step > periods,
                    "{text}"
                );
            }
        }
    }
}

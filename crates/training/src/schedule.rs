//! The learning rate of a step.
//!
//! One cycle: a linear climb from a tenth of the peak over the first part of the run, then half a
//! cosine down to a hundredth of it (after Smith and Topin: Super-Convergence, 2017).

use std::f64::consts::PI;

/// The part of the run that climbs.
const WARM_UP: f64 = 0.2;
/// Where the climb starts, of the peak.
const START: f64 = 0.1;
/// Where the run ends, of the peak.
const END: f64 = 0.01;

/// The learning rate of step `step` of `steps`, both counted over all epochs.
pub(crate) fn learning_rate(peak: f64, step: usize, steps: usize) -> f64 {
    let done = (step as f64 + 0.5) / steps as f64;
    let factor = if done < WARM_UP {
        START + (1.0 - START) * done / WARM_UP
    } else {
        let fallen = (done - WARM_UP) / (1.0 - WARM_UP);
        END + (1.0 - END) * 0.5 * (1.0 + (PI * fallen).cos())
    };
    peak * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn climbs_once_and_falls_once() {
        let rates: Vec<f64> = (0..1_000).map(|step| learning_rate(0.01, step, 1_000)).collect();
        let top = (0..1_000).max_by(|&a, &b| rates[a].total_cmp(&rates[b])).expect("there are steps");
        assert!((190..=210).contains(&top), "{top}");
        assert!(rates[..=top].windows(2).all(|pair| pair[0] < pair[1]));
        assert!(rates[top..].windows(2).all(|pair| pair[0] > pair[1]));
        assert!((rates[top] - 0.01).abs() < 1e-4 && rates[0] < 0.0011 && rates[999] < 1.1e-4);
    }
}

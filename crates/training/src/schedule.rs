//! The learning rate of a step.

use std::f64::consts::PI;

/// How the learning rate goes over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// A linear climb from a tenth of the peak over the first part of the run, then half a cosine
    /// down to a hundredth of it (after Smith and Topin: Super-Convergence, 2017).
    #[default]
    OneCycle,
    /// Half a cosine from the peak down to a hundredth of it (Loshchilov and Hutter: SGDR, 2017).
    Cosine,
    /// The peak throughout.
    Constant,
}

/// The part of the run that climbs.
const WARM_UP: f64 = 0.2;
/// Where the climb starts, of the peak.
const START: f64 = 0.1;
/// Where the run ends, of the peak.
const END: f64 = 0.01;

impl Schedule {
    /// Every schedule, the default one first.
    pub const ALL: [Self; 3] = [Self::OneCycle, Self::Cosine, Self::Constant];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneCycle => "one-cycle",
            Self::Cosine => "cosine",
            Self::Constant => "constant",
        }
    }

    /// The learning rate of step `step` of `steps`, both counted over all epochs.
    pub(crate) fn learning_rate(self, peak: f64, step: usize, steps: usize) -> f64 {
        let done = (step as f64 + 0.5) / steps as f64;
        let cosine = |part: f64| END + (1.0 - END) * 0.5 * (1.0 + (PI * part).cos());
        let factor = match self {
            Self::OneCycle if done < WARM_UP => START + (1.0 - START) * done / WARM_UP,
            Self::OneCycle => cosine((done - WARM_UP) / (1.0 - WARM_UP)),
            Self::Cosine => cosine(done),
            Self::Constant => 1.0,
        };
        peak * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn climbs_once_and_falls_once() {
        let rates: Vec<f64> =
            (0..1_000).map(|step| Schedule::OneCycle.learning_rate(0.01, step, 1_000)).collect();
        let top = (0..1_000).max_by(|&a, &b| rates[a].total_cmp(&rates[b])).expect("there are steps");
        assert!((190..=210).contains(&top), "{top}");
        assert!(rates[..=top].windows(2).all(|pair| pair[0] < pair[1]));
        assert!(rates[top..].windows(2).all(|pair| pair[0] > pair[1]));
        assert!((rates[top] - 0.01).abs() < 1e-4 && rates[0] < 0.0011 && rates[999] < 1.1e-4);
    }

    #[test]
    fn the_others_begin_at_the_peak() {
        let rates = |schedule: Schedule| [0, 500, 999].map(|step| schedule.learning_rate(1.0, step, 1_000));
        assert_eq!(rates(Schedule::Constant), [1.0; 3]);
        let [first, middle, last] = rates(Schedule::Cosine);
        assert!(first > 0.999 && (0.49..0.52).contains(&middle) && last < 0.011, "{first} {middle} {last}");
    }
}

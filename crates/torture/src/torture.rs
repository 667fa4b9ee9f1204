//! One case of a seed: a network, its check, and the shrinking of what fails.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use onnx2int_graph::Graph;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::{Fault, Outcome, Refusal, build, check, networks};

/// A network that fails, as small as shrinking made it.
#[derive(Debug)]
pub struct Failure {
    /// The graph, at stage quantized.
    pub graph: Box<Graph>,
    /// What does not hold of it.
    pub fault: Box<Fault>,
}

/// Makes the network of one case, which follows from `seed` and `case` alone, and checks it.
///
/// # Errors
/// The shrunk network and what is wrong with it.
pub fn torture(seed: u64, case: u64) -> Result<Outcome, Failure> {
    // Any two odd numbers keep cases of neighboring seeds apart.
    let mixed =
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(case.wrapping_mul(0xd134_2543_de82_ef95));
    let config = Config { rng_seed: RngSeed::Fixed(mixed), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let mut tree = networks().new_tree(&mut runner).expect("few networks are left without a layer");
    let attempt = |tree: &dyn ValueTree<Value = _>| {
        let graph = build(&tree.current()).expect("what the strategies make is brought to what fits");
        match checked(&graph) {
            Ok(outcome) => Ok(outcome),
            Err(fault) => Err(Failure { graph: Box::new(graph), fault: Box::new(fault) }),
        }
    };
    let mut failure = match attempt(&tree) {
        Ok(outcome) => return Ok(outcome),
        Err(failure) => failure,
    };
    let mut steps = 0;
    let mut simpler = tree.simplify();
    while simpler && steps < MOST_STEPS {
        steps += 1;
        simpler = match attempt(&tree) {
            Err(smaller) => {
                failure = smaller;
                tree.simplify()
            }
            Ok(_) => tree.complicate(),
        };
    }
    Err(failure)
}

/// Shrinking stops after so many tries.
const MOST_STEPS: usize = 2000;

/// As [`check`]; a panic is a fault.
fn checked(graph: &Graph) -> Result<Outcome, Fault> {
    catch_unwind(AssertUnwindSafe(|| check(graph))).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Fault::Panic { message: text.unwrap_or_else(|| "without a message".to_owned()) })
    })
}

/// How many networks came to what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Networks lowered to integers.
    pub lowered: usize,
    /// Rescales in them.
    pub rescales: usize,
    /// Those with a pre-shift.
    pub pre_shifted: usize,
    /// Tables in them.
    pub tables: usize,
    /// Sums of two branches in them.
    pub sums: usize,
    /// The largest error bound of a rescale or a sum, in output units.
    pub error_bound: f64,
    /// Networks refused, by stage and rule.
    pub refused: BTreeMap<Refusal, usize>,
}

impl Tally {
    /// Counts one network.
    pub fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Lowered { rescales, pre_shifted, tables, sums, error_bound } => {
                self.lowered += 1;
                self.rescales += rescales;
                self.pre_shifted += pre_shifted;
                self.tables += tables;
                self.sums += sums;
                self.error_bound = self.error_bound.max(*error_bound);
            }
            Outcome::Refused(refusal) => *self.refused.entry(refusal.clone()).or_default() += 1,
        }
    }

    /// Networks counted.
    pub fn count(&self) -> usize {
        self.lowered + self.refused.values().sum::<usize>()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |count: usize| 100.0 * count as f64 / self.count().max(1) as f64;
        writeln!(f, "{} of {} networks lowered ({:.1} %)", self.lowered, self.count(), share(self.lowered))?;
        write!(
            f,
            "{} rescales, {} with a pre-shift, {} tables, {} sums, the largest error bound {:.4} units",
            self.rescales, self.pre_shifted, self.tables, self.sums, self.error_bound
        )?;
        for (Refusal { stage, rule }, &count) in &self.refused {
            write!(f, "\n{count} refused at {stage} by {rule} ({:.1} %)", share(count))?;
        }
        Ok(())
    }
}

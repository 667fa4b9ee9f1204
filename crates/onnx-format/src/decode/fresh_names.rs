//! Names that nothing else has.

use std::collections::{HashMap, HashSet};

/// Gives out names, each once.
pub(super) struct FreshNames {
    taken: HashSet<String>,
    /// For each base, the number to try next: thousands of nodes of one name must not each try all
    /// numbers from 2 on.
    next: HashMap<String, usize>,
}

impl FreshNames {
    /// Gives out no name of these.
    pub(super) fn beside(taken: impl Iterator<Item = String>) -> Self {
        Self { taken: taken.collect(), next: HashMap::new() }
    }

    /// `base`, or `base_2`, `base_3`, ...
    pub(super) fn fresh(&mut self, base: &str) -> String {
        if self.taken.insert(base.to_owned()) {
            return base.to_owned();
        }
        let next = self.next.entry(base.to_owned()).or_insert(2);
        loop {
            let name = format!("{base}_{next}");
            *next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

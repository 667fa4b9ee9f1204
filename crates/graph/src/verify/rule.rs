//! The names of the rules, and the list of their violations.

use std::fmt::Display;

use super::Violation;

macro_rules! rules {
    ($($rule:ident = $name:literal,)*) => {
        /// A rule of the verifier; the module documentation says what each asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Rule {
            $($rule,)*
        }

        impl Rule {
            /// Every rule.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$rule,)*];

            /// The stable kebab-case name.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$rule => $name,)*
                }
            }
        }
    };
}

// The rules of `crate::infer::TypeRule` come on top of these, under its names.
rules! {
    IdsInBounds = "ids-in-bounds",
    NamesAreUnique = "names-are-unique",
    SourcesAreConsistent = "sources-are-consistent",
    OperandsComeFirst = "operands-come-first",
    OutputsAreDistinct = "outputs-are-distinct",
    AnnotationNamesConstants = "annotation-names-constants",
    DeclaredType = "declared-type",
    FloatTailIsLast = "float-tail-is-last",
    RecordedStage = "recorded-stage",
    InputIsFloat = "input-is-float",
    InputIsU8 = "input-is-u8",
    NoQuantization = "no-quantization",
    LayersAreQuantized = "layers-are-quantized",
    BiasIsQuantized = "bias-is-quantized",
    ScalesArePositive = "scales-are-positive",
    ConstantsAreFolded = "constants-are-folded",
    NoIdleNode = "no-idle-node",
    NoCast = "no-cast",
    NoTrailingSoftmax = "no-trailing-softmax",
    InputIsDequantized = "input-is-dequantized",
    ReluIsExplicit = "relu-is-explicit",
    QuantizerChangesValues = "quantizer-changes-values",
    LayerScalesAreOne = "layer-scales-are-one",
    BiasIsSeparate = "bias-is-separate",
    LayersAreInteger = "layers-are-integer",
    ZeroPointsAreScalar = "zero-points-are-scalar",
    AccumulatorFitsI32 = "accumulator-fits-i32",
    IntegerOpFitsI32 = "integer-op-fits-i32",
    DividendIsNonNegative = "dividend-is-non-negative",
    DivisorIsPositive = "divisor-is-positive",
    GatherIndexInRange = "gather-index-in-range",
    NarrowingCastIsClipped = "narrowing-cast-is-clipped",
    NoFloatValues = "no-float-values",
    IntegersAreNarrow = "integers-are-narrow",
}

/// The violations found so far.
#[derive(Default)]
pub(super) struct Report {
    violations: Vec<Violation>,
}

impl Report {
    pub(super) fn add(&mut self, rule: Rule, entity: &str, expected: impl Display, found: impl Display) {
        self.add_named(rule.name(), entity, expected, found);
    }

    pub(super) fn add_named(
        &mut self,
        rule: &'static str,
        entity: &str,
        expected: impl Display,
        found: impl Display,
    ) {
        self.violations.push(Violation {
            rule,
            entity: entity.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.violations.is_empty()
    }

    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }
}

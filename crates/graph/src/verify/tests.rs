//! Tests of the verifier.
//!
//! `tests/verify/*.graph` are graphs with what is expected of them in comments:
//! `# stage: NAME` (without it structure and types alone are checked), one
//! `# error: RULE "ENTITY"` for each violation, and `# looks like: NAME`.
//! What text cannot say (handles, names, order) is broken in code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::rule::Rule;
use super::*;
use crate::infer::TypeRule;
use crate::{NodeId, Source, ValueId};

/// Rules that no text can break.
const BROKEN_IN_CODE: [Rule; 4] =
    [Rule::IdsInBounds, Rule::NamesAreUnique, Rule::SourcesAreConsistent, Rule::OperandsComeFirst];

/// A graph and what is expected of it.
struct Fixture {
    name: String,
    graph: Graph,
    stage: Option<Stage>,
    looks_like: Option<Stage>,
    /// `RULE "ENTITY"`, sorted.
    errors: Vec<String>,
}

fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fixture(path)).collect()
}

fn fixture(path: &Path) -> Fixture {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let text = fs::read_to_string(path).unwrap();
    let entries = |key: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(key)).map(|rest| rest.trim().to_owned()).collect()
    };
    let stage = |key: &str| {
        entries(key)
            .first()
            .map(|stage| Stage::from_name(stage).unwrap_or_else(|| panic!("{name}: {stage:?} is no stage")))
    };
    let mut errors = entries("# error:");
    errors.sort();
    Fixture {
        graph: Graph::from_text_as_written(&text).unwrap_or_else(|error| panic!("{name}: {error}")),
        stage: stage("# stage:"),
        looks_like: stage("# looks like:"),
        errors,
        name,
    }
}

fn result_of(fixture: &Fixture) -> Result<Verified<'_>, VerifyError> {
    match fixture.stage {
        Some(stage) => verify_stage(&fixture.graph, stage),
        None => verify(&fixture.graph),
    }
}

/// The violations as fixtures write them, sorted.
fn violations(result: Result<Verified<'_>, VerifyError>) -> Vec<String> {
    let violations = result.err().map_or_else(Vec::new, |error| error.violations);
    let mut shown: Vec<_> = violations.iter().map(|v| format!("{} {:?}", v.rule, v.entity)).collect();
    shown.sort();
    shown
}

#[test]
fn fixtures_break_exactly_the_rules_that_they_say() {
    let mut failures = Vec::new();
    for fixture in fixtures() {
        let result = result_of(&fixture);
        let message = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let found = violations(result);
        if found != fixture.errors {
            failures.push(format!(
                "{}: expected {:#?}, found {found:#?}\n{message}",
                fixture.name, fixture.errors
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_stage_that_a_graph_looks_like_is_named() {
    for fixture in fixtures() {
        let Some(expected) = fixture.looks_like else { continue };
        let verified = verify(&fixture.graph).unwrap();
        assert_eq!(looks_like(verified), Some(expected), "{}", fixture.name);
        if let Err(error) = result_of(&fixture)
            && fixture.stage != Some(expected)
        {
            let message = error.to_string();
            let phrase = format!("looks like stage {:?}", expected.name());
            assert!(message.contains(&phrase), "{}: {message}", fixture.name);
        }
    }
}

#[test]
fn every_stage_has_a_good_model() {
    let good: BTreeSet<_> =
        fixtures().iter().filter(|fixture| fixture.errors.is_empty()).map(|fixture| fixture.stage).collect();
    assert_eq!(good, Stage::ALL.map(Some).into());
}

#[test]
fn every_rule_has_a_fixture_of_its_name_and_a_line_of_documentation() {
    let type_rules = [
        TypeRule::OperandCount,
        TypeRule::OperandDtype,
        TypeRule::OperandShape,
        TypeRule::Attribute,
        TypeRule::OperandConstant,
    ];
    let broken_in_code = BROKEN_IN_CODE.map(Rule::name);
    let all: BTreeSet<&str> =
        Rule::ALL.iter().map(|rule| rule.name()).chain(type_rules.map(TypeRule::name)).collect();
    let fixtures = fixtures();
    for rule in &all {
        let documented = include_str!("mod.rs").lines().any(|line| {
            line.starts_with("//! - ")
                && line.split("- ").nth(1).is_some_and(|line| line.contains(&format!("`{rule}`")))
        });
        assert!(documented, "{rule} is not in the list of rules");
        if !broken_in_code.contains(rule) {
            let file = format!("{rule}.graph");
            let fixture = fixtures.iter().find(|fixture| fixture.name == file);
            let breaks = fixture.is_some_and(|fixture| {
                !fixture.errors.is_empty()
                    && fixture.errors.iter().all(|error| error.split(' ').next() == Some(rule))
            });
            assert!(breaks, "tests/verify/{file} is missing, or does not break the rule and it alone");
        }
    }
    for error in fixtures.iter().flat_map(|fixture| &fixture.errors) {
        let rule = error.split(' ').next().unwrap();
        assert!(all.contains(rule), "{rule} is no rule");
    }
}

#[test]
fn messages_name_the_rule_the_entity_and_both_sides() {
    let graph = Graph::from_text("in %x: f32[N]\n%y = Relu(%x)\nout %y").unwrap();
    let error = verify_stage(&graph, Stage::ScaleOut).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not a model of stage \"scale_out\"; it looks like stage \"float\"\n\
         input-is-u8: \"x\": expected an input of type u8, found f32[N]\n\
         layers-are-integer: \"fragment\": expected at least one ConvInteger or MatMulInteger, found none\n\
         no-float-values: \"x\": expected integers only, found f32[N]\n\
         no-float-values: \"y\": expected integers only, found f32[N]"
    );
}

/// `%y = Relu(%x)`, `%z = Relu(%y)`, changed.
fn broken(change: impl FnOnce(&mut Graph)) -> Vec<String> {
    let text = "in %x: f32[N]\nconst %c: f32[1] = [0.5]\n%y = Add(%x, %c)\n%z = Relu(%y)\nout %z";
    let mut graph = Graph::from_text(text).unwrap();
    assert!(verify(&graph).is_ok());
    change(&mut graph);
    violations(verify(&graph))
}

#[test]
fn ids_outside_the_graph_are_found_before_they_are_followed() {
    assert_eq!(broken(|graph| graph.nodes[1].inputs[0] = Some(ValueId(9))), [r#"ids-in-bounds "z""#]);
    assert_eq!(broken(|graph| graph.nodes[0].output = ValueId(4)), [r#"ids-in-bounds "y""#]);
    assert_eq!(broken(|graph| graph.inputs.push(ValueId(4))), [r#"ids-in-bounds "fragment""#]);
    assert_eq!(broken(|graph| graph.outputs.push(ValueId(4))), [r#"ids-in-bounds "fragment""#]);
    assert_eq!(broken(|graph| graph.values[2].source = Source::Node(NodeId(2))), [r#"ids-in-bounds "y""#]);
}

#[test]
fn names_that_are_taken_or_empty_are_found() {
    assert_eq!(broken(|graph| graph.values[0].name = "z".to_owned()), [r#"names-are-unique "z""#]);
    assert_eq!(broken(|graph| graph.nodes[0].name = "z".to_owned()), [r#"names-are-unique "z""#]);
    assert_eq!(broken(|graph| graph.nodes[0].name = String::new()), [r#"names-are-unique """#]);
    // A node and a value may share a name, and mostly do.
    assert!(broken(|graph| graph.nodes[0].name = "x".to_owned()).is_empty());
}

#[test]
fn sources_that_do_not_agree_with_nodes_and_inputs_are_found() {
    let inconsistent = |value: &str| format!("sources-are-consistent {value:?}");
    assert_eq!(broken(|graph| graph.inputs.clear()), [inconsistent("x")]);
    assert_eq!(broken(|graph| graph.inputs.push(ValueId(0))), [inconsistent("x")]);
    assert_eq!(broken(|graph| graph.inputs.push(ValueId(1))), [inconsistent("c")]);
    // The node says that it makes %y, %y says that it is an input that nobody lists.
    assert_eq!(
        broken(|graph| graph.values[2].source = Source::Input),
        [inconsistent("y"), inconsistent("y")]
    );
    // Both nodes say that they make %z.
    assert_eq!(broken(|graph| graph.nodes[0].output = ValueId(3)), [inconsistent("y"), inconsistent("z")]);
}

#[test]
fn nodes_out_of_order_and_cycles_are_found() {
    assert_eq!(
        broken(|graph| {
            graph.nodes.swap(0, 1);
            graph.values[2].source = Source::Node(NodeId(1));
            graph.values[3].source = Source::Node(NodeId(0));
        }),
        [r#"operands-come-first "z""#]
    );
    assert_eq!(broken(|graph| graph.nodes[0].inputs[0] = Some(ValueId(3))), [r#"operands-come-first "y""#]);
}

proptest::proptest! {
    /// Whatever is declared, a graph is judged or refused; nothing that follows ids or sizes panics.
    #[test]
    fn damaged_models_are_judged_without_panic(
        stage in proptest::sample::select(&Stage::ALL[..]),
        edits in proptest::collection::vec(
            (proptest::num::usize::ANY, proptest::sample::select(vec![
                "0", "1", "2", "3", "7", "-1", "0.5", "9223372036854775807",
            ])),
            1..5,
        ),
    ) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify");
        let mut text = fs::read_to_string(folder.join(format!("good-{stage}.graph"))).unwrap();
        for (pick, number) in edits {
            // Numbers, and not the digits of names and element types.
            let starts: Vec<usize> = text
                .match_indices(|c: char| c.is_ascii_digit())
                .map(|(start, _)| start)
                .filter(|&start| text[..start].ends_with([' ', ',', '[', '(']))
                .collect();
            let start = starts[pick % starts.len()];
            let length = text[start..].find(|c: char| !c.is_ascii_digit() && c != '.').unwrap();
            text.replace_range(start..start + length, number);
        }
        if let Ok(graph) = Graph::from_text_as_written(&text) {
            for stage in Stage::ALL {
                if let Err(error) = verify_stage(&graph, stage) {
                    proptest::prop_assert!(!error.violations.is_empty());
                }
            }
        }
    }
}

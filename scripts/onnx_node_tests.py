#!/usr/bin/env python3
"""The node tests of the onnx package, read by our decoder and run by our interpreter.

    scripts/onnx_node_tests.py --tool BINARY --cache-dir DIR

The package's own generator writes the tests: a model, its inputs and its outputs each. All of them
go to `BINARY run`, which either computes the outputs or says what it does not support. Integers
and truth values must be equal, floats within the test's own rtol and atol, types and shapes
always.

Where our reader wants an operand that is known before anything runs (a shape, axes, ...) and the
test gives it as an input, the test is run again with that input as an initializer of the model,
and the report says so.

Generating takes minutes and its result is kept in DIR, one file for a version of onnx.

stdout: JSON: "report" is the Markdown list of passed and excluded tests, "failures" names every
test whose outputs are wrong or that ended in something other than an answer.
Exit status: 0 done, whatever the tests say; 1 the tests could not be run.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import pickle
import re
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
from onnx import numpy_helper

FORMAT = 1
# Longer than any test takes; a test that hangs is a failure.
SECONDS = 60
DTYPES = {"float32", "uint8", "int8", "int32", "int64", "bool"}
NOT_CONSTANT = re.compile(r"expected operand \d+ to be constant|a shape that can be followed from constants|must be constant")
NO_OPERATOR = re.compile(r"^node .* \((\S+)\): the operator is not supported; expected one of (.*)$")
NO_DTYPE = re.compile(r"element type (.*) is not supported; expected FLOAT")
NO_DOMAIN = re.compile(r"^node .* \((\S+)\): operators of domain .* are not supported$")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tool", type=pathlib.Path, required=True, help="the binary onnx2int")
    parser.add_argument("--cache-dir", type=pathlib.Path, required=True, help="where generated tests are kept")
    parser.add_argument("--only", default="", help="only tests whose name matches this regular expression")
    arguments = parser.parse_args()
    tests = [test for test in generated(arguments.cache_dir) if re.search(arguments.only, test["name"])]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda test: run_test(arguments.tool, test), tests))
    failures = [f"{result['name']}: {result['failure']}" for result in results if "failure" in result]
    found = {
        "format": FORMAT,
        "onnx": onnx.__version__,
        "tests": len(results),
        "passed": sum("passed" in result for result in results),
        "failures": failures,
        "report": report(results),
    }
    json.dump(found, sys.stdout)


def generated(cache_dir):
    """All tests, sorted by name: generated, or as they were kept."""
    path = cache_dir / f"onnx-node-tests-{onnx.__version__}.pickle"
    if not path.exists():
        print(f"generating the node tests of onnx {onnx.__version__} (once; minutes)", file=sys.stderr)
        # On import it registers cases by the thousand, and numpy warns of the overflows that they want.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from onnx.backend.test.case.node import collect_testcases

            cases = collect_testcases(None)
        tests = [
            {
                "name": case.name,
                "model": case.model.SerializeToString(),
                "data_sets": case.data_sets,
                "rtol": case.rtol,
                "atol": case.atol,
            }
            for case in cases
        ]
        tests.sort(key=lambda test: test["name"])
        cache_dir.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_bytes(pickle.dumps(tests))
        temporary.replace(path)
    # Our own file, from our own build folder.
    return pickle.loads(path.read_bytes())


def run_test(tool, test):
    """The test's name and one of "passed" (the inputs made constant), "excluded" (why), "failure"."""
    outcome = {}
    for inputs, outputs in test["data_sets"]:
        model = onnx.ModelProto.FromString(test["model"])
        inputs = list(zip([value.name for value in model.graph.input], inputs, strict=True))
        constants = []
        outcome = attempt(tool, model, inputs, outputs, test)
        if any(NOT_CONSTANT.search(reason) for reason in outcome.get("excluded", [])):
            data = {node.input[0] for node in model.graph.node if node.input}
            constants = [name for name, value in inputs if name not in data and can_be_constant(value)]
            make_constant(model, dict(inputs), constants)
            inputs = [(name, value) for name, value in inputs if name not in constants]
            outcome = attempt(tool, model, inputs, outputs, test)
        if "passed" not in outcome:
            break
        outcome["passed"] = constants
    return {"name": test["name"], **outcome}


def can_be_constant(value):
    """Shapes, axes, bounds and flags, never data."""
    return isinstance(value, np.ndarray | np.generic) and value.dtype in (np.int64, np.bool_) and value.ndim <= 1


def make_constant(model, values, names):
    kept = [value for value in model.graph.input if value.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(values[name]), name) for name in names)


def attempt(tool, model, inputs, outputs, test):
    with tempfile.TemporaryDirectory(prefix="onnx2int-node-test-") as folder:
        folder = pathlib.Path(folder)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        command = [tool, "run", "--model", folder / "model.onnx", "--output-dir", folder / "outputs"]
        for index, (_, value) in enumerate(inputs):
            # What cannot be written is of a type that the reader refuses before it asks for inputs.
            if isinstance(value, np.ndarray | np.generic) and str(value.dtype) in DTYPES:
                np.save(folder / f"{index}.npy", np.asarray(value))
                command += ["--input", folder / f"{index}.npy"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return {"failure": f"no answer within {SECONDS} s"}
        if done.returncode == 1 and done.stderr.startswith("error: "):
            return {"excluded": reasons(done.stderr, folder)}
        if done.returncode != 0:
            return {"failure": f"exit status {done.returncode}: {done.stderr.strip()[-500:]}"}
        for output, expected in zip(model.graph.output, outputs, strict=True):
            difference = compare(folder / "outputs" / f"{output.name}.npy", expected, test)
            if difference:
                return {"failure": f"output {output.name!r}: {difference}"}
        return {"passed": []}


def compare(path, expected, test):
    """What differs, or None."""
    if not path.exists():
        return "the file of the output is not there"
    found = np.load(path, allow_pickle=False)
    expected = np.asarray(expected)
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return f"expected {expected.dtype}{list(expected.shape)}, found {found.dtype}{list(found.shape)}"
    if found.dtype.kind == "f":
        equal = np.isclose(found, expected, rtol=test["rtol"], atol=test["atol"], equal_nan=True)
    else:
        equal = found == expected
    if np.all(equal):
        return None
    index = tuple(int(i) for i in np.argwhere(~np.asarray(equal))[0])
    return f"{np.count_nonzero(~equal)} of {found.size} elements differ, the first at {index}: expected {expected[index]}, found {found[index]}"


def reasons(stderr, folder):
    """The lines of our error message that say why, without the lines that say which file."""
    lines = [line.strip().removeprefix("error: ").removeprefix("caused by: ") for line in stderr.splitlines()]
    lines = [line for line in lines if line and str(folder) not in line]
    heading = re.compile(r"^\d+ parts of the model cannot be read$")
    return [line for line in lines if not heading.match(line)]


def report(results):
    """The Markdown list; equal results give equal text."""
    passed = [result for result in results if "passed" in result]
    excluded = [result for result in results if "excluded" in result]
    foreign, other_types, refused, known = {}, {}, [], set()
    for result in excluded:
        matches = [NO_OPERATOR.match(reason) or NO_DOMAIN.match(reason) for reason in result["excluded"]]
        known.update(name for match in matches if match and match.re is NO_OPERATOR for name in match[2].split(", "))
        if any(matches):
            foreign.setdefault(", ".join(sorted({match[1] for match in matches if match})), []).append(result["name"])
        elif dtypes := {match[1] for reason in result["excluded"] if (match := NO_DTYPE.search(reason))}:
            other_types.setdefault(", ".join(sorted(dtypes)), []).append(result["name"])
        else:
            refused.append(result)
    lines = [
        "# The node tests of the onnx package",
        "",
        "Made by `cargo xtask conform --onnx-node-tests --bless` and compared by the same task without `--bless`; not edited by hand.",
        "",
        f"onnx {onnx.__version__}, whose newest operator set is {onnx.defs.onnx_opset_version()}: {len(results)} tests, "
        f"{len(passed)} passed, {len(excluded)} excluded.",
        "",
        "## Operators",
        "",
        "What can be read, and the operator set that changed it last, as onnx says.",
        "",
    ]
    lines += [f"- {name} {onnx.defs.get_schema(name).since_version}" for name in sorted(known)]
    lines += ["", f"## Passed: {len(passed)}", "", "In parentheses: inputs that were made initializers of the model.", ""]
    lines += [
        f"- {result['name']}" + (f" ({', '.join(result['passed'])})" if result["passed"] else "") for result in passed
    ]
    lines += ["", f"## Excluded for what the test asks of a known operator: {len(refused)}", "", "In our own words.", ""]
    lines += [f"- {result['name']}: {'; '.join(result['excluded'])}" for result in refused]
    count = sum(len(tests) for tests in other_types.values())
    lines += ["", f"## Excluded for element types that the graph does not have: {count}", ""]
    lines += ["A number is that of a type which our protobuf messages do not name.", ""]
    lines += [f"- {dtypes}: {', '.join(tests)}" for dtypes, tests in sorted(other_types.items())]
    count = sum(len(tests) for tests in foreign.values())
    lines += ["", f"## Excluded for operators that the graph does not have: {count}", ""]
    lines += [f"- {names}: {', '.join(tests)}" for names, tests in sorted(foreign.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

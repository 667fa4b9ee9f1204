#!/usr/bin/env bash
# Makes a Python environment of the scripts here, once, and prints the path of its python.
#
#   scripts/setup_venv.sh [--bench | --networks] [FOLDER]
#
# The environment is FOLDER/.venv-onnx2int with the packages of requirements.txt; FOLDER is the
# repository's target/ by default. With --bench it is FOLDER/.venv-onnx2int-bench with those of
# requirements-bench.txt, which add PyTorch; with --networks FOLDER/.venv-onnx2int-networks with those
# of requirements-networks.txt, which add PyTorch and what its newer exporter needs. An environment
# that already has its packages is left as it is; any other is made anew. PYTHON names the interpreter
# to start from, python3 by default.
#
# stdout: one line, the path of the environment's python. Messages go to stderr.
# Exit status: 0 done, 1 failed.
set -euo pipefail

scripts="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="${PYTHON:-python3}"

fail() {
    echo "setup_venv.sh: $*" >&2
    exit 1
}

name=".venv-onnx2int"
requirements="$scripts/requirements.txt"
modules="numpy, onnx, onnxruntime"
told="numpy, onnx and onnxruntime"
case "${1:-}" in
--bench)
    shift
    name=".venv-onnx2int-bench"
    requirements="$scripts/requirements-bench.txt"
    modules="numpy, onnx, torch"
    told="numpy, onnx and PyTorch, which is some gigabytes"
    ;;
--networks)
    shift
    name=".venv-onnx2int-networks"
    requirements="$scripts/requirements-networks.txt"
    modules="numpy, onnx, onnxruntime, onnxscript, torch"
    told="numpy, onnx, onnxruntime, onnxscript and PyTorch, which is some gigabytes"
    ;;
esac
[ $# -le 1 ] || fail "expected at most one argument besides the option, the folder of the environment; found $#"
case "${1:-}" in
-*) fail "expected --bench, --networks or the folder of the environment, found $1" ;;
esac
folder="${1:-$scripts/../target}"
mkdir -p "$folder" || fail "cannot make the folder $folder"
environment="$(cd "$folder" && pwd)/$name"
stamp="$environment/requirements.stamp"

command -v "$python" >/dev/null || fail "$python is not there; install Python 3.11 or later, or name one with PYTHON=..."
# What the environment depends on: the interpreter and the pins, those of included files as well. Also refuses old
# interpreters.
wanted="$("$python" - "$requirements" <<'PYTHON'
import hashlib, pathlib, sys
if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or later is needed, this is %d.%d" % sys.version_info[:2])
def pins(requirements):
    own = requirements.read_bytes()
    included = [line.split()[1] for line in own.decode().splitlines() if line.startswith("-r ")]
    return own + b"".join(pins(requirements.parent / name) for name in included)
digest = hashlib.sha256(pins(pathlib.Path(sys.argv[1]))).hexdigest()
print("%d.%d.%d %s %s" % (*sys.version_info[:3], sys.base_prefix, digest))
PYTHON
)" || fail "cannot use $python; name another with PYTHON=..."

if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ] || [ ! -x "$environment/bin/python" ]; then
    echo "making $environment (once; $told)" >&2
    rm -rf "$environment"
    "$python" -m venv "$environment" >&2 ||
        fail "cannot make a virtual environment; on Debian and Ubuntu install the package python3-venv"
    "$environment/bin/python" -m pip install --disable-pip-version-check --quiet \
        --requirement "$requirements" >&2 ||
        fail "pip could not install the packages of $requirements; is the package index reachable?"
    "$environment/bin/python" -c "import $modules" >&2 ||
        fail "the packages are installed but do not load; see the message above"
    # Last, so that an environment cut short is made anew.
    echo "$wanted" >"$stamp"
fi
echo "$environment/bin/python"

#!/usr/bin/env bash
# Makes the Python environment of check_stages.py and trace_onnx.py, once, and prints the path of its python.
#
#   scripts/setup_venv.sh [FOLDER]
#
# The environment is FOLDER/.venv-onnx2int; FOLDER is the repository's target/ by default. The
# packages are those of requirements.txt. An environment that already has them is left as it is;
# any other is made anew. PYTHON names the interpreter to start from, python3 by default.
#
# stdout: one line, the path of the environment's python. Messages go to stderr.
# Exit status: 0 done, 1 failed.
set -euo pipefail

scripts="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
requirements="$scripts/requirements.txt"
folder="${1:-$scripts/../target}"
python="${PYTHON:-python3}"

fail() {
    echo "setup_venv.sh: $*" >&2
    exit 1
}

[ $# -le 1 ] || fail "expected at most one argument, the folder of the environment; found $#"
mkdir -p "$folder" || fail "cannot make the folder $folder"
environment="$(cd "$folder" && pwd)/.venv-onnx2int"
stamp="$environment/requirements.stamp"

command -v "$python" >/dev/null || fail "$python is not there; install Python 3.11 or later, or name one with PYTHON=..."
# What the environment depends on: the interpreter and the pins. Also refuses old interpreters.
wanted="$("$python" - "$requirements" <<'PYTHON'
import hashlib, pathlib, sys
if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or later is needed, this is %d.%d" % sys.version_info[:2])
digest = hashlib.sha256(pathlib.Path(sys.argv[1]).read_bytes()).hexdigest()
print("%d.%d.%d %s %s" % (*sys.version_info[:3], sys.base_prefix, digest))
PYTHON
)" || fail "cannot use $python; name another with PYTHON=..."

if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ] || [ ! -x "$environment/bin/python" ]; then
    echo "making $environment (once; numpy, onnx and onnxruntime)" >&2
    rm -rf "$environment"
    "$python" -m venv "$environment" >&2 ||
        fail "cannot make a virtual environment; on Debian and Ubuntu install the package python3-venv"
    "$environment/bin/python" -m pip install --disable-pip-version-check --quiet \
        --requirement "$requirements" >&2 ||
        fail "pip could not install the packages of $requirements; is the package index reachable?"
    "$environment/bin/python" -c "import numpy, onnx, onnxruntime" >&2 ||
        fail "the packages are installed but do not load; see the message above"
    # Last, so that an environment cut short is made anew.
    echo "$wanted" >"$stamp"
fi
echo "$environment/bin/python"

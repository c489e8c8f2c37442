#!/bin/sh
# Install the packages of this bundle into .venv from the wheels in this folder, without a network.
# usage: sh install.sh; for another Python: PYTHON=python3.11 sh install.sh
set -eu

cd "$(dirname -- "$0")"
python=${PYTHON:-python3}

fail() { echo "install.sh: $*" >&2; exit 2; }

if command -v sha256sum >/dev/null; then sums="sha256sum -c"; else sums="shasum -a 256 -c"; fi
$sums SHA256SUMS >sums.log 2>&1 || {
    grep -v ': OK$' sums.log >&2
    rm -f sums.log
    fail "a file was altered: unpack the bundle again"
}
rm -f sums.log

[ -d wheels ] || fail "this bundle has no wheels: install the packages of requirements.txt as in README.md"
"$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$(cat python-version)')" ||
    fail "the wheels are for Python $(cat python-version): PYTHON=/path/to/it sh install.sh"
"$python" -m venv --clear .venv || fail "$python cannot create a venv (Debian: python3-venv)"
# --no-deps: requirements.txt holds what scoring needs, not all that the packages declare
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
    --find-links wheels --require-hashes --only-binary :all: --requirement requirements.txt ||
    fail "the wheels do not fit this machine: build the bundle with --wheels-for and --python"
.venv/bin/python score_file.py --check

#!/bin/sh
# Run uv: the one on PATH, or else the one in .uv/, installing it there first if it is missing.
# Usage: tools/uv.sh <arguments of uv>
set -eu

UV_VERSION=0.13.8

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
home="$root/.uv"

say() { echo "uv.sh: $*" >&2; }

local_uv() {
    for candidate in "$home/bin/uv" "$home/Scripts/uv.exe"; do
        if [ -x "$candidate" ]; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

find_python() {
    for candidate in python3 python py; do
        # Run it to make sure that it is real: on Windows a stub may just open the store.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    say "Python was not found. Install Python 3.11 or newer and try again."
    exit 2
}

pip_install() {
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$@" "uv==$UV_VERSION" >"$home/install.log" 2>&1
}

in_environment() {
    "$python" -m venv --clear "$home" >/dev/null 2>&1 || return 1
    if [ -d "$home/Scripts" ]; then interpreter="$home/Scripts/python.exe"; else interpreter="$home/bin/python"; fi
    pip_install "$interpreter" -m pip install
}

# Debian and Ubuntu ship Python without venv, but its pip can still install into a folder.
in_folder() {
    mkdir -p "$home"
    pip_install "$python" -m pip install --upgrade --target "$home"
}

bootstrap() {
    python=$(find_python)
    say "installing uv $UV_VERSION into .uv/ (once)"
    if in_environment || in_folder; then return; fi
    say "could not install uv $UV_VERSION: $python has neither a working venv nor pip, or no package index answers."
    if [ -s "$home/install.log" ]; then tail -n 3 "$home/install.log" >&2; fi
    say "put uv on PATH yourself, or install the missing part (Debian, Ubuntu: apt-get install python3-venv), and try again."
    exit 2
}

# A working uv prints its version; a shim without a uv behind it fails.
# If the uv on PATH wraps this script, IN_UV_SH prevents an endless loop.
if [ -z "${IN_UV_SH:-}" ]; then
    export IN_UV_SH=1
    if uv --version >/dev/null 2>&1; then exec uv "$@"; fi
fi
local_uv >/dev/null || bootstrap
exec "$(local_uv)" "$@"

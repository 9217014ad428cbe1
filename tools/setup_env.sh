#!/usr/bin/env bash
# Makes .venv with everything that this project needs, or finds within a second that it is there.
# No compiler is used. It can be interrupted at any time and called again.
#
#   PYTHON=/path/to/python3.11   the interpreter to use (3.10 to 3.13), otherwise one is looked for
#   MIN_DISK_GB=7                free space asked for before the first installation; 0: do not ask
#   VENV=.venv                   where to
#   LOCK=requirements.lock       what: exact versions, of which only files with their hashes are used
set -euo pipefail

case "${1:-}" in
    "") ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "error: $1: this script takes no arguments (see --help)" >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CANDIDATES="python3 python3.12 python3.11 python3.10 python3.13 python"
MIN_DISK_GB="${MIN_DISK_GB:-7}"
VENV="${VENV:-.venv}"
LOCK="${LOCK:-requirements.lock}"
INTERRUPTED=$VENV/.installing # present while pip is changing packages
export PIP_DISABLE_PIP_VERSION_CHECK=1
export PIP_USE_PEP517=1 # old pips build sdists in another way otherwise; new ones lack the option
unset PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV

say() { echo "setup: $*"; }
fail() { echo "error: $*" >&2; exit 2; }

# Digest of files, of the place (a moved .venv does not work) and of what else is given.
digest() { { cat "$@"; pwd; } | cksum | tr ' ' '-'; }

supported() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON is not an executable; give the path of a Python 3.10 to 3.13"
        supported "$PYTHON" || fail "PYTHON=$PYTHON is $("$PYTHON" --version 2>&1 | head -1); Python 3.10 to 3.13 is needed"
        return
    fi
    for PYTHON in $CANDIDATES; do
        if command -v "$PYTHON" >/dev/null && supported "$PYTHON"; then return; fi
    done
    fail "no Python 3.10 to 3.13 found (tried $CANDIDATES); install one, or name one with PYTHON=/path/to/python3.11"
}

check_same_python() {
    local code='import sys; print("%d.%d" % sys.version_info[:2])' here wanted
    find_python
    here=$("$VENV/bin/python" -c "$code" 2>/dev/null) || return 0 # broken: make_venv starts again
    wanted=$("$PYTHON" -c "$code")
    [ "$here" = "$wanted" ] ||
        fail "$VENV has Python $here and PYTHON=$PYTHON is $wanted; run 'make clean' first, or leave PYTHON out"
}

check_venv_module() {
    "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$PYTHON has no venv module; install it (Debian, Ubuntu: apt install python3-venv) or name another Python with PYTHON=..."
}

check_disk() {
    local free_gb
    free_gb=$(df -Pk . | awk 'NR == 2 {print int($4 / 1024 / 1024)}')
    [ "$free_gb" -ge "$MIN_DISK_GB" ] ||
        fail "about $MIN_DISK_GB GB of disk space are needed and $free_gb GB are free in $PWD; free some, or set MIN_DISK_GB=0 to try anyway"
}

make_venv() {
    if [ -d "$VENV" ] && [ ! -e "$VENV/.place" ]; then
        fail "$PWD/$VENV was not made by this script; move it away (or use it as it is: see INSTALL.md, \"An environment of your own\")"
    elif [ -e "$INTERRUPTED" ]; then
        say "the last installation was interrupted; starting again with an empty $VENV"
    elif [ -d "$VENV" ] && [ "$(cat "$VENV/.place")" = "$PWD" ] && supported "$VENV/bin/python"; then
        return
    fi
    find_python
    check_venv_module
    rm -rf "$VENV"
    check_disk
    say "making $VENV with $("$PYTHON" --version) ($(command -v "$PYTHON"))"
    mkdir "$VENV"
    pwd >"$VENV/.place"
    touch "$INTERRUPTED"
    "$PYTHON" -m venv "$VENV"
}

install_lock() {
    local done_stamp install="$VENV/bin/python -m pip install --no-deps --require-hashes"
    done_stamp="$VENV/.lock-$(digest "$LOCK")"
    [ -e "$done_stamp" ] && return
    say "installing the packages of $LOCK (minutes on the first time)"
    touch "$INTERRUPTED"
    rm -f "$VENV"/.lock-*
    # First what builds the few pure-Python packages that have no wheel; then all, as locked.
    sed -n '/^setuptools==/,/[^\\]$/p' "$LOCK" >"$VENV/.setuptools.lock"
    $install -r "$VENV/.setuptools.lock"
    $install --no-build-isolation -r "$LOCK"
    rm "$INTERRUPTED"
    touch "$done_stamp"
}

stamp="$VENV/.stamp-$(digest "$LOCK" requirements.txt pyproject.toml tools/setup_env.sh \
    frozenseg/cli/setup_detectron2.py frozenseg/detectron2_setup/*.py)"
if [ -n "${PYTHON:-}" ] && [ -x "$VENV/bin/python" ] && [ ! -e "$INTERRUPTED" ]; then
    check_same_python
fi
if [ -e "$stamp" ] && "$VENV/bin/python" -c '' 2>/dev/null; then exit 0; fi

started=$SECONDS
make_venv
rm -f "$VENV"/.stamp-*
install_lock
"$VENV/bin/python" tools/install_detectron2.py
"$VENV/bin/python" -m pip install --no-deps --no-build-isolation --editable .
touch "$stamp"
say "done in $((SECONDS - started)) s; $VENV takes $(du -sh "$VENV" | cut -f1)"

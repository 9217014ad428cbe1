#!/usr/bin/env bash
# Makes sure that a Chromium or Chrome is there for the tests of the web page. One that is found is
# kept; otherwise apt-get installs Debian's, where this runs as root. Exit code 1: there is none.
set -euo pipefail

case "${1:-}" in
    "") ;;
    -h | --help) sed -n '2,3s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "error: $1: this script takes no arguments (see --help)" >&2; exit 2 ;;
esac

# Those that tests/demo_web/test_browser.py looks for.
find_chromium() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name"; then return; fi
    done
    return 1
}

if find_chromium; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Chromium by apt-get" >&2
    export DEBIAN_FRONTEND=noninteractive
    # Ubuntu's package is a pointer to a snap, which containers cannot run: it is looked for again.
    if apt-get update -qq >&2 && apt-get install -y -qq --no-install-recommends chromium >&2 &&
        find_chromium; then
        exit 0
    fi
fi
echo "no Chromium or Chrome was found: install one (Debian: apt-get install chromium; otherwise" \
    "https://www.google.com/chrome), or the tests of the web page are skipped" >&2
exit 1

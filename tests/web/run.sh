#!/usr/bin/env bash
# Builds the module and the page, and asks: does the module say what the program says, in node? Does
# the page, in Chromium? With KETTLE_ALL, also: are two builds the same bytes, and is a bundle of
# 100 MB read?
#
# usage: tests/web/run.sh KETTLE [WEB]: the program, and the directory of scripts/web if it was built
# already. Exit status: 0 yes, 1 no, 2 wrong usage, 77 not run (no node, or packages out of reach).
set -euo pipefail

if [[ $# -lt 1 || $# -gt 2 ]]; then
    echo "usage: ${0##*/} KETTLE [WEB]" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
kettle=$(realpath "$1")
web=${2:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

not_run() {
    echo "NOT RUN: $1"
    exit 77
}

command -v node >/dev/null || not_run "there is no node"

# Builds into a directory; what cannot be fetched is no failure of this test.
build() { # DIR
    local status=0
    "$here/../../scripts/web" --out "$1" || status=$?
    case $status in
    0) ;;
    3 | 4) not_run "the packages or crates cannot be fetched from here" ;;
    *) exit 1 ;;
    esac
}

if [[ -z $web ]]; then
    web=$work/web
    build "$web"
fi
if [[ -n ${KETTLE_ALL:-} ]]; then
    build "$work/again"
    cmp "$web/SHA256SUMS" "$work/again/SHA256SUMS"
    echo "two builds are the same bytes"
fi

failed=0
node "$here/same.mjs" "$web/npm" "$kettle" || failed=1
KETTLE_PACKAGE=$web/npm node --test "$here/api.mjs" || failed=1
if chromium=$(command -v chromium); then
    KETTLE_WEB=$web KETTLE=$kettle KETTLE_CHROMIUM=$chromium node --test "$here/page.mjs" || failed=1
else
    echo "NOT RUN: the page in a browser: there is no chromium"
fi
exit "$failed"

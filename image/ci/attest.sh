#!/bin/sh
# usage: attest.sh
#
# The one step of action.yml and gitlab.yml: builds a source on an attested-build appliance or a pool of them with
# `kettle build`, and leaves in one directory what is to be uploaded. The program is compared with its digest before it
# runs. It takes no arguments; everything comes from the environment:
#
#   KETTLE_APPLIANCE  the appliance or the pool, https://HOST[:PORT]
#   KETTLE            the program: a path, or an https:// URL
#   KETTLE_SHA256     its SHA-256 in hex digits; no other program is run
#   KETTLE_SOURCE     a directory, an archive or the URL of a repository (default: the current directory)
#   KETTLE_WAIT       how long to look for a free machine, in seconds (default: 600)
#   KETTLE_OPTIONS    more options of `kettle build`, one a line, as in: --policy=kettle.toml
#   KETTLE_OUT        the directory, which must not exist yet (default: kettle-attestation)
#
# In KETTLE_OUT:
#
#   verdict.json      the verdict, one document, also where there is no bundle; its paths are those of the build
#   events.jsonl      everything that `kettle build --json` printed
#   build/            of an accepted build the bundle, PROJECT.tar.gz, and PROJECT/, its files; of a rejected one
#                     rejected.tar.gz
#
# Exit status, that of `kettle build`: 0 accepted, 1 rejected, 2 nothing was built, also for a mistake in the
# environment, 3 the build failed, 4 no free machine. Every other one is a failure too.

set -eu

USAGE=2
REJECTED=1

fail() { # STATUS MESSAGE
    printf 'attest.sh: %s\n' "$2" >&2
    exit "$1"
}

need() { # NAME VALUE
    [ -n "$2" ] || fail "$USAGE" "$1 is not set"
}

sha256() { sha256sum "$1" | cut -d ' ' -f 1; }

# Puts the program where nobody else changes it, and compares it there.
fetch_kettle() { # TARGET
    case $KETTLE in
    https://*) curl --fail --silent --show-error --location --proto =https --output "$1" "$KETTLE" ;;
    *) cp -- "$KETTLE" "$1" ;;
    esac || fail "$USAGE" "there is no kettle at $KETTLE"
    actual=$(sha256 "$1")
    [ "$actual" = "$KETTLE_SHA256" ] ||
        fail "$USAGE" "$KETTLE has the SHA-256 $actual, and KETTLE_SHA256 is $KETTLE_SHA256"
    chmod 700 "$1"
}

# On GitHub a line of output can be a command to the runner. Between these two none is, unless it knows the word.
stop_commands() {
    [ -n "${GITHUB_ACTIONS:-}" ] || return 0
    word=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    printf '::stop-commands::%s\n' "$word"
}

resume_commands() {
    [ -z "${GITHUB_ACTIONS:-}" ] || printf '::%s::\n' "$word"
}

# Runs `kettle build`, shows each line and keeps it. Sets STATUS, and is never called in a condition.
build() { # OPTION…
    stop_commands
    {
        status=0
        "$work/kettle" build "$source" --to "$KETTLE_APPLIANCE" --wait "$wait" --out "$work/out/build" --json "$@" ||
            status=$?
        printf '%s\n' "$status" >"$work/status"
    } </dev/null | tee "$work/out/events.jsonl"
    resume_commands
    read -r STATUS <"$work/status"
}

# What the next steps of a workflow may want to know.
tell_github() {
    [ -n "${GITHUB_OUTPUT:-}" ] || return 0
    {
        printf 'directory=%s\n' "$out"
        printf 'verdict=%s\n' "$out/verdict.json"
        printf 'exit-status=%s\n' "$STATUS"
    } >>"$GITHUB_OUTPUT"
}

[ $# -eq 0 ] || fail "$USAGE" "it takes no arguments; its first lines say what it takes"
need KETTLE_APPLIANCE "${KETTLE_APPLIANCE:-}"
need KETTLE "${KETTLE:-}"
need KETTLE_SHA256 "${KETTLE_SHA256:-}"
source=${KETTLE_SOURCE:-.}
wait=${KETTLE_WAIT:-600}
out=${KETTLE_OUT:-kettle-attestation}
# What an earlier run left there would be uploaded as this one's.
if [ -e "$out" ] || [ -L "$out" ]; then fail "$USAGE" "$out exists: remove it, or set KETTLE_OUT"; fi

# Outside of the source: what is written while it is packed must not be in it.
work=$(mktemp -d "${RUNNER_TEMP:-${TMPDIR:-/tmp}}/kettle.XXXXXXXX")
trap 'rm -rf -- "$work"' EXIT
mkdir -- "$work/out"
fetch_kettle "$work/kettle"

while IFS= read -r option; do
    case $option in
    '') ;;
    --insecure*) fail "$USAGE" "$option: what nobody verified is no attested build" ;;
    *) set -- "$@" "$option" ;;
    esac
done <<END
${KETTLE_OPTIONS:-}
END

build "$@"
# The last line is the verdict, unless the program was killed: then it is perhaps a word of the machine's.
case $STATUS in
[0-4]) tail -n 1 "$work/out/events.jsonl" ;;
*) printf '{"checks":[],"error":"kettle ended with status %s","type":"verdict","verdict":"error"}\n' "$STATUS" ;;
esac >"$work/out/verdict.json"
# Success is said twice: quotes inside of a text have a backslash, so that no text looks like this.
if [ "$STATUS" = 0 ] && ! grep -q '"verdict":"accepted"' "$work/out/verdict.json"; then STATUS=$REJECTED; fi
mv -- "$work/out" "$out"
tell_github
exit "$STATUS"

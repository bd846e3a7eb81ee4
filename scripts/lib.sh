# shellcheck shell=bash
# Shared by the scripts of this folder: messages, the toolchain, building and talking to one appliance.

set -euo pipefail

: "${HOME:=~}"
export HOME
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
readonly ROOT
# A rustup that a login shell would find.
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
export PATH

# Exit statuses of these scripts.
# shellcheck disable=SC2034
readonly EXIT_FAILED=1 EXIT_USAGE=2 EXIT_SETUP=3 EXIT_GONE=4

# How long an appliance may take to say where it listens.
readonly START_SECONDS=15

say() { printf '%s\n' "$*" >&2; }

die() { # STATUS MESSAGE…
    local status=$1
    shift
    say "${0##*/}: $*"
    exit "$status"
}

# Prints the header comment of the calling script: its documentation.
help() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

usage() {
    say "${0##*/}: $*"
    help >&2
    exit "$EXIT_USAGE"
}

needs_value() { # OPTION REST…
    (($# >= 2)) || usage "$1 needs a value"
}

# What curl has to know of the appliance's key, once it is verified.
API_PIN=()

# curl to an appliance of this machine, whatever proxy the environment names.
api() { curl -sS --noproxy 127.0.0.1 "${API_PIN[@]}" "$@"; }

random_nonce() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# Builds one binary with one feature; prints its path.
build_binary() { # NAME FEATURE OPTION…
    (cd "$ROOT" && cargo build --locked --bin "$1" --no-default-features --features "$2" "${@:3}" \
        --message-format json-render-diagnostics) |
        jq -r 'select(.reason == "compiler-artifact" and .executable != null).executable'
}

# Builds `kettle-init` and `kettle` as they are shipped, each with its own feature only; prints a name and a path a line.
build_release() {
    local binary path
    for binary in kettle-init:appliance kettle:cli; do
        path=$(build_binary "${binary%:*}" "${binary#*:}" --release) || return
        printf '%s %s\n' "${binary%:*}" "$path"
    done
}

# The stand-in for a secure processor; prints its path. Debug information and optimisation would only take time.
build_simulator() { build_binary kettle-simulator simulator; }

seconds_since() { # EPOCHREALTIME
    awk -v start="$1" -v now="$EPOCHREALTIME" 'BEGIN { printf "%.1f", now - start }'
}

# Picks one path out of what build_release printed.
built() { # NAME LINES
    awk -v name="$1" '$1 == name { sub(/^[^ ]+ /, ""); print }' <<<"$2"
}

# The root of the image as build-image unpacked it: it has nix, and a compiler.
unpacked_root() {
    local root
    for root in "$ROOT"/target/image-cache/root-*/root; do
        [[ -e $root/usr/bin/nix ]] && echo "$root" && return
    done
    die "$EXIT_SETUP" "the unpacked root of the image is not there: run scripts/build-image"
}

# Starts an appliance in WORK. Sets SERVER_PID and SERVER_URL; stop_server ends it.
start_server() { # BINARY WORK OPTION…
    local deadline=$((SECONDS + START_SECONDS))
    mkdir -p -- "$2"
    "$1" serve --listen 127.0.0.1:0 --tls-listen 127.0.0.1:0 --work "$2" "${@:3}" >"$2.stdout" 2>"$2.stderr" </dev/null &
    SERVER_PID=$!
    while ! SERVER_URL=$(sed -n 's/^listening on \(http:.*\)$/\1/p' "$2.stdout") || [[ -z $SERVER_URL ]]; do
        if ! kill -0 "$SERVER_PID" 2>/dev/null || ((SECONDS > deadline)); then
            cat "$2.stderr" >&2
            stop_server
            return 1
        fi
        sleep 0.01
    done
}

stop_server() {
    [[ -n ${SERVER_PID:-} ]] || return 0
    kill "$SERVER_PID" 2>/dev/null || true
    wait "$SERVER_PID" 2>/dev/null || true
    SERVER_PID=
}

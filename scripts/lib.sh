# shellcheck shell=bash
# Shared by the scripts of this directory: messages, the toolchain, building and talking to one
# appliance.

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

# How long an appliance may take to print where it listens, on a busy machine. An appliance that has
# ended is not waited for.
readonly START_SECONDS=120

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

# The options of curl that pin the appliance's key, once it is verified.
API_PIN=()

# Runs curl with an appliance of this machine, without a proxy of the environment.
api() { curl -sS --noproxy 127.0.0.1 "${API_PIN[@]}" "$@"; }

random_nonce() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# Builds one binary with one feature; prints its path.
build_binary() { # NAME FEATURE OPTION…
    (cd "$ROOT" && cargo build --locked --bin "$1" --no-default-features --features "$2" "${@:3}" \
        --message-format json-render-diagnostics) |
        jq -r 'select(.reason == "compiler-artifact" and .executable != null).executable'
}

# Builds optimised binaries, each with only its own feature; prints a name and a path a line.
build_release() { # NAME…
    local -A features=([kettle-init]=appliance [kettle-host]=host [kettle]=cli)
    local binary path
    for binary; do
        path=$(build_binary "$binary" "${features[$binary]}" --release) || return
        printf '%s %s\n' "$binary" "$path"
    done
}

# Builds the simulated secure processor; prints its path. Debug information and optimisation would
# only take time.
build_simulator() { build_binary kettle-simulator simulator; }

seconds_since() { # EPOCHREALTIME
    awk -v start="$1" -v now="$EPOCHREALTIME" 'BEGIN { printf "%.1f", now - start }'
}

# Prints one path from the output of build_release.
built() { # NAME LINES
    awk -v name="$1" '$1 == name { sub(/^[^ ]+ /, ""); print }' <<<"$2"
}

# The root of the image as build-image unpacked it: it has nix, and a compiler.
unpacked_root() {
    local root=$ROOT/target/image/root
    [[ -e $root/usr/bin/nix ]] || die "$EXIT_SETUP" "the unpacked root of the image is missing: run scripts/build-image"
    (cd "$root" && pwd -P)
}

# Succeeds if a child of this shell still runs. The process id of an ended child may already belong
# to another process.
is_running() { # PID
    local pid
    for pid in $(jobs -rp); do
        [[ $pid != "$1" ]] || return 0
    done
    return 1
}

# Prints the address that an appliance has printed; fails while it has printed none, or only a part
# of the line.
listening_url() { # FILE
    local line
    # A last line without its end is not taken by `read`.
    while read -r line; do
        [[ $line == 'listening on http://'* ]] || continue
        printf '%s\n' "${line#listening on }"
        return
    done <"$1"
    return 1
}

# Prints the addresses of the registries, which may have mirrors in a private network, as ranges:
# cargo calls the directories of their indexes HOST-HASH, and their settings name the host of
# archives (as tests/e2e/harness/networks.rs).
registry_ranges() {
    local index hosts=()
    for index in "${CARGO_HOME:-$HOME/.cargo}"/registry/index/*/; do
        index=${index%/}
        hosts+=("$(basename "${index%-*}")")
        [[ ! -e $index/config.json ]] || hosts+=("$(jq -r '.dl | sub("^[a-z]+://"; "") | sub("[:/].*"; "")' "$index/config.json")")
    done
    getent ahostsv4 "${hosts[@]}" | awk '{ print $1 "/32" }' | sort -u | paste -sd ' '
}

# Starts an appliance in WORK. Sets SERVER_PID and SERVER_URL; stop_server ends it. Phases that
# fetch also reach the ranges in KETTLE_ALLOW_NETWORK, with spaces between them, although they are
# not public: a registry in a private network, for instance.
start_server() { # BINARY WORK OPTION…
    local deadline=$((SECONDS + START_SECONDS)) range ranges options=()
    read -ra ranges <<<"${KETTLE_ALLOW_NETWORK:-}"
    for range in "${ranges[@]}"; do options+=(--allow-network "$range"); done
    mkdir -p -- "$2"
    # Emptied before it is read: an earlier appliance with the same directory printed its address
    # there.
    : >"$2.stdout"
    "$1" serve --listen 127.0.0.1:0 --tls-listen 127.0.0.1:0 --work "$2" "${options[@]}" "${@:3}" >>"$2.stdout" 2>"$2.stderr" </dev/null &
    SERVER_PID=$!
    # shellcheck disable=SC2034
    until SERVER_URL=$(listening_url "$2.stdout"); do
        if ! is_running "$SERVER_PID" || ((SECONDS > deadline)); then
            stop_server
            say "the appliance does not say where it listens:"
            cat "$2.stderr" >&2
            return 1
        fi
        sleep 0.01
    done
}

stop_server() {
    [[ -n ${SERVER_PID:-} ]] || return 0
    ! is_running "$SERVER_PID" || kill "$SERVER_PID" 2>/dev/null || true
    wait "$SERVER_PID" 2>/dev/null || true
    SERVER_PID=
}

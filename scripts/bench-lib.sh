# shellcheck shell=bash
# Shared by the benchmarks: arithmetic, the table.

calculate() { awk "BEGIN { printf \"%.3f\", $1 }"; }
holds() { awk "BEGIN { exit !($1) }"; }
median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.3f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
mib() { calculate "$1 / 1048576"; } # BYTES

row() { printf '%-34s %12s %12s %16s   %s\n' "$@"; }
verdict() { # CONDITION TARGET; prints the target and whether it was met
    if holds "$1"; then echo "$2: met"; else echo "$2: MISSED"; fi
}

# shellcheck shell=bash disable=SC2034,SC2154
# Shared by the benchmarks: arithmetic, the table, pairs of builds.

calculate() { awk "BEGIN { printf \"%.3f\", $1 }"; }
holds() { awk "BEGIN { exit !($1) }"; }
median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.3f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
mib() { calculate "$1 / 1048576"; } # BYTES

row() { printf '%-34s %12s %12s %16s   %s\n' "$@"; }
verdict() { # CONDITION TARGET; prints the target and whether it was met
    if holds "$1"; then echo "$2: met"; else echo "$2: MISSED"; fi
}

# Posts the archive and follows the stream to its end; fails unless that is a success.
submit() { # ARCHIVE STREAM
    api -N -o "$2" -D "$2.headers" -H 'Accept: text/event-stream' -F "nonce=$(random_nonce)" \
        -F "source=@$1;filename=${1##*/}" "$SERVER_URL/build/stream"
    sed -n 's/^data: \?//p' "$2" | tail -n 1 | jq -e '.type == "complete" and .result.status == "success"' >/dev/null ||
        { cat "$2" >&2 && die "$EXIT_FAILED" "the appliance did not build ${1##*/}"; }
}

# Times `plain` and `appliance`, which set SECONDS_TAKEN, in pairs. Sets PLAIN and KETTLE, the
# medians.
compare() { # SOURCE PAIRS
    local pair how
    : >"$work/times.plain"
    : >"$work/times.appliance"
    for ((pair = 0; pair < $2; pair++)); do
        for how in $( ((pair % 2)) && echo appliance plain || echo plain appliance); do
            "$how" "$1"
            say "${1##*/}, pair $((pair + 1)) of $2, $how: $SECONDS_TAKEN s"
            echo "$SECONDS_TAKEN" >>"$work/times.$how"
        done
    done
    PLAIN=$(median <"$work/times.plain")
    KETTLE=$(median <"$work/times.appliance")
}

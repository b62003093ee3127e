#!/usr/bin/env bash
# spanaudit beside its peers on the same captures, in one run: processor seconds (user and system), peak memory, ratio to tcpdump.
#
#   benches/peers.sh SITE.toml CAPTURE.pcap...
#
# Peers that are not installed are passed over. Every program reads each file once to warm the page cache, then RUNS times; the
# smallest time counts, since a shared machine only ever adds. What spanaudit says of packets is held against capinfos where that is
# installed. BIN names the program, default target/release/spanaudit.
set -euo pipefail

BIN=${BIN:-target/release/spanaudit}
RUNS=${RUNS:-3}
site=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Prints the least "seconds kilobytes" of RUNS runs of a command.
measure() {
    local best=""
    for _ in $(seq "$RUNS"); do
        # Status 1 and 3 are findings and "inconclusive", no failures.
        /usr/bin/time -o "$scratch/time" -f '%U %S %M' "$@" >"$scratch/out" 2>"$scratch/err" || true
        local now
        now=$(tail -n 1 "$scratch/time" | awk '{ printf "%.2f %d", $1 + $2, $3 }')
        if [ -z "$best" ] || awk "BEGIN { exit !(${now% *} < ${best% *}) }"; then best=$now; fi
    done
    echo "$best"
}

row() { printf '%-14s %-22s %9s s %8s MiB %9s\n' "$@"; }

for capture in "$@"; do
    name=$(basename "$capture" .pcap)
    cat "$capture" >/dev/null
    base=""
    one() {
        local label=$1
        shift
        command -v "$1" >/dev/null || return 0
        local told seconds memory
        told=$(measure "$@")
        seconds=${told% *}
        memory=$((${told#* } / 1024))
        base=${base:-$seconds}
        row "$name" "$label" "$seconds" "$memory" "$(awk "BEGIN { printf \"x %.2f\", $seconds / ($base > 0 ? $base : 0.01) }")"
    }
    one tcpdump tcpdump -n -r "$capture" -w /dev/null
    one "spanaudit, 1 worker" "$BIN" audit --threads 1 --site "$site" "$capture"
    one "spanaudit, 2 workers" "$BIN" audit --threads 2 --site "$site" "$capture"
    one softflowd softflowd -r "$capture" -n 127.0.0.1:9
    one argus argus -r "$capture" -w /dev/null
    one ndpiReader ndpiReader -q -i "$capture"
    one suricata suricata -r "$capture" -l "$scratch" -k none
    [ -n "${WITH_TSHARK:-}" ] && one tshark tshark -n -r "$capture" -w /dev/null
    if command -v capinfos >/dev/null; then
        expected=$(capinfos -rcM "$capture" | awk '{ print $NF }')
        seen=$("$BIN" audit --threads 1 --site "$site" --format json "$capture" 2>/dev/null |
            python3 -c 'import json, sys; print(json.load(sys.stdin)["totals"]["packets"])')
        [ "$expected" = "$seen" ] || echo "$name: capinfos counts $expected packets, spanaudit $seen" >&2
    fi
done

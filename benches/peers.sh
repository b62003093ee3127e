#!/usr/bin/env bash
# spanaudit beside its peers on the same captures, in one run: processor seconds (user and system), peak memory, ratio to tcpdump, and how many
# packets each says that it saw.
#
#   benches/peers.sh SITE.toml CAPTURE.pcap...
#
# Peers that are not installed are passed over, and named. Every file is read once to warm the page cache, then each program RUNS times; the
# smallest time counts, since a shared machine only ever adds. LIMIT is after how many seconds a program is given up (default 300). Fails where
# spanaudit does not count as many packets as capinfos; peers may leave out what is not IP. BIN names the program, default
# target/release/spanaudit. WITH_TSHARK=1 runs tshark as well, which takes minutes.
set -euo pipefail

BIN=${BIN:-target/release/spanaudit}
RUNS=${RUNS:-3}
LIMIT=${LIMIT:-300}
site=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
wrong=0

# Prints the least "seconds kilobytes" of RUNS runs of a command, or nothing where it was given up.
measure() {
    local best="" now status
    for _ in $(seq "$RUNS"); do
        status=0
        # Status 1 and 3 are findings and "inconclusive", no failures; 124 is timeout's own.
        timeout "$LIMIT" /usr/bin/time -o "$scratch/time" -f '%U %S %M' "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
        if [ "$status" = 124 ]; then return; fi
        now=$(tail -n 1 "$scratch/time" | awk '{ printf "%.2f %d", $1 + $2, $3 }')
        if [ -z "$best" ] || awk "BEGIN { exit !(${now% *} < ${best% *}) }"; then best=$now; fi
    done
    echo "$best"
}

# The packets that a program says it saw, from what it printed; "-" where it does not say.
told() {
    case $1 in
    spanaudit*) python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["totals"]["packets"])' "$scratch/out" ;;
    softflowd) awk '/Per-protocol/ { on = 1; next } on && NF > 4 { sum += $(NF - 2) } END { print on ? sum : "-" }' "$scratch/out" "$scratch/err" ;;
    ndpiReader) awk '/IP packets:/ { print $5; found = 1; exit } END { if (!found) print "-" }' "$scratch/out" ;;
    *) echo - ;;
    esac
}

row() { printf '%-14s %-22s %9s %9s %10s %12s\n' "$@"; }
row capture program seconds MiB ratio packets

for capture in "$@"; do
    name=$(basename "$capture" .pcap)
    cat "$capture" >/dev/null
    expected=-
    if command -v capinfos >/dev/null; then expected=$(capinfos -rcM "$capture" | awk '/Number of packets/ { print $NF }'); fi
    base=""
    one() {
        local label=$1 found seconds memory packets
        shift
        if ! command -v "$1" >/dev/null; then
            row "$name" "$label" "-" "-" "-" "no such program"
            return 0
        fi
        found=$(measure "$@")
        if [ -z "$found" ]; then
            row "$name" "$label" ">$LIMIT" "-" "-" "given up"
            return 0
        fi
        seconds=${found% *}
        memory=$((${found#* } / 1024))
        base=${base:-$seconds}
        packets=$(told "$label")
        row "$name" "$label" "$seconds" "$memory" "$(awk "BEGIN { printf \"%.2f\", $seconds / ($base > 0 ? $base : 0.01) }")" "$packets"
        if [[ $label = spanaudit* && $expected != - && $packets != "$expected" ]]; then
            echo "$name: capinfos counts $expected packets, $label $packets" >&2
            wrong=1
        fi
    }
    one tcpdump tcpdump -n -r "$capture" -w /dev/null
    one "spanaudit, 1 worker" "$BIN" audit --threads 1 --site "$site" --format json "$capture"
    one "spanaudit, 2 workers" "$BIN" audit --threads 2 --site "$site" --format json "$capture"
    one softflowd softflowd -d -r "$capture" -n 127.0.0.1:9
    one argus argus -r "$capture" -w "$scratch/argus"
    one ndpiReader ndpiReader -i "$capture"
    one suricata suricata -r "$capture" -l "$scratch" -k none
    if [ -n "${WITH_TSHARK:-}" ]; then one tshark tshark -n -r "$capture" -w /dev/null; fi
done
exit "$wrong"

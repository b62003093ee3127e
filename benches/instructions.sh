#!/usr/bin/env bash
# Instructions per packet, counted by callgrind: the same on a busy machine as on an idle one. Passed over where valgrind is missing.
#
#   benches/instructions.sh [CAPTURE.pcap | polls] [MOST_PER_PACKET]
#
# Runs over the first 20,000 and the first 40,000 packets; the difference is what a packet costs, start-up and the end left out. `polls`, the
# default, is a recording of Modbus polls that is made here (benches/polls.py). Fails where a packet costs more than MOST_PER_PACKET. BIN
# names the program, default target/release/spanaudit.
set -euo pipefail

BIN=${BIN:-target/release/spanaudit}
if ! command -v valgrind >/dev/null; then
    echo "instructions: valgrind is not installed, nothing was counted"
    exit 0
fi
capture=${1:-polls}
name=$(basename "$capture")
if [ "$capture" = polls ]; then
    capture=$(mktemp --suffix .pcap)
    trap 'rm -f "$capture"' EXIT
    python3 "$(dirname "$0")/polls.py" "$capture" 40000
fi
count() {
    # Findings and "inconclusive" have exit statuses of their own.
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$BIN" audit --threads 1 -c "$2" "$1" 2>&1 >/dev/null |
        awk '/Collected/ { print $NF }' || true
}
few=$(count "$capture" 20000)
many=$(count "$capture" 40000)
if [ -z "$few" ] || [ -z "$many" ]; then
    echo "instructions: $BIN did not run under valgrind" >&2
    exit 1
fi
each=$(((many - few) / 20000))
echo "$name: $each instructions a packet"
[ -z "${2:-}" ] || [ "$each" -le "$2" ] || {
    echo "instructions: more than $2 a packet" >&2
    exit 1
}

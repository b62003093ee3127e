#!/usr/bin/env bash
# Instructions per packet, counted by callgrind: the same on a busy machine as on an idle one. Passed over where valgrind is missing.
#
#   benches/instructions.sh CAPTURE.pcap [MOST_PER_PACKET]
#
# Runs over the first 20,000 and the first 40,000 packets; the difference is what a packet costs, start-up and the end left out. Fails
# where that is more than MOST_PER_PACKET. BIN names the program, default target/release/spanaudit.
set -euo pipefail

BIN=${BIN:-target/release/spanaudit}
if ! command -v valgrind >/dev/null; then
    echo "instructions: valgrind is not installed, nothing was counted"
    exit 0
fi
count() {
    # Findings and "inconclusive" have exit statuses of their own.
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$BIN" audit --threads 1 -c "$2" "$1" 2>&1 >/dev/null |
        awk '/Collected/ { print $NF }' || true
}
few=$(count "$1" 20000)
many=$(count "$1" 40000)
each=$(((many - few) / 20000))
echo "$(basename "$1"): $each instructions a packet"
[ -z "${2:-}" ] || [ "$each" -le "$2" ]

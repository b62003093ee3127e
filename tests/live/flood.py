#!/usr/bin/env python3
"""Ten million connections that never come again, each between hosts of its own and each one that nobody documented: what costs a watch most. They
go through `watch -r` and a pipe, so that not one is lost; memory is printed as a series. It may be no more than the shipped unit allows, and no
more after all of them than after half. Needs python3 alone.

Usage: flood.py PROGRAM [MILLIONS]        default 10, up to 25
"""

import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

from wire import CONNECTIONS, STRIDE, connection, others, site

BEGIN = 1_790_000_000
# What opens a connection.
OPENING = 3
HEAD = 16


def main():
    program, millions = str(pathlib.Path(sys.argv[1]).resolve()), float(sys.argv[2]) if len(sys.argv) > 2 else 10
    unit = (pathlib.Path(__file__).resolve().parents[2] / "contrib" / "spanaudit-watch@.service").read_text()
    bound = int(re.search(r"^MemoryMax=(\d+)G$", unit, re.M)[1]) * 1024
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spanaudit-flood-"))
    (folder / "site.toml").write_text(site("flood", "10.0.0.0/8", "10.255.255.250"))
    os.mkfifo(folder / "wire.pcap")
    command = [program, "watch", "-r", folder / "wire.pcap", "--site", folder / "site.toml", "--state", folder / "state"]
    command += ["--events", folder / "events.jsonl", "-o", folder / "report.json", "--format", "json"]
    watch = subprocess.Popen([str(word) for word in command])
    frames = bytearray(b"".join(frame.ljust(STRIDE, b"\0") for number in range(CONNECTIONS) for frame in connection(number)))
    renew, each = others(0, CONNECTIONS), STRIDE + HEAD
    records = bytearray(each * OPENING * CONNECTIONS)
    for at in range(0, len(records), each):
        struct.pack_into("<II", records, at + 8, STRIDE, STRIDE)
    try:
        series = []
        rounds = int(millions * 1e6) // CONNECTIONS
        with open(folder / "wire.pcap", "wb") as wire:
            # pcap, version 2.4, Ethernet.
            wire.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1))
            print("million flows  resident MB  most so far")
            for round in range(rounds):
                renew(frames, round)
                for byte, value in enumerate(struct.pack("<I", BEGIN + round)):
                    records[byte::each] = bytes([value]) * (OPENING * CONNECTIONS)
                for place in range(OPENING):
                    for byte in range(STRIDE):
                        records[place * each + HEAD + byte :: each * OPENING] = frames[place * STRIDE + byte :: 8 * STRIDE]
                wire.write(records)
                if (round + 1) % (rounds // 20) == 0:
                    status = pathlib.Path(f"/proc/{watch.pid}/status").read_text()
                    resident, most = (int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1024 for name in ("VmRSS", "VmHWM"))
                    series.append(most)
                    print(f"{(round + 1) * CONNECTIONS / 1e6:13.1f}  {resident:11.1f}  {most:11.1f}", flush=True)
        watch.wait(120)
        totals = json.loads((folder / "report.json").read_text())["totals"]
        print(f"{totals['packets']} packets, {totals['flows']} flows, {totals['evicted']} evicted")
        if totals["packets"] != rounds * OPENING * CONNECTIONS:
            print("FAIL  packets are missing", file=sys.stderr)
            return 1
        half = series[len(series) // 2 - 1]
        print(f"at most {series[-1]:.0f} MB, {half:.0f} after half of them; the unit allows {bound}")
        if series[-1] > bound or series[-1] > 1.05 * half:
            print("FAIL  memory grows, or is more than the unit allows", file=sys.stderr)
            return 1
        return 0
    finally:
        watch.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

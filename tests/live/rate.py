#!/usr/bin/env python3
"""How fast `spanaudit watch` reads without a loss, beside `tcpdump -w /dev/null`: the same packets over the same wire, in turns, at rates
that rise until a ring overflows or the sender goes no faster. Prints the rates, and the processor time a packet costs each of them. Needs root, iproute2, python3 and
tcpdump.

On a machine with other work run it by chrt -r 1: what is measured is then the program and not its share of the processor.

Usage: rate.py PROGRAM [--capture FILE.pcap] [--need RATIO]
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from wire import Wire, site

SITE = site("rate", "10.0.64.0/24", "10.255.255.5")
SECONDS = 3
LOWEST, STEP, HIGHEST = 150_000, 1.25, 3_000_000
# The ring of both, in megabytes.
RING = 64
# A step that loses something is tried so often: other programs take processor time too.
TRIES = 3


class Tcpdump:
    name = "tcpdump -w /dev/null"

    def __init__(self, wire, folder):
        command = ["tcpdump", "-i", "s1", "-w", "/dev/null", "-B", RING * 1024, "-Z", "root"]
        self.log = (folder / "tcpdump.log").open("w+")
        self.process = wire.start(command, stderr=self.log)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        self.log.seek(0)
        text = self.log.read()
        count = lambda what: int(re.search(rf"(\d+) packets? {what}", text)[1])
        return count("captured"), count("dropped by kernel")


class Watch:
    name = "spanaudit watch"

    def __init__(self, wire, folder, program, *more):
        self.report = folder / "report.json"
        self.report.unlink(missing_ok=True)
        command = [program, "watch", "-i", "s1", "--site", folder / "site.toml", "--stay-root", "-B", RING]
        command += ["--events", folder / "events.jsonl", "-o", self.report, "--format", "json", *more]
        self.process = wire.start(command, stderr=subprocess.DEVNULL)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.told = json.loads(self.report.read_text())
        read = [one for one in self.told["inputs"] if one["file"] == "s1"]
        dropped = sum(one["dropped"] or 0 for one in read)
        return sum(one["packets"] for one in read), dropped


def spent(process):
    """Processor time of all threads, in nanoseconds."""
    total = 0
    for thread in pathlib.Path(f"/proc/{process.pid}/task").iterdir():
        try:
            total += int((thread / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            pass
    return total


def step(start, wire, what, rate):
    """One rate, one program. Returns whether nothing was lost, the rate that the sender reached, and processor time a packet."""
    program = start()
    time.sleep(1)
    before = spent(program.process)
    sent = wire.send(what, int(rate * SECONDS), rate)
    # tcpdump hands on a block that is not full after a second.
    time.sleep(1.5)
    cost = spent(program.process) - before
    packets, dropped = program.end()
    reached = sent["sent"] / sent["seconds"]
    return packets >= sent["sent"] and not dropped, reached, cost / max(packets, 1), dropped


def race(wire, folder, program, what, need):
    contenders = {
        Tcpdump.name: lambda: Tcpdump(wire, folder),
        Watch.name: lambda: Watch(wire, folder, program),
    }
    best, cost, racing = dict.fromkeys(contenders, 0), {}, set(contenders)
    print(f"{'packets a second':>16}  " + "  ".join(f"{name:>28}" for name in contenders), flush=True)
    rate = LOWEST
    while racing and rate < HIGHEST:
        cells, reached = {}, 0
        for name in contenders:
            if name not in racing:
                cells[name] = ""
                continue
            for _ in range(TRIES):
                clean, reached, each, dropped = step(contenders[name], wire, what, rate)
                if clean or reached < rate * 0.9:
                    break
            cells[name] = f"{'no loss' if clean else f'{dropped} lost'}, {each:.0f} ns"
            if clean:
                best[name], cost[name] = max(best[name], reached), each
            else:
                racing.discard(name)
        print(f"{reached:16,.0f}  " + "  ".join(f"{cells[name]:>28}" for name in contenders), flush=True)
        if reached < rate * 0.9:
            print("the sender goes no faster")
            break
        rate *= STEP
    for name in contenders:
        print(f"{name:>24}: {best[name]:,.0f} packets a second without loss, {cost.get(name, 0):.0f} ns of processor a packet there")
    ratio = best[Watch.name] / max(best[Tcpdump.name], 1)
    print(f"ratio of the rates: {ratio:.2f}")
    if need and ratio < need:
        print(f"FAIL  below {need}", file=sys.stderr)
        return 1
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--capture", type=pathlib.Path, help="send this recording again and again")
    parser.add_argument("--need", type=float, help="fail below this ratio of the rates")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "tcpdump"))):
        print("rate: needs root, iproute2 and tcpdump; not run")
        return 0
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spanaudit-rate-"))
    (folder / "site.toml").write_text(SITE)
    program = arguments.program.resolve()
    try:
        with Wire("rate") as wire:
            what = arguments.capture.resolve() if arguments.capture else "plant"
            return race(wire, folder, program, what, arguments.need)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Watches a veth pair while a sender fills it with as many flows as it can, half of which a mirror would have lost, and prints memory, packets and
drops as a series. The second half has to be flat. Needs root, iproute2 and python3.

What is lost is what fills memory: connections without their opening wait for their roles, SYNs without an answer for their sweep. It is left out by
the sender, in stretches as a full ring loses packets, so that it does not hang on how fast this machine is.

Usage: soak.py PROGRAM [SECONDS]
"""

import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

from wire import Wire, site

FLOWS = 20_000
CONVERSATIONS = 4096

SITE = site("soak", "10.1.2.10", "10.200.0.5")


def main():
    program, seconds = str(pathlib.Path(sys.argv[1]).resolve()), int(sys.argv[2]) if len(sys.argv) > 2 else 600
    if os.geteuid() != 0 or not shutil.which("ip"):
        print("soak: needs root and iproute2; not run")
        return 0
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spanaudit-soak-"))
    folder.chmod(0o777)
    (folder / "site.toml").write_text(SITE)
    started = []
    wire = Wire("soak")
    try:
        wire.__enter__()
        command = [program, "watch", "-i", "s1", "--site", str(folder / "site.toml"), "--flows", str(FLOWS)]
        command += ["--conversations", str(CONVERSATIONS), "--events", str(folder / "events.jsonl")]
        command += ["--report", str(folder / "report.json"), "--format", "json"]
        watch = wire.start(command)
        started.append(watch)
        time.sleep(2)
        sender = [sys.executable, str(pathlib.Path(__file__).with_name("wire.py")), "s0", "torn", str(10**12)]
        started.append(wire.start(sender))
        series = []
        step = max(seconds // 30, 1)
        print("second  resident MB  packets received")
        for second in range(0, seconds, step):
            time.sleep(step)
            if watch.poll() is not None:
                print(f"FAIL  the watch has ended with {watch.returncode}", file=sys.stderr)
                return 1
            status = pathlib.Path(f"/proc/{watch.pid}/status").read_text()
            resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
            packets = wire.received()
            series.append(resident / 1024)
            print(f"{second + step:6}  {resident / 1024:11.1f}  {packets:>16}", flush=True)
        started.pop().kill()
        time.sleep(1)
        watch.send_signal(signal.SIGTERM)
        watch.wait(60)
        report = json.loads((folder / "report.json").read_text())
        totals, read = report["totals"], report["inputs"][0]
        print(f"{read['packets']} packets read, {read['dropped']} dropped, {totals['flows']} flows, {totals['evicted']} evicted")
        conversations = len(report["conversations"])
        print(f"{conversations} conversations in the report, {CONVERSATIONS} asked for")
        if conversations > 2 * CONVERSATIONS:
            print("FAIL  the report has more conversations than its bound allows", file=sys.stderr)
            return 1
        if len(series) < 8:
            return 0
        third, last = series[len(series) // 2 : len(series) * 3 // 4], series[len(series) * 3 // 4 :]
        growth = sum(last) / len(last) / (sum(third) / len(third)) - 1
        print(f"memory from the third quarter to the last: {growth:+.1%}")
        if growth > 0.05:
            print("FAIL  memory grows", file=sys.stderr)
            return 1
        return 0
    finally:
        for process in started:
            process.kill()
        wire.__exit__()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

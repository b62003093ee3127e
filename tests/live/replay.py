#!/usr/bin/env python3
"""Replays recordings at speed into a mirror interface that `spanaudit watch` listens to, and audits what `tcpdump` recorded there at the same
time: both must tell the same, with one ring and with two. Then with a ring far too small: what is lost is accounted for to the packet.
Then the interface is taken out and put back. And not one frame may leave the capture interface. Needs root, iproute2, curl, python3 and
tcpdump.

Usage: replay.py PROGRAM [CASE...]        a case is a folder with capture.pcap and site.toml (default: those of testdata/cases)
"""

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

from wire import Wire

CASES = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "cases"


class Failed(Exception):
    pass


def told(report):
    """What a report says, without the numbers and times of its packets."""
    requirements = sorted((r["rule"], r["source"], r["target"], r["verdict"], str(r["mechanism"])) for r in report["requirements"])
    findings = sorted((f["kind"], f["title"]) for f in report["findings"])
    conversations = sorted((c["id"], c["verdict"], c["flows"], c["packets"]) for c in report["conversations"])
    totals = {key: report["totals"][key] for key in ("packets", "in_flows", "duplicates", "flows") if key in report["totals"]}
    return {"requirements": requirements, "findings": findings, "conversations": conversations, "totals": totals}


def difference(one, other):
    for key in one:
        if one[key] != other[key]:
            rest = [a for a in one[key] if a not in other[key]], [b for b in other[key] if b not in one[key]]
            return f"{key}: {rest[0]} against {rest[1]}"
    return ""


def watch(wire, program, folder, site, *more):
    report = folder / "live.json"
    report.unlink(missing_ok=True)
    command = [program, "watch", "-i", "s1", "--site", site, "--user", "nobody", "-o", report, "--format", "json", "--silence", "1h"]
    events = folder / "events.jsonl"
    events.unlink(missing_ok=True)
    process = wire.start([*command, "--events", events, "--every", "1s", *more], stderr=subprocess.DEVNULL)
    wait(lambda: events.exists() and "watch-started" in events.read_text())
    return process, report


def wait(until):
    deadline = time.monotonic() + 20
    while not until() and time.monotonic() < deadline:
        time.sleep(0.1)


def end(process, report):
    process.send_signal(signal.SIGTERM)
    if process.wait(30) not in (0, 1, 3):
        raise Failed(f"the watch ended with {process.returncode}")
    return json.loads(report.read_text())


def same(wire, program, folder, case, rings):
    same = folder / "same.pcap"
    same.unlink(missing_ok=True)
    recorder = wire.start(
        ["tcpdump", "-i", "s1", "-U", "-w", same, "-B", 65536, "-Z", "root", "--time-stamp-precision=nano"],
        stderr=subprocess.PIPE,
        text=True,
    )
    # The header of the file says that the recorder listens.
    wait(lambda: same.exists() and same.stat().st_size >= 24)
    process, report = watch(wire, program, folder, case / "site.toml", "--threads", rings)
    sent = wire.send(case / "capture.pcap", 0)["sent"]
    live = end(process, report)
    # Recorded is the same number of bytes, as a veth cuts nothing and adds nothing.
    wait(lambda: same.stat().st_size >= (case / "capture.pcap").stat().st_size)
    recorder.send_signal(signal.SIGINT)
    text = recorder.communicate()[1]
    lost = int(re.search(r"(\d+) packets? dropped by kernel", text)[1])
    command = [program, "audit", same, "--site", case / "site.toml", "--format", "json"]
    offline = json.loads(subprocess.run([str(word) for word in command], capture_output=True, text=True).stdout)
    read, recorded = live["inputs"][0], offline["inputs"][0]["packets"]
    if lost or read["dropped"] or (read["packets"], recorded) != (sent, sent):
        raise Failed(
            f"{case.name}: {sent} sent, {read['packets']} watched, {read['dropped']} lost; tcpdump recorded {recorded} and lost {lost}"
        )
    apart = difference(told(live), told(offline))
    if apart:
        raise Failed(f"{case.name}, {rings} rings: live and offline differ in {apart}")
    print(f"ok    {case.name}, {rings} ring{'s' * (rings > 1)}: {sent} packets, the same verdicts live and from a recording", flush=True)


def flood(wire, program, folder, case, rings):
    """More than a ring of a megabyte holds, sent as fast as it goes while the program is stopped."""
    process, report = watch(wire, program, folder, case / "site.toml", "--threads", rings, "-B", 1)
    process.send_signal(signal.SIGSTOP)
    sent = wire.send("plant", 200_000)["sent"]
    process.send_signal(signal.SIGCONT)
    time.sleep(2)
    sent += wire.send("plant", 50_000, 20_000)["sent"]
    live = end(process, report)
    read = live["inputs"][0]
    if not read["dropped"] or read["packets"] + read["dropped"] != sent:
        raise Failed(f"{sent} sent, {read['packets']} read and {read['dropped']} lost")
    print(f"ok    a ring too small, {rings} ring{'s' * (rings > 1)}: {sent} sent = {read['packets']} read + {read['dropped']} lost")


def replugged(wire, program, folder, case, rings):
    """The interface is taken out and put back twice: every packet after that is read, once, by the ring where it is at home."""
    socket = folder / "http.sock"
    process, report = watch(wire, program, folder, case / "site.toml", "--threads", rings, "--http", f"unix:{socket}")
    command = ["curl", "-s", "--unix-socket", str(socket), "http://localhost/metrics"]

    def metric(name):
        text = subprocess.run(command, capture_output=True, text=True).stdout
        return next((int(float(line.split()[1])) for line in text.splitlines() if line.startswith(f"spanaudit_{name} ")), -1)

    sent = 0
    for turn in range(3):
        if turn:
            wire.unplug()
            wait(lambda: metric("interfaces_down") == 1)
            wire.plug()
            wait(lambda: metric("interfaces_down") == 0)
        sent += wire.send("flows", 40_000, 40_000)["sent"]
        wait(lambda: metric("packets_total") >= sent)
        if metric("packets_total") != sent:
            raise Failed(f"{rings} rings, taken out {turn} times: {sent} sent, {metric('packets_total')} read")
    copied = metric("copied_packets_total")
    live = end(process, report)
    if live["inputs"][0]["dropped"] or copied:
        raise Failed(f"{rings} rings, taken out twice: {live['inputs'][0]['dropped']} lost, {copied} copied to another ring's thread")
    print(f"ok    taken out twice, {rings} ring{'s' * (rings > 1)}: {sent} packets sent and read, none by another ring than its own")


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    cases = [pathlib.Path(case).resolve() for case in sys.argv[2:]] or sorted(CASES.iterdir())
    cases = [case for case in cases if (case / "capture.pcap").exists() and (case / "site.toml").exists()]
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "tcpdump", "curl"))):
        print("replay: needs root, iproute2, curl and tcpdump; not run")
        return 0
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spanaudit-replay-"))
    folder.chmod(0o777)
    try:
        with Wire("replay") as wire:
            for case in cases:
                for rings in (1, 2):
                    same(wire, program, folder, case, rings)
            for rings in (1, 2):
                flood(wire, program, folder, cases[0], rings)
            for rings in (1, 3):
                replugged(wire, program, folder, cases[0], rings)
            if wire.received("tx_packets"):
                raise Failed(f"{wire.received('tx_packets')} frames were sent on the capture interface")
            print("ok    not one frame was sent on the capture interface")
        return 0
    except Failed as error:
        print(f"FAIL  {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

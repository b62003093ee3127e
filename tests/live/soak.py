#!/usr/bin/env python3
"""Watches a veth pair while a sender fills it with as many flows as it can, and prints memory, packets and drops as a series. The second
half has to be flat. Needs root, iproute2 and python3.

Usage: soak.py PROGRAM [SECONDS]
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

NAME = f"sa{os.getpid() % 10000}-soak"
FLOWS = 20_000

# Frames are made once and sent again and again: SYNs, SYN-ACKs and data of flows that begin anew, from addresses and ports without end.
SENDER = r"""
import socket, struct, sys
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def frame(source, target, ports, flags, sequence, payload=b""):
    tcp = struct.pack("!HHIIBBHHH", *ports, sequence, 1, 0x50, flags, 8192, 0, 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, source, target)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return b"\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00" + head + tcp
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("s0", 0))
number = 0
while True:
    number += 1
    client = struct.pack("!BBH", 10, 1 + (number >> 16) % 8, number & 0xffff)
    server = struct.pack("!BBH", 10, 200, number % 200)
    port = 1024 + number % 60000
    for one in (
        frame(client, server, (port, 5672), 2, number),
        frame(server, client, (5672, port), 18, number),
        frame(client, server, (port, 5672), 24, number + 1, b"AMQP\x00\x00\x09\x01"),
        frame(client, server, (port, 5672), 17, number + 9),
    ):
        try:
            out.send(one)
        except OSError:
            pass
"""

SITE = """[site]
name = "soak"
rulesets = ["opswat-md-ot-security"]

[roles]
network-sensor = ["10.1.2.10"]
site-manager = ["10.200.0.5"]
"""


def sh(command, check=True):
    return subprocess.run(command, shell=True, check=check, capture_output=True, text=True)


def main():
    program, seconds = str(pathlib.Path(sys.argv[1]).resolve()), int(sys.argv[2]) if len(sys.argv) > 2 else 600
    if os.geteuid() != 0 or not shutil.which("ip"):
        print("soak: needs root and iproute2; not run")
        return 0
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spanaudit-soak-"))
    folder.chmod(0o777)
    (folder / "site.toml").write_text(SITE)
    started = []
    try:
        sh(f"ip netns add {NAME}")
        sh(f"ip netns exec {NAME} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        sh(f"ip -n {NAME} link add s0 type veth peer name s1")
        for device in ("s0", "s1"):
            sh(f"ip -n {NAME} link set {device} up")
        inside = ["ip", "netns", "exec", NAME]
        command = [program, "watch", "-i", "s1", "--site", str(folder / "site.toml"), "--flows", str(FLOWS)]
        command += ["--conversations", "4096", "--events", str(folder / "events.jsonl")]
        command += ["--report", str(folder / "report.json"), "--format", "json"]
        watch = subprocess.Popen(inside + command)
        started.append(watch)
        time.sleep(2)
        started.append(subprocess.Popen(inside + [sys.executable, "-c", SENDER]))
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
            packets = sh(f"ip netns exec {NAME} cat /sys/class/net/s1/statistics/rx_packets").stdout.strip()
            series.append(resident / 1024)
            print(f"{second + step:6}  {resident / 1024:11.1f}  {packets:>16}", flush=True)
        started.pop().kill()
        time.sleep(1)
        watch.send_signal(signal.SIGTERM)
        watch.wait(60)
        report = json.loads((folder / "report.json").read_text())
        totals, read = report["totals"], report["inputs"][0]
        print(f"{read['packets']} packets read, {read['dropped']} dropped, {totals['flows']} flows, {totals['evicted']} evicted")
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
        sh(f"ip netns del {NAME}", check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

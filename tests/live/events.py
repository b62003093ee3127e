#!/usr/bin/env python3
"""Events where they are to arrive: rsyslog as the collector, over UDP (CEF) and TCP (JSON), a file that is moved aside, and a collector that
accepts and reads nothing. rsyslog reads the messages apart, so what it tells of them is what RFC 5424 says. Needs root, iproute2 and
rsyslogd.

Usage: events.py PROGRAM
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

from wire import Wire, site

SITE = site("events", "10.0.64.0/18", "10.255.255.250")

RSYSLOG = """
global(workDirectory="{folder}/spool" maxMessageSize="64k")
module(load="imudp")
module(load="imtcp" KeepAlive="on")
template(name="fields" type="list" option.jsonf="on") {{
  property(outname="version" name="protocol-version" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="pid" name="procid" format="jsonf")
  property(outname="id" name="msgid" format="jsonf")
  property(outname="facility" name="syslogfacility-text" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="text" name="msg" format="jsonf")
}}
ruleset(name="udp") {{ action(type="omfile" file="{folder}/udp.log" template="fields" flushOnTXEnd="on") }}
ruleset(name="tcp") {{ action(type="omfile" file="{folder}/tcp.log" template="fields" flushOnTXEnd="on") }}
input(type="imudp" address="127.0.0.1" port="5514" ruleset="udp")
input(type="imtcp" address="127.0.0.1" port="5601" ruleset="tcp")
"""

# Accepts, and never reads.
DEAF = """
import socket, time
server = socket.create_server(("127.0.0.1", 5602))
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
kept = []
while True:
    kept.append(server.accept())
"""

# ArcSight Common Event Format, revision 25: seven fields of the head, then pairs.
CEF = re.compile(r"CEF:0\|spanaudit\|spanaudit\|[^|]+\|[^|]+\|(?:[^|\\]|\\.)*\|(?:\d|10)\|(?:[A-Za-z0-9]+=(?:[^=\\\n]|\\.)*)+$")
LEVELS = {"error": "err", "warning": "warning", "notice": "notice", "info": "info"}


class Failed(Exception):
    pass


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def until(what, within, holds):
    began = time.monotonic()
    while time.monotonic() - began < within:
        found = holds()
        if found:
            print(f"ok    {what}: after {time.monotonic() - began:.1f} s", flush=True)
            return found
        time.sleep(0.2)
    raise Failed(f"{what}: not within {within} s")


class Bench:
    def __init__(self, program, wire, folder):
        self.program, self.wire, self.folder = program, wire, folder
        self.started = []
        self.collector = self.watch = None
        self.talked = 40

    def start(self, command, **more):
        self.started.append(self.wire.start(command, **more))
        return self.started[-1]

    def collect(self):
        self.collector = self.start(["rsyslogd", "-n", "-f", self.folder / "rsyslog.conf", "-i", self.folder / "rsyslog.pid"])
        time.sleep(1.5)

    def listen(self, *more):
        command = [self.program, "watch", "-i", "s1", "--site", self.folder / "site.toml", "--every", "1s", *more]
        command += ["--state", self.folder / "state", "--http", f"unix:{self.folder / 'http.sock'}"]
        self.watch = self.start(command, stderr=subprocess.DEVNULL)
        time.sleep(2)

    def talk(self, connections=None, rate=8000):
        """So many connections; without a number all that there were, and 60 that are new."""
        self.talked = connections or self.talked + 60
        self.wire.send("flows", 8 * self.talked, rate)

    def metric(self, name, **labels):
        wanted = "".join(f'{key}="{value}"' for key, value in labels.items())
        text = subprocess.run(
            ["curl", "-s", "--unix-socket", str(self.folder / "http.sock"), "http://localhost/metrics"], capture_output=True, text=True
        ).stdout
        for line in text.splitlines():
            if line.startswith(name) and wanted in line:
                return float(line.rsplit(" ", 1)[1])
        raise Failed(f"no {name}{{{wanted}}} among the metrics")

    def end(self, number):
        self.watch.send_signal(number)
        return self.watch.wait(30)

    def close(self):
        for process in self.started:
            if process.poll() is None:
                process.kill()


def collectors(bench):
    """What rsyslog reads apart is what the file holds; the file is moved aside on the way."""
    folder = bench.folder
    bench.listen(
        "--events", folder / "events.jsonl", "--events-size", "0", "--events-keep", "500",
        "--events", "syslog://127.0.0.1:5514?format=cef", "--events", "syslog+tcp://127.0.0.1:5601",
    )
    bench.talk()
    until("events over TCP", 10, lambda: len(lines(folder / "tcp.log")) > 30)
    time.sleep(4)
    files = sorted(folder.glob("events.jsonl*"), key=lambda path: -int(path.suffix[1:]) if path.suffix[1:].isdigit() else 0)
    told = [event for path in files for event in lines(path)]
    numbers = [event["seq"] for event in told]
    if len(files) < 30 or numbers != list(range(1, len(told) + 1)):
        raise Failed(f"the files that were moved aside hold {numbers}")
    print(f"ok    {len(files)} files, moved aside one after the other, hold all {len(told)} events in their order")
    over_tcp = lines(folder / "tcp.log")
    if [json.loads(message["text"]) for message in over_tcp] != told:
        raise Failed("what arrived over TCP is not what the file holds")
    over_udp = lines(folder / "udp.log")
    if len(over_udp) != len(told):
        raise Failed(f"{len(over_udp)} of {len(told)} events arrived over UDP")
    for message in over_udp:
        if not CEF.match(message["text"].lstrip()):
            raise Failed(f"no CEF: {message['text']}")
    for messages in (over_tcp, over_udp):
        for message, event in zip(messages, told):
            seen = (message["version"], message["app"], message["pid"], message["id"], message["facility"], message["severity"])
            if seen != ("1", "spanaudit", str(bench.watch.pid), event["event"], "local0", LEVELS[event["level"]]):
                raise Failed(f"rsyslog read {seen} of {event}")
            if event["time"] and message["time"][:19] != event["time"][:19]:
                raise Failed(f"rsyslog read the time {message['time']} of {event['time']}")
    print(f"ok    rsyslog reads {len(over_tcp)} messages of RFC 5424 over TCP (octet counting, JSON) and {len(over_udp)} over UDP (CEF)")


def kill(bench):
    """Nothing is missing after kill -9, and nothing comes twice but what was underway then."""
    folder = bench.folder
    bench.talk()
    time.sleep(1.3)
    bench.end(signal.SIGKILL)
    before = len(lines(folder / "tcp.log"))
    bench.listen("--events", folder / "again.jsonl", "--events", "syslog+tcp://127.0.0.1:5601")
    bench.talk()
    time.sleep(4)
    numbers = [json.loads(message["text"])["seq"] for message in lines(folder / "tcp.log")]
    missing = set(range(1, max(numbers) + 1)) - set(numbers)
    twice = len(numbers) - len(set(numbers))
    if missing:
        raise Failed(f"after kill -9 {sorted(missing)} never arrived")
    run = numbers[before:]
    if len(run) != len(set(run)):
        raise Failed(f"one run told twice: {run}")
    print(f"ok    after kill -9 none of {max(numbers)} events is missing, {twice} came once more, none twice within a run")


def restart(bench):
    """A collector that is started anew has everything in the end."""
    folder = bench.folder
    bench.collector.send_signal(signal.SIGTERM)
    bench.collector.wait(10)
    bench.talk()
    time.sleep(4)
    if not bench.metric("spanaudit_outlet_failing", outlet="syslog 127.0.0.1:5601/tcp"):
        raise Failed("an outlet without collector is not told as failing")
    seq = lambda: {json.loads(message["text"])["seq"] for message in lines(folder / "tcp.log")}
    told = lambda: {event["seq"] for event in lines(folder / "again.jsonl")}
    if seq() >= told():
        raise Failed("nothing happened while the collector was away")
    bench.collect()
    until("a collector that was away has every event", 20, lambda: seq() >= told())
    status = bench.end(signal.SIGTERM)
    if status not in (0, 1, 3):
        raise Failed(f"the watch ended with {status}")


def deaf(bench):
    """A collector that reads nothing costs its own events, and not one packet."""
    folder = bench.folder
    shutil.rmtree(folder / "state")
    (folder / "state").mkdir(mode=0o777)
    (folder / "state").chmod(0o777)
    bench.start([sys.executable, "-c", DEAF])
    time.sleep(0.5)
    # Little fits into what lies between.
    bench.wire.start(["sysctl", "-qw", "net.ipv4.tcp_wmem=4096 4096 4096"]).wait()
    bench.listen("--events", "syslog+tcp://127.0.0.1:5602", "--events", folder / "beside.jsonl")
    outlet = "syslog 127.0.0.1:5602/tcp"
    sent = 0
    # Each time 200 connections that are new, for more events than fit in between.
    for turn in range(5):
        bench.talk(4000 + 200 * turn, 20_000)
        sent += 8 * bench.talked
    until("a collector that reads nothing is told as failing", 20, lambda: bench.metric("spanaudit_outlet_failing", outlet=outlet))
    for turn in range(5, 10):
        bench.talk(4000 + 200 * turn, 20_000)
        sent += 8 * bench.talked
    time.sleep(1.5)
    read, lost = bench.metric("spanaudit_packets_total"), bench.metric("spanaudit_dropped_packets_total")
    if read != sent or lost:
        raise Failed(f"of {sent} packets {read:.0f} were read and {lost:.0f} lost while a collector read nothing")
    beside = lines(folder / "beside.jsonl")
    if [event["seq"] for event in beside] != list(range(1, len(beside) + 1)):
        raise Failed("the other outlet lost events")
    arrived = bench.metric("spanaudit_events_delivered_total", outlet=outlet)
    if arrived >= len(beside):
        raise Failed("a collector that reads nothing took everything")
    print(f"ok    while it reads nothing all {sent} packets are read, and another outlet has all {len(beside)} events")
    began = time.monotonic()
    bench.end(signal.SIGTERM)
    print(f"ok    and the watch ends within {time.monotonic() - began:.1f} s")


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "rsyslogd", "curl"))):
        print("events: needs root, iproute2, curl and rsyslogd; not run")
        return 0
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spanaudit-events-"))
    folder.chmod(0o777)
    for name in ("state", "spool"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    (folder / "site.toml").write_text(SITE)
    (folder / "rsyslog.conf").write_text(RSYSLOG.format(folder=folder))
    with Wire("events") as wire:
        wire.start(["ip", "link", "set", "lo", "up"]).wait()
        bench = Bench(program, wire, folder)
        try:
            bench.collect()
            for test in (collectors, kill, restart, deaf):
                test(bench)
            print("all passed")
            return 0
        except Failed as why:
            print(f"FAIL  {why}", file=sys.stderr)
            return 1
        finally:
            bench.close()
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

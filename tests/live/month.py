#!/usr/bin/env python3
"""A month and a half of a plant, compressed into a replay: 45 days of capture time go through `watch -r`, a day at a time, of which seven are
kept. What is held may not grow any more in the last week, and a packet may cost no more than in the second. Needs python3 alone.

    controllers are polled every minute over connections that stay open; sensors open an AMQP connection every ten minutes; names are asked
    for every hour; somebody's laptop comes with another address each day, and asks for what nobody answers

Usage: month.py PROGRAM [DAYS]        default 45
"""

import http.client
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

from wire import ANSWER, QUESTION, START, checksum, site, tcp

DAY = 86_400
BEGIN = 1_790_000_000
POLLED, SENSORS = 30, 12
PIECES = 25
HELLO = b"AMQP\x00\x00\x09\x01"
MANAGER = bytes([10, 255, 255, 5])

SITE = site("month", "10.1.0.0/24", "10.255.255.5")


def udp(source, target, ports, payload):
    datagram = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0, source, target)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return b"\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00" + head + datagram


def lookup(number, name, answer):
    question = b"".join(bytes([len(label)]) + label for label in name) + b"\0\0\x01\0\x01"
    asked = struct.pack("!HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + question
    told = struct.pack("!HHHHHH", number & 0xFFFF, 0x8180, 1, 1, 0, 0) + question
    return asked, told + b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 300, 4) + answer


def day(number):
    """The packets of one day, by time."""
    packets = []
    add = lambda second, frame, after=0: packets.append((number * DAY + second, after, frame))
    for controller in range(POLLED):
        client, server = bytes([10, 100, 0, controller % 3]), bytes([10, 101, 0, controller])
        there, back = (client, server, (20_000 + controller, 502)), (server, client, (502, 20_000 + controller))
        if number == 0:
            add(0, tcp(*there, 0x02, 0xFFFF, 0))
            add(0, tcp(*back, 0x12, 0xFFFF, 0x10000), 1)
            add(0, tcp(*there, 0x10, 0x10000, 0x10000), 2)
        for minute in range(1, DAY // 60):
            polls = number * (DAY // 60 - 1) + minute - 1
            asked, told = 0x10000 + polls * len(QUESTION), 0x10000 + polls * len(ANSWER)
            add(60 * minute, tcp(*there, 0x18, asked, told, QUESTION))
            add(60 * minute, tcp(*back, 0x18, told, asked + len(QUESTION), ANSWER), 1)
    for sensor in range(SENSORS):
        client = bytes([10, 1, 0, 10 + sensor])
        for turn in range(DAY // 600):
            second, port = 600 * turn + 7 * sensor, 1024 + (number * 144 + turn) % 60_000
            there, back = (client, MANAGER, (port, 5672)), (MANAGER, client, (5672, port))
            one, other = number * 99_991 + turn * 7919, number * 104_729 + turn * 31
            frames = [
                tcp(*there, 0x02, one, 0),
                tcp(*back, 0x12, other, one + 1),
                tcp(*there, 0x10, one + 1, other + 1),
                tcp(*there, 0x18, one + 1, other + 1, HELLO),
                tcp(*back, 0x18, other + 1, one + 1 + len(HELLO), START),
                tcp(*there, 0x11, one + 1 + len(HELLO), other + 1 + len(START)),
                tcp(*back, 0x11, other + 1 + len(START), one + 2 + len(HELLO)),
            ]
            for place, frame in enumerate(frames):
                add(second, frame, place)
        for hour in range(24):
            asked, told = lookup(number * 24 + hour, (b"manager", b"plant", b"example"), MANAGER)
            ports = (1024 + (number * 24 + hour) % 60_000, 53)
            add(3600 * hour + sensor, udp(client, bytes([10, 255, 255, 53]), ports, asked))
            add(3600 * hour + sensor, udp(bytes([10, 255, 255, 53]), client, ports[::-1], told), 1)
    # A laptop of the day: tries ports that nobody answers, and asks for names that nobody else asks for.
    laptop = bytes([10, 77, number // 200, number % 200 + 1])
    for turn in range(200):
        add(40_000 + turn, tcp(laptop, bytes([10, 101, 0, turn % POLLED]), (40_000 + turn, 1000 + turn), 0x02, turn, 0))
        asked, told = lookup(turn, (b"d%dn%d" % (number, turn), b"example"), bytes([10, 99, number, turn % 256]))
        add(41_000 + turn, udp(laptop, bytes([10, 255, 255, 53]), (30_000 + turn, 53), asked))
        add(41_000 + turn, udp(bytes([10, 255, 255, 53]), laptop, (53, 30_000 + turn), told), 1)
    packets.sort(key=lambda packet: packet[:2])
    out = bytearray()
    for second, after, frame in packets:
        out += struct.pack("<IIII", BEGIN + second, 100 * after, len(frame), len(frame)) + frame
    return bytes(out), len(packets)


def get(folder, path):
    connection = http.client.HTTPConnection("localhost", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(folder / "http.sock"))
    connection.request("GET", path)
    return connection.getresponse().read().decode()


def metric(folder, name):
    return next((float(line.split()[1]) for line in get(folder, "/metrics").splitlines() if line.startswith(name + " ")), 0.0)


def spent(pid):
    """Processor time of all threads, in seconds."""
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1e9


def main():
    program, days = str(pathlib.Path(sys.argv[1]).resolve()), int(sys.argv[2]) if len(sys.argv) > 2 else 45
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spanaudit-month-"))
    (folder / "site.toml").write_text(SITE)
    os.mkfifo(folder / "wire.pcap")
    command = [program, "watch", "-r", str(folder / "wire.pcap"), "--site", str(folder / "site.toml"), "--every", "1s"]
    command += ["--events", str(folder / "events.jsonl"), "--state", str(folder / "state"), "--keep", "7d"]
    # The latest packets fill their room within days, not months.
    command += ["--recent", "2"]
    command += ["-o", str(folder / "report.json"), "--format", "json", "--http", f"unix:{folder / 'http.sock'}"]
    watch = subprocess.Popen(command)
    try:
        series, sent = [], 0
        with open(folder / "wire.pcap", "wb") as wire:
            # pcap, version 2.4, Ethernet.
            wire.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1))
            print(" day  resident MB  state MB  flows  conversations  microseconds a packet")
            for number in range(days):
                packets, count = day(number)
                before = spent(watch.pid)
                # In pieces, so that looks are taken on the way: of a recording that stands still nothing is read, and nothing judged.
                for piece in range(PIECES):
                    wire.write(packets[len(packets) * piece // PIECES : len(packets) * (piece + 1) // PIECES])
                    wire.flush()
                    time.sleep(0.1)
                sent += count
                cost = (spent(watch.pid) - before) / count * 1e6
                text = get(folder, "/api/v1/report")
                report = json.loads(text) if text.startswith("{") else {"conversations": []}
                state = sum(path.stat().st_size for path in (folder / "state").iterdir()) / 2**20
                row = (metric(folder, "spanaudit_resident_bytes") / 2**20, state, metric(folder, "spanaudit_flows"), len(report["conversations"]), cost)
                series.append(row)
                print(f"{number + 1:4}  {row[0]:11.1f}  {row[1]:8.1f}  {row[2]:5.0f}  {row[3]:13}  {row[4]:10.2f}", flush=True)
        status = watch.wait(60)
        report = json.loads((folder / "report.json").read_text())
        if status not in (0, 1, 3) or report["totals"]["packets"] != sent:
            print(f"FAIL  status {status}, {report['totals']['packets']} of {sent} packets", file=sys.stderr)
            return 1
        if days < 35:
            return 0
        # What is resident goes up and down by a twentieth as the allocator gives back: what a week has at most is what counts.
        most_of = lambda rows, what: max(row[what] for row in rows)
        # Looks are taken by the clock: on a machine with other work a day takes longer and has more of them. So the middle day of a week counts.
        middle = lambda rows, what: sorted(row[what] for row in rows)[len(rows) // 2]
        second, before, last = series[7:14], series[-21:-14], series[-7:]
        failed = False
        for what, name, of, then, week, most in (
            (0, "resident memory at most", most_of, before, "last week but two", 1.03),
            (1, "state", most_of, before, "last week but two", 1.05),
            (3, "conversations", most_of, second, "second week", 1.1),
            (4, "processor time a packet, middle day", middle, second, "second week", 1.25),
        ):
            growth = of(last, what) / of(then, what)
            print(f"{name}, from the {week} to the last: {growth - 1:+.1%}")
            failed |= growth > most
        if failed:
            print("FAIL  a month grows", file=sys.stderr)
        return int(failed)
    finally:
        watch.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

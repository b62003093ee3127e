#!/usr/bin/env python3
"""A wire of one's own: a veth pair in a network namespace, and a sender that fills it at a rate. The other tests here use both.

Frames lie ready in one buffer and go out by sendmmsg(2), so that Python is no brake: some 500,000 a second on one core.

`plant` is what a plant's wire carries: 2000 connections on which controllers are polled, and a few short ones that come and go.
`large` is a plant of 65,536 such connections, each a conversation of its own.
`flows` is the worst of all wires: short connections alone, none of which comes again.
`torn` is the same seen by a mirror that loses half of it, in stretches: connections without their opening or their end, and SYNs that nobody answers.

Usage, inside a namespace: wire.py INTERFACE plant|large|flows|torn|FILE PACKETS [PACKETS_A_SECOND]     0: as fast as it goes
"""

import ctypes
import json
import os
import pathlib
import random
import socket
import struct
import subprocess
import sys
import time

BATCH = 64
# linux/if_packet.h: send without the queueing discipline, which nobody needs on a veth.
PACKET_QDISC_BYPASS = 20
SOL_PACKET = 263
# Short connections in the buffer. Each time round they become others.
CONNECTIONS = 10_000


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.POINTER(Iovec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class Mmsghdr(ctypes.Structure):
    _fields_ = [("header", Msghdr), ("sent", ctypes.c_uint)]


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tcp(source, target, ports, flags, sequence, acknowledged, payload=b""):
    """An Ethernet frame with a TCP segment, checksums right."""
    segment = struct.pack("!HHIIBBHHH", *ports, sequence & 0xFFFFFFFF, acknowledged & 0xFFFFFFFF, 0x50, flags, 8192, 0, 0) + payload
    pseudo = source + target + struct.pack("!BBH", 0, 6, len(segment))
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0, source, target)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return b"\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00" + head + segment


START = b"\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x00\x00\x00\xce"


def connection(number):
    """The eight packets of one short AMQP connection, of a client and to a server of its own."""
    client = struct.pack("!BBBB", 10, 0, 64 + (number >> 8) % 64, number & 0xFF)
    server = struct.pack("!BBBB", 10, 255, 255, number % 200)
    port, one, other = 1024 + number % 60_000, number * 7919, number * 104_729
    there, back = (client, server, (port, 5672)), (server, client, (5672, port))
    hello = b"AMQP\x00\x00\x09\x01"
    return [
        tcp(*there, 0x02, one, 0),
        tcp(*back, 0x12, other, one + 1),
        tcp(*there, 0x10, one + 1, other + 1),
        tcp(*there, 0x18, one + 1, other + 1, hello),
        tcp(*back, 0x18, other + 1, one + 1 + len(hello), START),
        tcp(*there, 0x10, one + 1 + len(hello), other + 1 + len(START)),
        tcp(*there, 0x11, one + 1 + len(hello), other + 1 + len(START)),
        tcp(*back, 0x11, other + 1 + len(START), one + 2 + len(hello)),
    ]


STRIDE = 80
POLLED = 2000
LARGE = 65_536
QUESTION = b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x00\x00\x01"
ANSWER = b"\x00\x01\x00\x00\x00\x05\x01\x03\x02\x00\x07"


def polled(number):
    """The three packets that open a connection to a controller, and the two of its first poll."""
    client = struct.pack("!BBBB", 10, 100, 0, number % 50)
    server = struct.pack("!BBBB", 10, 101, number >> 8, number & 0xFF)
    port = 20_000 + number % 40_000
    there, back = (client, server, (port, 502)), (server, client, (502, port))
    opening = [tcp(*there, 0x02, 0x1FFFF, 0), tcp(*back, 0x12, 0x1FFFF, 0x20000), tcp(*there, 0x10, 0x20000, 0x20000)]
    poll = [tcp(*there, 0x18, 0x20000, 0x20000, QUESTION), tcp(*back, 0x18, 0x20000, 0x20000 + len(QUESTION), ANSWER)]
    return opening, poll


class Frames:
    """Frames one after the other in a buffer that stays where it is."""

    def __init__(self, frames, renewed=()):
        self.count = len(frames)
        self.renewed = renewed
        lengths = [len(frame) for frame in frames]
        if renewed:
            frames = [frame.ljust(STRIDE, b"\0") for frame in frames]
        self.bytes = bytearray(b"".join(frames))
        base = ctypes.addressof((ctypes.c_char * len(self.bytes)).from_buffer(self.bytes))
        self.iovecs = (Iovec * self.count)()
        self.messages = (Mmsghdr * self.count)()
        at = 0
        for number, length in enumerate(lengths):
            self.iovecs[number] = Iovec(base + at, length)
            self.messages[number].header.iov = ctypes.pointer(self.iovecs[number])
            self.messages[number].header.iovlen = 1
            at += STRIDE if renewed else length

    def renew(self, round):
        for renew in self.renewed:
            renew(self.bytes, round)


def others(first, count):
    """Makes other addresses of so many connections: an octet of one end rises as that of the other falls, so that every checksum stays right.
    The first 2560 rounds all differ."""

    def renew(buffer, round):
        # The second octets, then the first ones; of few connections the third ones before those.
        few = count <= 256
        octets = [(27, 31, round % 256, 255 - round % 256)]
        octets += [(28, 32, 64 + round // 256 % 64, 255 - round // 256 % 64)] * few
        tens = round // (256 * 64 if few else 256) % 10
        octets += [(26, 30, 10 + tens, 10 - tens)]
        for place, client in enumerate((True, False, True, True, False, True, True, False)):
            start, end = (first + place) * STRIDE, (first + 8 * count) * STRIDE
            for source, target, rising, falling in octets:
                # In a packet of the client the source is the client's, in one of the server the target.
                for at, value in zip((source, target) if client else (target, source), (rising, falling)):
                    buffer[start + at : end : 8 * STRIDE] = bytes([value]) * count

    return renew


def onward(first, count):
    """Moves the sequence numbers of polls on; the urgent pointer, which nobody points with, makes up for it in the checksum."""

    def renew(buffer, round):
        asked, answered = len(QUESTION) * round % 65_536, len(ANSWER) * round % 65_536
        undo = -(asked + answered) % 65_535
        for place, (one, other) in enumerate(((asked, answered), (answered, asked + len(QUESTION)))):
            start, end = (first + place) * STRIDE, (first + 2 * count) * STRIDE
            # The lower halves of sequence number and acknowledgement, and the urgent pointer.
            for at, value in ((40, one), (44, other), (52, undo)):
                for byte, part in enumerate(struct.pack("!H", value & 0xFFFF)):
                    buffer[start + at + byte : end : 2 * STRIDE] = bytes([part]) * count

    return renew


def flows():
    """Frames of connections that never come again."""
    frames = [frame for number in range(CONNECTIONS) for frame in connection(number)]
    return [Frames(frames, [others(0, CONNECTIONS)])]


def plant():
    """The opening of all connections, then polls on them, and in every hundred packets one of a connection that is new."""
    both = [polled(number) for number in range(POLLED)]
    polls = [frame for _, poll in both for frame in poll]
    new = POLLED * 2 // 100 // 8
    fresh = [frame for number in range(new) for frame in connection(number)]
    opening = Frames([frame for first, _ in both for frame in first])
    return [opening, Frames(polls + fresh, [onward(0, POLLED), others(len(polls), new)])]


def large():
    """The opening of very many connections, then polls on them."""
    both = [polled(number) for number in range(LARGE)]
    polls = Frames([frame for _, poll in both for frame in poll], [onward(0, LARGE)])
    return [Frames([frame for first, _ in both for frame in first]), polls]


def capture(path):
    """The frames of a pcap file of Ethernet."""
    data = pathlib.Path(path).read_bytes()
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    frames, at = [], 24
    while at + 16 <= len(data):
        (length,) = struct.unpack_from(f"{order}I", data, at + 8)
        frames.append(data[at + 16 : at + 16 + length])
        at += 16 + length
    return [Frames(frames)]


# How many frames in a row a torn wire sends, and then leaves out.
STRETCH = (1000, 9000)


def send(interface, series, packets, rate, torn=False):
    """Sends so many packets at a rate, the last of a series of frames again and again. Returns how many went out and in how many seconds."""
    chance, left = random.Random(1), 0
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    out.bind((interface, 0))
    out.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
    size = ctypes.sizeof(Mmsghdr)
    frames, *series = series
    sent, at, round = 0, 0, 0
    began = time.monotonic()
    while sent < packets:
        if rate:
            early = sent / rate - (time.monotonic() - began)
            if early > 0.0002:
                time.sleep(early)
        if torn and not left:
            at = min(at + chance.randrange(*STRETCH), frames.count - 1)
            left = chance.randrange(*STRETCH)
        most = min(BATCH, frames.count - at, packets - sent, left if torn else BATCH)
        done = sendmmsg(out.fileno(), ctypes.c_void_p(ctypes.addressof(frames.messages) + at * size), most, 0)
        if done < 0:
            time.sleep(0.0001)
            continue
        sent += done
        at += done
        left -= done
        if at == frames.count:
            at = 0
            if series:
                frames, *series = series
                continue
            round += 1
            frames.renew(round)
    return sent, time.monotonic() - began


def sh(command, check=True):
    return subprocess.run(command, shell=True, check=check, capture_output=True, text=True)


class Wire:
    """A veth pair `s0` to `s1` in a namespace of its own, without an address: nothing is on it but what is sent."""

    def __init__(self, name):
        self.name = f"sa{os.getpid() % 10000}-{name}"

    def __enter__(self):
        sh(f"ip netns add {self.name}")
        sh(f"ip netns exec {self.name} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        self.plug()
        return self

    def plug(self):
        sh(f"ip -n {self.name} link add s0 type veth peer name s1")
        for device in ("s0", "s1"):
            sh(f"ip -n {self.name} link set {device} up")

    def unplug(self):
        sh(f"ip -n {self.name} link del s0")

    def __exit__(self, *_):
        sh(f"ip netns del {self.name}", check=False)

    def start(self, command, **more):
        return subprocess.Popen(["ip", "netns", "exec", self.name, *map(str, command)], **more)

    def received(self, what="rx_packets", device="s1"):
        return int(sh(f"ip netns exec {self.name} cat /sys/class/net/{device}/statistics/{what}").stdout)

    def send(self, what, packets, rate=0):
        """Sends and waits until all is sent. Returns what wire.py says of it."""
        command = [sys.executable, __file__, "s0", what, packets, rate]
        return json.loads(self.start(command, stdout=subprocess.PIPE, text=True).communicate()[0])


def site(name, sensors, manager):
    """A site file of one sensor's or many sensors' addresses and their manager's."""
    return f"""[site]
name = "{name}"
rulesets = ["opswat-md-ot-security"]

[roles]
network-sensor = ["{sensors}"]
site-manager = ["{manager}"]
"""


def main():
    interface, what, packets = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rate = float(sys.argv[4]) if len(sys.argv) > 4 else 0
    series = {"flows": flows, "torn": flows, "plant": plant, "large": large}.get(what, lambda: capture(what))()
    sent, seconds = send(interface, series, packets or sum(frames.count for frames in series), rate, what == "torn")
    print(json.dumps({"sent": sent, "seconds": seconds}))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes a recording of Modbus polls, the same each time: what benches/instructions.sh counts over where there is no other.

    polls.py OUT.pcap [PACKETS]
"""

import struct
import sys

CONNECTIONS = 200
SYN, ACK, PUSH = 0x02, 0x10, 0x08


class End:
    def __init__(self, address, port, sequence):
        self.address, self.port, self.next = address, port, sequence


def frame(number, sender, receiver, flags, payload):
    acknowledgement = receiver.next if flags & ACK else 0
    tcp = struct.pack(
        ">HHIIBBHHH", sender.port, receiver.port, sender.next, acknowledgement, 0x50, flags, 0x4000, number & 0xFFFF, 0
    )
    length = 20 + len(tcp) + len(payload)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, length, number & 0xFFFF, 0, 64, 6, 0, sender.address, receiver.address)
    ethernet = b"\x02\0" + receiver.address + b"\x02\0" + sender.address + b"\x08\0"
    sender.next = (sender.next + len(payload) + bool(flags & SYN)) & 0xFFFFFFFF
    return ethernet + ip + tcp + payload


def packets():
    number = 0
    pairs = [
        (End(bytes([10, 1, 0, n]), 40000 + n, n << 20), End(bytes([10, 1, 9, n % 20]), 502, n << 12))
        for n in range(CONNECTIONS)
    ]
    for client, server in pairs:
        for sender, receiver, flags in [(client, server, SYN), (server, client, SYN | ACK), (client, server, ACK)]:
            number += 1
            yield frame(number, sender, receiver, flags, b"")
    turn = 0
    while True:
        turn = turn + 1 & 0xFFFF
        for client, server in pairs:
            head = struct.pack(">HH", turn, 0)
            number += 1
            yield frame(number, client, server, PUSH | ACK, head + b"\0\x06\x01\x03\0\0\0\x01")
            number += 1
            yield frame(number, server, client, PUSH | ACK, head + b"\0\x05\x01\x03\x02\0\x07")


def main():
    out, most = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 50000
    with open(out, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for at, bytes_ in zip(range(most), packets()):
            microseconds = at * 250
            header = (1_767_225_600 + microseconds // 1_000_000, microseconds % 1_000_000, len(bytes_), len(bytes_))
            file.write(struct.pack("<IIII", *header) + bytes_)


if __name__ == "__main__":
    main()

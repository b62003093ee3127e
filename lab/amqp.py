"""A small AMQP 0-9-1 client: signs in at a broker, publishes one message to a queue of its own, closes.

usage: amqp.py HOST PORT USER PASSWORD SECONDS

Frames as the AMQP 0-9-1 specification has them (section 4.2); methods by their class and method numbers (section 1.4).
"""

import socket
import struct
import sys

METHOD, HEADER, BODY, END = 1, 2, 3, 0xCE
START, START_OK, TUNE, TUNE_OK = (10, 10), (10, 11), (10, 30), (10, 31)
OPEN, OPEN_OK, CLOSE, CLOSE_OK = (10, 40), (10, 41), (10, 50), (10, 51)
CHANNEL_OPEN, CHANNEL_OPEN_OK = (20, 10), (20, 11)
QUEUE_DECLARE, QUEUE_DECLARE_OK = (50, 10), (50, 11)
PUBLISH = (60, 40)


def short(text):
    return bytes([len(text)]) + text.encode()


def long(data):
    return struct.pack(">I", len(data)) + data


class Broker:
    """One connection to a broker."""

    def __init__(self, host, port, seconds):
        self.socket = socket.create_connection((host, port), timeout=seconds)
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")

    def send(self, kind, channel, payload):
        self.socket.sendall(struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes([END]))

    def call(self, method, arguments=b"", channel=0):
        self.send(METHOD, channel, struct.pack(">HH", *method) + arguments)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError("the broker closed the connection")
            data += more
        return data

    def await_method(self, wanted):
        """Arguments of the next method, which has to be the wanted one."""
        while True:
            kind, _, size = struct.unpack(">BHI", self.exactly(7))
            payload = self.exactly(size + 1)[:-1]
            if kind == METHOD:
                break
        method = struct.unpack(">HH", payload[:4])
        if method != wanted:
            raise ValueError(f"the broker says {method} {payload[4:]!r} where {wanted} was due")
        return payload[4:]


def main():
    host, port, user, password, seconds = sys.argv[1:]
    broker = Broker(host, int(port), float(seconds))
    broker.await_method(START)
    # A client that says so is told why it is not let in (RabbitMQ); others just lose the connection.
    frank = short("authentication_failure_close") + b"t\x01"
    properties = short("capabilities") + b"F" + long(frank)
    broker.call(START_OK, long(properties) + short("PLAIN") + long(f"\0{user}\0{password}".encode()) + short("en_US"))
    channels, frame, heartbeat = struct.unpack(">HIH", broker.await_method(TUNE))
    broker.call(TUNE_OK, struct.pack(">HIH", channels, frame, heartbeat))
    broker.call(OPEN, short("/") + short("") + b"\0")
    broker.await_method(OPEN_OK)
    broker.call(CHANNEL_OPEN, short(""), 1)
    broker.await_method(CHANNEL_OPEN_OK)
    # An exclusive queue with a name of the broker's own, gone when the connection is.
    broker.call(QUEUE_DECLARE, struct.pack(">H", 0) + short("") + bytes([0b0000_0100]) + long(b""), 1)
    broker.await_method(QUEUE_DECLARE_OK)
    message = b"a message of the lab"
    broker.call(PUBLISH, struct.pack(">H", 0) + short("") + short("lab") + b"\0", 1)
    broker.send(HEADER, 1, struct.pack(">HHQH", 60, 0, len(message), 0))
    broker.send(BODY, 1, message)
    broker.call(CLOSE, struct.pack(">H", 200) + short("done") + struct.pack(">HH", 0, 0))
    broker.await_method(CLOSE_OK)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Holds `spanaudit watch` against a small plant: hosts in network namespaces, a switch that floods every frame to a mirror port, a router
that is told to block. Needs root, iproute2 and python3. Every change has to be told within seconds, none may be invented, and not one
frame may leave the capture interface.

    plant:  cli 10.1.2.10 -- switch -- router -- srv 10.1.9.5        mirror: switch -- probe

Usage: live.py PROGRAM [SECONDS OF SILENCE]        default 20
"""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from wire import site

TAG = f"sa{os.getpid() % 10000}"
NAMES = {name: f"{TAG}-{name}" for name in ("cli", "sw", "rt", "srv", "probe")}
SITE = site("live-test", "10.1.2.10", "10.1.9.5")

# Answers the AMQP 0-9-1 protocol header with Connection.Start, and anything on 2222 with an SSH banner.
SERVER = r"""
import socketserver, threading
START = b"\x01\x00\x00\x00\x00\x00\x1c\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US\xce"
def serve(port, answer):
    class One(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.settimeout(5)
            try:
                if self.request.recv(100):
                    self.request.sendall(answer)
                self.request.recv(100)
            except OSError:
                pass
    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
    threading.Thread(target=Server(("0.0.0.0", port), One).serve_forever).start()
serve(5672, START)
serve(3006, START)
serve(2222, b"SSH-2.0-test\r\n")
"""

# Opens a connection a second; given up after eight, so that a block shows its four SYNs.
CLIENT = r"""
import socket, sys, time
port, greeting, times = int(sys.argv[1]), sys.argv[2].encode().decode("unicode_escape").encode("latin-1"), int(sys.argv[3])
while times:
    times -= 1
    try:
        with socket.create_connection(("10.1.9.5", port), timeout=8) as s:
            s.settimeout(2)
            s.sendall(greeting)
            s.recv(100)
    except OSError:
        pass
    time.sleep(1)
"""


def sh(command, check=True):
    return subprocess.run(command, shell=True, check=check, capture_output=True, text=True)


def inside(name, command, **more):
    return subprocess.Popen(["ip", "netns", "exec", NAMES[name], *command], **more)


def build():
    for name in NAMES.values():
        sh(f"ip netns add {name}")
    n = NAMES
    for one, a, other, b in (
        ("cli", "e0", "sw", "p1"),
        ("rt", "a0", "sw", "p2"),
        ("probe", "m1", "sw", "p3"),
        ("probe", "m2", "sw", "p4"),
        ("rt", "b0", "srv", "e0"),
    ):
        sh(f"ip link add {a} netns {n[one]} type veth peer name {b} netns {n[other]}")
    for name in n:
        # Nothing but what the test sends is to be on the wires.
        sh(f"ip netns exec {n[name]} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        sh(f"ip -n {n[name]} link set lo up")
    # A switch that forgets every address at once floods every frame to every port: a mirror port for everybody.
    sh(f"ip -n {n['sw']} link add br0 type bridge ageing_time 0")
    sh(f"ip -n {n['sw']} link set br0 up")
    for port in ("p1", "p2", "p3", "p4"):
        sh(f"ip -n {n['sw']} link set {port} master br0 up")
    for name, device, address in (
        ("cli", "e0", "10.1.2.10/24"),
        ("rt", "a0", "10.1.2.1/24"),
        ("rt", "b0", "10.1.9.1/24"),
        ("srv", "e0", "10.1.9.5/24"),
    ):
        sh(f"ip -n {n[name]} addr add {address} dev {device}")
        sh(f"ip -n {n[name]} link set {device} up")
    for device in ("m1", "m2"):
        sh(f"ip -n {n['probe']} link set {device} up")
    sh(f"ip -n {n['cli']} route add default via 10.1.2.1")
    sh(f"ip -n {n['srv']} route add default via 10.1.9.1")
    sh(f"ip netns exec {n['rt']} sysctl -qw net.ipv4.ip_forward=1")


def sent():
    paths = "/sys/class/net/m1/statistics/tx_packets /sys/class/net/m2/statistics/tx_packets"
    return sum(map(int, sh(f"ip netns exec {NAMES['probe']} cat {paths}").stdout.split()))


def block(how):
    sh(f"ip -n {NAMES['rt']} rule add pref 100 ipproto tcp dport 5672 {how}")


def unblock():
    sh(f"ip -n {NAMES['rt']} rule del pref 100")


class Failed(Exception):
    pass


class Watch:
    """One run of the program, and the events that it has told."""

    def __init__(self, program, folder, *more):
        self.folder = folder
        self.events = folder / "events.jsonl"
        self.seen = len(self.lines())
        command = [program, "watch", "-i", "m1", "--site", str(folder / "site.toml"), "--every", "1s", "--silence", "10s"]
        command += ["--events", str(self.events), "--report", str(folder / "report.json"), "--format", "json"]
        command += ["--state", str(folder / "state"), "--http", f"unix:{folder / 'http.sock'}"]
        command += ["--evidence", str(folder / "evidence"), *more]
        self.process = inside("probe", command)

    def lines(self):
        try:
            text = self.events.read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines() if line]

    def wait(self, what, within, **wanted):
        """Waits for an event that was not waited for yet."""
        began = time.monotonic()
        while time.monotonic() - began < within:
            if self.process.poll() is not None:
                raise Failed(f"{what}: the watch has ended with {self.process.returncode}")
            for number, event in enumerate(self.lines()[self.seen :]):
                if all(str(event.get(key)) == value for key, value in wanted.items()):
                    self.seen += number + 1
                    print(f"ok    {what}: told after {time.monotonic() - began:.1f} s", flush=True)
                    return event
            time.sleep(0.2)
        rest = "\n".join(f"      {event['event']}: {event['message']}" for event in self.lines()[self.seen :])
        raise Failed(f"{what}: not told within {within} s; instead:\n{rest}")

    def none(self, what, seconds, *names):
        """Makes sure that nothing of the kind is told for so long."""
        time.sleep(seconds)
        wrong = [event for event in self.lines()[self.seen :] if event["event"] in names]
        if wrong:
            raise Failed(f"{what}: told {wrong[0]['event']}: {wrong[0]['message']}")
        print(f"ok    {what}: nothing told for {seconds} s", flush=True)

    def skip(self):
        """What was told so far is not waited for any more."""
        self.seen = len(self.lines())

    def pid(self):
        return self.process.pid

    def get(self, path):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.folder / "http.sock"))
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(20)

    def signal(self, number):
        self.process.send_signal(number)


def verdicts(report):
    return sorted((r["rule"], r["source"], r["target"], r["verdict"], str(r["mechanism"])) for r in report["requirements"])


def test(program, folder, silence):
    (folder / "site.toml").write_text(SITE)
    (folder / "state").mkdir()
    (folder / "evidence").mkdir()
    for path in (folder, folder / "state", folder / "evidence"):
        path.chmod(0o777)
    began = time.monotonic()
    peers = [inside("srv", [sys.executable, "-c", SERVER])]
    recorder = None
    try:
        if shutil.which("tcpdump"):
            recorder = inside(
                "probe",
                ["tcpdump", "-i", "m1", "-w", str(folder / "same.pcap"), "-U", "-q", "-Z", "root"],
                stderr=subprocess.DEVNULL,
            )
            time.sleep(1)
        watch = Watch(program, folder)
        watch.wait("the beginning", 10, event="watch-started")
        amqp = [sys.executable, "-c", CLIENT, "5672", r"AMQP\x00\x00\x09\x01", "-1"]
        peers.append(inside("cli", amqp))
        works = {"event": "verdict-changed", "verdict": "satisfied", "rule": "queue-sensor-to-site"}
        fails = {"event": "verdict-changed", "verdict": "blocked", "rule": "queue-sensor-to-site"}
        watch.wait("a documented flow works", 10, **works)
        watch.none("a plant at peace", 10, "verdict-changed", "finding-opened", "conversation-unexpected", "vantage-degraded")

        block("blackhole")
        watch.wait("a firewall drops", 25, mechanism="dropped", **fails)
        watch.wait("its finding", 5, event="finding-opened", kind="blocked")
        unblock()
        watch.wait("it works again", 15, **works)
        watch.wait("the finding is over", 5, event="finding-resolved")

        block("prohibit")
        watch.wait("a firewall prohibits", 15, mechanism="prohibited", **fails)
        unblock()
        watch.wait("it works again", 15, **works)

        stranger = inside("cli", [sys.executable, "-c", CLIENT, "2222", r"SSH-2.0-x\r\n", "3"])
        watch.wait("a flow that nobody documented", 10, event="conversation-unexpected", port="2222")
        stranger.wait(30)
        watch.none("the same flow again", 5, "conversation-unexpected")

        watch.signal(signal.SIGUSR1)
        deadline = time.monotonic() + 10
        while not (folder / "report.json").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        json.loads((folder / "report.json").read_text())
        print("ok    a report on SIGUSR1")
        status, text = watch.get("/metrics")
        assert status == 200 and "spanaudit_packets_total" in text and text.endswith("# EOF\n"), text
        status, text = watch.get("/api/v1/report")
        assert status == 200 and json.loads(text)["schema"] == "spanaudit.report/1"
        assert watch.get("/healthz")[0] == 200
        print("ok    metrics, health and report over the unix socket")

        (folder / "site.toml").write_text(SITE + "\n[[nonsense]]\n")
        watch.signal(signal.SIGHUP)
        watch.wait("a broken site is refused", 5, event="reload-refused")
        (folder / "site.toml").write_text(SITE + '\n[[allow]]\nfrom = "10.1.2.10"\nto = "10.1.9.5"\nservice = "tcp/2222"\nreason = "test"\n')
        watch.signal(signal.SIGHUP)
        watch.wait("a mended site is read", 5, event="reloaded")
        watch.wait("what it allows is no finding any more", 8, event="finding-resolved")

        status = watch.end()
        if recorder:
            time.sleep(1)
            recorder.send_signal(signal.SIGINT)
            recorder.wait(10)
            live = json.loads((folder / "report.json").read_text())
            told = subprocess.run(
                [program, "audit", str(folder / "same.pcap"), "--site", str(folder / "site.toml"), "--format", "json"],
                capture_output=True,
                text=True,
            )
            offline = json.loads(told.stdout)
            if verdicts(live) != verdicts(offline):
                raise Failed(f"live {verdicts(live)}\noffline {verdicts(offline)}")
            if status != told.returncode:
                raise Failed(f"status {status} live, {told.returncode} offline")
            print(f"ok    the same verdicts live ({live['inputs'][0]['packets']} packets) and from a recording ({offline['inputs'][0]['packets']})")

        watch = Watch(program, folder)
        watch.wait("it goes on after a restart", 10, event="watch-started")
        sh(f"ip -n {NAMES['sw']} link set p3 down")
        watch.wait("the mirror is unplugged", 10, event="vantage-degraded", condition="interface-down")
        time.sleep(5)
        sh(f"ip -n {NAMES['sw']} link set p3 up")
        watch.wait("it is plugged in again", 10, event="vantage-recovered", condition="interface-down")

        probe = NAMES["probe"]
        sh(f"ip -n {probe} link set m1 down && ip -n {probe} link set m1 name m9 && ip -n {probe} link set m9 up")
        time.sleep(3)
        before = packets(watch)
        time.sleep(3)
        if packets(watch) <= before:
            raise Failed("an interface with a new name is not listened to any more")
        print("ok    an interface that was renamed is listened to all the same")
        sh(f"ip -n {probe} link set m9 down && ip -n {probe} link set m9 name m1 && ip -n {probe} link set m1 up")
        time.sleep(3)
        watch.skip()
        unplug(watch)
        before = packets(watch)
        time.sleep(3)
        if packets(watch) <= before:
            raise Failed("an interface that was put back is not listened to")
        who = pathlib.Path(f"/proc/{watch.pid()}/status").read_text()
        if "Uid:\t0" in who or "CapEff:\t0000000000000000" not in who:
            raise Failed("the watch has privileges")
        print("ok    an interface that was taken out and put back is listened to, without any privileges")

        block("blackhole")
        watch.wait("a block", 25, **fails)
        watch.wait("its finding", 5, event="finding-opened")
        time.sleep(2)
        watch.end(signal.SIGKILL)
        watch = Watch(program, folder)
        watch.wait("it goes on after kill -9", 10, event="watch-started")
        watch.none("what is known is not told again", 20, "finding-opened", "finding-resolved", "verdict-changed")
        evidence(program, folder, watch)
        unblock()
        watch.wait("it works again", 15, **works)
        watch.wait("the finding of the run before is over", 8, event="finding-resolved")

        peers.pop().kill()
        watch.wait("the wire falls silent", 25, event="vantage-degraded", condition="silent")
        watch.none("silence means nothing", silence, "verdict-changed", "finding-opened", "conversation-unexpected")
        peers.append(inside("cli", amqp))
        watch.wait("the wire speaks again", 10, event="vantage-recovered", condition="silent")

        disk_full(program, folder)
        rings(program, folder, works, fails)
        numbers = [event["seq"] for event in watch.lines()]
        # At least once: after kill -9 what may not have arrived is told again.
        print(f"note  {len(numbers)} events, {len(numbers) - len(set(numbers))} of them told again after kill -9")
        if status not in (0, 1, 3) or watch.end() not in (0, 1, 3):
            raise Failed("the watch did not end with a status of audit")
        refusals(program, began)
        if sent():
            raise Failed(f"{sent()} frames were sent on the capture interface")
        print("ok    not one frame was sent on the capture interface")
    finally:
        for peer in peers:
            peer.kill()
        if recorder and recorder.poll() is None:
            recorder.kill()


def refusals(program, began):
    """The kernel notes system calls that are refused; a watch that is well makes none. Others may: tests of the filter do so on purpose."""
    done = sh("dmesg", check=False)
    stamp = lambda line: float(line[1:].split("]")[0])
    lines = [line for line in done.stdout.splitlines() if "type=1326" in line and f'exe="{program}"' in line and stamp(line) >= began]
    if lines:
        raise Failed("system calls were refused:\n" + "\n".join(lines))
    print("ok    no system call was refused" if done.returncode == 0 else "note  the kernel's log can't be read here")


def packets(watch):
    text = watch.get("/metrics")[1]
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("spanaudit_packets_total ")))


def evidence(program, folder, watch):
    """The packets of a finding that an earlier run opened are there, and the report can be explained."""
    shutil.rmtree(folder / "evidence", ignore_errors=True)
    (folder / "evidence").mkdir()
    (folder / "evidence").chmod(0o777)
    (folder / "report.json").unlink(missing_ok=True)
    watch.signal(signal.SIGUSR1)
    deadline = time.monotonic() + 10
    while not (folder / "evidence" / "SHA256SUMS").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    files = sorted((folder / "evidence").glob("*-blocked-*.pcapng"))
    if not files:
        raise Failed(f"no evidence of the block: {sorted(path.name for path in (folder / 'evidence').iterdir())}")
    index = json.loads((folder / "evidence" / "index.json").read_text())
    if index["left_out"]:
        raise Failed(f"evidence left out: {index['left_out']}")
    if shutil.which("tcpdump"):
        text = sh(f"tcpdump -nr {files[0]}").stdout
        if "10.1.2.10" not in text or "Flags [S]" not in text:
            raise Failed(f"the evidence shows no SYN:\n{text}")
    finding = next(f["id"] for f in json.loads((folder / "report.json").read_text())["findings"] if f["kind"] == "blocked")
    text = sh(f"{program} explain {folder / 'report.json'} {finding}").stdout
    if "10.1.2.10" not in text:
        raise Failed(f"the finding is not explained:\n{text}")
    print(f"ok    after kill -9 the packets of the open finding are there, {files[0].stat().st_size} bytes, and it is explained")


def unplug(watch):
    """Takes the mirror port out of a watch, and puts another in its place."""
    probe = NAMES["probe"]
    sh(f"ip -n {probe} link del m1")
    watch.wait("the interface is taken out", 10, event="vantage-degraded", condition="interface-down")
    time.sleep(2)
    sh(f"ip link add m1 netns {probe} type veth peer name p3 netns {NAMES['sw']}")
    sh(f"ip -n {NAMES['sw']} link set p3 master br0 up && ip -n {probe} link set m1 up")
    watch.wait("another is put in its place", 10, event="vantage-recovered", condition="interface-down")


def rings(program, folder, works, fails):
    """A second watch, with three rings on the port, which is taken out twice and renamed once."""
    own = folder / "rings"
    for path in (own, own / "state", own / "evidence"):
        path.mkdir()
        path.chmod(0o777)
    (own / "site.toml").write_text(SITE)
    watch = Watch(program, own, "--threads", "3")
    watch.wait("three rings begin", 10, event="watch-started")
    watch.wait("a documented flow works", 10, **works)
    for _ in range(2):
        unplug(watch)
        before = packets(watch)
        time.sleep(3)
        if packets(watch) <= before:
            raise Failed("an interface with several rings that was put back is not listened to")
    probe = NAMES["probe"]
    sh(f"ip -n {probe} link set m1 down && ip -n {probe} link set m1 name m8 && ip -n {probe} link set m8 up")
    time.sleep(3)
    watch.skip()
    before = packets(watch)
    time.sleep(3)
    if packets(watch) <= before:
        raise Failed("an interface with several rings and a new name is not listened to")
    block("blackhole")
    watch.wait("a block after all that", 25, **fails)
    unblock()
    watch.wait("it works again", 15, **works)
    sh(f"ip -n {probe} link set m8 down && ip -n {probe} link set m8 name m1 && ip -n {probe} link set m1 up")
    if watch.end() not in (0, 1, 3):
        raise Failed("the watch with three rings did not end with a status of audit")
    notes = json.loads((own / "report.json").read_text())["vantage"]["notes"]
    if not any("comes through 3 smaller rings since" in note for note in notes):
        raise Failed(f"nobody tells that its rings are smaller: {notes}")
    print("ok    three rings survive two replugs and a new name")


def disk_full(program, folder):
    """Fills the disk that holds the events and the state of a second watch, which listens to two mirror ports of one plant, has something
    happen, and makes room again."""
    small = folder / "small"
    small.mkdir()
    sh(f"mount -t tmpfs -o size=6m,mode=777 tmpfs {small}")
    try:
        (small / "site.toml").write_text(SITE)
        command = [program, "watch", "-i", "m1", "-i", "m2", "--site", str(small / "site.toml"), "--every", "1s"]
        command += ["--events", str(small / "events.jsonl"), "--state", str(small / "state")]
        other = inside("probe", command)
        time.sleep(5)
        sh(f"head -c 8M /dev/zero > {small}/filler", check=False)
        before = (small / "events.jsonl").read_text().count("\n")
        block("prohibit")
        time.sleep(8)
        unblock()
        time.sleep(4)
        (small / "filler").unlink()
        # The state is saved every five seconds where nothing happens.
        time.sleep(8)
        other.send_signal(signal.SIGTERM)
        other.wait(20)
        events = [json.loads(line) for line in (small / "events.jsonl").read_text().splitlines() if line.startswith("{")]
        numbers = [event["seq"] for event in events]
        if numbers != list(range(1, len(numbers) + 1)) or len(numbers) < before + 3:
            raise Failed(f"a full disk lost events: {numbers}, {before} before")
        print("ok    a full disk holds events up and loses none")
        state = [event["event"] for event in events if event["event"].startswith("write-")]
        if state != ["write-failed", "write-recovered"]:
            raise Failed(f"of the state on a full disk was told {state}")
        again = inside("probe", command)
        time.sleep(4)
        again.send_signal(signal.SIGTERM)
        again.wait(20)
        told = [json.loads(line) for line in (small / "events.jsonl").read_text().splitlines()[len(events) :]]
        if "goes on where an earlier run left off" not in told[0]["message"] or "state-unreadable" in [event["event"] for event in told]:
            raise Failed(f"the state did not survive a full disk: {told}")
        print("ok    the state is told as failing, is written again, and is found by the next run")
        spoil(small / "state" / "watch-1.redb")
        seen = len((small / "events.jsonl").read_text().splitlines())
        again = inside("probe", command)
        time.sleep(5)
        again.send_signal(signal.SIGTERM)
        again.wait(20)
        told = [json.loads(line)["event"] for line in (small / "events.jsonl").read_text().splitlines()[seen:]]
        if "state-unreadable" not in told or not (small / "state" / "watch-1.unreadable.redb").exists():
            raise Failed(f"of a state that can't be read was told {told}")
        print("ok    a state that can't be read is moved aside, and that is told")
        queue = [event["verdict"] for event in events if event.get("rule") == "queue-sensor-to-site"]
        if queue != ["satisfied", "blocked", "satisfied"]:
            raise Failed(f"two ports told {queue}")
        print("ok    two mirror ports of one plant tell what one does")
    finally:
        sh(f"umount {small}", check=False)


def spoil(path):
    """Writes over all but the first page of a file."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    if os.geteuid() != 0 or not shutil.which("ip"):
        print("live-test: needs root and iproute2; not run")
        return 0
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spanaudit-live-"))
    try:
        build()
        test(program, folder, float(sys.argv[2]) if len(sys.argv) > 2 else 20)
        return 0
    except (Failed, subprocess.CalledProcessError, AssertionError) as error:
        print(f"FAIL  {error}", getattr(error, "stderr", "") or "", file=sys.stderr)
        return 1
    finally:
        for name in NAMES.values():
            for pid in sh(f"ip netns pids {name}", check=False).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            sh(f"ip netns del {name}", check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

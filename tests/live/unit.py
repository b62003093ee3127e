#!/usr/bin/env python3
"""The shipped systemd unit under a systemd of its own: PID 1 of namespaces in which /etc, /run, /var/lib and /var/log are nobody else's.
The unit has to come up unprivileged and confined, tell its events, survive a reload, be started anew by the watchdog once it hangs, and
end as one that succeeded. Needs root, systemd and iproute2.

Usage: unit.py PROGRAM
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from wire import site

HERE = pathlib.Path(__file__).resolve().parent
UNIT = HERE.parents[1] / "contrib" / "spanaudit-watch@.service"
SYSTEMD = "/lib/systemd/systemd"

BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs {folder}/layers
mkdir {folder}/layers/up {folder}/layers/work
mount -t overlay overlay -o lowerdir=/etc,upperdir={folder}/layers/up,workdir={folder}/layers/work /etc
for empty in /run /etc/systemd/system /var/lib /var/log /usr/local/bin; do mount -t tmpfs tmpfs $empty; done
mkdir -p /run/systemd/system /run/lock /etc/spanaudit /etc/systemd/system/spanaudit-watch@s1.service.d
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd 2>/dev/null || true
echo 'spanaudit:x:987:987::/:/usr/sbin/nologin' >> /etc/passwd
echo 'spanaudit:x:987:' >> /etc/group
cp {folder}/site.toml /etc/spanaudit/
cp {folder}/test.target /etc/systemd/system/
sed 's#/usr/bin/spanaudit#/usr/local/bin/spanaudit#' {unit} > /etc/systemd/system/spanaudit-watch@.service
printf '[Unit]\\nDefaultDependencies=no\\n[Service]\\nWatchdogSec=6\\nRestartSec=1\\n' > /etc/systemd/system/spanaudit-watch@s1.service.d/test.conf
cp {program} /usr/local/bin/spanaudit
ip link set lo up
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link add s0 type veth peer name s1
ip link set s0 up
ip link set s1 up
export container=lxc
exec {systemd} --system --unit=test.target --log-target=null --show-status=0
"""

SITE = site("unit", "10.0.64.0/18", "10.255.255.250")

NAME = "spanaudit-watch@s1.service"


class Failed(Exception):
    pass


class Machine:
    def __init__(self, program, folder):
        (folder / "layers").mkdir()
        (folder / "site.toml").write_text(SITE)
        (folder / "test.target").write_text("[Unit]\nDescription=test\nAllowIsolate=yes\nDefaultDependencies=no\n")
        boot = BOOT.format(folder=folder, unit=UNIT, program=program, systemd=SYSTEMD)
        self.groups = [path / f"spanaudit-{os.getpid()}" for path in self.hierarchies()]
        for group in self.groups:
            group.mkdir()
        join = lambda: [(group / "cgroup.procs").write_text(str(os.getpid())) for group in self.groups]
        command = ["unshare", "-m", "-p", "-f", "-u", "-i", "-n", "-C", "--kill-child", "--mount-proc", "bash", "-c", boot]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=join)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            self.init = children[0] if children else None
            if self.init and self.run("systemctl", "is-active", "test.target").stdout.strip() == "active":
                return
            time.sleep(0.3)
        self.close()
        raise Failed("systemd did not come up")

    @staticmethod
    def hierarchies():
        known = [pathlib.Path("/sys/fs/cgroup") / name for name in ("systemd", "unified")]
        return [path for path in known if path.is_dir()] or [pathlib.Path("/sys/fs/cgroup")]

    def run(self, *command):
        return subprocess.run(
            ["nsenter", "-t", self.init, "-m", "-p", "-u", "-i", "-n", "-C", *map(str, command)], capture_output=True, text=True
        )

    def show(self, what):
        return self.run("systemctl", "show", NAME, "--value", "-p", what).stdout.strip()

    def until(self, what, within, holds):
        began = time.monotonic()
        while time.monotonic() - began < within:
            if holds():
                print(f"ok    {what}: after {time.monotonic() - began:.1f} s", flush=True)
                return
            time.sleep(0.3)
        about = self.run("systemctl", "status", NAME).stdout
        raise Failed(f"{what}: not within {within} s\n{about}")

    def events(self, word):
        return self.run("grep", "-c", f'"event":"{word}"', "/var/log/spanaudit/s1.jsonl").stdout.strip() not in ("", "0")

    def close(self):
        self.process.kill()
        self.process.wait()
        time.sleep(0.5)
        for group in self.groups:
            for path in [*sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True), group]:
                try:
                    path.rmdir()
                except OSError as why:
                    print(f"note  {path} stays behind: {why}")


def test(machine):
    machine.run("systemctl", "start", NAME)
    machine.until("the unit is up and has said so", 20, lambda: machine.show("ActiveState") == "active")
    pid = machine.show("MainPID")
    status = machine.run("cat", f"/proc/{pid}/status").stdout
    facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    seen = {key: facts[key].split()[0] for key in ("Uid", "CapEff", "CapPrm", "CapAmb", "NoNewPrivs", "Seccomp")}
    wanted = {"Uid": "987", "CapEff": "0" * 16, "CapPrm": "0" * 16, "CapAmb": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
    if seen != wanted:
        raise Failed(f"it runs with {seen}")
    print("ok    as its own user, without a capability, confined")
    sender = machine.run(sys.executable, HERE / "wire.py", "s0", "flows", 1600, 4000)
    if '"sent": 1600' not in sender.stdout:
        raise Failed(sender.stderr)
    machine.until("events are told", 15, lambda: machine.events("conversation-unexpected"))
    machine.until("it says how it goes", 15, lambda: "1600 packets" in machine.show("StatusText"))
    health = machine.run("curl", "-s", "--unix-socket", "/run/spanaudit/s1/http.sock", "http://localhost/healthz").stdout
    if health != "ok\n":
        raise Failed(f"health: {health}")
    print("ok    it answers on its unix socket")

    machine.run("sh", "-c", "echo '[[nonsense]]' >> /etc/spanaudit/site.toml")
    machine.run("systemctl", "reload", NAME)
    machine.until("a broken site is refused", 10, lambda: machine.events("reload-refused"))
    machine.run("sh", "-c", "sed -i /nonsense/d /etc/spanaudit/site.toml")
    machine.run("systemctl", "reload", NAME)
    machine.until("a mended one is read", 10, lambda: machine.events("reloaded"))

    if machine.show("NRestarts") != "0":
        raise Failed("it was started anew")
    time.sleep(8)
    if machine.show("NRestarts") != "0" or machine.show("MainPID") != pid:
        raise Failed("the watchdog bites one that is well")
    print("ok    the watchdog lets one that is well alone")
    machine.run("kill", "-STOP", pid)
    machine.until("one that hangs is started anew", 30, lambda: machine.show("NRestarts") == "1" and machine.show("ActiveState") == "active")
    machine.until("it goes on where it left off", 10, lambda: machine.run("grep", "-c", "goes on where an earlier run left off", "/var/log/spanaudit/s1.jsonl").stdout.strip() == "1")

    machine.run("systemctl", "stop", NAME)
    state, result = machine.show("ActiveState"), machine.show("Result")
    if (state, result) != ("inactive", "success"):
        raise Failed(f"it ended {state}, {result}: status {machine.show('ExecMainStatus')}")
    left = machine.run("ls", "/var/lib/spanaudit/s1").stdout.split()
    if not {"report.json", "evidence", "watch-1.redb"} <= set(left):
        raise Failed(f"it left {left}")
    print(f"ok    it ends with status {machine.show('ExecMainStatus')}, which is a success, and leaves {', '.join(left)}")


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    if os.geteuid() != 0 or not pathlib.Path(SYSTEMD).exists() or not all(map(shutil.which, ("ip", "systemctl", "unshare", "curl"))):
        print("unit: needs root, systemd, iproute2 and curl; not run")
        return 0
    folder = pathlib.Path(tempfile.mkdtemp(prefix="spanaudit-unit-"))
    machine = None
    try:
        machine = Machine(program, folder)
        test(machine)
        print("all passed")
        return 0
    except Failed as why:
        print(f"FAIL  {why}", file=sys.stderr)
        return 1
    finally:
        if machine:
            machine.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

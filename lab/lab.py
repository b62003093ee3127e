#!/usr/bin/env python3
"""`make lab`: real hosts, a real firewall and a mirror port in network namespaces; each recording audited, its verdicts compared.

usage: lab.py SPANAUDIT FOLDER [SCENARIO...]

Ends with 0 where every expectation is met or the lab cannot run here (it says why), with 1 otherwise.
"""

import concurrent.futures
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from plant import Plant
from plant import address
from plant import inside
from plant import run
from scenarios import FLOWS
from scenarios import OUT_OF_SIGHT
from scenarios import SCENARIOS
import servers

# What has to be there, and the Debian package that brings it.
PROGRAMS = {
    "ip": "iproute2", "tc": "iproute2", "ss": "iproute2", "nft": "nftables", "ethtool": "ethtool", "tcpdump": "tcpdump",
    "sysctl": "procps", "ping": "iputils-ping", "curl": "curl", "openssl": "openssl", "ssh": "openssh-client", "ssh-keygen": "openssh-client",
    "sshd": "openssh-server", "nginx": "nginx-light", "rabbitmq-server": "rabbitmq-server", "epmd": "erlang-base",
    "chronyd": "chrony", "rsyslogd": "rsyslog", "logger": "bsdutils",
}
# A client gives up after so long: four SYNs of Linux fit (1, 2 and 4 s apart, or 1 s each since Linux 6.5), and chrony's requests.
PATIENCE = 12
# So long is recorded after the last client is done, that silence after its last packet is silence.
TAIL = 4
BAD = ("violated", "blocked", "failed")


def say(text):
    print(f"lab: {text}", flush=True)


def skip(why):
    say(f"skipped: {why}")
    sys.exit(0)


def install():
    """Installs what is missing, through apt, and keeps what it installs from being started on this machine."""
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if not missing:
        return
    if not shutil.which("apt-get"):
        skip(f"missing: {' '.join(missing)}, and there is no apt-get")
    say(f"installing {' '.join(missing)} with apt-get")
    policy = pathlib.Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
            done = subprocess.run(["apt-get", *words], env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode:
                skip(f"apt-get {words[0]} does not work here: {done.stderr.strip().splitlines()[-1:]}")
    finally:
        if ours:
            policy.unlink()


def attempt(plant, scenario, flow):
    """Tries one flow as its client would, twice; how it ends is for the recording to say."""
    source, target, usual = FLOWS[flow]
    command = scenario.instead.get(flow, usual)
    if command is None:
        return
    # A little apart, as clients are.
    time.sleep(0.1 * list(FLOWS).index(flow))
    began = time.monotonic()
    for _ in range(2):
        words = inside(source, *command(address(target, scenario.version), plant.folder, PATIENCE))
        client = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            client.wait(2 * PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(client.pid, signal.SIGKILL)
            client.wait()
        if time.monotonic() - began > PATIENCE / 2:
            return
        time.sleep(1)


def record(plant, scenario):
    """Plays a scenario, and returns the files of what the mirror port or the vantages showed of it."""
    ports = scenario.vantages or {"": "mirror"}
    files = {name: plant.folder / f"{'-'.join(filter(None, (scenario.name, name)))}.pcap" for name in ports}
    if scenario.before:
        scenario.before(plant)
    plant.firewall(scenario.version, scenario.rules, scenario.own)
    recorders = [plant.record(file, ports[name]) for name, file in files.items()]
    try:
        time.sleep(1)
        if scenario.begun:
            scenario.begun(plant)
        with concurrent.futures.ThreadPoolExecutor(len(FLOWS)) as pool:
            list(pool.map(lambda flow: attempt(plant, scenario, flow), FLOWS))
        time.sleep(TAIL)
    finally:
        for tcpdump in recorders:
            tcpdump.send_signal(signal.SIGINT)
            tcpdump.wait(10)
        plant.firewall(scenario.version, [])
        if scenario.after:
            scenario.after(plant)
    return files


def audit(spanaudit, scenario, files):
    """The report of a recording, or of those of several vantages."""
    usual = "site.toml" if scenario.version == 4 else "site-ipv6.toml"
    site = pathlib.Path(__file__).with_name(scenario.site or usual)
    words = [word for name, file in files.items() for word in (["--vantage", f"{name}={file}"] if name else [str(file)])]
    done = subprocess.run([spanaudit, "audit", "--format", "json", *words, "--site", str(site)], capture_output=True, text=True)
    if done.returncode not in (0, 1, 3):
        raise RuntimeError(f"spanaudit ends with {done.returncode}: {done.stderr}")
    next(iter(files.values())).with_name(f"{scenario.name}.json").write_text(done.stdout)
    return json.loads(done.stdout)


def told(requirement):
    """Verdict, mechanism and grade, as expectations have them."""
    return " ".join(word for word in (requirement["verdict"], requirement["mechanism"], requirement["grade"]) if word)


def fits(got, accepted):
    """Whether a verdict begins with one of those accepted: what an expectation leaves out is left open."""
    return any(f"{got} ".startswith(f"{one} ") for one in accepted)


def compare(scenario, report):
    """Rows (flow, expected, told, whether it fits), and the false alarms."""
    requirements = {requirement["rule"]: requirement for requirement in report["requirements"]}
    rows = []
    for flow in FLOWS:
        accepted = scenario.expected(flow)
        got = told(requirements[flow]) if flow in requirements else "no such requirement"
        rows.append((flow, accepted, got, fits(got, accepted)))
    alarms = [f"{rule}: {told(requirement)}" for rule, requirement in requirements.items()
              if rule not in FLOWS and requirement["verdict"] in BAD]
    alarms += [finding["title"] for finding in report["findings"] if finding["kind"] in ("unexpected", "forbidden")]
    return rows, alarms


def show(scenario, rows, alarms, report):
    packets = sum(one["packets"] for one in report["inputs"])
    say(f"{scenario.name}: {scenario.about} ({packets} packets)")
    for flow, accepted, got, fine in rows:
        if not fine or accepted not in (("satisfied",), OUT_OF_SIGHT):
            print(f"    {'ok   ' if fine else 'WRONG'}  {flow:26} {got:32}" + ("" if fine else f" expected: {' or '.join(accepted)}"))
    working = [row for row in rows if row[1] == ("satisfied",)]
    print(f"    {sum(row[3] for row in working)} of {len(working)} flows that work are satisfied, {len(alarms)} false alarms")
    for alarm in alarms:
        print(f"    WRONG  false alarm: {alarm}")
    sys.stdout.flush()


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    spanaudit, folder = pathlib.Path(sys.argv[1]).absolute(), pathlib.Path(sys.argv[2]).absolute()
    if sys.platform != "linux":
        skip("network namespaces are Linux's")
    if os.geteuid() != 0:
        if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
            os.execvp("sudo", ["sudo", "-n", sys.executable, *sys.argv])
        skip("it needs root: sudo make lab")
    # Two labs would take each other's namespaces away.
    lock = open("/run/spanaudit-lab.lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit("lab: another lab runs on this machine")
    # A lab that is ended takes its hosts and daemons down with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("lab: terminated"))
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    install()
    chosen = [scenario for scenario in SCENARIOS if scenario.name in sys.argv[3:] or not sys.argv[3:]]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    servers.prepare(folder)
    plant = Plant(folder)
    began = time.monotonic()
    say("building the plant: five hosts, a router, a mirror port")
    try:
        plant.__enter__()
    except RuntimeError as why:
        skip(f"this kernel or container does not let the plant be built: {why}")
    wrong = checked = 0
    try:
        say("starting nginx, OpenSSH, RabbitMQ, chrony, rsyslog")
        servers.all_of_them(plant)
        for scenario in chosen:
            report = audit(spanaudit, scenario, record(plant, scenario))
            rows, alarms = compare(scenario, report)
            show(scenario, rows, alarms, report)
            checked += len(rows)
            wrong += sum(not row[3] for row in rows) + len(alarms)
    finally:
        plant.__exit__()
        give_back(folder)
    say(f"{len(chosen)} scenarios, {checked} flows, {wrong} wrong, in {time.monotonic() - began:.0f} s; recordings and reports in {folder}")
    sys.exit(1 if wrong else 0)


def give_back(folder):
    """What sudo made belongs to whoever called it."""
    if "SUDO_UID" in os.environ:
        run("chown", "-R", f"{os.environ['SUDO_UID']}:{os.environ['SUDO_GID']}", str(folder))


if __name__ == "__main__":
    main()

"""The plant: hosts in network namespaces, a bridge per subnet, a router with nftables, and a mirror port that tcpdump records."""

import os
import pathlib
import signal
import subprocess
import time

PREFIX = "spanaudit-lab-"
ROUTER = PREFIX + "router"
# Behind the mirror port lies nothing that could answer what it hears.
MONITOR = PREFIX + "monitor"
# Each host is alone in its subnet, number 10 of 10.71.N.0/24 and of fd71:0:0:N::/64; the router is number 1.
HOSTS = {"sensor": 1, "site": 2, "enterprise": 3, "user": 4, "services": 5}
# What the router makes itself (resets, ICMP, neighbour discovery) carries this mark, and so is mirrored; what it forwards is not.
OWN = "0x1"


def address(host, version):
    number = HOSTS[host]
    return f"10.71.{number}.10" if version == 4 else f"fd71:0:0:{number}::10"


def inside_address(host):
    return address(host, 4)


def run(*words, **options):
    """A command that has to work; what it says is shown where it does not."""
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def namespace(host):
    return PREFIX + host


def inside(host, *words):
    """The words of a command that runs on a host."""
    return ["ip", "netns", "exec", namespace(host), *words]


class Plant:
    """Built on entry, taken down on exit with all that runs in it."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.servers = {}

    def __enter__(self):
        self.remove()
        try:
            self.build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def build(self):
        run("ip", "netns", "add", ROUTER)
        run("ip", "netns", "add", MONITOR)
        run("ip", "-n", ROUTER, "link", "set", "lo", "up")
        run("ip", "link", "add", "mirror", "netns", ROUTER, "type", "veth", "peer", "name", "mirror", "netns", MONITOR)
        for space in (ROUTER, MONITOR):
            self.sysctl(space, "net.ipv6.conf.mirror.disable_ipv6=1")
            run("ip", "-n", space, "link", "set", "mirror", "arp", "off", "up")
        self.sysctl(ROUTER, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        # A kernel that lets bridges call the firewall sends resets out of the port itself, past the mirror of what the router sends.
        for name in ("iptables", "ip6tables", "arptables"):
            subprocess.run(["ip", "netns", "exec", ROUTER, "sysctl", "-q", "-w", f"net.bridge.bridge-nf-call-{name}=0"], capture_output=True)
        # A router answers as often as it is asked; the lab asks many times in few seconds.
        self.sysctl(ROUTER, "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
        for host, number in HOSTS.items():
            self.attach(host, number)
        self.firewall(4, [])

    def attach(self, host, number):
        space, port, bridge = namespace(host), f"port{number}", f"bridge{number}"
        run("ip", "netns", "add", space)
        run("ip", "link", "add", port, "netns", ROUTER, "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "-n", ROUTER, "link", "add", bridge, "type", "bridge", "mcast_snooping", "0")
        run("ip", "-n", ROUTER, "link", "set", port, "master", bridge)
        # The bridge alone has addresses; frames have to be as they would be on a wire, so nothing is left to offloads.
        self.sysctl(ROUTER, f"net.ipv6.conf.{port}.disable_ipv6=1")
        for where, name in ((ROUTER, port), (ROUTER, bridge), (space, "eth0")):
            run("ip", "netns", "exec", where, "ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
        for where, name in ((ROUTER, port), (ROUTER, bridge), (space, "eth0"), (space, "lo")):
            run("ip", "-n", where, "link", "set", name, "up")
        for where, name, last in ((ROUTER, bridge, 1), (space, "eth0", 10)):
            run("ip", "-n", where, "addr", "add", f"10.71.{number}.{last}/24", "dev", name)
            run("ip", "-n", where, "addr", "add", f"fd71:0:0:{number}::{last}/64", "dev", name, "nodad")
        self.routes(host)
        self.mirror(port, bridge)

    def mirror(self, port, bridge):
        """Copies what comes in from a host, and what the router itself sends to it, to the mirror port."""
        run("tc", "-n", ROUTER, "qdisc", "add", "dev", port, "clsact")
        run("tc", "-n", ROUTER, "filter", "add", "dev", port, "ingress", "protocol", "all", "prio", "1",
            "u32", "match", "u32", "0", "0", "action", "mirred", "egress", "mirror", "dev", "mirror")
        # tc could do this as well, but kernels without CLS_U32_MARK take its match of a mark and ignore it.
        run("ip", "netns", "exec", ROUTER, "nft", "-f", "-", input=f"""table netdev {bridge} {{
  chain own {{ type filter hook egress device "{bridge}" priority 0; policy accept;
    meta mark {OWN} dup to "mirror"
    ether type arp dup to "mirror"
  }}
}}
""")

    def routes(self, host):
        number, space = HOSTS[host], namespace(host)
        run("ip", "-n", space, "route", "replace", "default", "via", f"10.71.{number}.1")
        run("ip", "-n", space, "-6", "route", "replace", "default", "via", f"fd71:0:0:{number}::1")

    def sysctl(self, space, *settings):
        run("ip", "netns", "exec", space, "sysctl", "-q", "-w", *settings)

    def firewall(self, version, rules, own=()):
        """Loads the rules of a scenario, for what is forwarded and for what the router itself sends; hosts go by name."""
        names = "\n".join(f"define {host} = {address(host, version)}" for host in HOSTS)
        lines = "\n".join(f"    {rule}" for rule in rules)
        text = f"""{names}
table inet lab
delete table inet lab
table inet lab {{
  chain forward {{ type filter hook forward priority 0; policy accept;
{lines}
  }}
  chain own {{ type filter hook output priority 0; policy accept;
    meta mark set {OWN}
{chr(10).join(f"    {rule}" for rule in own)}
  }}
}}
"""
        run("ip", "netns", "exec", ROUTER, "nft", "-f", "-", input=text)

    def translate(self, host, towards, address=None):
        """Gives what a host sends towards another one an address of the router's there; without an address no more."""
        run("ip", "netns", "exec", ROUTER, "nft", "-f", "-", input="""table ip lab-nat
delete table ip lab-nat
""")
        bridge = f"bridge{HOSTS[towards]}"
        if address is None:
            run("ip", "-n", ROUTER, "addr", "flush", "dev", bridge, "label", f"{bridge}:nat")
            return
        run("ip", "-n", ROUTER, "addr", "add", f"{address}/24", "dev", bridge, "label", f"{bridge}:nat")
        run("ip", "netns", "exec", ROUTER, "nft", "-f", "-", input=f"""table ip lab-nat {{
  chain out {{ type nat hook postrouting priority 100; policy accept;
    ip saddr {inside_address(host)} oifname "{bridge}" snat to {address}
  }}
}}
""")

    def off(self, host):
        """Takes a host away as far as the network can tell: nobody answers for its addresses any more."""
        run("ip", "-n", namespace(host), "addr", "flush", "dev", "eth0", "scope", "global")
        run("ip", "-n", ROUTER, "neigh", "flush", "dev", f"bridge{HOSTS[host]}")

    def on(self, host):
        number, space = HOSTS[host], namespace(host)
        run("ip", "-n", space, "addr", "add", f"10.71.{number}.10/24", "dev", "eth0")
        run("ip", "-n", space, "addr", "add", f"fd71:0:0:{number}::10/64", "dev", "eth0", "nodad")
        self.routes(host)

    def start(self, name, host, *words, **environment):
        """A server of the name, on a host, until it is stopped; its words go to a log."""
        with open(self.folder / f"{name}.log", "ab") as log:
            self.servers[name] = subprocess.Popen(
                inside(host, *words), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env={**os.environ, **environment})

    def stop(self, name):
        """Stops a server of the lab and whatever it started."""
        server = self.servers.pop(name, None)
        if server is None:
            return
        for kind in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(server.pid, kind)
                server.wait(5)
                return
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue

    def wait_for(self, host, port, seconds=90):
        """Until something listens on a port of a host."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if f":{port} " in run(*inside(host, "ss", "-Hltun")):
                return
            time.sleep(0.3)
        raise RuntimeError(f"nothing listens on {port} of {host} after {seconds} s; see the logs in {self.folder}")

    def record(self, file, port="mirror"):
        """Starts tcpdump on the mirror port, or on another of the router's, and returns once it listens."""
        tcpdump = subprocess.Popen(
            ["ip", "netns", "exec", ROUTER, str(self.folder / "tcpdump"), "-i", port, "-Z", "root", "-U", "-B", "8192", "-w", str(file)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
        for line in tcpdump.stderr:
            if "listening on" in line:
                return tcpdump
        raise RuntimeError("tcpdump does not start")

    def remove(self):
        """Stops what still runs in the lab's namespaces, and takes them away."""
        for name in list(self.servers):
            self.stop(name)
        present = {line.split()[0] for line in run("ip", "netns", "list").splitlines() if line.strip()}
        for space in [ROUTER, MONITOR, *map(namespace, HOSTS)]:
            if space in present:
                for pid in run("ip", "netns", "pids", space).split():
                    try:
                        os.kill(int(pid), signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                run("ip", "netns", "delete", space)

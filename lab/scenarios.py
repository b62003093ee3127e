"""What happens in the plant, scenario by scenario, and what the audit of its recording has to say."""

from dataclasses import dataclass
from dataclasses import field

from plant import inside
from plant import run
import servers
from servers import clock
from servers import https
from servers import log
from servers import queue
from servers import secure_shell

# The documented flows: rule, who calls, who is called, and with what. The `lab-services` rules are those of services.toml.
FLOWS = {
    "console-sensor": ("user", "sensor", https(443)),
    "console-site": ("user", "site", https(443)),
    "console-enterprise": ("user", "enterprise", https(443)),
    "console-enterprise-3003": ("user", "enterprise", https(3003)),
    "link-site-to-sensor": ("site", "sensor", https(1443)),
    "link-sensor-to-site": ("sensor", "site", https(3006)),
    "link-enterprise-to-site": ("enterprise", "site", https(3006)),
    "link-site-to-enterprise": ("site", "enterprise", https(3003)),
    "queue-sensor-to-site": ("sensor", "site", queue(5672)),
    "queue-enterprise-to-site": ("enterprise", "site", queue(5672)),
    "queue-site-to-enterprise": ("site", "enterprise", https(5673)),
    "ssh-sensor": ("user", "sensor", secure_shell()),
    "ssh-site": ("user", "site", secure_shell()),
    "ssh-enterprise": ("user", "enterprise", secure_shell()),
    "ntp-sensor": ("sensor", "services", clock),
    "ntp-site": ("site", "services", clock),
    "ntp-enterprise": ("enterprise", "services", clock),
    "syslog-sensor": ("sensor", "services", log),
    "syslog-site": ("site", "services", log),
    "syslog-enterprise": ("enterprise", "services", log),
}

WORKS = ("satisfied",)
# Undecided where a machine was heard too briefly to say that it never tried.
NOT_TRIED = ("unseen", "not-visible", "undecided")
# Between two machines of which neither is at a vantage.
OUT_OF_SIGHT = ("unseen", "not-visible", "undecided", "not-applicable")
PROHIBITED = ("blocked prohibited A",)
REJECTED = ("blocked rejected A",)
# Routers say so of dead hosts and missing routes as well: no blame on a firewall.
UNREACHABLE = ("failed unreachable",)
# A firewall's reset has the server's address, and the MAC of the firewall, which the server's own packets do not have.
RESET = ("blocked reset-by-middlebox B",)
DROPPED = ("blocked dropped B",)


@dataclass
class Scenario:
    """Rules of the firewall (nftables, chain forward), what else is changed, and what flows come to that do not just work."""

    name: str
    about: str
    rules: list = field(default_factory=list)
    expect: dict = field(default_factory=dict)
    version: int = 4
    # Rules for what the router itself sends (chain output).
    own: list = field(default_factory=list)
    # Called with the plant before the recording, once it has begun, and after it.
    before: object = None
    begun: object = None
    after: object = None
    # Vantages by name, each a port of the router, instead of the mirror port: both sides of the firewall.
    vantages: dict = field(default_factory=dict)
    # The site file, where it is not the usual one.
    site: str = ""
    # Other commands than the usual, by flow; None: not tried.
    instead: dict = field(default_factory=dict)

    def expected(self, flow):
        if self.vantages and not {"sensor", "site"}.intersection(FLOWS[flow][:2]):
            return OUT_OF_SIGHT
        if flow in self.instead and self.instead[flow] is None:
            return self.expect.get(flow, NOT_TRIED)
        return self.expect.get(flow, WORKS)


def tls_1_2(plant):
    plant.stop("nginx-site")
    servers.web(plant, "site", {443: "TLSv1.2", 3006: "TLSv1.2 TLSv1.3"})


def usual_site(plant):
    plant.stop("nginx-site")
    servers.web(plant, "site")


def changed_servers(plant):
    plant.stop("nginx-enterprise")
    servers.web(plant, "enterprise", {443: "TLSv1.3", 5673: "TLSv1.3"})
    plant.stop("nginx-sensor")
    servers.web(plant, "sensor", {1443: "TLSv1.3"})
    servers.ssh(plant, "sensor", 443)


def usual_servers(plant):
    plant.stop("sshd-sensor-443")
    for host in ("enterprise", "sensor"):
        plant.stop(f"nginx-{host}")
        servers.web(plant, host)


def site_off(plant):
    """Switched off while it is recorded: the last that it says is that it asks for its gateway."""
    run(*inside("site", "ip", "neigh", "flush", "dev", "eth0"))
    for gateway in ("10.71.2.1", "fd71:0:0:2::1"):
        run(*inside("site", "ping", "-c", "1", "-W", "5", gateway))
    plant.off("site")


def site_on(plant):
    plant.on("site")


# The ports of the router that lead to the two: what comes in there and what goes out.
BOTH_SIDES = {"inside": "bridge1", "outside": "bridge2"}
# The sensor's address as the Site Manager sees it where it is translated (site-nat.toml).
TRANSLATED = "10.71.2.77"


def translated(plant):
    plant.translate("sensor", "site", TRANSLATED)


def untranslated(plant):
    plant.translate("sensor", "site")


TO_SITE = [flow for flow, (_, to, _) in FLOWS.items() if to == "site"]
FROM_SITE = [flow for flow, (source, _, _) in FLOWS.items() if source == "site"]


def reject(family, codes):
    """Rules that answer flows with ICMP, from (source, target, transport and port, code)."""
    match = "ip" if family == "icmp" else "ip6"
    return [f"{match} saddr ${source} {match} daddr ${target} {port} reject with {family} {code}"
            for source, target, port, code in codes]


# The first payload of a client that begins a TLS handshake: record type 22, handshake type 1 (RFC 8446 sections 5.1 and 4).
CLIENT_HELLO = "@ih,0,8 0x16 @ih,40,8 0x01"
SERVER_HELLO = "@ih,0,8 0x16 @ih,40,8 0x02"

SCENARIOS = [
    Scenario("healthy", "every documented flow works"),
    Scenario("healthy-ipv6", "the same over IPv6", version=6),
    Scenario(
        "drop", "dropped in silence: SYNs, SYN-ACKs on their way back, NTP requests",
        [
            "ip saddr $sensor ip daddr $site tcp dport 5672 drop",
            "ip saddr $user ip daddr $enterprise tcp dport { 22, 443 } drop",
            "ip saddr $enterprise ip daddr $site tcp sport 3003 drop",
            "ip saddr $sensor ip daddr $services udp dport 123 drop",
        ],
        {
            "queue-sensor-to-site": DROPPED,
            "console-enterprise": DROPPED,
            "ssh-enterprise": DROPPED,
            "link-site-to-enterprise": ("blocked return-path B",),
            "ntp-sensor": ("blocked no-reply B",),
        }),
    Scenario(
        "drop-ipv6", "the same over IPv6",
        [
            "ip6 saddr $sensor ip6 daddr $site tcp dport 5672 drop",
            "ip6 saddr $user ip6 daddr $enterprise tcp dport { 22, 443 } drop",
            "ip6 saddr $enterprise ip6 daddr $site tcp sport 3003 drop",
            "ip6 saddr $sensor ip6 daddr $services udp dport 123 drop",
        ],
        {
            "queue-sensor-to-site": DROPPED,
            "console-enterprise": DROPPED,
            "ssh-enterprise": DROPPED,
            "link-site-to-enterprise": ("blocked return-path B",),
            "ntp-sensor": ("blocked no-reply B",),
        }, version=6),
    Scenario(
        "reject", "answered by the firewall: each ICMP code that nftables knows, and a TCP reset",
        reject("icmp", [
            ("user", "sensor", "tcp dport 443", "net-prohibited"),
            ("user", "site", "tcp dport 443", "host-prohibited"),
            ("user", "enterprise", "tcp dport 443", "admin-prohibited"),
            ("user", "sensor", "tcp dport 22", "port-unreachable"),
            ("sensor", "site", "tcp dport 3006", "host-unreachable"),
            ("user", "enterprise", "tcp dport 3003", "net-unreachable"),
            ("site", "sensor", "tcp dport 1443", "prot-unreachable"),
            ("site", "services", "udp dport 514", "admin-prohibited"),
            ("sensor", "services", "udp dport 514", "port-unreachable"),
            ("enterprise", "services", "udp dport 123", "port-unreachable"),
        ]) + ["ip saddr $enterprise ip daddr $site tcp dport 5672 reject with tcp reset"],
        {
            "console-sensor": PROHIBITED,
            "console-site": PROHIBITED,
            "console-enterprise": PROHIBITED,
            "ssh-sensor": REJECTED,
            "link-sensor-to-site": UNREACHABLE,
            "console-enterprise-3003": UNREACHABLE,
            "link-site-to-sensor": UNREACHABLE,
            "syslog-site": PROHIBITED,
            "syslog-sensor": REJECTED,
            "ntp-enterprise": REJECTED,
            "queue-enterprise-to-site": RESET,
        }),
    Scenario(
        "reject-ipv6", "the same over IPv6",
        reject("icmpv6", [
            ("user", "sensor", "tcp dport 443", "admin-prohibited"),
            ("user", "site", "tcp dport 443", "policy-fail"),
            ("user", "enterprise", "tcp dport 443", "reject-route"),
            ("user", "sensor", "tcp dport 22", "port-unreachable"),
            ("sensor", "site", "tcp dport 3006", "addr-unreachable"),
            ("user", "enterprise", "tcp dport 3003", "no-route"),
            ("site", "services", "udp dport 514", "admin-prohibited"),
            ("enterprise", "services", "udp dport 123", "port-unreachable"),
        ]) + ["ip6 saddr $enterprise ip6 daddr $site tcp dport 5672 reject with tcp reset"],
        {
            "console-sensor": PROHIBITED,
            "console-site": PROHIBITED,
            "console-enterprise": UNREACHABLE,
            "ssh-sensor": REJECTED,
            "link-sensor-to-site": UNREACHABLE,
            "console-enterprise-3003": UNREACHABLE,
            "syslog-site": PROHIBITED,
            "ntp-enterprise": REJECTED,
            "queue-enterprise-to-site": RESET,
        }, version=6),
    Scenario(
        "handshake", "TCP opens, then the TLS handshake is cut; TLS 1.2 where 1.3 is documented",
        [
            f"ip saddr $user ip daddr $enterprise tcp dport 443 {CLIENT_HELLO} drop",
            f"ip saddr $sensor ip daddr $user tcp sport 443 {SERVER_HELLO} drop",
            f"ip saddr $site ip daddr $sensor tcp dport 1443 {CLIENT_HELLO} reject with tcp reset",
        ],
        {
            "console-enterprise": ("blocked tls-cut B",),
            "console-sensor": ("blocked tls-cut B",),
            "link-site-to-sensor": ("blocked tls-cut B",),
            "console-site": ("violated weak-tls",),
        }, before=tls_1_2, after=usual_site),
    Scenario(
        "server", "the servers' own doing: nothing listens, SSH where TLS is documented, a broker that does not let in",
        expect={
            "console-enterprise-3003": ("failed refused",),
            "link-site-to-enterprise": ("failed refused",),
            "console-sensor": ("violated wrong-protocol",),
            "queue-sensor-to-site": ("failed closed",),
        },
        before=changed_servers, after=usual_servers,
        instead={"console-sensor": secure_shell(443), "queue-sensor-to-site": queue(5672, "mistyped")}),
    Scenario(
        "host-off", "the Site Manager is switched off: ARP asks for it and nobody answers, the router says host unreachable",
        expect=dict.fromkeys(TO_SITE, ("failed host-down", "failed unreachable")), begun=site_off, after=site_on,
        instead=dict.fromkeys(FROM_SITE)),
    Scenario(
        "host-off-silent", "the same, and the router keeps to itself that nobody answers",
        # Without any word of a router ARP alone tells it from a block.
        expect=dict.fromkeys(TO_SITE, ("failed host-down",)), begun=site_off, after=site_on,
        own=["icmp type destination-unreachable drop"], instead=dict.fromkeys(FROM_SITE)),
    Scenario(
        "host-off-ipv6", "the same over IPv6, where neighbour discovery asks",
        expect=dict.fromkeys(TO_SITE, ("failed host-down",)), begun=site_off, after=site_on, version=6,
        own=["icmpv6 type destination-unreachable drop"], instead=dict.fromkeys(FROM_SITE)),
    Scenario(
        "two-vantages", "recorded on both sides of the firewall: SYNs, answers and a ClientHello that reach one of them only",
        [
            "ip saddr $sensor ip daddr $site tcp dport 5672 drop",
            f"ip saddr $sensor ip daddr $site tcp dport 3006 {CLIENT_HELLO} drop",
            "ip saddr $sensor ip daddr $site tcp sport 1443 drop",
        ],
        {
            "queue-sensor-to-site": ("blocked dropped A",),
            "link-sensor-to-site": ("blocked tls-cut A",),
            "link-site-to-sensor": ("blocked return-path A",),
        }, vantages=BOTH_SIDES),
    Scenario(
        "two-vantages-reset", "the same, where the firewall answers in the Site Manager's name",
        ["ip saddr $sensor ip daddr $site tcp dport 5672 reject with tcp reset"],
        {"queue-sensor-to-site": ("blocked reset-by-middlebox A",)}, vantages=BOTH_SIDES),
    Scenario(
        "two-vantages-nat", "both sides of a firewall that translates the sensor's address, which the site file says",
        ["ip saddr $sensor ip daddr $site tcp dport 5672 drop"],
        # The other side shows no packet under the same addresses: what is missing there proves nothing more.
        {"queue-sensor-to-site": DROPPED}, before=translated, after=untranslated, vantages=BOTH_SIDES, site="site-nat.toml"),
]

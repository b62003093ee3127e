//! What each mechanism rests on, what would have shown the opposite, and which other explanations have to be weighed.

use crate::model::BLACK_HOLE;
use crate::model::Mechanism;

use super::doubt::Doubt;

/// A mechanism as it is explained. In the texts `{source}`, `{target}` and `{service}` stand for those of the case.
#[derive(Clone, Copy, Debug)]
pub struct Ground {
    /// The rule by which the packets mean what they are said to mean, with where it is written.
    pub means: &'static str,
    /// What the capture would have held if it were otherwise.
    pub opposite: &'static [&'static str],
    /// What else could look the same.
    pub doubts: &'static [Doubt],
    /// What to ask of whom, in the order in which it helps.
    pub ask: &'static [(&'static str, &'static str)],
}

const FIREWALL: &str = "whoever runs the firewall";
const SERVER: &str = "whoever runs {target}";
const CLIENT: &str = "whoever runs {source}";
const MIRROR: &str = "whoever placed the mirror port";
const ROUTING: &str = "whoever runs the routing";
const NAMES: &str = "whoever runs name service (DNS)";
const PRODUCT: &str = "whoever configures the product, or its vendor";

const FIREWALL_LOG: (&str, &str) = (
    FIREWALL,
    "Is there a rule that lets {service} from {source} to {target} pass? What does the log say of it {when}?",
);
const LISTENS: (&str, &str) =
    (SERVER, "Did something listen on {service} {when}, and does the machine filter by itself?");

/// What a mechanism rests on, given the reason told with it; `None` for a word that this program does not know (a newer report).
pub fn ground(mechanism: &str, reason: &str) -> Option<Ground> {
    let of_mtu = mechanism == Mechanism::Unreachable.name() && reason.starts_with(BLACK_HOLE);
    if of_mtu { Some(black_hole()) } else { of(mechanism) }
}

/// A way that takes no segments of full size.
fn black_hole() -> Ground {
    Ground {
        means: "What is acknowledged is what arrived. The receiver acknowledges, selectively (RFC 2018), a short segment that was sent after several long ones, and the long ones are repeated without end: packets of that size do not fit through the way, and whoever throws them away does not say so (RFC 2923 section 2.1).",
        opposite: &[
            "one long segment that is acknowledged",
            "an ICMP message to the sender that says which size fits (type 3 code 4, in IPv6 type 2)",
        ],
        doubts: &[Doubt::Loss, Doubt::Copies, Doubt::Overlap],
        ask: &[
            (ROUTING, "Which MTU does the way from {source} to {target} have, tunnels included?"),
            (FIREWALL, "Are ICMP messages of type 3 code 4 (in IPv6 type 2) let through to the sender?"),
        ],
    }
}

fn of(mechanism: &str) -> Option<Ground> {
    use Doubt as D;
    use Mechanism as M;
    let known = Mechanism::ALL.iter().find(|known| known.name() == mechanism)?;
    Some(match known {
        M::Dropped => Ground {
            means: "A host that is there answers every SYN, with a SYN-ACK or a reset (RFC 9293 section 3.10.7). The client repeated its SYNs by its retransmission timer (RFC 6298), so it got no answer either: SYNs or answers were thrown away without a word.",
            opposite: &[
                "one SYN-ACK or reset of {target} to one of these SYNs",
                "an ICMP error quoting one of them (it would then be prohibited, rejected or unreachable)",
                "a later connection of {source} to {service} that works",
            ],
            doubts: &[
                D::Audible,
                D::Loss,
                D::Dead,
                D::End,
                D::Copies,
                D::OwnFilter,
                D::Overlap,
                D::Filtered,
                D::Guessed,
            ],
            ask: &[FIREWALL_LOG, LISTENS],
        },
        M::ReturnPath => Ground {
            means: "{target} answered with SYN-ACKs and repeated them, and the client went on asking: had it received one, it would have acknowledged it (RFC 9293 section 3.10.7.3). So the answers are lost between the mirror and {source}.",
            opposite: &[
                "an ACK or data of {source} after one of the SYN-ACKs",
                "a reset of {source} to the SYN-ACK (it would then have received it)",
            ],
            doubts: &[D::Loss, D::Copies, D::Asymmetric, D::OwnFilter, D::Overlap, D::Filtered],
            ask: &[
                (
                    FIREWALL,
                    "Is the way back from {target} to {source} let through, or do the answers take another path past a firewall that never saw the SYN?",
                ),
                (CLIENT, "Does {source} filter what it receives by itself?"),
            ],
        },
        M::Prohibited => Ground {
            means: "The ICMP message says in its own words that a policy forbids it (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1), and it quotes a packet of this very attempt that was captured too (RFC 5927), so it is no stray or forged message. Whoever sent it is the filter or stands beside it.",
            opposite: &[
                "an answer of {target} to the quoted packet",
                "a quoted packet that was never captured",
            ],
            doubts: &[D::Forged, D::HostFilter, D::Guessed],
            ask: &[FIREWALL_LOG],
        },
        M::Rejected => Ground {
            means: "Port unreachable is what the target's own stack says of a closed port (RFC 1122 section 3.2.2.1). Here another machine says it in its place, which is how packet filters reject (netfilter's REJECT does by default), and it quotes a captured packet of this attempt.",
            opposite: &[
                "the same error from {target} itself (its port would then be closed: refused)",
                "an answer of {target}",
            ],
            doubts: &[D::Forged, D::Nat, D::Guessed],
            ask: &[FIREWALL_LOG],
        },
        M::ResetByMiddlebox => Ground {
            means: "The reset carries the address of {target}, but not its marks: what a machine sends itself comes from one network card, over one number of hops, and takes the time of the way. Something in between made it.",
            opposite: &[
                "a reset with the MAC address and time to live of the other packets of {target}, and no sooner than they come",
            ],
            doubts: &[D::Marks, D::Virtual, D::Balancer, D::Overlap],
            ask: &[FIREWALL_LOG],
        },
        M::Refused => Ground {
            means: "A reset to a SYN, or port unreachable from the target itself, says that nothing listens there (RFC 9293 section 3.10.7.1, RFC 1122 section 3.2.2.1). Nothing in the packet tells it apart from a firewall that rejects in the target's name, so no device is blamed.",
            opposite: &[
                "a SYN-ACK of {target}",
                "a reset that is provably another machine's (it would then be reset-by-middlebox)",
            ],
            doubts: &[D::RejectsInName, D::Overlap, D::Guessed],
            ask: &[LISTENS, FIREWALL_LOG],
        },
        M::Unreachable => Ground {
            means: "A router says that it knows no way to the target, or that the target does not answer its address resolution (RFC 792, RFC 4443 section 3.1).",
            opposite: &["an answer of {target}"],
            doubts: &[D::Dead, D::SaysUnreachable, D::Forged],
            ask: &[
                (
                    ROUTING,
                    "Is there a route from {source} to {target}, and is {target} reachable from its last router?",
                ),
                (SERVER, "Is the machine on, and is this its address?"),
            ],
        },
        M::HostDown => Ground {
            means: "Somebody on the target's own segment asked for its hardware address and nobody answered, while answers of others are seen on this mirror (RFC 826, RFC 4861): no packet to {target} can be delivered.",
            opposite: &[
                "one ARP reply, or neighbour advertisement, of {target}",
                "any packet of {target} in that time",
            ],
            doubts: &[D::Loss, D::End, D::Filtered],
            ask: &[(SERVER, "Is the machine on and connected, and is this its address?")],
        },
        M::TlsCut => Ground {
            means: "The connection opened, so the port is let through. What did not pass is the TLS handshake: either its bytes were repeated and never acknowledged, or a reset that is not the peer's answered them. A filter that looks at the contents (the server's name, the application) acts at this point.",
            opposite: &[
                "an acknowledgement of the ClientHello, or a ServerHello that the client acknowledges",
                "a reset with the marks of the peer itself",
                "short segments passing and several of full size not (that would be a path-MTU black hole: unreachable)",
            ],
            doubts: &[D::Audible, D::Loss, D::BlackHole, D::End, D::Crash, D::Copies],
            ask: &[
                (
                    FIREWALL,
                    "Is there TLS inspection, an application filter or a filter on server names on {service} between {source} and {target}? What does its log say {when}?",
                ),
                (SERVER, "Does the server's log show the connection, and why does it not go on?"),
            ],
        },
        M::Cut => Ground {
            means: "The connection opened, so the port is let through. Then data was repeated and never acknowledged, or a reset that is not the peer's ended it: what is acknowledged is what arrived (RFC 9293 section 3.4), so the data did not.",
            opposite: &["an acknowledgement of that data", "a reset with the marks of the peer itself"],
            doubts: &[D::Audible, D::Loss, D::BlackHole, D::End, D::Crash, D::Copies],
            ask: &[
                (
                    FIREWALL,
                    "Is there an application filter on {service} between {source} and {target}, or a time after which idle connections are forgotten?",
                ),
                (SERVER, "Does the server's log show the connection, and why does it not go on?"),
            ],
        },
        M::TlsAlert => Ground {
            means: "A fatal alert ends the TLS handshake, and its code says why (RFC 8446 section 6); in TLS 1.3 it may be encrypted, and then its length alone tells that it is one. The two ends reached each other, so no port is blocked.",
            opposite: &["application data after the handshake"],
            doubts: &[D::Intercepted, D::Payload],
            ask: &[(
                SERVER,
                "What do certificates and TLS settings on {service} look like to {source}? The alert's code names the reason.",
            )],
        },
        M::Closed => Ground {
            means: "The connection opened, and whoever answers there closed or reset it at once, at the first request or at the login, or said no. The two ends reached each other, so no port is blocked.",
            opposite: &[
                "an answer to the request",
                "a reset that is provably not the server's (it would then be cut)",
            ],
            doubts: &[D::Balancer, D::Payload],
            ask: &[(
                SERVER,
                "Why does the service on {service} close connections of {source} {when}? An access list, a login, or a crash?",
            )],
        },
        M::NoReply => Ground {
            means: "Requests of a protocol in which every request has an answer were repeated and none came back. UDP does not tell a filter from a silent service; that other clients get answers from the same service meanwhile, where it is so, does.",
            opposite: &[
                "one answer to one of the requests, also from another port or address",
                "an ICMP error quoting a request",
            ],
            doubts: &[
                D::Audible,
                D::Loss,
                D::AccessList,
                D::Dead,
                D::End,
                D::OwnFilter,
                D::Filtered,
                D::Guessed,
            ],
            ask: &[
                FIREWALL_LOG,
                (SERVER, "Does the service on {service} answer others, and is {source} on its access list?"),
            ],
        },
        M::DnsNxdomain => names(
            "The name server says that the name does not exist (RFC 2308), and no connection to any address of that name followed.",
        ),
        M::DnsRefused => names(
            "The name server refuses to answer by policy (RFC 1035 section 4.1.1, code 5), and no connection followed.",
        ),
        M::DnsServfail => names(
            "The name server could not answer (RFC 1035 section 4.1.1, code 2), and no connection followed.",
        ),
        M::DnsFiltered => names(
            "The name server says itself that the answer is blocked, censored, filtered or prohibited (RFC 8914, codes 4 and 15 to 18).",
        ),
        M::DnsSinkhole => names(
            "The name server answers with an address that leads nowhere or that can't be this public name's, and no connection that works followed.",
        ),
        M::DnsNoAnswer => Ground {
            doubts: &[D::Cached, D::EncryptedDns, D::Loss, D::End, D::Guessed],
            ..names(
                "Lookups of the name were repeated and nobody answered them with an address, and no connection followed.",
            )
        },
        M::ProxyDenied => Ground {
            means: "The proxy or portal answered in HTTP that it does not let the request pass (RFC 9110 section 15.5, RFC 7725, RFC 6585 section 6).",
            opposite: &["a status of success from the same proxy for the same target"],
            doubts: &[D::OwnStatus, D::Payload],
            ask: &[("whoever runs the proxy", "Which rule or login does {source} need to reach {target}?")],
        },
        M::WrongProtocol => Ground {
            means: "The payload proves a protocol that the document does not have on this port. Ports prove nothing; payload does.",
            opposite: &[
                "payload that is one of the documented protocols",
                "bytes of {source} or {target} that contradict the protocol found",
            ],
            doubts: &[D::OtherService, D::Payload, D::Guessed],
            ask: &[(PRODUCT, "What is configured on {service} of {target}, and who put it there?")],
        },
        M::WeakTls => Ground {
            means: "The version that the server chose in its ServerHello is what is spoken (RFC 8446 section 4.1.3), and it is older than the document asks for; or both ends could not agree on one at all.",
            opposite: &["a ServerHello that chooses the documented version or a later one"],
            doubts: &[D::Intercepted, D::Payload],
            ask: &[
                (SERVER, "Which TLS versions are switched on for {service}?"),
                (FIREWALL, "Is TLS ended and begun anew by something on the way?"),
            ],
        },
        M::Cleartext => Ground {
            means: "The payload is legible and is a protocol that encrypts nothing, where the document has an encrypted one.",
            opposite: &["a TLS ClientHello or another encrypted handshake on this connection"],
            doubts: &[D::OtherService, D::Payload],
            ask: &[(PRODUCT, "Is encryption switched on for {service} of {target}?")],
        },
        M::NotAsDocumented => Ground {
            means: "The payload itself states what the document rules out: a version, a name, or a write where only reading is documented. Only the beginning of a flow is read, so more of the kind may follow.",
            opposite: &[
                "a rule of the document, or of the site, that allows what was stated",
                "the same bytes read by another dissector as something else",
            ],
            doubts: &[D::OtherService, D::Payload, D::Guessed],
            ask: &[
                (PRODUCT, "What is {source} set up to do to {target}, and since when?"),
                (SERVER, "Was something written or changed on {target} {when}, and by whom?"),
            ],
        },
        #[allow(
            unreachable_patterns,
            reason = "mechanisms may be added without an explanation; a test names them"
        )]
        _ => return None,
    })
}

/// Name service.
fn names(means: &'static str) -> Ground {
    Ground {
        means,
        opposite: &[
            "an answer with an address of {target}, or a connection of {source} to one",
            "an earlier or later lookup of the same name that works",
        ],
        doubts: &[
            Doubt::Suffix,
            Doubt::SplitHorizon,
            Doubt::Cached,
            Doubt::EncryptedDns,
            Doubt::Loss,
            Doubt::Guessed,
        ],
        ask: &[
            (NAMES, "What should {target} resolve to for {source}, and which list or zone answers instead?"),
            (MIRROR, "Are there other name servers that {source} asks and that this mirror does not see?"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mechanism_is_explained() {
        for mechanism in Mechanism::ALL {
            let Some(known) = ground(mechanism.name(), "") else {
                panic!("{} has no words", mechanism.name())
            };
            assert!(known.means.ends_with('.'), "{}", mechanism.name());
            assert!(!known.opposite.is_empty() && !known.doubts.is_empty() && !known.ask.is_empty());
        }
        assert!(ground("gremlins", "").is_none());
        let hole = ground("unreachable", &format!("{BLACK_HOLE}: ...")).unwrap();
        assert!(hole.means.contains("RFC 2923"));
    }
}

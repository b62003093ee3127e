//! What a flow proves to be, from the first bytes of each direction. No protocol sees a port.
//!
//! A protocol is one file that implements [`Protocol`] and one line in [`PROTOCOLS`].

mod ads;
mod amqp;
mod amqp_frames;
mod arp;
pub mod bacnet;
mod bacnet_apdu;
pub mod ber;
pub mod bytes;
pub mod candidates;
mod cdp;
mod codesys;
pub mod dce_rpc;
#[cfg(test)]
mod deeds;
mod dhcp;
mod dhcpv6;
mod dnp3;
mod dns;
mod dns_message;
mod dns_name;
mod dropbox_lan;
mod dtls;
mod eapol;
mod ectp;
pub mod enip;
mod ethercat;
#[cfg(test)]
mod finality;
mod fins;
mod fox;
pub mod framed;
mod ftp;
mod ge_egd;
pub mod ge_srtp;
#[cfg(test)]
mod gists;
mod goose;
#[cfg(test)]
mod halves;
#[cfg(test)]
pub(crate) mod harness;
mod hart_ip;
mod hsrp;
mod http;
mod http_head;
mod iec104;
mod ike;
mod imap;
mod ipmi;
mod kerberos;
mod knxnet_ip;
#[cfg(test)]
mod labels;
mod lacp;
mod ldap;
mod lldp;
mod llmnr;
pub mod look;
mod mdns;
pub mod melsec;
mod mms;
pub mod modbus;
mod modbus_pdu;
mod modbus_rtu;
mod mqtt;
mod mrp;
mod mssql;
mod mysql;
mod netbios;
mod ntp;
mod oncrpc;
mod opc_ua;
#[cfg(test)]
mod ot_tests;
mod pop3;
mod postgresql;
mod powerlink;
pub mod profinet_cm;
pub mod profinet_dcp;
pub mod profinet_ptcp;
pub mod profinet_rt;
mod prp;
mod ptp;
mod quic;
mod quic_initial;
mod radius;
mod rdp;
mod reply;
mod rip;
mod ripng;
mod rpc_endpoint;
mod rpc_interface;
mod rtsp;
pub mod s7comm;
pub mod s7comm_plus;
mod seen;
mod sip;
mod smb;
mod smtp;
mod snmp;
#[cfg(test)]
mod spec_tests;
mod ssdp;
mod ssh;
mod ssl2;
mod start_line;
mod stp;
mod stun;
mod sv;
mod synchrophasor;
mod syslog;
mod tacacs;
mod telnet;
#[cfg(test)]
mod tests;
mod tftp;
mod tls;
mod tls_hello;
mod tls_record;
pub mod tpkt;
mod tunnel;
mod vnc;
pub mod weigh;
mod ws_discovery;

use crate::model::ACCESS;
use crate::model::EtherKind;
use crate::model::Facts;
use crate::model::Statement;

pub use seen::End;
pub use seen::Known;
pub use seen::Seen;
pub use seen::Side;

/// What carries the payload that a protocol looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A byte stream.
    Tcp,
    /// Datagrams.
    Udp,
    /// Frames of one ethertype.
    Ethernet(EtherKind),
}

/// Datagrams of another kind that an end may begin with before it is given up.
pub const MOST_STRANGERS: usize = 3;

/// Messages of one end after which it adds nothing to a proof that goes on from what it told, and messages of both after which nothing does:
/// it is there that a proof is closed, or by what a message says. What a protocol does later is seen at a glance.
pub const MOST_OF_END: usize = 24;
/// See [`MOST_OF_END`].
pub const MOST_OF_BOTH: usize = 32;

/// What a protocol concludes from a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It is not this protocol, and no further bytes can make it so. Final.
    No,
    /// It may be, more bytes are needed.
    NeedMore,
    /// It may be, and this end alone can still show it: whatever else the other one sends changes nothing.
    NeedFrom(End),
    /// It is.
    Proven(Proof),
}

impl Probe {
    /// The proof, where there is one.
    pub fn proof(self) -> Option<Proof> {
        match self {
            Self::Proven(proof) => Some(proof),
            Self::No | Self::NeedMore | Self::NeedFrom(_) => None,
        }
    }

    /// The answer where nothing is proved yet, given whether first and second end are over: nothing that they may still send adds to a proof.
    pub fn unless_over(over: [bool; 2]) -> Self {
        match over {
            [true, true] => Self::No,
            [true, false] => Self::NeedFrom(End::Second),
            [false, true] => Self::NeedFrom(End::First),
            [false, false] => Self::NeedMore,
        }
    }
}

/// The proof that a flow speaks a protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Layers above the transport, outermost first, the protocol itself included: `["dce-rpc", "profinet-cm"]`, `["smtp", "tls"]`.
    /// Empty stands for the protocol's own name alone.
    pub layers: Vec<&'static str>,
    /// Which end is the client (asks, opens the session, polls), where the messages tell.
    pub client: Option<End>,
    /// What the payload said.
    pub facts: Facts,
    /// Whether further bytes may add facts or layers (a ServerHello still to come, a STARTTLS still possible).
    /// While true and the prefix grows, this protocol alone is asked again and its newer proof replaces the older, or adds to it.
    pub open: bool,
    /// Whether nothing that was said asks for an answer although the protocol knows answers (a trap, a broadcast): silence means nothing then.
    pub unasked: bool,
    /// How far the messages of first and second end are told: bytes of a stream, datagrams of others, what was told before included. The
    /// next asking shows it in [`Side::read`] and what follows it alone, and is answered by a proof again, which adds to this one and repeats
    /// nothing. Zero for both: the next asking begins anew.
    pub read: [usize; 2],
}

/// What a protocol says about itself.
#[derive(Debug)]
pub struct About {
    /// Its name in the contract: `modbus`.
    pub name: &'static str,
    /// Its full name: `Modbus/TCP`.
    pub title: &'static str,
    /// The specification that the classifier follows.
    pub spec: &'static str,
    /// Its usual ports as `tcp/502`, for documentation and hints to people; never shown to `probe`.
    pub usual: &'static [&'static str],
    /// Whether a datagram of it asks for an answer, so that silence means something. One-way protocols (syslog, traps) do not.
    pub answers: bool,
    /// The fact keys that it can state, each with its meaning.
    pub facts: &'static [(&'static str, &'static str)],
}

/// A protocol: knows its own messages and nothing else.
pub trait Protocol: Sync {
    /// Its name, specification and facts.
    fn about(&self) -> &'static About;

    /// Whether a message, as it stands at the front of a datagram or of a stream, may have this byte at this place: for the first
    /// [`candidates::FRONT`] bytes, each by itself. A protocol is not shown what its own word excludes, so this must be true of all that
    /// `probe` takes for a message. The ethertype of a frame tells enough: there it is not asked.
    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        let _ = (carrier, at, byte);
        true
    }

    /// Judges the prefixes. Must not panic on any bytes, and must judge nothing by silence: empty prefixes are `NeedMore`. A `No` is
    /// final: no bytes that either end may add can prove what it denies. A `NeedFrom` is final for the other end in the same way. So
    /// one end that speaks something else is no reason for a `No` while the other may still prove the flow.
    fn probe(&self, seen: &Seen<'_>) -> Probe;

    /// Says what the messages of a later segment or datagram do to the machine: a write in the tenth minute counts as much as one at the
    /// beginning. Shown every payload of a proven flow, so it looks at whole messages' heads and allocates nothing; what is split over
    /// segments it does not see.
    fn glance(&self, carrier: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        let _ = (carrier, payload, tell);
    }

    /// A number below 2^62 for a payload that is exactly one message, the same for all that tell the same when they are sent by the same end:
    /// to [`Protocol::probe`] of a flow that is known and of which nothing else is left unread, and at a glance. Once one of them was told,
    /// the others are passed over while the flow is open. `None` for anything that is not whole, that hangs together with other messages, or
    /// that has more to tell than a number holds. Only for protocols that go on from what they told ([`Proof::read`]), and of which nothing
    /// but the bounds above, or the end of what is kept, closes a proof.
    fn gist(&self, carrier: Carrier, payload: &[u8]) -> Option<u64> {
        let _ = (carrier, payload);
        None
    }

    /// Whether every further message of a proven flow is to be shown to [`Protocol::hear`].
    fn listens(&self) -> bool {
        false
    }

    /// Reads one message (datagram, or TCP segment payload) of a proven flow for what it states beyond the flow.
    fn hear(&self, carrier: Carrier, message: &[u8], heard: &mut Vec<Statement>) {
        let _ = (carrier, message, heard);
    }
}

/// What a message does to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deed {
    /// The word for it of the protocol's `.access` fact.
    pub access: &'static str,
    /// The fact that names the function by which it does so, and its name, where it has one.
    pub by: Option<(&'static str, &'static str)>,
}

impl Deed {
    /// A deed by what is told of its access and its function, where it is one.
    pub fn of(
        access: Option<&'static str>,
        key: &'static str,
        function: Option<&'static str>,
    ) -> Option<Self> {
        access.map(|access| Self { access, by: function.map(|function| (key, function)) })
    }
}

/// The fact that says what a protocol's messages do to a machine (`modbus.access`), where it states one.
pub fn access_fact(protocol: &dyn Protocol) -> Option<&'static str> {
    protocol.about().facts.iter().map(|(key, _)| *key).find(|key| key.ends_with(ACCESS))
}

/// Every protocol known, the earlier line winning a tie. To add one: its file, its `mod` line, its entry here.
// One entry a line whatever fits on it, so that additions merge.
#[rustfmt::skip]
pub static PROTOCOLS: &[&dyn Protocol] = &[
    &ads::Ads,
    &amqp::Amqp,
    &arp::Arp,
    &bacnet::Bacnet,
    &cdp::Cdp,
    &codesys::Codesys,
    &dce_rpc::DceRpc,
    &dhcp::Dhcp,
    &dhcpv6::Dhcpv6,
    &dnp3::Dnp3,
    &dns::Dns,
    &dropbox_lan::DropboxLan,
    &dtls::Dtls,
    &eapol::Eapol,
    &ectp::Ectp,
    &enip::Enip,
    &ethercat::EtherCat,
    &fins::Fins,
    &fox::Fox,
    &ftp::Ftp,
    &ge_egd::GeEgd,
    &ge_srtp::GeSrtp,
    &goose::Goose,
    &hart_ip::HartIp,
    &hsrp::Hsrp,
    &http::Http,
    &iec104::Iec104,
    &ike::Ike,
    &imap::Imap,
    &ipmi::Ipmi,
    &kerberos::Kerberos,
    &knxnet_ip::KnxnetIp,
    &lacp::Lacp,
    &ldap::Ldap,
    &lldp::Lldp,
    &llmnr::Llmnr,
    &mdns::Mdns,
    &melsec::Melsec,
    &mms::Mms,
    &modbus::Modbus,
    &mqtt::Mqtt,
    &mrp::Mrp,
    &mssql::Mssql,
    &mysql::Mysql,
    &netbios::Netbios,
    &ntp::Ntp,
    &oncrpc::Oncrpc,
    &opc_ua::OpcUa,
    &pop3::Pop3,
    &postgresql::Postgresql,
    &powerlink::Powerlink,
    &profinet_cm::ProfinetCm,
    &profinet_dcp::ProfinetDcp,
    &profinet_ptcp::ProfinetPtcp,
    &profinet_rt::ProfinetRt,
    &prp::Prp,
    &ptp::Ptp,
    &quic::Quic,
    &radius::Radius,
    &rdp::Rdp,
    &rip::Rip,
    &ripng::Ripng,
    &rtsp::Rtsp,
    &s7comm::S7comm,
    &s7comm_plus::S7commPlus,
    &sip::Sip,
    &smb::Smb,
    &smtp::Smtp,
    &snmp::Snmp,
    &ssdp::Ssdp,
    &ssh::Ssh,
    &stp::Stp,
    &stun::Stun,
    &sv::Sv,
    &synchrophasor::Synchrophasor,
    &syslog::Syslog,
    &tacacs::Tacacs,
    &telnet::Telnet,
    &tftp::Tftp,
    &tls::Tls,
    &vnc::Vnc,
    &ws_discovery::WsDiscovery,
    // Any two bytes in ten begin a frame of it: asked once nobody else says that it is his.
    &modbus_rtu::ModbusRtu,
];

/// The protocol of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Protocol> {
    PROTOCOLS.iter().copied().find(|protocol| protocol.about().name == name)
}

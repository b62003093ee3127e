//! Machines on their segments, the firewall that routes between them, and a mirror that shows what each sends.

use std::net::IpAddr;

use super::wire;
use super::wire::Mac;

/// A millisecond in the plant's time.
pub const MS: u64 = 1_000;
/// A second in the plant's time.
pub const S: u64 = 1_000_000;

/// A machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub ip: IpAddr,
    pub mac: Mac,
    pub segment: u8,
    pub ttl: u8,
}

/// What the firewall does with a packet. The mirror shows it either way: it copies what a machine sends before the firewall decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Passes,
    Dies,
}

/// A packet on its way.
#[derive(Clone, Debug)]
struct Sent {
    at: u64,
    frame: Vec<u8>,
    /// What comes out of the firewall on the other side, on which segment.
    forwarded: Option<(u8, Vec<u8>)>,
    segment: u8,
}

/// Where the mirror sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// Every machine's own port, and what the firewall makes itself.
    Ports,
    /// All that is on one segment.
    Segment(u8),
}

/// The plant.
#[derive(Debug)]
pub struct Plant {
    pub v6: bool,
    pub mirror: Mirror,
    /// The capture's snap length.
    pub snap: usize,
    machines: Vec<Machine>,
    sent: Vec<Sent>,
    id: u16,
    noise: u32,
}

impl Plant {
    pub fn new(v6: bool) -> Self {
        Self {
            v6,
            mirror: Mirror::Ports,
            snap: 262_144,
            machines: Vec::new(),
            sent: Vec::new(),
            id: 0,
            noise: 0x2545_f491,
        }
    }

    /// A machine on a segment.
    pub fn machine(&mut self, segment: u8, host: u8) -> Machine {
        let ip = self.address(segment, host);
        self.machine_at(segment, [0x52, 0x54, 0, segment, 0, host], ip)
    }

    /// A machine with an address of its own choice.
    pub fn machine_at(&mut self, segment: u8, mac: Mac, ip: IpAddr) -> Machine {
        let machine = Machine { ip, mac, segment, ttl: 64 };
        self.machines.push(machine);
        machine
    }

    /// A machine that is off.
    pub fn ghost(&self, segment: u8, host: u8) -> Machine {
        Machine { ip: self.address(segment, host), mac: [0x52, 0x54, 0, segment, 0, host], segment, ttl: 64 }
    }

    fn address(&self, segment: u8, host: u8) -> IpAddr {
        if self.v6 {
            IpAddr::from([0xfd42, 7, u16::from(segment), 0, 0, 0, 0, u16::from(host)])
        } else {
            IpAddr::from([172, 21, segment, host])
        }
    }

    /// The firewall's own address and MAC on a segment.
    pub fn gateway(&self, segment: u8) -> Machine {
        let mac = [0, 0x0c, 0x29, 0xfe, segment, 1];
        Machine { ip: self.address(segment, 1), mac, segment, ttl: 64 }
    }

    /// A number that nobody would guess, the same in every run.
    pub fn any(&mut self) -> u32 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 17;
        self.noise ^= self.noise << 5;
        self.noise
    }

    fn next_id(&mut self) -> u16 {
        self.id = self.id.wrapping_add(1);
        self.id
    }

    /// A machine sends; what it sent is returned for an error to quote.
    pub fn send(
        &mut self,
        at: u64,
        ends: (Machine, Machine),
        protocol: u8,
        payload: &[u8],
        fate: Fate,
    ) -> Vec<u8> {
        let id = self.next_id();
        let (from, to) = ends;
        let packet = wire::ip((from.ip, to.ip), protocol, from.ttl, id, payload);
        self.carry(at, ends, &packet, fate);
        packet
    }

    /// A packet from one machine to another, through the firewall where they are on two segments.
    pub fn carry(&mut self, at: u64, (from, to): (Machine, Machine), packet: &[u8], fate: Fate) {
        let local = from.segment == to.segment;
        let next = if local { to.mac } else { self.gateway(from.segment).mac };
        let forwarded = (!local && fate == Fate::Passes)
            .then(|| (to.segment, wire::frame(to.mac, self.gateway(to.segment).mac, &wire::routed(packet))));
        let frame = wire::frame(next, from.mac, packet);
        self.sent.push(Sent { at, frame, forwarded, segment: from.segment });
    }

    /// The firewall itself sends, in whosever name.
    pub fn firewall(&mut self, at: u64, to: Machine, packet: &[u8]) {
        let frame = wire::frame(to.mac, self.gateway(to.segment).mac, packet);
        self.sent.push(Sent { at, frame, forwarded: None, segment: to.segment });
    }

    /// The firewall answers a packet of `to` with an ICMP error.
    pub fn firewall_says(&mut self, at: u64, to: Machine, what: (u8, u8), quoted: &[u8]) {
        let id = self.next_id();
        let error = wire::icmp_error((self.gateway(to.segment).ip, to.ip), what, id, quoted);
        self.firewall(at, to, &error);
    }

    /// A machine answers a packet that reached it with an ICMP error.
    pub fn machine_says(&mut self, at: u64, ends: (Machine, Machine), what: (u8, u8), quoted: &[u8]) {
        let id = self.next_id();
        let error = wire::icmp_error((ends.0.ip, ends.1.ip), what, id, &wire::routed(quoted));
        self.carry(at, ends, &error, Fate::Passes);
    }

    /// A machine asks its segment for an address.
    pub fn asks(&mut self, at: u64, asker: Machine, target: Machine, answered: bool) {
        let who = (asker.mac, asker.ip);
        let mut put = |at, frame| {
            self.sent.push(Sent { at, frame, forwarded: None, segment: asker.segment });
        };
        put(at, wire::who_has(who, target.ip));
        if answered {
            put(at + 200, wire::is_at(who, (target.mac, target.ip)));
        }
    }

    /// Every machine finds its gateway.
    pub fn greet(&mut self) {
        for machine in self.machines.clone() {
            for at in [S / 10, 70 * S] {
                self.asks(at, machine, self.gateway(machine.segment), true);
            }
        }
    }

    /// The capture keeps so much of a frame, as far as IPv4 is concerned; over IPv6 what its longer header takes as well.
    pub fn cut_at(&mut self, snap: usize) {
        self.snap = snap + if self.v6 { 20 } else { 0 };
    }

    /// Takes out of the recording what a test says.
    pub fn forget(&mut self, gone: impl Fn(u64, &[u8]) -> bool) {
        self.sent.retain(|sent| !gone(sent.at, &sent.frame));
    }

    /// What the mirror delivers.
    pub fn recording(&self) -> Vec<(u64, Vec<u8>)> {
        let mut out = Vec::new();
        for sent in &self.sent {
            match self.mirror {
                Mirror::Ports => out.push((sent.at, sent.frame.clone())),
                Mirror::Segment(segment) => {
                    if sent.segment == segment {
                        out.push((sent.at, sent.frame.clone()));
                    } else if let Some((_, frame)) = sent.forwarded.as_ref().filter(|(to, _)| *to == segment)
                    {
                        out.push((sent.at + 250, frame.clone()));
                    }
                }
            }
        }
        out.sort_by_key(|(at, _)| *at);
        out
    }
}

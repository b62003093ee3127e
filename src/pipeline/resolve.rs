//! Address resolution on the local segment: who asked for whom and whether an answer came (ARP, IPv6 neighbour discovery).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;

use arrayvec::ArrayVec;

use crate::decode::Body;
use crate::decode::Frame;
use crate::model::CellId;
use crate::model::Holder;
use crate::model::MacAddr;
use crate::model::PacketRef;
use crate::model::Resolution;
use crate::model::Series;
use crate::model::Timestamp;

/// The most pairs of asker and target that are remembered.
const MOST_PAIRS: usize = 65_536;
/// The most addresses whose MAC addresses are remembered.
const MOST_BINDINGS: usize = 65_536;
/// The most MAC addresses remembered of one address.
const MOST_MACS: usize = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Attempt {
    unanswered: Series,
    answer: Option<(PacketRef, MacAddr)>,
}

#[derive(Clone, Copy, Debug)]
struct Binding {
    mac: MacAddr,
    first: PacketRef,
    last: PacketRef,
    times: u64,
}

/// What was asked and answered so far.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    attempts: BTreeMap<(CellId, IpAddr, Option<IpAddr>), Attempt>,
    bindings: BTreeMap<(CellId, IpAddr), ArrayVec<Binding, MOST_MACS>>,
}

/// Whether a frame has to do with address resolution.
pub fn concerns(frame: &Frame<'_>) -> bool {
    match &frame.body {
        Body::Arp(_) => true,
        // Neighbour solicitation and advertisement (RFC 4861 section 4).
        Body::Icmp(icmp) => icmp.v6 && matches!(icmp.kind, 135 | 136),
        _ => false,
    }
}

impl Resolver {
    /// Takes in one packet.
    pub fn take(&mut self, cell: CellId, frame: &Frame<'_>, at: PacketRef) {
        match &frame.body {
            Body::Arp(arp) => {
                if !arp.sender.is_unspecified() {
                    self.bind(cell, arp.sender, arp.sender_mac, at);
                }
                match arp.operation {
                    _ if arp.sender == arp.target => {
                        self.answered(cell, None, arp.sender, arp.sender_mac, at)
                    }
                    // A sender without address only probes whether the target's is free (RFC 5227): no answer is hoped for.
                    1 if !arp.sender.is_unspecified() => self.asked(cell, arp.sender, arp.target, at),
                    2 => self.answered(cell, Some(arp.target), arp.sender, arp.sender_mac, at),
                    _ => {}
                }
            }
            Body::Icmp(icmp) if icmp.v6 => {
                let Some(network) = frame.network else { return };
                // Four reserved or flag bytes, then the target address.
                let Some(target) = icmp.body.get(4..20).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
                else {
                    return;
                };
                let target = IpAddr::V6(Ipv6Addr::from(target));
                let mac = frame.context.ethernet.map_or(MacAddr::default(), |ethernet| ethernet.source);
                match icmp.kind {
                    135 if !network.source.is_unspecified() => {
                        self.bind(cell, network.source, mac, at);
                        self.asked(cell, network.source, target, at);
                    }
                    136 => {
                        self.bind(cell, target, mac, at);
                        let asker = Some(network.destination).filter(|asker| !asker.is_multicast());
                        self.answered(cell, asker, target, mac, at);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Forgets what was last heard of before `since`. Says how many that were.
    pub fn forget(&mut self, since: Timestamp) -> u64 {
        let before = self.attempts.len() + self.bindings.len();
        self.attempts.retain(|_, attempt| {
            let answered = attempt.answer.map(|(at, _)| at);
            attempt.unanswered.last.max(answered).is_some_and(|last| last.time >= since)
        });
        self.bindings.retain(|_, macs| macs.iter().any(|binding| binding.last.time >= since));
        (before - self.attempts.len() - self.bindings.len()) as u64
    }

    /// Who says that an address is its own.
    pub fn holders(&self) -> Vec<Holder> {
        let held = |&(cell, address): &(CellId, IpAddr), binding: &Binding| {
            let &Binding { mac, first, last, times } = binding;
            Holder { cell, address, mac, first, last, times }
        };
        self.bindings
            .iter()
            .flat_map(|(key, bindings)| bindings.iter().map(move |binding| held(key, binding)))
            .collect()
    }

    /// The addresses that more than one machine seems to use.
    pub fn shared(&self) -> Vec<String> {
        let shared = self.bindings.iter().filter_map(|((_, ip), bindings)| {
            let several = bindings.iter().enumerate().any(|(index, one)| {
                bindings.iter().skip(index + 1).any(|other| {
                    // One after the other is a lease that changed hands; in turns, it is two machines.
                    one.times > 1 && other.times > 1 && one.first < other.last && other.first < one.last
                })
            });
            let macs: Vec<String> = bindings.iter().map(|binding| binding.mac.to_string()).collect();
            several.then(|| format!("{ip} ({})", macs.join(", ")))
        });
        shared.collect()
    }

    /// All that was asked.
    pub fn finish(self) -> Vec<Resolution> {
        let announced: BTreeMap<(CellId, IpAddr), (PacketRef, MacAddr)> = self
            .attempts
            .iter()
            .filter(|((_, _, asker), _)| asker.is_none())
            .filter_map(|(&(cell, target, _), attempt)| Some(((cell, target), attempt.answer?)))
            .collect();
        let told = self.attempts.into_iter().map(|((cell, target, asker), mut attempt)| {
            if let Some(&(at, mac)) = announced.get(&(cell, target))
                && attempt.unanswered.last.is_none_or(|last| last <= at)
                && attempt.answer.is_none_or(|(before, _)| before <= at)
            {
                attempt = Attempt { unanswered: Series::default(), answer: Some((at, mac)) };
            }
            Resolution { cell, asker, target, unanswered: attempt.unanswered, answer: attempt.answer }
        });
        told.collect()
    }

    fn asked(&mut self, cell: CellId, asker: IpAddr, target: IpAddr, at: PacketRef) {
        if let Some(attempt) = self.attempt(cell, target, Some(asker)) {
            attempt.unanswered.add(at);
        }
    }

    fn answered(&mut self, cell: CellId, asker: Option<IpAddr>, target: IpAddr, mac: MacAddr, at: PacketRef) {
        if let Some(attempt) = self.attempt(cell, target, asker) {
            *attempt = Attempt { unanswered: Series::default(), answer: Some((at, mac)) };
        }
    }

    fn attempt(&mut self, cell: CellId, target: IpAddr, asker: Option<IpAddr>) -> Option<&mut Attempt> {
        let key = (cell, target, asker);
        if self.attempts.len() >= MOST_PAIRS && !self.attempts.contains_key(&key) {
            return None;
        }
        Some(self.attempts.entry(key).or_default())
    }

    fn bind(&mut self, cell: CellId, ip: IpAddr, mac: MacAddr, at: PacketRef) {
        let key = (cell, ip);
        if self.bindings.len() >= MOST_BINDINGS && !self.bindings.contains_key(&key) {
            return;
        }
        let bindings = self.bindings.entry(key).or_default();
        match bindings.iter_mut().find(|binding| binding.mac == mac) {
            Some(binding) => {
                binding.last = at;
                binding.times += 1;
            }
            None => {
                let _ = bindings.try_push(Binding { mac, first: at, last: at, times: 1 });
            }
        }
    }
}

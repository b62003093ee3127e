//! Conversations packet by packet: a TCP connection in all its moods, and questions in datagrams.

use super::plant::Fate;
use super::plant::Machine;
use super::plant::Plant;
use super::wire;
use super::wire::ACK;
use super::wire::FIN;
use super::wire::Numbers;
use super::wire::PSH;
use super::wire::RST;
use super::wire::SYN;

/// From one machine to another, one way.
const WAY: u64 = 500;
/// When a Linux machine repeats a SYN, in seconds after the first (RFC 6298: 1 s, doubled).
pub const LINUX: [u64; 4] = [1, 3, 7, 15];
/// Data's first repetitions, in milliseconds.
pub const REPEATS: [u64; 6] = [200, 600, 1_400, 3_000, 6_200, 12_600];

/// The end that speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Client,
    Server,
}
use End::Client;
use End::Server;

/// A TCP connection.
#[derive(Debug)]
pub struct Talk<'a> {
    pub plant: &'a mut Plant,
    pub at: u64,
    machines: [Machine; 2],
    ports: [u16; 2],
    seq: [u32; 2],
}

impl<'a> Talk<'a> {
    /// A connection that the client has not tried yet.
    pub fn new(plant: &'a mut Plant, client: Machine, server: Machine, port: u16, at: u64) -> Self {
        let own = 33_000 + (plant.any() % 27_000) as u16;
        Self::from_port(plant, client, server, (own, port), at)
    }

    /// The same from a certain port.
    pub fn from_port(
        plant: &'a mut Plant,
        client: Machine,
        server: Machine,
        ports: (u16, u16),
        at: u64,
    ) -> Self {
        let seq = [plant.any(), plant.any()];
        Self { plant, at, machines: [client, server], ports: [ports.0, ports.1], seq }
    }

    /// One packet of one end, at its place in the stream; what was sent is returned.
    pub fn packet(&mut self, end: End, flags: u8, payload: &[u8], after: u64, fate: Fate) -> Vec<u8> {
        let (own, other) = match end {
            Client => (0, 1),
            Server => (1, 0),
        };
        let ends = (self.machines[own], self.machines[other]);
        let ports = (self.ports[own], self.ports[other]);
        let numbers = Numbers { ports, seq: self.seq[own], ack: self.seq[other], flags };
        let segment = wire::tcp((ends.0.ip, ends.1.ip), numbers, payload);
        self.plant.send(self.at + after, ends, wire::TCP, &segment, fate)
    }

    fn step(&mut self, end: End, bytes: usize) {
        let own = usize::from(end == Server);
        self.seq[own] = self.seq[own].wrapping_add(bytes as u32);
    }

    /// SYNs that get no answer: the first, and after so many seconds again.
    pub fn syns(&mut self, repeated: &[u64], fate: Fate) -> Vec<Vec<u8>> {
        let mut sent = vec![self.packet(Client, SYN, &[], 0, fate)];
        for seconds in repeated {
            sent.push(self.packet(Client, SYN, &[], seconds * super::plant::S, fate));
        }
        sent
    }

    /// The handshake.
    pub fn opens(self) -> Self {
        self.opens_within(WAY)
    }

    /// The handshake with a server that answers after so long.
    pub fn opens_within(self, micros: u64) -> Self {
        let mut half = self.half_opens_within(micros);
        half.packet(Client, ACK, &[], 0, Fate::Passes);
        half.at += WAY;
        half
    }

    /// A SYN and its answer.
    pub fn half_opens(self) -> Self {
        self.half_opens_within(WAY)
    }

    fn half_opens_within(mut self, micros: u64) -> Self {
        self.packet(Client, SYN, &[], 0, Fate::Passes);
        self.step(Client, 1);
        self.packet(Server, SYN | ACK, &[], micros, Fate::Passes);
        self.step(Server, 1);
        self.at += micros + WAY;
        self
    }

    /// Data that arrives and is acknowledged.
    pub fn says(mut self, end: End, payload: &[u8]) -> Self {
        for piece in payload.chunks(1_400) {
            self.packet(end, PSH | ACK, piece, 0, Fate::Passes);
            self.step(end, piece.len());
        }
        let other = if end == Client { Server } else { Client };
        self.packet(other, ACK, &[], WAY, Fate::Passes);
        self.at += 2 * WAY;
        self
    }

    /// Several messages in turn.
    pub fn exchange(self, messages: &[(End, Vec<u8>)]) -> Self {
        messages.iter().fold(self, |talk, (end, bytes)| talk.says(*end, bytes))
    }

    /// Data that is repeated, by milliseconds after the first time, and never acknowledged.
    pub fn in_vain(mut self, end: End, payload: &[u8], repeated: &[u64]) -> Self {
        self.packet(end, PSH | ACK, payload, 0, Fate::Dies);
        for millis in repeated {
            self.packet(end, PSH | ACK, payload, millis * super::plant::MS, Fate::Dies);
        }
        self.at += repeated.last().unwrap_or(&0) * super::plant::MS;
        self
    }

    /// Data that does not arrive.
    pub fn loses(mut self, end: End, payload: &[u8]) -> Self {
        self.packet(end, PSH | ACK, payload, 0, Fate::Dies);
        self.step(end, payload.len());
        self
    }

    /// Data whose segments of full size do not arrive; the short one at its end does, and the other end says so.
    pub fn loses_long(mut self, end: End, payload: &[u8], repeated: &[u64]) -> Self {
        const LONG: usize = 1_400;
        let (own, other) = if end == Client { (0, 1) } else { (1, 0) };
        let (start, short) = (self.seq[own], payload.len() / LONG * LONG);
        for (number, piece) in payload.chunks(LONG).enumerate() {
            let fate = if piece.len() == LONG { Fate::Dies } else { Fate::Passes };
            self.packet(end, PSH | ACK, piece, 10 * number as u64, fate);
            self.step(end, piece.len());
        }
        let block = (start.wrapping_add(short as u32), self.seq[own]);
        self.seq[own] = start;
        let ends = (self.machines[other], self.machines[own]);
        let numbers = Numbers {
            ports: (self.ports[other], self.ports[own]),
            seq: self.seq[other],
            ack: start,
            flags: ACK,
        };
        let segment = wire::selective((ends.0.ip, ends.1.ip), numbers, block);
        self.plant.send(self.at + WAY, ends, wire::TCP, &segment, Fate::Passes);
        for millis in repeated {
            self.packet(end, PSH | ACK, &payload[..LONG], millis * super::plant::MS, Fate::Dies);
        }
        self.at += repeated.last().unwrap_or(&0) * super::plant::MS;
        self
    }

    /// Data of which one segment of full size does not arrive, and the rest does.
    pub fn loses_first(self, end: End, payload: &[u8], repeated: &[u64]) -> Self {
        assert!(payload.len() < 2 * 1_400, "one segment of full size");
        self.loses_long(end, payload, repeated)
    }

    /// A keep-alive: the last byte once more, with nothing in it.
    pub fn keeps_alive(&mut self, end: End, after: u64, fate: Fate) {
        let own = usize::from(end == Server);
        self.seq[own] = self.seq[own].wrapping_sub(1);
        self.packet(end, ACK, &[], after, fate);
        self.seq[own] = self.seq[own].wrapping_add(1);
    }

    /// An orderly close, begun by one end.
    pub fn closes(mut self, first: End) -> Self {
        let other = if first == Client { Server } else { Client };
        self.packet(first, FIN | ACK, &[], 0, Fate::Passes);
        self.step(first, 1);
        self.packet(other, FIN | ACK, &[], WAY, Fate::Passes);
        self.step(other, 1);
        self.packet(first, ACK, &[], 2 * WAY, Fate::Passes);
        self.at += 3 * WAY;
        self
    }

    /// One end resets.
    pub fn resets(mut self, end: End) -> Self {
        self.packet(end, RST | ACK, &[], 0, Fate::Passes);
        self
    }

    /// A reset in the name of one end, with that time to live.
    pub fn resets_with(mut self, end: End, ttl: u8) {
        let own = usize::from(end == Server);
        self.machines[own].ttl = ttl;
        self.packet(end, RST | ACK, &[], WAY, Fate::Passes);
    }

    /// The SYN is answered by the target's own reset.
    pub fn target_refuses(mut self) {
        self.packet(Client, SYN, &[], 0, Fate::Passes);
        self.step(Client, 1);
        self.seq[1] = 0;
        self.packet(Server, RST | ACK, &[], WAY, Fate::Passes);
    }

    /// The firewall resets the client in the server's name.
    pub fn firewall_resets(self) {
        let [client, server] = self.machines;
        let numbers = Numbers {
            ports: (self.ports[1], self.ports[0]),
            seq: self.seq[1],
            ack: self.seq[0],
            flags: RST | ACK,
        };
        let segment = wire::tcp((server.ip, client.ip), numbers, &[]);
        let packet = wire::ip((server.ip, client.ip), wire::TCP, 64, 0, &segment);
        self.plant.firewall(self.at + 100, client, &packet);
    }

    /// A SYN that the firewall answers with a reset in the server's name.
    pub fn firewall_refuses(mut self) {
        self.packet(Client, SYN, &[], 0, Fate::Dies);
        self.step(Client, 1);
        self.seq[1] = 0;
        self.firewall_resets();
    }

    /// Time goes by.
    pub fn waits(mut self, micros: u64) -> Self {
        self.at += micros;
        self
    }
}

/// A datagram; what was sent is returned.
pub fn datagram(
    plant: &mut Plant,
    at: u64,
    ends: (Machine, Machine),
    ports: (u16, u16),
    payload: &[u8],
    fate: Fate,
) -> Vec<u8> {
    let bytes = wire::udp((ends.0.ip, ends.1.ip), ports, payload);
    plant.send(at, ends, wire::UDP, &bytes, fate)
}

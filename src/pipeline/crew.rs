//! Live workers: each reads a ring of its own, has a share of the shards, and does errands between packets.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;
use crossbeam_channel::unbounded;

use crate::capture::CaptureError;
use crate::capture::Polled;
use crate::capture::Source;
use crate::model::Input;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Timestamp;

use super::engine::Engine;
use super::gather::Gather;

/// A ring's packets, from any thread.
pub type Ring = Box<dyn Source>;
/// What a worker is sent to do.
type Errand = Box<dyn FnOnce(&mut Worker) + Send>;

/// Packets taken from a ring before anything else is seen to.
const TURN: usize = 256;

/// One worker.
pub(super) struct Worker {
    pub engine: Engine,
    pub gather: Gather,
    pub ring: Ring,
    /// Whether a batch was read since an errand last asked.
    told: Arc<Pulse>,
}

/// How a worker goes, without asking it.
#[derive(Default)]
struct Pulse {
    packets: AtomicU64,
    /// The last packet's stamp in nanoseconds.
    last: AtomicI64,
    silent: AtomicBool,
    over: AtomicBool,
    trouble: Mutex<Option<CaptureError>>,
}

/// Where a crew has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Going {
    /// Packets read.
    pub packets: u64,
    /// The latest stamp.
    pub last: Option<Timestamp>,
    /// Whether no ring has a packet.
    pub silent: bool,
    /// Whether no ring will have one any more.
    pub over: bool,
}

/// All workers.
pub(super) struct Crew {
    hands: Vec<Hand>,
}

struct Hand {
    errands: Option<Sender<Errand>>,
    pulse: Arc<Pulse>,
    thread: Option<JoinHandle<()>>,
}

impl Crew {
    /// Sets every engine to work on a ring.
    pub fn start(rings: Vec<Ring>, engines: Vec<Engine>) -> std::io::Result<Self> {
        let mut crew = Self { hands: Vec::new() };
        for (number, (ring, engine)) in rings.into_iter().zip(engines).enumerate() {
            let (errands, queue) = unbounded::<Errand>();
            let pulse = Arc::new(Pulse::default());
            let worker = Worker { engine, gather: Gather::default(), ring, told: Arc::clone(&pulse) };
            let name = format!("ring-{number}");
            let thread = thread::Builder::new().name(name).spawn(move || worker.run(&queue))?;
            crew.hands.push(Hand { errands: Some(errands), pulse, thread: Some(thread) });
        }
        Ok(crew)
    }

    /// Has every worker do something, all at the same time, and waits for what came of it, in their order.
    pub fn each<T: Send + 'static>(
        &mut self,
        errand: impl Fn(&mut Worker) -> T + Clone + Send + 'static,
    ) -> Vec<T> {
        let mut answers = Vec::with_capacity(self.hands.len());
        for hand in &self.hands {
            let (answer, answered) = bounded(1);
            let errand = errand.clone();
            let sent = hand.errands.as_ref().map(|errands| {
                errands.send(Box::new(move |worker| {
                    // Whoever asked may be gone.
                    let _ = answer.send(errand(worker));
                }))
            });
            if sent.is_some_and(|sent| sent.is_ok()) {
                answers.push(answered);
            }
        }
        let told: Vec<T> = answers.iter().filter_map(|answered| answered.recv().ok()).collect();
        if told.len() != self.hands.len() {
            self.join();
        }
        told
    }

    /// Where they have come to; an error of a ring is told once.
    pub fn going(&self) -> Result<Going, CaptureError> {
        let mut going = Going { silent: true, over: true, ..Going::default() };
        for hand in &self.hands {
            let pulse = &hand.pulse;
            if let Some(error) = pulse.trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(error);
            }
            let packets = pulse.packets.load(Ordering::Acquire);
            going.packets += packets;
            if packets > 0 {
                let last = Timestamp::from_nanos(pulse.last.load(Ordering::Relaxed));
                going.last = Some(going.last.map_or(last, |known| known.max(last)));
            }
            going.silent &= pulse.silent.load(Ordering::Relaxed);
            going.over &= pulse.over.load(Ordering::Relaxed);
        }
        Ok(going)
    }

    /// A worker ends only where it panicked: our own bug, which must not pass for a silent ring.
    fn join(&mut self) {
        for hand in &mut self.hands {
            if hand.thread.as_ref().is_some_and(JoinHandle::is_finished)
                && let Some(thread) = hand.thread.take()
                && let Err(panic) = thread.join()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for hand in &mut self.hands {
            hand.errands = None;
        }
    }
}

impl Worker {
    /// Reads until nobody has errands any more.
    fn run(mut self, errands: &Receiver<Errand>) {
        loop {
            let polled = self.turn();
            match polled {
                Ok(polled) => {
                    self.told.silent.store(polled != Polled::Packet, Ordering::Relaxed);
                    self.told.over.store(polled == Polled::End, Ordering::Relaxed);
                    self.engine.exchange(false);
                    if polled == Polled::End && !self.wait(errands) {
                        return;
                    }
                }
                Err(error) => {
                    let mut trouble = self.told.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                    *trouble = Some(error);
                    return;
                }
            }
            loop {
                match errands.try_recv() {
                    Ok(errand) => errand(&mut self),
                    Err(crossbeam_channel::TryRecvError::Empty) => break,
                    Err(crossbeam_channel::TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    /// A ring that is over leaves time for errands, and for what others still send.
    fn wait(&mut self, errands: &Receiver<Errand>) -> bool {
        match errands.recv_timeout(std::time::Duration::from_millis(10)) {
            Ok(errand) => {
                errand(self);
                true
            }
            Err(error) => error.is_timeout(),
        }
    }

    fn turn(&mut self) -> Result<Polled, CaptureError> {
        let Self { engine, gather, ring, told } = self;
        let mut count = 0;
        let mut last = PacketRef::default();
        let polled = ring.drain(TURN, &mut |packet: &Packet<'_>| {
            gather.take(engine, packet);
            count += 1;
            last = packet.at;
        });
        gather.flush(engine);
        let polled = polled?;
        if count > 0 {
            told.last.store(last.time.as_nanos(), Ordering::Relaxed);
            told.packets.fetch_add(count, Ordering::Release);
        }
        Ok(polled)
    }
}

/// What all rings say of themselves, taken together: an interface is one input, whatever the number of its rings.
#[derive(Clone, Debug, Default)]
pub struct Rings {
    inputs: Vec<Input>,
    notes: Vec<String>,
    down: Vec<String>,
}

impl Rings {
    /// Of each ring: its inputs, notes, and what is down.
    pub(super) fn of(told: Vec<(Vec<Input>, Vec<String>, Vec<String>)>) -> Self {
        let mut rings = Self::default();
        for (inputs, notes, down) in told {
            for (place, input) in inputs.into_iter().enumerate() {
                match rings.inputs.get_mut(place) {
                    Some(known) => add(known, input),
                    None => rings.inputs.push(input),
                }
            }
            for (all, new) in [(&mut rings.notes, notes), (&mut rings.down, down)] {
                all.extend(new);
                all.sort();
                all.dedup();
            }
        }
        rings
    }
}

fn add(known: &mut Input, other: Input) {
    let earliest = |a: Option<Timestamp>, b: Option<Timestamp>| a.into_iter().chain(b).min();
    known.packets += other.packets;
    known.bytes += other.bytes;
    known.filtered += other.filtered;
    known.cut_packets += other.cut_packets;
    known.time_reversals += other.time_reversals;
    known.first = earliest(known.first, other.first);
    known.last = known.last.max(other.last);
    known.dropped = match (known.dropped, other.dropped) {
        (None, None) => None,
        (one, two) => Some(one.unwrap_or(0) + two.unwrap_or(0)),
    };
    known.stopped = known.stopped.take().or(other.stopped);
}

impl Source for Rings {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        Ok(false)
    }

    fn packet(&self) -> Packet<'_> {
        Packet {
            at: PacketRef::default(),
            link: crate::model::LinkType::NULL,
            interface: 0,
            original: 0,
            bytes: &[],
        }
    }

    fn inputs(&self) -> Vec<Input> {
        self.inputs.clone()
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn down(&self) -> Vec<String> {
        self.down.clone()
    }
}

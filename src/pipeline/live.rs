//! The pipeline that does not end: packets go in, snapshots come out, and what has long been silent is forgotten.
//!
//! A snapshot is what a run over the same packets would tell if the capture ended now. Nothing here grows with time: what is not heard
//! of for [`Retention::keep`] leaves, what is beyond a bound leaves oldest first, and both are counted.

mod look;
mod retention;
mod snapshot;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use dashmap::DashMap;
use foldhash::fast::FixedState;

use crate::capture::CaptureError;
use crate::model::Packet;
use crate::model::Timestamp;

use super::CellMap;
use super::Options;
use super::crew::Crew;
use super::crew::Going;
use super::crew::Ring;
use super::crew::Rings;
use super::engine::Engine;
use super::gather::Gather;
use super::others::Others;
use super::recent::Recent;
use super::vantage::Hosts;

pub use look::Look;
pub use retention::ORDINARY;
pub use retention::Retention;
pub use snapshot::Snapshot;

/// A pipeline over a capture that goes on.
pub struct Live {
    hands: Hands,
    gather: Gather,
    hosts: Hosts,
    recent: Recent,
    copied: Arc<AtomicU64>,
    retention: Retention,
    keep_flows: bool,
    /// The most addresses remembered as heard.
    most_hosts: usize,
    swept: Option<Timestamp>,
}

/// Who does the work.
enum Hands {
    /// The calling thread, which brings the packets.
    Own(Box<Engine>),
    /// Threads with a ring each.
    Crew(Crew),
}

impl Hands {
    /// Has every engine do something.
    fn each<T: Send + 'static>(
        &mut self,
        errand: impl Fn(&mut Engine) -> T + Clone + Send + 'static,
    ) -> Vec<T> {
        match self {
            Self::Own(engine) => vec![errand(engine)],
            Self::Crew(crew) => crew.each(move |worker| errand(&mut worker.engine)),
        }
    }
}

/// Figures of a pipeline at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Flows alive.
    pub flows: usize,
    /// Bytes kept for classifiers.
    pub kept_bytes: usize,
    /// Packets that were copied to the worker where their hosts are at home.
    pub copied: u64,
    /// Bytes of small packets that were copied out of a ring, to be taken in together.
    pub gathered: u64,
}

impl Live {
    /// A pipeline that has seen nothing. `workers` is not heeded: everything is done in the calling thread.
    pub fn new(options: &Options, retention: Retention) -> Self {
        let hosts: Hosts = Arc::new(DashMap::with_hasher(FixedState::default()));
        let mut engine = Engine::new(options, options.bounds(), hosts.clone());
        let (recent, keepers) = Recent::new(1, options.recent_bytes);
        engine.keeper = keepers.into_iter().next().filter(|_| options.recent_bytes > 0);
        let hands = Hands::Own(Box::new(engine));
        Self::over(hands, hosts, recent, Arc::default(), options, retention)
    }

    /// A pipeline with a thread for each ring. Rings hold whole host pairs as far as can be; what belongs elsewhere is copied there.
    pub fn spread(options: &Options, retention: Retention, rings: Vec<Ring>) -> std::io::Result<Self> {
        let hosts: Hosts = Arc::new(DashMap::with_hasher(FixedState::default()));
        let (others, copied) = Others::all(rings.len());
        let mut engines = Engine::among(options, options.bounds(), &hosts, others);
        let (recent, keepers) = Recent::new(rings.len(), options.recent_bytes);
        for (engine, keeper) in engines.iter_mut().zip(keepers) {
            engine.keeper = Some(keeper).filter(|_| options.recent_bytes > 0);
        }
        let hands = Hands::Crew(Crew::start(rings, engines)?);
        Ok(Self::over(hands, hosts, recent, copied, options, retention))
    }

    fn over(
        hands: Hands,
        hosts: Hosts,
        recent: Recent,
        copied: Arc<AtomicU64>,
        options: &Options,
        retention: Retention,
    ) -> Self {
        let (keep_flows, most_hosts) = (options.keep_flows, options.hosts.max(1));
        let gather = Gather::default();
        Self { hands, gather, hosts, recent, copied, retention, keep_flows, most_hosts, swept: None }
    }

    /// Takes in one packet. Rings of a spread pipeline bring their own.
    #[inline]
    pub fn take(&mut self, packet: &Packet<'_>) {
        if let Hands::Own(engine) = &mut self.hands {
            engine.take(packet);
        }
    }

    /// The same for one that others follow closely: it counts with them, or at the next [`Live::flush`].
    #[inline]
    pub fn gather(&mut self, packet: &Packet<'_>) {
        if let Hands::Own(engine) = &mut self.hands {
            self.gather.take(engine, packet);
        }
    }

    /// Has everything gathered count.
    pub fn flush(&mut self) {
        if let Hands::Own(engine) = &mut self.hands {
            self.gather.flush(engine);
        }
    }

    /// Where the threads of a spread pipeline have come to.
    pub fn going(&self) -> Result<Going, CaptureError> {
        match &self.hands {
            Hands::Own(_) => Ok(Going::default()),
            Hands::Crew(crew) => crew.going(),
        }
    }

    /// What the rings of a spread pipeline say of themselves.
    pub fn rings(&mut self) -> Rings {
        match &mut self.hands {
            Hands::Own(_) => Rings::default(),
            Hands::Crew(crew) => {
                Rings::of(crew.each(|worker| (worker.ring.inputs(), worker.ring.notes(), worker.ring.down())))
            }
        }
    }

    /// The beginnings of the latest packets.
    pub fn recent(&self) -> Recent {
        self.recent.clone()
    }

    /// From now on tells address spaces apart like this.
    pub fn tell_cells(&mut self, cells: CellMap) {
        self.hands.each(move |engine| engine.cells = cells.clone());
    }

    /// How much there is to do.
    pub fn load(&mut self) -> Load {
        let each = self.hands.each(|engine| {
            let flows = engine.shards.iter().map(super::shard::Shard::flows).sum::<usize>();
            (flows, engine.shards.iter().map(super::shard::Shard::kept).sum::<usize>())
        });
        let gathered = match &mut self.hands {
            Hands::Own(_) => self.gather.copied(),
            Hands::Crew(crew) => crew.each(|worker| worker.gather.copied()).iter().sum(),
        };
        Load {
            gathered,
            flows: each.iter().map(|(flows, _)| flows).sum(),
            kept_bytes: each.iter().map(|(_, kept)| kept).sum(),
            copied: self.copied.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;

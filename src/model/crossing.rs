//! What two recordings from both sides of a device show together: what reached the one and never the other.

use super::PacketRef;
use super::counted;

/// What of a flow never came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lost {
    /// Everything that the client sent.
    Requests,
    /// The server's answers to an opening that did come through.
    Answers,
    /// The client's data, after an opening that did come through.
    Data,
}

/// A flow that reached one vantage and not the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Crossing {
    /// The vantage at which it was seen.
    pub from: String,
    /// The vantage that it never reached.
    pub to: String,
    /// What did not come through.
    pub lost: Lost,
    /// The first packet that was seen at the one and never at the other.
    pub first: PacketRef,
    /// The last of them.
    pub last: PacketRef,
    /// How many packets that are.
    pub count: u32,
    /// How many of the same conversation were lost like this in all its flows, and resets that answered them: each would have had to be
    /// missed at the other vantage for itself.
    pub together: u32,
    /// A packet between the same hosts or segments that was seen at both, here and there: the way leads past both vantages.
    pub control: Option<(PacketRef, PacketRef)>,
    /// The share of bytes that the other vantage missed; `None` says too little traffic to tell.
    pub loss: Option<f64>,
}

impl Crossing {
    /// So many packets that are not there, each for itself, are needed where the other vantage's loss is not known.
    const NEEDED_BLIND: u32 = 3;
    /// One packet alone may always be an accident of the mirror.
    const NEEDED: u32 = 2;
    /// The probability below which loss explains nothing (evidence 3.6).
    const EXPLAINS: f64 = 0.01;

    /// Why the other vantage's own loss, or its view, may explain what is missing there; `None` where neither does.
    pub fn doubt(&self) -> Option<String> {
        if self.control.is_none() {
            return Some(format!(
                "no packet between the same segments was seen at both '{}' and '{}', so another way or translated addresses are not ruled out",
                self.from, self.to
            ));
        }
        let needed = if self.loss.is_some() { Self::NEEDED } else { Self::NEEDED_BLIND };
        if self.together < needed {
            return Some(format!(
                "{} missing at '{}' is too little to rule out loss there",
                counted(self.together.into(), "packet"),
                self.to
            ));
        }
        let loss = self.loss?;
        (loss.powi(i32::try_from(self.together).unwrap_or(i32::MAX)) > Self::EXPLAINS).then(|| {
            format!(
                "'{}' misses about {:.1} % of packets, which could explain that {} never came",
                self.to,
                loss * 100.0,
                counted(self.together.into(), "packet")
            )
        })
    }
}

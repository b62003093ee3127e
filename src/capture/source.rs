//! The one trait behind every capture: advance, then borrow the packet where it lies.

use std::path::PathBuf;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::model::Input;
use crate::model::Packet;

/// An input that could not be opened, or whose reading went wrong in a way that is not the capture's fault.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The operating system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was being read.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Not a capture file.
    #[error("{}: {why}", path.display())]
    NotACapture {
        /// The file.
        path: PathBuf,
        /// What it is, or how it begins.
        why: String,
    },
    /// A directory without any capture in it.
    #[error("{}: no capture files in this directory", path.display())]
    EmptyDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Live capture could not be set up.
    #[error("{interface}: {why}")]
    Live {
        /// The interface.
        interface: String,
        /// What went wrong and what to do.
        why: String,
    },
    /// A BPF filter that does not compile, or that this build can't compile.
    #[error("filter '{filter}': {why}")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What came of waiting for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// The next packet is there.
    Packet,
    /// None arrived for a while, and there may be more: an interface is silent.
    Idle,
    /// There is none to come.
    End,
}

/// The most packets handed over at once: what is told of them stays in the processor's nearest cache.
pub const LONGEST_RUN: usize = 128;

/// Packets one after the other, where they lie.
#[derive(Default)]
pub struct Run<'a> {
    /// The packets.
    pub packets: ArrayVec<Packet<'a>, LONGEST_RUN>,
    /// The block that all of them lie in, where it can be kept for longer than the source stands still.
    pub block: Option<&'a Arc<Vec<u8>>>,
}

/// A stream of packets in the order in which they are to be judged.
pub trait Source: Send {
    /// Moves on to the next packet; `false` at the end. A capture that breaks off ends there: the reason is in `inputs`.
    fn advance(&mut self) -> Result<bool, CaptureError>;

    /// As [`Source::advance`], but comes back when an interface is silent, so that timers can be seen to meanwhile.
    fn poll(&mut self) -> Result<Polled, CaptureError> {
        Ok(if self.advance()? { Polled::Packet } else { Polled::End })
    }

    /// Hands on packets where they lie, at most so many: those that are there. `Packet` says that there were some.
    fn drain(&mut self, most: usize, take: &mut dyn FnMut(&Packet<'_>)) -> Result<Polled, CaptureError> {
        for done in 0..most {
            match self.poll()? {
                Polled::Packet => take(&self.packet()),
                // What comes after is for the next call.
                _ if done > 0 => return Ok(Polled::Packet),
                other => return Ok(other),
            }
        }
        Ok(Polled::Packet)
    }

    /// The packet moved on to, where it lies.
    ///
    /// Before the first [`Source::advance`] and after the end it is an empty packet.
    fn packet(&self) -> Packet<'_>;

    /// Moves on over several packets at once, as many as lie ready one after the other, and hands them over where they lie; `false` at
    /// the end. One call for a run of packets instead of two for each.
    fn run<'a>(&'a mut self, into: &mut Run<'a>) -> Result<bool, CaptureError> {
        if !self.advance()? {
            return Ok(false);
        }
        into.packets.push(self.packet());
        Ok(true)
    }

    /// What is known of the inputs so far, in the order of their ids.
    fn inputs(&self) -> Vec<Input>;

    /// Names of addresses that the capture file itself carries (pcapng name resolution blocks).
    fn names(&self) -> Vec<(std::net::IpAddr, String)> {
        Vec::new()
    }

    /// What the reader of a report has to know of how the inputs were taken: files passed over in a directory, with the reason.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Names of the interfaces that can't be heard at the moment.
    fn down(&self) -> Vec<String> {
        Vec::new()
    }

    /// Bytes read from the inputs so far and their total where known, for a progress bar. Compressed sizes for compressed files.
    fn progress(&self) -> (u64, Option<u64>) {
        (0, None)
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        (**self).advance()
    }

    fn poll(&mut self) -> Result<Polled, CaptureError> {
        (**self).poll()
    }

    fn drain(&mut self, most: usize, take: &mut dyn FnMut(&Packet<'_>)) -> Result<Polled, CaptureError> {
        (**self).drain(most, take)
    }

    fn packet(&self) -> Packet<'_> {
        (**self).packet()
    }

    fn run<'a>(&'a mut self, into: &mut Run<'a>) -> Result<bool, CaptureError> {
        (**self).run(into)
    }

    fn inputs(&self) -> Vec<Input> {
        (**self).inputs()
    }

    fn names(&self) -> Vec<(std::net::IpAddr, String)> {
        (**self).names()
    }

    fn notes(&self) -> Vec<String> {
        (**self).notes()
    }

    fn down(&self) -> Vec<String> {
        (**self).down()
    }

    fn progress(&self) -> (u64, Option<u64>) {
        (**self).progress()
    }
}

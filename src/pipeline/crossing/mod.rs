//! Several vantages of one plant: each is read by itself, then they are joined, and what reached one and never the other is told.
//!
//! A vantage has its own duplicates, its own loss and its own clock, so each goes through a pipeline of its own; copies are never
//! looked for across vantages, since there the difference is the proof. Joining counts a flow that was seen at several once.

mod join;
mod passage;
mod prints;

#[cfg(test)]
mod tests;

use crate::capture::CaptureError;
use crate::capture::Source;
use crate::model::Observed;

use super::Options;
use prints::Noting;
use prints::Prints;

/// What one vantage saw.
pub struct Part {
    /// The vantage's name.
    name: String,
    observed: Observed,
    prints: Prints,
}

/// Vantages that were read, waiting to be joined.
#[derive(Default)]
pub struct Vantages(Vec<Part>);

impl Vantages {
    /// Reads the next vantage to its end. The order in which they are read is that in which inputs are told.
    pub fn read(
        &mut self,
        name: &str,
        source: &mut dyn Source,
        options: &Options,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), CaptureError> {
        let inputs: usize = self.0.iter().map(|part| part.observed.inputs.len()).sum();
        let base = u32::try_from(inputs).unwrap_or(u32::MAX);
        let mut noting = Noting { inner: source, base, cells: &options.cells, prints: Prints::default() };
        let mut observed = super::run(&mut noting, options, progress)?;
        let prints = noting.prints;
        for input in &mut observed.inputs {
            input.vantage = Some(name.to_owned());
        }
        self.0.push(Part { name: name.to_owned(), observed, prints });
        Ok(())
    }

    /// All of them as one.
    pub fn join(self) -> Observed {
        join::join(self.0)
    }
}

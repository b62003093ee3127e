//! Room that the file no longer needs is given back: after a flood it would keep its size for ever.

use redb::Database;

use crate::model::Timestamp;

use super::Store;
use super::is_due;

/// Capture time between two looks at how full the file is. Such a look reads all of its pages.
const TIDY: i64 = 600_000_000_000;
/// A file of this size is small enough to be left alone.
const LEAST: u64 = 32 << 20;
/// One in which less than this part is taken is made smaller. The library doubles a file that grows, so half would mean to go to and fro.
const TAKEN: u64 = 4;

impl Store {
    /// Makes the file smaller where little of it is taken. Pages are moved in transactions of their own, so that kill -9 in the midst of it
    /// finds the rows as they were; the file does not grow over it.
    pub fn give_back(&mut self, now: Option<Timestamp>) -> Result<(), redb::Error> {
        if !is_due(self.tidied, now, TIDY) {
            return Ok(());
        }
        self.tidied = now;
        if self.size() < LEAST {
            return Ok(());
        }
        self.whole(|store| store.shrink())
    }

    fn shrink(&mut self) -> Result<(), redb::Error> {
        let size = self.size();
        let write = self.database()?.begin_write()?;
        let stats = write.stats()?;
        let taken = stats.allocated_pages().saturating_mul(stats.page_size() as u64);
        write.abort()?;
        if taken < size / TAKEN {
            self.database.as_mut().map(Database::compact).transpose()?;
        }
        Ok(())
    }

    /// Bytes of its file.
    pub fn size(&self) -> u64 {
        self.path.metadata().map_or(0, |file| file.len())
    }
}

#[cfg(test)]
mod tests;

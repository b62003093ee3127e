//! How much memory this process holds, as Linux tells it.

use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;

/// Opened once, before the watch gives up the right to open files.
#[derive(Debug)]
pub struct Resident(Option<File>);

impl Resident {
    /// Stands ready, where there is a `/proc`.
    pub fn open() -> Self {
        Self(File::open("/proc/self/status").ok())
    }

    /// Resident bytes now; 0 where nobody tells.
    pub fn bytes(&mut self) -> u64 {
        let Some(file) = &mut self.0 else { return 0 };
        let mut text = String::new();
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
        // proc_pid_status(5): `VmRSS:   1234 kB`, where a kB is 1024 bytes.
        let line = read.ok().and_then(|_| text.lines().find_map(|line| line.strip_prefix("VmRSS:")));
        let kib = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_memory() {
        if std::path::Path::new("/proc/self/status").exists() {
            assert!(Resident::open().bytes() > 100_000);
        }
    }
}

//! Where reports are written: whole or not at all, the one before stays until the new one is there.

use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::model::Report;
use crate::report::Format;
use crate::report::Style;

/// A report's place and shape.
pub struct Archive {
    path: PathBuf,
    format: &'static dyn Format,
    style: Style,
}

impl Archive {
    /// Reports go to this file in this format.
    pub fn new(path: PathBuf, format: &'static dyn Format, style: Style) -> Self {
        Self { path, format, style }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a report.
    pub fn write(&self, report: &Report) -> io::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut out = BufWriter::new(File::create(&beside)?);
        self.format.write(report, &self.style, &mut out)?;
        out.flush()?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&beside, &self.path)
    }
}

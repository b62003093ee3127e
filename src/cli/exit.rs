//! How the program ends, and what it says when it could not do its work.

use std::fmt;
use std::process::ExitCode;

use crate::capture::CaptureError;
use crate::evidence::EvidenceError;
use crate::model::Conclusion;

/// The exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nothing to act on; and every success of the commands that judge nothing.
    Compliant = 0,
    /// Something to act on.
    Findings = 1,
    /// Bad usage, unreadable input, unwritable output.
    CouldNotRun = 2,
    /// Nothing to act on, but too little was shown.
    Inconclusive = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Conclusion> for Exit {
    fn from(conclusion: Conclusion) -> Self {
        match conclusion {
            Conclusion::Compliant => Self::Compliant,
            Conclusion::Findings => Self::Findings,
            Conclusion::Inconclusive => Self::Inconclusive,
        }
    }
}

/// Why the program could not do its work: one line of what and where, and one of what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, and where.
    pub message: String,
    /// What to do, empty where the message says it all.
    pub help: String,
    /// What is told before the message, over as many lines as it takes: diagnostics with their source lines.
    pub detail: String,
}

impl Problem {
    /// A problem with what to do about it.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), detail: String::new() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<CaptureError> for Problem {
    fn from(error: CaptureError) -> Self {
        let help = match &error {
            CaptureError::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => {
                    "check the spelling; a relative path starts from the current folder"
                }
                std::io::ErrorKind::PermissionDenied => {
                    "ask for read access, or copy the capture to where you have it"
                }
                _ => "",
            },
            CaptureError::NotACapture { .. } => {
                "captures are pcap or pcapng files, plain or compressed with gzip, zstd or xz; - reads one from standard input"
            }
            CaptureError::EmptyDirectory { .. } => "name the files, or the folder that holds them",
            CaptureError::Live { .. } => {
                "tcpdump -D or ip link lists the interfaces; capturing needs root or CAP_NET_RAW"
            }
            CaptureError::Filter { .. } => {
                "the language is that of tcpdump, for example 'host 10.1.2.3 and not port 22'"
            }
        };
        Self::new(error.to_string(), help)
    }
}

impl From<EvidenceError> for Problem {
    fn from(error: EvidenceError) -> Self {
        let help = match &error {
            EvidenceError::Io { .. } => "name a folder that you may write to",
            EvidenceError::NotEmpty { .. } => {
                "name a new folder, so that evidence of two runs is never mixed"
            }
            EvidenceError::OnlyOnce { .. } => "save it first, as with tcpdump -w FILE, and audit the file",
            EvidenceError::Changed { .. } => {
                "keep recordings as they are while they are audited, and run it again"
            }
            EvidenceError::Capture(_) => "the report is written; the packets could not be read a second time",
        };
        Self::new(error.to_string(), help)
    }
}

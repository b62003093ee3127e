//! The index of a folder of evidence: what each file holds, the hashes of everything, and the commands by which to check it.

use std::fmt::Write;

use serde::Serialize;

use crate::model::Timestamp;
use crate::model::counted;

use super::escape::plain;
use super::json_writer::write_page;
use super::time;

/// The name and version of the index's shape.
pub const EVIDENCE_SCHEMA: &str = "spanaudit.evidence/1";

/// What a folder of evidence holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EvidenceIndex {
    /// Whether payload is in it, or headers alone.
    pub payload: bool,
    /// The recordings that it was taken from.
    pub inputs: Vec<EvidenceInput>,
    /// One entry a finding.
    pub findings: Vec<Exhibit>,
    /// What was left out, in plain words.
    pub left_out: Vec<String>,
}

/// A recording.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EvidenceInput {
    /// Its name as the audit read it.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: Option<String>,
    /// Packets in it.
    pub packets: u64,
}

/// The evidence of one finding.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Exhibit {
    /// The finding's id.
    pub id: String,
    /// What kind.
    pub kind: &'static str,
    /// One line.
    pub title: String,
    /// The file in this folder.
    pub file: String,
    /// Its SHA-256.
    pub sha256: String,
    /// Its packets, in their order.
    pub packets: Vec<ExhibitPacket>,
    /// Packets whose payload was left out.
    pub cut: u64,
    /// Commands by which to check it.
    pub check: Vec<String>,
}

/// One packet of a file of evidence.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ExhibitPacket {
    /// Its number in the file of evidence.
    pub number: u64,
    /// The recording that it stands in.
    pub file: String,
    /// Its number there.
    pub packet: u64,
    /// Its time.
    #[serde(serialize_with = "as_rfc3339")]
    pub time: Timestamp,
    /// Whether the finding cites it; the others are of the same conversation.
    pub cited: bool,
    /// What it shows.
    pub note: String,
}

fn as_rfc3339<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time::rfc3339(*time))
}

#[derive(Serialize)]
struct Whole<'a> {
    schema: &'static str,
    #[serde(flatten)]
    index: &'a EvidenceIndex,
}

impl EvidenceIndex {
    /// As one JSON object.
    pub fn to_json(&self) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        write_page(&Whole { schema: EVIDENCE_SCHEMA, index: self }, &mut out)?;
        Ok(out)
    }

    /// As a page for people. Writing to a String does not fail.
    pub fn to_text(&self) -> String {
        let mut page = String::from(
            "Evidence by spanaudit. Everything here can be checked with other tools.\n\nThe recordings that it was taken from, named from the folder in which the audit ran:\n",
        );
        for input in &self.inputs {
            let hash = input.sha256.as_deref().unwrap_or("(no hash: it could not be read to its end)");
            let _ =
                writeln!(page, "  {hash}  {}  ({})", plain(&input.file), counted(input.packets, "packet"));
        }
        page.push_str(
            "\nThe files of this folder against their hashes:\n  sha256sum -c SHA256SUMS\n\nEach packet carries what it shows, and where it stands in its recording, as a comment.\n",
        );
        page.push_str(if self.payload {
            "Packets are whole.\n"
        } else {
            "Packets hold headers alone (--payload keeps them whole); what payload shows can be checked in the recordings.\n"
        });
        for line in &self.left_out {
            let _ = writeln!(page, "Left out: {}.", plain(line));
        }
        for exhibit in &self.findings {
            let _ = write!(page, "\n{}\n  {}  {}\n", plain(&exhibit.title), exhibit.sha256, exhibit.file);
            for packet in exhibit.packets.iter().filter(|packet| packet.cited) {
                let _ = writeln!(
                    page,
                    "  #{} here is #{} of {}, {} UTC: {}",
                    packet.number,
                    packet.packet,
                    plain(&packet.file),
                    time::date_and_time(packet.time),
                    plain(&packet.note)
                );
            }
            let others = exhibit.packets.iter().filter(|packet| !packet.cited).count();
            if others > 0 {
                let _ = writeln!(page, "  and {others} more of the same conversations");
            }
            for command in &exhibit.check {
                let _ = writeln!(page, "  {}", plain(command));
            }
        }
        page
    }
}

//! Evidence for a third party: one pcapng per finding with just its packets, comments on them, and an index with hashes and commands.
//!
//! The inputs are read a second time, by packet number. What is written are packets as they were captured, never conclusions from memory.

mod headers;
mod pcapng;
mod plan;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use sha2::Digest;
use sha2::Sha256;

use crate::capture;
use crate::capture::CaptureError;
use crate::capture::Source;
use crate::model::Finding;
use crate::model::InputId;
use crate::model::LinkType;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Report;
use crate::model::Timestamp;
use crate::report::EvidenceIndex;
use crate::report::EvidenceInput;
use crate::report::Exhibit;
use crate::report::ExhibitPacket;
use crate::report::frames;
use crate::report::plain;
use crate::report::shell_word;

use pcapng::Pcapng;
use pcapng::Written;
use plan::Plan;

/// Findings for which a file is written. More than these nobody checks by hand; they stand in the report.
const MOST_FINDINGS: usize = 1000;
/// Packets of the conversation kept of each end of it, besides those cited.
const EACH_END: usize = 100;
/// Bytes of such packets kept in all.
const MOST_BYTES: usize = 256 << 20;

/// Why evidence could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The folder can't be made or written to.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was being written.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is something in it already.
    #[error("{}: the folder is not empty", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// It can be read but once.
    #[error("{}: packets are looked up in a second reading, and this can be read only once", path.display())]
    OnlyOnce {
        /// The input.
        path: PathBuf,
    },
    /// An input could not be read again.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// An input is another than it was.
    #[error("{file}: packet {packet} is not what it was when the audit read it: the file has changed")]
    Changed {
        /// The input.
        file: String,
        /// The packet.
        packet: u64,
    },
}

/// What a capture's name stands for, once it was checked: something that can be read twice.
pub fn check_inputs(paths: &[PathBuf]) -> Result<(), EvidenceError> {
    for path in paths {
        // What does not exist is told when it is opened.
        let only_once = fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir());
        if path == Path::new("-") || only_once {
            return Err(EvidenceError::OnlyOnce { path: path.clone() });
        }
    }
    Ok(())
}

/// Makes the folder, which has to be empty: evidence of two runs must not be mixed.
pub fn prepare(folder: &Path) -> Result<(), EvidenceError> {
    let failed = |source| EvidenceError::Io { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    match fs::read_dir(folder).map_err(failed)?.next() {
        Some(_) => Err(EvidenceError::NotEmpty { path: folder.to_owned() }),
        None => Ok(()),
    }
}

/// Writes the evidence of all findings into a folder that is ready; tells how many files of packets there are.
pub fn write(folder: &Path, report: &Report, payload: bool) -> Result<usize, EvidenceError> {
    let plan = Plan::of(report, MOST_FINDINGS);
    let mut boxes = Boxes::new(payload);
    for (id, input) in (0..).zip(&report.inputs) {
        collect(&plan, id, &input.name, &mut boxes)?;
    }
    finish(folder, report, &mut boxes, Vec::new(), &mut |name, bytes| {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(|source| EvidenceError::Io { path, source })
    })
    .map(|names| names.len())
}

/// A packet that was kept when it passed.
#[derive(Clone, Copy, Debug)]
pub struct KeptPacket<'a> {
    /// How its bytes begin.
    pub link: LinkType,
    /// The interface within its input.
    pub interface: u32,
    /// Its length on the wire.
    pub original: u32,
    /// Its headers.
    pub bytes: &'a [u8],
}

/// Writes the evidence of findings whose packets were kept as they passed; what an earlier report left in the folder is replaced.
///
/// Every file is whole at any time: it is written beside its place and moved there.
pub fn write_kept<'a>(
    folder: &Path,
    report: &Report,
    kept: &dyn Fn(PacketRef) -> Option<KeptPacket<'a>>,
) -> Result<usize, EvidenceError> {
    let failed = |path: &Path, source| EvidenceError::Io { path: path.to_owned(), source };
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    let plan = Plan::of(report, MOST_FINDINGS);
    let mut boxes = Boxes::new(false);
    let mut missing = 0_u64;
    for (&(input, number), cited) in &plan.cited {
        let at = PacketRef::new(cited.time, InputId(input), number);
        let Some(packet) = kept(at) else {
            missing += 1;
            continue;
        };
        for (finding, note) in &cited.notes {
            let piece = Piece {
                at,
                order: (at.time, input, number),
                interface: (input, packet.interface, packet.link.0),
                original: packet.original,
                bytes: packet.bytes.to_vec(),
                cut: (packet.bytes.len() as u64) < u64::from(packet.original),
                notes: vec![note.clone()],
                cited: true,
            };
            boxes.cite(*finding, piece);
        }
    }
    let left_out = match missing {
        0 => Vec::new(),
        missing => {
            vec![format!("{missing} cited packets: they had passed for too long when the finding was made")]
        }
    };
    let mut put = |name: &str, bytes: &[u8]| {
        let (path, beside) = (folder.join(name), folder.join(format!("{name}.new")));
        let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, &path));
        written.map_err(|source| failed(&path, source))
    };
    let names = finish(folder, report, &mut boxes, left_out, &mut put)?;
    for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_exhibit(&name) && !names.contains(&name) {
            // Of a finding that is over; one that can't be removed is not in the index.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(names.len())
}

/// How many bytes of a packet are headers, and the few of its payload that verdicts rest on.
pub fn header_length(packet: &Packet<'_>) -> usize {
    headers::length(packet)
}

/// `001-blocked-3f2a.pcapng`, as [`Boxes::exhibit`] names them.
fn is_exhibit(name: &str) -> bool {
    let number = name.split('-').next().unwrap_or_default();
    name.ends_with(".pcapng") && number.len() >= 3 && number.bytes().all(|digit| digit.is_ascii_digit())
}

type Put<'a> = dyn FnMut(&str, &[u8]) -> Result<(), EvidenceError> + 'a;

/// Writes what the boxes hold, the index, and the sums. Returns the names of the files of packets.
fn finish(
    folder: &Path,
    report: &Report,
    boxes: &mut Boxes,
    left_out: Vec<String>,
    write: &mut Put<'_>,
) -> Result<BTreeSet<String>, EvidenceError> {
    let mut index = EvidenceIndex {
        payload: boxes.payload,
        left_out,
        inputs: report
            .inputs
            .iter()
            .map(|input| EvidenceInput {
                file: input.name.clone(),
                sha256: input.sha256.clone(),
                packets: input.packets,
            })
            .collect(),
        ..EvidenceIndex::default()
    };
    let mut sums = String::new();
    let mut put = |name: &str, bytes: &[u8]| {
        sums.push_str(&format!("{}  {name}\n", sha256(bytes)));
        write(name, bytes)
    };
    for (at, finding) in report.findings.iter().take(MOST_FINDINGS).enumerate() {
        let (exhibit, bytes) = boxes.exhibit(at, finding, report);
        put(&exhibit.file, &bytes)?;
        index.findings.push(exhibit);
    }
    let files = index.findings.len();
    if report.findings.len() > files {
        index
            .left_out
            .push(format!("{} more findings, which stand in the report", report.findings.len() - files));
    }
    if boxes.refused > 0 {
        index.left_out.push(format!(
            "{} packets of the conversations concerned, none of them cited: there is a bound on what is kept",
            boxes.refused
        ));
    }
    let json = index.to_json().map_err(|source| EvidenceError::Io { path: folder.to_owned(), source })?;
    put("index.json", &json)?;
    put("index.txt", index.to_text().as_bytes())?;
    write("SHA256SUMS", sums.as_bytes())?;
    Ok(index.findings.into_iter().map(|exhibit| exhibit.file).collect())
}

/// Reads one input again and keeps what is wanted of it.
fn collect(plan: &Plan, id: u32, name: &str, boxes: &mut Boxes) -> Result<(), EvidenceError> {
    let last = plan.last(id);
    if last.is_none() && !plan.wants_talks() {
        return Ok(());
    }
    let mut source = capture::open(&[PathBuf::from(name)], &capture::Options::default())?;
    let mut latest = Timestamp::MIN;
    let mut missing: BTreeSet<u64> =
        plan.cited.range((id, 0)..=(id, u64::MAX)).map(|(&(_, number), _)| number).collect();
    while source.advance()? {
        let mut packet = source.packet();
        packet.at = packet.at.within(InputId(id));
        let number = packet.at.number();
        latest = latest.max(packet.at.time);
        let cited = plan.cited.get(&(id, number));
        let talks = if plan.wants_talks() { plan.talks_of(&packet) } else { Vec::new() };
        if cited.is_none() && talks.is_empty() {
            if last.is_none_or(|last| number >= last) && !plan.wants_talks() {
                break;
            }
            continue;
        }
        if cited.is_some_and(|cited| cited.time != packet.at.time) {
            break;
        }
        missing.remove(&number);
        let kept = if boxes.payload { packet.bytes.len() } else { headers::length(&packet) };
        let piece = |note: String, cited| Piece {
            at: packet.at,
            order: (latest, id, number),
            interface: (id, packet.interface, packet.link.0),
            original: packet.original,
            bytes: packet.bytes.get(..kept).unwrap_or(packet.bytes).to_vec(),
            cut: kept < packet.bytes.len(),
            notes: vec![note],
            cited,
        };
        for (finding, note) in cited.iter().flat_map(|cited| &cited.notes) {
            boxes.cite(*finding, piece(note.clone(), true));
        }
        for (finding, what) in talks {
            let is_cited = cited.is_some_and(|cited| cited.notes.iter().any(|(known, _)| *known == finding));
            if !is_cited {
                boxes.add(finding, piece(format!("of the same conversation: {what}"), false));
            }
        }
    }
    match missing.first() {
        Some(&packet) => Err(EvidenceError::Changed { file: name.to_owned(), packet }),
        None => Ok(()),
    }
}

/// One packet as it is kept.
struct Piece {
    at: PacketRef,
    /// Its place among the packets of all inputs: those of one stay in their order, whatever their stamps.
    order: (Timestamp, u32, u64),
    /// Input, interface in it, and link type.
    interface: (u32, u32, u16),
    original: u32,
    bytes: Vec<u8>,
    /// Whether payload was left out.
    cut: bool,
    notes: Vec<String>,
    cited: bool,
}

/// What is kept for one finding.
#[derive(Default)]
struct Kept {
    cited: Vec<Piece>,
    earliest: Vec<Piece>,
    latest: VecDeque<Piece>,
}

/// What is kept for all findings.
struct Boxes {
    payload: bool,
    kept: BTreeMap<usize, Kept>,
    bytes: usize,
    refused: u64,
}

impl Boxes {
    fn new(payload: bool) -> Self {
        Self { payload, kept: BTreeMap::new(), bytes: 0, refused: 0 }
    }

    /// Keeps a packet that a finding cites; a second note on the same packet joins the first.
    fn cite(&mut self, finding: usize, piece: Piece) {
        let kept = self.kept.entry(finding).or_default();
        match kept.cited.iter_mut().find(|known| known.order == piece.order) {
            Some(known) => known.notes.extend(piece.notes),
            None => kept.cited.push(piece),
        }
    }

    /// Keeps a packet of the conversation, the earliest and the latest of them.
    fn add(&mut self, finding: usize, piece: Piece) {
        if self.bytes + piece.bytes.len() > MOST_BYTES {
            self.refused += 1;
            return;
        }
        self.bytes += piece.bytes.len();
        let kept = self.kept.entry(finding).or_default();
        if kept.earliest.len() < EACH_END {
            kept.earliest.push(piece);
            return;
        }
        kept.latest.push_back(piece);
        if kept.latest.len() > EACH_END
            && let Some(gone) = kept.latest.pop_front()
        {
            self.bytes -= gone.bytes.len();
            self.refused += 1;
        }
    }

    /// The file of one finding, and its entry in the index.
    fn exhibit(&mut self, at: usize, finding: &Finding, report: &Report) -> (Exhibit, Vec<u8>) {
        let Kept { cited, earliest, latest } = self.kept.remove(&at).unwrap_or_default();
        let mut pieces: Vec<Piece> = cited.into_iter().chain(earliest).chain(latest).collect();
        pieces.sort_by_key(|piece| piece.order);
        let comment = format!("finding {} ({}): {}", finding.id, finding.kind.name(), plain(&finding.title));
        let mut file = Pcapng::new(concat!("spanaudit ", env!("CARGO_PKG_VERSION")), &comment);
        let mut interfaces: Vec<(u32, u32, u16)> = pieces.iter().map(|piece| piece.interface).collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        for &(input, interface, link) in &interfaces {
            let (name, hash) = report
                .inputs
                .get(input as usize)
                .map_or(("?", None), |input| (input.name.as_str(), input.sha256.as_deref()));
            let description = format!(
                "packets of interface {interface} of {}, SHA-256 {}",
                plain(name),
                hash.unwrap_or("unknown")
            );
            file.interface(link, &format!("{}/{interface}", plain(name)), &description);
        }
        let mut packets = Vec::with_capacity(pieces.len());
        for (number, piece) in (1..).zip(&pieces) {
            let interface = interfaces.iter().position(|known| *known == piece.interface).unwrap_or(0);
            let name = report.input_name(piece.at);
            let comments: Vec<String> = piece
                .notes
                .iter()
                .map(|note| plain(&format!("{note} (packet {} of {name})", piece.at.number())).into_owned())
                .collect();
            let written = Written {
                interface: interface as u32,
                time: piece.at.time,
                original: piece.original,
                bytes: &piece.bytes,
            };
            file.packet(&written, &comments);
            packets.push(ExhibitPacket {
                number,
                file: name.to_owned(),
                packet: piece.at.number(),
                time: piece.at.time,
                cited: piece.cited,
                note: piece.notes.join("; "),
            });
        }
        let bytes = file.finish();
        let name = format!("{:03}-{}-{}.pcapng", at + 1, finding.kind.name(), finding.id);
        let exhibit = Exhibit {
            id: finding.id.clone(),
            kind: finding.kind.name(),
            title: finding.title.clone(),
            sha256: sha256(&bytes),
            cut: pieces.iter().filter(|piece| piece.cut).count() as u64,
            check: check(&name, &pieces, report),
            file: name,
            packets,
        };
        (exhibit, bytes)
    }
}

/// Commands that need nothing of this program: the file itself, and the same packets in the recordings.
fn check(name: &str, pieces: &[Piece], report: &Report) -> Vec<String> {
    let mut commands =
        vec![format!("tshark -r {name} -T fields -e frame.number -e frame.time_epoch -e frame.comment")];
    // What was captured live lies in no recording.
    for (id, input) in (0..).zip(&report.inputs).filter(|(_, input)| input.format != "live") {
        let mut numbers: Vec<u64> = pieces
            .iter()
            .filter(|piece| piece.cited && piece.at.input().0 == id)
            .map(|piece| piece.at.number())
            .collect();
        numbers.sort_unstable();
        if !numbers.is_empty() {
            commands.push(format!("tshark -r {} -Y '{}'", shell_word(&input.name), frames(&numbers)));
        }
    }
    commands
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

//! What steps are made of: packets with their filters, sentences, and commands that check them.

use std::collections::BTreeSet;

use crate::model::capitalized;
use crate::report::Archive;
use crate::report::ArchivedEvidence;
use crate::report::ArchivedInput;
use crate::report::ArchivedPacket;
use crate::report::Spot;
use crate::report::Step;
use crate::report::filter_of;
use crate::report::shell_word;

/// One step a packet, in the order of time.
pub fn cited(evidence: &[ArchivedEvidence], around: Option<&str>) -> Vec<Step> {
    let mut pieces: Vec<&ArchivedEvidence> = evidence.iter().collect();
    // Inside a file its own order counts: mirrors stamp an answer up to a millisecond before its cause.
    let one_file = evidence.windows(2).all(|two| matches!(two, [a, b] if a.at.file == b.at.file));
    pieces.sort_by_key(|piece| (if one_file { None } else { Some(piece.at.time) }, piece.at.packet));
    pieces
        .into_iter()
        .map(|piece| Step {
            says: sentence(&piece.note),
            packets: vec![spot(piece)],
            around: around.map(str::to_owned),
        })
        .collect()
}

/// Commands that need nothing of this program.
pub fn check(archive: &Archive, evidence: &[ArchivedEvidence], around: Option<String>) -> Vec<String> {
    let mut commands = Vec::new();
    for input in &archive.inputs {
        let packets: Vec<_> = evidence
            .iter()
            .filter(|piece| piece.at.file == input.file)
            .map(|piece| (piece.at.packet, piece.at.time))
            .collect();
        if packets.is_empty() {
            continue;
        }
        let live = is_live(input);
        let filter = shell_word(&filter_of(packets, live));
        if live {
            commands.push(format!(
                "tshark -r FILE -Y {filter}    # live on {}: in its evidence (--evidence), or a recording made beside it",
                input.file
            ));
            continue;
        }
        let file = shell_word(&input.file);
        if let Some(hash) = &input.sha256 {
            commands.push(format!("sha256sum {file}    # {hash}"));
        }
        commands.push(format!("tshark -r {file} -Y {filter}"));
        if let Some(around) = &around {
            commands.push(format!("tshark -r {file} -Y {}", shell_word(around)));
        }
    }
    commands
}

pub fn says(text: String) -> Step {
    Step { says: text, ..Step::default() }
}

pub fn spot(piece: &ArchivedEvidence) -> Spot {
    Spot { note: piece.note.clone(), ..spot_at(&piece.at) }
}

pub fn spot_at(at: &ArchivedPacket) -> Spot {
    Spot {
        file: at.file.clone(),
        packet: at.packet,
        time: at.time,
        note: String::new(),
        filter: filter_of(vec![(at.packet, at.time)], false),
        live: false,
    }
}

/// Whether an input is no file.
fn is_live(input: &ArchivedInput) -> bool {
    input.format == "live"
}

/// Has the packets that were captured live found by their times.
pub fn find_live(archive: &Archive, steps: &mut [Step]) {
    let live: BTreeSet<&str> =
        archive.inputs.iter().filter(|input| is_live(input)).map(|input| input.file.as_str()).collect();
    for spot in steps.iter_mut().flat_map(|step| &mut step.packets) {
        if live.contains(spot.file.as_str()) {
            spot.live = true;
            spot.filter = filter_of(vec![(spot.packet, spot.time)], true);
        }
    }
}

pub fn sentence(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{}.", capitalized(text).trim_end_matches('.')) }
}

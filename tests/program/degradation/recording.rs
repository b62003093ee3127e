//! Recordings held in memory: read from a capture, changed, and played to the pipeline.

use std::path::Path;

use spanaudit::capture;
use spanaudit::capture::CaptureError;
use spanaudit::capture::Source;
use spanaudit::model::Input;
use spanaudit::model::InputId;
use spanaudit::model::LinkType;
use spanaudit::model::Packet;
use spanaudit::model::PacketRef;
use spanaudit::model::Timestamp;

/// One captured frame.
#[derive(Clone, Debug)]
pub struct Shot {
    /// Nanoseconds since the epoch.
    pub nanos: i64,
    /// Length on the wire.
    pub original: u32,
    /// How the bytes begin.
    pub link: LinkType,
    /// What was captured.
    pub bytes: Vec<u8>,
}

/// A recording: frames in file order.
pub type Recording = Vec<Shot>;

/// Reads a capture file.
pub fn read(path: &Path) -> Recording {
    let mut source =
        capture::open(&[path.to_path_buf()], &capture::Options::default()).expect("the capture opens");
    let mut shots = Vec::new();
    while source.advance().expect("the capture can be read") {
        let packet = source.packet();
        shots.push(Shot {
            nanos: packet.at.time.as_nanos(),
            original: packet.original,
            link: packet.link,
            bytes: packet.bytes.to_vec(),
        });
    }
    shots
}

/// A recording as a source of packets.
pub struct Playback<'r> {
    shots: &'r [Shot],
    played: usize,
}

impl<'r> Playback<'r> {
    /// Plays a recording from its beginning.
    pub fn new(shots: &'r [Shot]) -> Self {
        Self { shots, played: 0 }
    }
}

impl Source for Playback<'_> {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        self.played += 1;
        Ok(self.played <= self.shots.len())
    }

    fn packet(&self) -> Packet<'_> {
        let shot = self.played.checked_sub(1).and_then(|at| self.shots.get(at));
        Packet {
            at: PacketRef::new(
                Timestamp::from_nanos(shot.map_or(0, |shot| shot.nanos)),
                InputId(0),
                self.played as u64,
            ),
            link: shot.map_or(LinkType::ETHERNET, |shot| shot.link),
            interface: 0,
            original: shot.map_or(0, |shot| shot.original),
            bytes: shot.map_or(&[], |shot| &shot.bytes),
        }
    }

    fn inputs(&self) -> Vec<Input> {
        let times = || self.shots.iter().map(|shot| Timestamp::from_nanos(shot.nanos));
        vec![Input {
            name: "variant.pcap".to_owned(),
            format: "pcap".to_owned(),
            packets: self.shots.len() as u64,
            bytes: self.shots.iter().map(|shot| shot.bytes.len() as u64).sum(),
            first: times().min(),
            last: times().max(),
            cut_packets: self.shots.iter().filter(|shot| shot.original as usize > shot.bytes.len()).count()
                as u64,
            time_reversals: self.shots.windows(2).filter(|pair| pair[1].nanos < pair[0].nanos).count() as u64,
            ..Input::default()
        }]
    }
}

/// Writes a recording as pcap with nanosecond stamps, for looking at a variant with other tools.
pub fn write(shots: &[Shot], path: &Path) {
    let mut file = Vec::new();
    file.extend(0xa1b2_3c4d_u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(262_144_u32.to_le_bytes());
    file.extend(u32::from(shots.first().map_or(1, |shot| shot.link.0)).to_le_bytes());
    for shot in shots {
        for field in [
            shot.nanos / 1_000_000_000,
            shot.nanos % 1_000_000_000,
            shot.bytes.len() as i64,
            i64::from(shot.original),
        ] {
            file.extend((field as u32).to_le_bytes());
        }
        file.extend(&shot.bytes);
    }
    std::fs::write(path, file).expect("the folder for recordings can be written");
}

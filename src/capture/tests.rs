//! Tests of the stage as a whole: files on disk, packings, merging, arbitrary bytes, and the captures of the collection.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use proptest::prelude::*;

use super::testing::Seen;
use super::testing::Writer;
use super::testing::drain;
use super::testing::pcap_at;
use super::testing::read;
use super::testing::read_all;
use super::walker::Order;
use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A pcapng file with many kinds of blocks.
fn motley() -> Vec<u8> {
    let file = Writer::new(Order::Big).section().interface(1, 0).enhanced(0, 1, &[1; 61]);
    let file = file.block(4, |body| body.option(1, b"\x0a\0\0\x01plc\0").u32(0));
    let file = file.enhanced(0, 2, &[2; 33]).block(3, |body| body.u32(5).padded(&[3; 5]));
    let file = file.block(5, |body| body.u32(0).u32(0).u32(3).u16(5).u16(8).u64(9).u32(0));
    let file = file.block(0x0bad, |body| body.raw(&[0; 32]));
    let more = Writer::new(Order::Little).section().interface(113, 80).enhanced(0, 4, &[4; 70]);
    let more = more.block(2, |body| body.u16(0).u16(0).u32(0).u32(5).u32(9).u32(9).padded(&[5; 9]));
    [file.bytes, more.bytes].concat()
}

#[test]
fn packed_files() {
    let plain = pcap_at(&[1, 2, 3, 4, 5]);
    let (expected, _) = read_all(&plain);
    let check = |packed: Vec<u8>, format: &str| {
        let (packets, input) = read(&packed).unwrap();
        assert_eq!((packets, input.stopped), (expected.clone(), None));
        assert_eq!(input.format, format);
    };
    check(gzip(&plain), "gzip pcap");
    check(zstd(&plain), "zstd pcap");
    check(xz(&plain), "xz pcap");
    check(zstd(&gzip(&plain)), "zstd gzip pcap");
    check(gzip(&xz(&plain)), "gzip xz pcap");
    // Several members, as a recorder writes them that is started again.
    let (front, back) = plain.split_at(100);
    check([gzip(front), gzip(back)].concat(), "gzip pcap");
    check([zstd(front), zstd(back)].concat(), "zstd pcap");
    check([xz(front), xz(back)].concat(), "xz pcap");
}

#[test]
fn packed_files_that_are_no_captures() {
    let check = |bytes: Vec<u8>, why: &str| {
        assert_eq!(read(&bytes).unwrap_err().to_string(), format!("test: {why}"));
    };
    let plain = pcap_at(&[1]);
    check(gzip(b"hello"), "unpacked (gzip): not a capture file but text: it begins with 'hello'");
    let thrice = gzip(&zstd(&xz(&plain)));
    check(thrice, "unpacked (gzip, zstd): packed more than 2 times: it is xz inside");
    check(gzip(b""), "unpacked (gzip): not a capture file: it is empty (0 bytes)");
    assert!(read(&gzip(&plain)[..9]).is_err());
    assert!(read(&[0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
}

#[test]
fn packed_files_cut_short_or_damaged() {
    // Bytes that do not pack well, so that there is a middle to cut in.
    let noise: Vec<u8> = (0..900_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let start = Writer::new(Order::Little).pcap(0xa1b2_c3d4, 65535, 1);
    let plain = noise.chunks(1000).fold(start, |file, data| file.record(1, 0, data, 1000)).bytes;
    let (expected, _) = read_all(&plain);
    for (packed, name) in [(gzip(&plain), "gzip"), (zstd(&plain), "zstd"), (xz(&plain), "xz")] {
        let (packets, input) = read(&packed[..packed.len() - 10]).unwrap();
        assert_eq!(packets, expected[..packets.len()]);
        let why = input.stopped.unwrap().why;
        let words = format!("the {name} data is cut off after packet {}", packets.len());
        assert_eq!(why, words);
        assert!(packets.len() > 100, "{name}: {} packets", packets.len());
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 40].fill(0xff);
        let (packets, input) = read(&damaged).unwrap();
        let why = input.stopped.unwrap().why;
        assert!(why.starts_with(&format!("the {name} data is damaged after packet ")), "{why}");
        assert!(packets.len() > 100, "{name}: {} packets", packets.len());
    }
}

/// Writes files into a new directory.
fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    directory
}

/// All packets and inputs of those paths.
fn open_all(paths: &[PathBuf], options: &Options) -> (Vec<Seen>, Recordings) {
    let mut source = open(paths, options).unwrap();
    let packets = drain(&mut source);
    (packets, source)
}

#[test]
fn the_order_of_naming_changes_nothing() {
    let files: [(&str, &[u8]); 3] = [
        ("b.pcap", &pcap_at(&[10, 20, 30, 31])),
        // The clock runs backwards here; the order in the file stays.
        ("a.pcap", &pcap_at(&[15, 40, 5, 41])),
        ("c.pcap", &pcap_at(&[10, 20, 45])),
    ];
    let directory = directory(&files);
    let path = |name: &str| directory.path().join(name);
    let orders = [
        ["a.pcap", "b.pcap", "c.pcap"],
        ["a.pcap", "c.pcap", "b.pcap"],
        ["b.pcap", "a.pcap", "c.pcap"],
        ["b.pcap", "c.pcap", "a.pcap"],
        ["c.pcap", "a.pcap", "b.pcap"],
        ["c.pcap", "b.pcap", "a.pcap"],
    ];
    for order in orders {
        let (packets, source) = open_all(&order.map(path), &Options::default());
        let told: Vec<_> = packets.iter().map(|packet| (packet.2 / 1_000, packet.0, packet.1)).collect();
        // Microsecond, input, number. Ids follow first packets, then names: b, c, a.
        let expected = [
            (10, 0, 1),
            (10, 1, 1),
            (15, 2, 1),
            (20, 0, 2),
            (20, 1, 2),
            (30, 0, 3),
            (31, 0, 4),
            (40, 2, 2),
            (5, 2, 3),
            (41, 2, 4),
            (45, 1, 3),
        ];
        assert_eq!(told, expected);
        let inputs = source.inputs();
        let names: Vec<_> = inputs.iter().map(|input| Path::new(&input.name).file_name().unwrap()).collect();
        assert_eq!(names, ["b.pcap", "c.pcap", "a.pcap"]);
        assert_eq!(inputs.iter().map(|input| input.time_reversals).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!(inputs.iter().map(|input| input.packets).sum::<u64>(), 11);
        let size = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        assert_eq!(source.progress(), (size, Some(size)));
    }
}

#[test]
fn a_ring_of_many_files() {
    // More than stay open, in sub-directories, with an empty one and something else between them.
    let parts: Vec<_> = (0..100_u64)
        .map(|part| (format!("day-{}/{part:03}.pcap", part % 3), pcap_at(&[part * 10, part * 10 + 12])))
        .collect();
    let mut files: Vec<_> = parts.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let none = pcap_at(&[]);
    files.extend([
        ("day-1/none.pcap", none.as_slice()),
        ("notes.txt", &b"hello"[..]),
        ("day-2/new.pcap", b""),
    ]);
    let directory = directory(&files);
    let (packets, source) = open_all(&[directory.path().to_owned()], &Options::default());
    let mut expected: Vec<_> =
        (0..100).flat_map(|part| [(part * 10, part), (part * 10 + 12, part)]).collect();
    expected.sort_unstable();
    let told: Vec<_> = packets.iter().map(|packet| (packet.2 / 1_000, i64::from(packet.0))).collect();
    assert_eq!(told, expected);
    let inputs = source.inputs();
    assert_eq!(inputs.len(), 101);
    assert!(inputs[..100].iter().all(|input| input.packets == 2 && input.stopped.is_none()));
    assert!(inputs[100].name.ends_with("none.pcap") && inputs[100].packets == 0);
    let notes = source.notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].ends_with("new.pcap: not a capture file: it is empty (0 bytes)"), "{notes:?}");
    assert!(
        notes[1].ends_with("notes.txt: not a capture file but text: it begins with 'hello'"),
        "{notes:?}"
    );
}

#[test]
fn a_packed_ring() {
    // Larger than all that is unpacked ahead, and the first of them cut off.
    let part = |start: u64| pcap_at(&(0..60_000).map(|n| start + n).collect::<Vec<_>>());
    let mut first = gzip(&part(0));
    first.truncate(first.len() - 1000);
    let directory = directory(&[("a", &first), ("b", &zstd(&part(60_000))), ("c", &xz(&part(120_000)))]);
    let (packets, source) = open_all(&[directory.path().to_owned()], &Options::default());
    let inputs = source.inputs();
    assert!(packets.is_sorted_by_key(|packet| packet.2));
    assert!((50_000..60_000).contains(&inputs[0].packets), "{}", inputs[0].packets);
    let stop = inputs[0].stopped.clone().unwrap();
    assert_eq!(stop.why, format!("the gzip data is cut off after packet {}", inputs[0].packets));
    assert_eq!(stop.after.map(|after| after.number()), Some(inputs[0].packets));
    assert!(inputs[1..].iter().all(|input| input.packets == 60_000 && input.stopped.is_none()));
}

#[test]
fn a_directory_and_a_file_in_it_by_another_path() {
    let directory = directory(&[("d/a.pcap", &pcap_at(&[1])), ("d/b.txt", b"hello")]);
    let [whole, one] = ["d", "d/../d/a.pcap"].map(|name| directory.path().join(name));
    let (packets, source) = open_all(&[whole, one], &Options::default());
    assert_eq!((packets.len(), source.inputs().len(), source.notes().len()), (1, 1, 1));
}

#[test]
fn recordings_can_go_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Recordings>();
    is_send::<Box<dyn Source>>();
}

#[test]
fn a_file_is_read_once_whatever_it_is_called() {
    let directory = directory(&[("a.pcap", &pcap_at(&[1, 2])), ("sub/x", b"")]);
    let [plain, roundabout] = ["a.pcap", "sub/../a.pcap"].map(|name| directory.path().join(name));
    for paths in [[plain.clone(), roundabout.clone()], [roundabout, plain.clone()]] {
        let (packets, source) = open_all(&paths, &Options::default());
        assert_eq!(packets.len(), 2);
        assert_eq!(source.inputs().len(), 1);
        assert_eq!(source.inputs()[0].name, plain.to_string_lossy());
    }
}

#[test]
fn what_can_not_be_opened_is_told() {
    let directory = directory(&[("only/notes.txt", b"hello"), ("picture.pcap", b"\x89PNG\r\n\x1a\n\0\0")]);
    let path = |name: &str| directory.path().join(name);
    let fails = |name: &str| open(&[path(name)], &Options::default()).err().unwrap();
    assert!(matches!(fails("missing.pcap"), CaptureError::Io { path: at, .. } if at == path("missing.pcap")));
    assert!(matches!(fails("only"), CaptureError::EmptyDirectory { path: at } if at == path("only")));
    let picture = fails("picture.pcap").to_string();
    assert!(picture.ends_with("picture.pcap: not a capture file but a PNG picture"), "{picture}");
    // What is named must be a capture even where its directory is named too.
    assert!(open(&[directory.path().to_owned(), path("only/notes.txt")], &Options::default()).is_err());
}

#[test]
fn the_hash_is_of_the_file_as_it_lies_there() {
    // Broken in the middle and packed: the hash is of all its bytes nevertheless.
    let broken = [pcap_at(&[1, 2]), vec![0xff; 500_000]].concat();
    let packed = gzip(&broken);
    let directory = directory(&[("a", &broken), ("b", &packed), ("c", &pcap_at(&[])), ("d", &pcap_at(&[7]))]);
    let options = Options { hash: true, ..Options::default() };
    let (packets, source) = open_all(&[directory.path().to_owned()], &options);
    assert_eq!(packets.len(), 5);
    for input in source.inputs() {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(fs::read(&input.name).unwrap());
        let expected: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(input.sha256, Some(expected), "{}", input.name);
    }
}

#[test]
fn stops_after_as_many_packets_as_asked_for() {
    let directory = directory(&[("a", &pcap_at(&[1, 3, 5])), ("b", &pcap_at(&[2, 4, 6]))]);
    for count in 0..8 {
        let options = Options { count: Some(count), ..Options::default() };
        let (packets, source) = open_all(&[directory.path().to_owned()], &options);
        assert_eq!(packets.len() as u64, count.min(6));
        assert_eq!(source.inputs().iter().map(|input| input.packets).sum::<u64>(), count.min(6));
        assert!(source.packet().bytes.is_empty());
    }
}

#[cfg(feature = "live")]
#[test]
fn filters_recorded_packets() {
    let directory = directory(&[("a", &pcap_at(&[1, 2, 3, 4]))]);
    let options = Options { filter: Some("ether[0] = 2 or ether[0] = 3".to_owned()), ..Options::default() };
    let (packets, source) = open_all(&[directory.path().to_owned()], &options);
    assert_eq!(packets.iter().map(|packet| packet.1).collect::<Vec<_>>(), [3, 4]);
    let inputs = source.inputs();
    assert_eq!((inputs[0].packets, inputs[0].filtered), (4, 2));
    let wrong = Options { filter: Some("ether[".to_owned()), ..Options::default() };
    assert!(matches!(open(&[directory.path().to_owned()], &wrong), Err(CaptureError::Filter { .. })));
}

#[test]
fn every_truncation_delivers_a_prefix() {
    for file in [pcap_at(&[1, 2, 3, 4, 5]), motley()] {
        let (whole, stopped) = read_all(&file);
        assert_eq!((whole.len(), stopped), (5, None));
        for length in 4..file.len() {
            let (packets, _) = read_all(&file[..length]);
            assert_eq!(packets, whole[..packets.len()], "cut to {length}");
        }
        for length in 0..4 {
            assert!(read(&file[..length]).is_err());
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes);
    }

    #[test]
    fn arbitrary_bytes_behind_a_header_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        start in 0..4_usize,
    ) {
        let head = match start {
            0 => pcap_at(&[1]),
            1 => Writer::new(Order::Big).pcap(0xa1b2_cd34, 0, 1).bytes,
            2 => Writer::new(Order::Little).section().interface(1, 0).bytes,
            _ => motley(),
        };
        let _ = read(&[head, bytes].concat());
    }

    #[test]
    fn damage_never_panics_and_keeps_what_lies_before(
        at in 28_usize..500,
        value in any::<[u8; 4]>(),
        packing in 0..4_usize,
    ) {
        let plain = [motley(), vec![]].concat();
        let mut file = plain.clone();
        let at = at.min(file.len() - 4);
        file[at..at + 4].copy_from_slice(&value);
        let (whole, _) = read_all(&plain);
        let file = match packing {
            0 => gzip(&file),
            1 => zstd(&file),
            2 => xz(&file),
            _ => file,
        };
        if let Ok((packets, _)) = read(&file) {
            // The first packet's block ends at 28 + 20 + 96.
            if at >= 28 + 20 + 96 {
                prop_assert_eq!(&packets[0], &whole[0]);
            }
        }
    }

    #[test]
    fn damaged_packings_never_panic(at in 0_usize..300, value in any::<[u8; 4]>(), packing in 0..3_usize) {
        let plain = motley();
        let mut file = match packing {
            0 => gzip(&plain),
            1 => zstd(&plain),
            _ => xz(&plain),
        };
        let at = at.min(file.len() - 4);
        file[at..at + 4].copy_from_slice(&value);
        let _ = read(&file);
    }
}

/// The collection of captures, where it is there.
#[allow(clippy::print_stdout, reason = "a test that does not run has to say so")]
fn collection() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("not tested: {} is not there", folder.display());
    None
}

#[test]
fn the_collection_has_as_many_packets_as_its_list_says() {
    let Some(folder) = collection() else { return };
    let list = fs::read_to_string(folder.join("SOURCES.tsv")).unwrap();
    let mut wrong = Vec::new();
    for line in list.lines().skip(1) {
        let columns: Vec<_> = line.split('\t').collect();
        let (file, packets) = (columns[0], columns[6]);
        let told = match open(&[folder.join(file)], &Options::default()) {
            Ok(mut source) => drain(&mut source).len().to_string(),
            Err(_) => "unreadable".to_owned(),
        };
        if told != packets && packets != "unreadable" {
            wrong.push(format!("{file}: {told} instead of {packets}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_lab_has_as_many_packets_as_its_truth_says() {
    let Some(folder) = collection() else { return };
    let mut looked_at = 0;
    for entry in fs::read_dir(folder.join("lab")).unwrap() {
        let path = entry.unwrap().path();
        let Some(stem) = path.to_str().and_then(|path| path.strip_suffix(".truth.json")) else { continue };
        let truth: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let Some(packets) = truth["packets"].as_u64() else { continue };
        let capture = ["pcap", "pcapng"].map(|ending| PathBuf::from(format!("{stem}.{ending}")));
        let capture = capture.into_iter().find(|path| path.exists()).unwrap();
        let (found, source) = open_all(std::slice::from_ref(&capture), &Options::default());
        assert_eq!(found.len() as u64, packets, "{}", capture.display());
        assert_eq!(source.inputs()[0].stopped, None, "{}", capture.display());
        looked_at += 1;
    }
    assert!(looked_at > 0);
}

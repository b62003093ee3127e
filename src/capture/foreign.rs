//! What a file is that is no capture, in the words of an error message.

/// How files begin that people take for captures, with what to say of them.
const KNOWN: &[(usize, &[u8], &str)] = &[
    (0, b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (0, b"Rar!\x1a\x07", "a RAR archive: unpack it first"),
    (0, b"BZh", "a bzip2 file: unpack it first"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file: unpack it first"),
    (0, b"\x5d\x00\x00", "an LZMA file: unpack it first"),
    (0, b"snoop\x00\x00\x00", "a snoop capture: turn it into pcapng first (editcap -F pcapng)"),
    (0, b"GMBU", "a Microsoft Network Monitor capture: turn it into pcapng first (editcap -F pcapng)"),
    (0, b"RTSS", "a Microsoft Network Monitor capture: turn it into pcapng first (editcap -F pcapng)"),
    (0, b"TRSNIFF data", "a Sniffer capture: turn it into pcapng first (editcap -F pcapng)"),
    (0, b"XCP\x00", "a NetXRay capture: turn it into pcapng first (editcap -F pcapng)"),
    (0, b"\x7fELF", "an ELF program"),
    (0, b"MZ", "a Windows program"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document or Windows installer"),
    (0, b"ElfFile\x00", "a Windows event log"),
];
/// Where the name of the format stands in a tar archive (POSIX.1-1988, ustar).
const TAR_MAGIC: usize = 257;
/// How many bytes of an unknown file are shown.
const SHOWN: usize = 16;

/// How many bytes of a file [`describe`] makes use of.
pub(super) const ENOUGH: usize = TAR_MAGIC + 5;

/// Says what a file is that begins like this.
pub(super) fn describe(head: &[u8]) -> String {
    if head.is_empty() {
        return "not a capture file: it is empty (0 bytes)".to_owned();
    }
    let known =
        KNOWN.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    if let Some((_, _, what)) = known {
        return format!("not a capture file but {what}");
    }
    if head.get(TAR_MAGIC..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        return "not a capture file but a tar archive: unpack it first".to_owned();
    }
    let begin = head.get(..SHOWN).unwrap_or(head);
    if head.iter().all(|&byte| byte >= b' ' && byte != 0x7f || matches!(byte, b'\n' | b'\r' | b'\t')) {
        return format!("not a capture file but text: it begins with '{}'", begin.escape_ascii());
    }
    let digits: Vec<String> = begin.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("not a capture file: it begins with {}", digits.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_is() {
        let check = |head: &[u8], words: &str| assert_eq!(describe(head), words);
        check(b"", "not a capture file: it is empty (0 bytes)");
        check(b"\x89PNG\r\n\x1a\n\0\0", "not a capture file but a PNG picture");
        check(b"\x7fELF\x02", "not a capture file but an ELF program");
        check(b"PK\x03\x04\x14", "not a capture file but a ZIP archive: unpack it first");
        check(b"hello\nworld", "not a capture file but text: it begins with 'hello\\nworld'");
        check(b"\x1b[31mred", "not a capture file: it begins with 1b 5b 33 31 6d 72 65 64");
        let mut tar = vec![0; 257];
        tar.extend(b"ustar");
        check(&tar, "not a capture file but a tar archive: unpack it first");
    }
}

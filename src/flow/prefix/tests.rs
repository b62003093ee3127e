//! Tests: order, bounds and repetitions of streams, datagrams, and what was told and is given up.

use super::*;
use crate::model::InputId;
use crate::model::Timestamp;

fn at(number: u64) -> PacketRef {
    PacketRef::new(Timestamp::from_nanos(number as i64 * 10_000_000), InputId(0), number)
}

fn stream(start: Option<u32>, segments: &[(u32, &str)]) -> Prefix {
    let mut prefix = Prefix::stream(start);
    for (&(sequence, text), number) in segments.iter().zip(1..) {
        prefix.add_segment(&Payload { at: at(number), sequence, bytes: text.as_bytes(), lacks: 0 });
    }
    prefix
}

/// Two of them are in every flow, whether anything is kept or not.
#[test]
fn a_prefix_of_which_nothing_is_kept_is_small() {
    assert!(size_of::<Option<Prefix>>() <= 32, "{}", size_of::<Option<Prefix>>());
}

#[test]
fn order_is_put_right() {
    let check = |segments: &[(u32, &str)], expected: &str| {
        let prefix = stream(Some(100), segments);
        assert_eq!(String::from_utf8_lossy(prefix.bytes()), expected, "{segments:?}");
        assert!(prefix.from_start());
    };
    check(&[(100, "abc"), (103, "def")], "abcdef");
    check(&[(103, "def"), (100, "abc")], "abcdef");
    check(&[(106, "ghi"), (103, "def"), (100, "abc")], "abcdefghi");
    check(&[(100, "abc"), (100, "abc"), (101, "bcd")], "abcd");
    // The bytes captured first win, wherever they overlap.
    check(&[(100, "abc"), (101, "XYZ")], "abcZ");
    check(&[(103, "DEF"), (100, "abcdefgh")], "abcDEFgh");
    check(&[(102, "CD"), (101, "bcde"), (100, "a")], "abCDe");
    check(&[(100, "abc"), (104, "e")], "abc");
    check(&[(90, "old")], "");
}

#[test]
fn sequence_numbers_go_round() {
    let prefix = stream(Some(u32::MAX), &[(u32::MAX, "ab"), (4, "f"), (1, "cde")]);
    assert_eq!(prefix.bytes(), b"abcdef");
}

#[test]
fn a_stretch_that_the_mirror_lost_is_given_up() {
    let mut prefix = stream(Some(100), &[(150, "later")]);
    assert!(!prefix.settle(Some(120), at(9)), "not acknowledged yet");
    assert!(prefix.settle(Some(155), at(9)));
    assert_eq!(prefix.bytes(), b"later");
    assert!(!prefix.from_start());
    // In the middle it ends the prefix: what follows could be taken for what stands before.
    let mut prefix = stream(Some(100), &[(100, "abc"), (150, "later")]);
    prefix.settle(Some(155), at(9));
    assert_eq!(prefix.bytes(), b"abc");
    assert!(prefix.is_complete());
}

#[test]
fn bounds_hold() {
    let long = vec![b'x'; 5000];
    let mut prefix = Prefix::stream(None);
    for (part, number) in (0..100).zip(1..) {
        prefix.add_segment(&Payload { at: at(number), sequence: 7 + part * 5000, bytes: &long, lacks: 0 });
    }
    assert_eq!(prefix.bytes().len(), MOST_STREAM);
    assert!(prefix.is_complete() && !prefix.from_start());
    let mut holes = Prefix::stream(Some(0));
    for number in 1..100 {
        holes.add_segment(&Payload { at: at(number), sequence: number as u32 * 10, bytes: b"x", lacks: 0 });
    }
    assert!(holes.held().len() <= MOST_HELD && holes.bytes().len() <= 100);
    let mut datagrams = Prefix::datagrams();
    for number in 1..20 {
        datagrams.add_datagram(&Payload { at: at(number), sequence: 0, bytes: &long, lacks: 0 });
    }
    assert_eq!(datagrams.ends().len(), MOST_DATAGRAMS);
    assert_eq!(datagrams.bytes().len(), MOST_DATAGRAMS * MOST_OF_DATAGRAM);
    assert_eq!(datagrams.messages().count(), MOST_DATAGRAMS);
}

#[test]
fn what_datagrams_lack_is_told_of_each() {
    let long = vec![b'x'; MOST_OF_DATAGRAM + 7];
    let mut datagrams = Prefix::datagrams();
    for (bytes, lacks) in [(&b"whole"[..], 0), (b"cut", 9), (b"whole", 0), (&long, 2), (b"whole", 0)] {
        datagrams.add_datagram(&Payload { at: at(1), sequence: 0, bytes, lacks });
    }
    // Beyond the last that lacks anything nothing is kept; what the bound cuts off lacks as well.
    assert_eq!(datagrams.lacks(), [0, 9, 0, 9]);
}

#[test]
fn a_stream_that_trickles_is_kept_whole_and_asked_about_seldom() {
    let whole: Vec<u8> = (0..10_000u32).map(|at| at as u8).collect();
    let mut prefix = Prefix::stream(Some(0));
    let mut asked = 0;
    for (byte, sequence) in whole.chunks(1).zip(0..) {
        let piece = Payload { at: at(u64::from(sequence) + 1), sequence, bytes: byte, lacks: 0 };
        asked += usize::from(prefix.add_segment(&piece));
    }
    assert_eq!(prefix.bytes(), &whole[..MOST_STREAM]);
    assert!(prefix.is_complete());
    assert_eq!(prefix.ends().len(), MOST_SEGMENTS);
    assert_eq!(prefix.ends().last().copied(), Some(MOST_STREAM as u16));
    assert_eq!(prefix.messages().count(), MOST_SEGMENTS);
    assert!(asked < 2 * MOST_SEGMENTS, "{asked}");
}

#[test]
fn datagrams_that_were_told_are_given_up() {
    let mut datagrams = Prefix::datagrams();
    for (bytes, lacks) in [(&b"one"[..], 1), (b"two", 2), (b"three", 3)] {
        datagrams.add_datagram(&Payload { at: at(1), sequence: 0, bytes, lacks });
    }
    datagrams.forget_datagrams(2);
    let kept = (datagrams.bytes(), datagrams.ends(), datagrams.lacks(), datagrams.before());
    assert_eq!(kept, (&b"three"[..], &[5][..], &[3][..], 2));
    datagrams.forget_datagrams(3);
    assert_eq!((datagrams.kept(), datagrams.heard(), datagrams.lacks()), (0, 3, &[][..]));
    let piece = Payload { at: at(2), sequence: 0, bytes: b"four", lacks: 0 };
    for heard in 4..=MOST_DATAGRAMS {
        let fits = datagrams.would_go_on_with(&piece, false).unwrap();
        assert_eq!(fits, (4, heard == MOST_DATAGRAMS));
        datagrams.pass(&piece, fits);
    }
    assert!(datagrams.is_complete() && datagrams.would_go_on_with(&piece, false).is_none());
}

proptest::proptest! {
    /// Giving up what was told, or not keeping it at all, changes nothing of what comes after it and of when it is news.
    #[test]
    fn what_was_told_leaves_the_rest_as_it_is(
        pieces in proptest::collection::vec((0_usize..5, 1_usize..400, 0_usize..4, proptest::prelude::any::<bool>()), 1..200),
        start: u32,
    ) {
        let bytes: Vec<u8> = (0..2 * MOST_STREAM).map(|at| at as u8).collect();
        let (mut whole, mut short) = (Prefix::stream(Some(start)), Prefix::stream(Some(start)));
        let mut from = 0_usize;
        for ((&(gap, length, told, tiny), number), turn) in pieces.iter().zip(1..).zip(0_usize..) {
            // Mostly in turn, sometimes again or ahead of it.
            let begin = match gap {
                0 => from.saturating_sub(length / 2),
                1 => from + 30,
                _ => from,
            };
            let length = if tiny { 1 } else { length };
            let Some(piece) = bytes.get(begin..begin + length) else { break };
            let sequence = start.wrapping_add(begin as u32);
            let piece = Payload { at: at(number), sequence, bytes: piece, lacks: 0 };
            let news = whole.add_segment(&piece);
            match short.would_go_on_with(&piece, true).filter(|_| turn % 3 > 0) {
                Some(fits) => {
                    short.pass(&piece, fits);
                    proptest::prop_assert!(news);
                }
                None => proptest::prop_assert_eq!(short.add_segment(&piece), news),
            }
            short.forget_bytes(short.length() * told / 3);
            from = from.max(begin + length);
            let gone = short.length() - short.bytes().len();
            proptest::prop_assert_eq!(&whole.bytes()[gone..], short.bytes());
            proptest::prop_assert_eq!(
                (whole.heard(), whole.is_complete(), whole.is_waiting(), whole.from_start()),
                (short.heard(), short.is_complete(), short.is_waiting(), short.from_start())
            );
            let ends: Vec<usize> = short.ends().iter().map(|&end| usize::from(end) + gone).collect();
            let all: Vec<usize> = whole.ends()[short.before()..].iter().map(|&end| usize::from(end)).collect();
            proptest::prop_assert_eq!(ends, all);
        }
    }

    /// However a stream is cut, shuffled and repeated, what comes out is its beginning.
    #[test]
    fn any_order_gives_the_stream(
        cuts in proptest::collection::vec((0usize..200, 1usize..40), 1..30),
        start: u32,
    ) {
        let whole: Vec<u8> = (0..240).map(|at| at as u8).collect();
        let mut prefix = Prefix::stream(Some(start));
        for (&(from, length), number) in cuts.iter().zip(1..) {
            let sequence = start.wrapping_add(from as u32);
            prefix.add_segment(&Payload { at: at(number), sequence, bytes: &whole[from..from + length], lacks: 0 });
        }
        if prefix.from_start() {
            proptest::prop_assert!(whole.starts_with(prefix.bytes()));
        }
    }
}

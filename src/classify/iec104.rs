//! IEC 60870-5-104: APCI frames of the I, S and U formats and the ASDUs in them.

use compact_str::ToCompactString;

use super::About;
use super::Carrier;
use super::Deed;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;

/// IEC 60870-5-104.
pub struct Iec104;

static ABOUT: About = About {
    name: "iec104",
    title: "IEC 60870-5-104",
    spec: "IEC 60870-5-104:2006 clauses 5 and 7; type identifications of IEC 60870-5-101:2003 clause 7.2.1 and IEC 60870-5-7:2013",
    usual: &["tcp/2404"],
    answers: true,
    facts: &[
        ("iec104.type", "type identification of an ASDU by its standard name, such as C_SC_NA_1"),
        ("iec104.common-address", "common address of an ASDU, decimal"),
        (
            "iec104.access",
            "what the controlling station asks for: read (interrogation), write (commands, set points, parameters, clock), control (reset)",
        ),
    ],
};

impl Protocol for Iec104 {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => byte == START,
            1 => (CONTROL..=LONGEST).contains(&byte),
            // The receive sequence number leaves its first bit zero.
            4 => byte & 1 == 0,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => weigh::probe(seen, step, tell),
            Carrier::Udp | Carrier::Ethernet(_) => Probe::No,
        }
    }

    fn gist(&self, _: Carrier, payload: &[u8]) -> Option<u64> {
        if !weigh::is_alone(payload, step) {
            return None;
        }
        match *payload {
            // U and S format by the first control octet.
            [_, _, control, _, _, _] => Some(u64::from(control)),
            [_, _, _, _, _, _, kind, _, cause, _, low, high, ..] => {
                let (kind, cause) = (u64::from(kind), u64::from(cause & 0x3f));
                Some(1 << 40 | kind << 32 | cause << 16 | u64::from(u16::from_le_bytes([low, high])))
            }
            _ => None,
        }
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        weigh::each_whole(payload, step, |apdu| {
            // I format alone carries an ASDU.
            if let [_, _, control, _, _, _, kind, _, cause, ..] = *apdu
                && control & 1 == 0
            {
                let name = type_of(kind).map(|(_, name)| name);
                Deed::of(access(kind, cause), "iec104.type", name).into_iter().for_each(&mut *tell);
            }
        });
    }
}

/// Start octet (IEC 60870-5-104 clause 5.1).
const START: u8 = 0x68;
/// Start octet and length octet.
const HEAD: usize = 2;
/// Control field octets, and the length of an APDU without ASDU.
const CONTROL: u8 = 4;
/// Length of the longest APDU (clause 5.1).
const LONGEST: u8 = 253;
/// Weight of an S frame: 33 fixed bits.
const WEIGHT_S: u32 = 70;
/// Weight of an I frame whose length is exactly that of its objects; only with a neighbour or a segment end is it proof.
const WEIGHT_I: u32 = 60;
/// Weight of an I frame of a private type or with other field sizes than the standard's.
const WEIGHT_I_ODD: u32 = 10;

fn step(bytes: &[u8]) -> Step {
    let (START, length) = (match *bytes {
        [] => return Step::Cut(0),
        [start] if start == START => return Step::Cut(0),
        [start, length, ..] => (start, length),
        _ => return Step::Wrong,
    }) else {
        return Step::Wrong;
    };
    if !(CONTROL..=LONGEST).contains(&length) {
        return Step::Wrong;
    }
    let Some((&[_, _, c1, c2, c3, c4], asdu)) = bytes.split_first_chunk::<6>() else { return Step::Cut(0) };
    let whole = HEAD + usize::from(length);
    match (c1 & 0x03, length) {
        // U format: one of six functions, the other octets zero (clause 5.1, figure 8).
        (3, CONTROL) if matches!(c1, 0x07 | 0x0b | 0x13 | 0x23 | 0x43 | 0x83) && [c2, c3, c4] == [0; 3] => {
            Step::Whole(whole, PROOF)
        }
        // S format (figure 7).
        (1, CONTROL) if c1 == 1 && c2 == 0 && c3 & 1 == 0 => Step::Whole(whole, WEIGHT_S),
        // I format (figure 6); an ASDU has at least type, qualifier, cause, address and object address, of one octet each.
        (0 | 2, 9..) if c3 & 1 == 0 => {
            let asdu = asdu.get(..usize::from(length - CONTROL)).unwrap_or(asdu);
            let Some(weight) = weigh_asdu(asdu, usize::from(length - CONTROL)) else { return Step::Wrong };
            if bytes.len() < whole { Step::Cut(0) } else { Step::Whole(whole, weight) }
        }
        _ => Step::Wrong,
    }
}

/// What an ASDU of that length weighs by its data unit identifier (IEC 60870-5-101 clause 7.1); `None` where it is none.
fn weigh_asdu(asdu: &[u8], length: usize) -> Option<u32> {
    let [kind, qualifier, cause, ..] = *asdu else { return Some(0) };
    let objects = usize::from(qualifier & 0x7f);
    // Causes of transmission 1 to 13, 20 to 41 and 44 to 47; 14 to 16 authenticate (IEC 60870-5-7); 48 to 63 are for private use (clause 7.2.3).
    if kind == 0 || !matches!(cause & 0x3f, 1..=16 | 20..=41 | 44..=63) {
        return None;
    }
    let Some((size, _)) = type_of(kind) else { return (kind >= 128).then_some(WEIGHT_I_ODD) };
    let Some(size) = size else { return Some(WEIGHT_I_ODD) };
    // Object addresses have three octets, and with SQ set only the first object has one (clause 7.2.2).
    let fits = |head: usize, address: usize| {
        let body = if qualifier & 0x80 != 0 { address + objects * size } else { objects * (address + size) };
        objects > 0 && head + body == length
    };
    if fits(6, 3) {
        return Some(WEIGHT_I);
    }
    Some(WEIGHT_I_ODD)
}

fn tell(end: End, apdu: &[u8], proof: &mut Proof) {
    let mut reader = Reader::new(apdu);
    let Some(&[_, _, control, ..]) = reader.array::<6>() else { return };
    if control & 0x03 == 3 {
        match control {
            // STARTDT act and STOPDT act come from the controlling station, the confirmations from the controlled one (clause 5.3).
            0x07 | 0x13 => client_is(proof, end),
            0x0b | 0x23 => client_is(proof, end.other()),
            _ => {}
        }
        return;
    }
    let Some(&[kind, _, cause, _]) = reader.array::<4>() else { return };
    let Some((_, name)) = type_of(kind) else { return };
    proof.facts.add("iec104.type", name);
    if let Some(access) = access(kind, cause) {
        proof.facts.add("iec104.access", access);
    }
    if let Some(address) = reader.le16() {
        proof.facts.add("iec104.common-address", address.to_compact_string());
    }
    // Monitor direction is from the controlled station; commands are activated (6) or deactivated (8) by the controlling one.
    match (kind, cause & 0x3f) {
        (1..=41 | 70, _) => client_is(proof, end.other()),
        (45..=113, 6 | 8) => client_is(proof, end),
        (45..=113, 7 | 9 | 10) => client_is(proof, end.other()),
        _ => {}
    }
}

/// What an ASDU does to the controlled station: read, commands and the rest by activation (cause 6), a read by request (cause 5), each from
/// the controlling station alone (IEC 60870-5-101 clauses 7.2.3 and 7.4). Test and delay commands, and files, are not told.
fn access(kind: u8, cause: u8) -> Option<&'static str> {
    match (kind, cause & 0x3f) {
        (45..=51 | 58..=64 | 103 | 110..=113, 6) => Some("write"),
        (100 | 101, 6) | (102, 5) => Some("read"),
        (105, 6) => Some("control"),
        _ => None,
    }
}

/// The octets of one information object without its address, where they are fixed, and the standard's name of the type
/// (IEC 60870-5-101 clause 7.3, IEC 60870-5-104 clause 8; IEC 60870-5-7 for those of secure authentication, in segments of any length).
fn type_of(kind: u8) -> Option<(Option<usize>, &'static str)> {
    let (size, name) = match kind {
        1 => (1, "M_SP_NA_1"),
        2 => (4, "M_SP_TA_1"),
        3 => (1, "M_DP_NA_1"),
        4 => (4, "M_DP_TA_1"),
        5 => (2, "M_ST_NA_1"),
        6 => (5, "M_ST_TA_1"),
        7 => (5, "M_BO_NA_1"),
        8 => (8, "M_BO_TA_1"),
        9 => (3, "M_ME_NA_1"),
        10 => (6, "M_ME_TA_1"),
        11 => (3, "M_ME_NB_1"),
        12 => (6, "M_ME_TB_1"),
        13 => (5, "M_ME_NC_1"),
        14 => (8, "M_ME_TC_1"),
        15 => (5, "M_IT_NA_1"),
        16 => (8, "M_IT_TA_1"),
        17 => (6, "M_EP_TA_1"),
        18 => (7, "M_EP_TB_1"),
        19 => (7, "M_EP_TC_1"),
        20 => (5, "M_PS_NA_1"),
        21 => (2, "M_ME_ND_1"),
        30 => (8, "M_SP_TB_1"),
        31 => (8, "M_DP_TB_1"),
        32 => (9, "M_ST_TB_1"),
        33 => (12, "M_BO_TB_1"),
        34 => (10, "M_ME_TD_1"),
        35 => (10, "M_ME_TE_1"),
        36 => (12, "M_ME_TF_1"),
        37 => (12, "M_IT_TB_1"),
        38 => (10, "M_EP_TD_1"),
        39 => (11, "M_EP_TE_1"),
        40 => (11, "M_EP_TF_1"),
        41 => (14, "S_IT_TC_1"),
        45 => (1, "C_SC_NA_1"),
        46 => (1, "C_DC_NA_1"),
        47 => (1, "C_RC_NA_1"),
        48 => (3, "C_SE_NA_1"),
        49 => (3, "C_SE_NB_1"),
        50 => (5, "C_SE_NC_1"),
        51 => (4, "C_BO_NA_1"),
        58 => (8, "C_SC_TA_1"),
        59 => (8, "C_DC_TA_1"),
        60 => (8, "C_RC_TA_1"),
        61 => (10, "C_SE_TA_1"),
        62 => (10, "C_SE_TB_1"),
        63 => (12, "C_SE_TC_1"),
        64 => (11, "C_BO_TA_1"),
        70 => (1, "M_EI_NA_1"),
        81 => return Some((None, "S_CH_NA_1")),
        82 => return Some((None, "S_RP_NA_1")),
        83 => return Some((None, "S_AR_NA_1")),
        84 => return Some((None, "S_KR_NA_1")),
        85 => return Some((None, "S_KS_NA_1")),
        86 => return Some((None, "S_KC_NA_1")),
        87 => return Some((None, "S_ER_NA_1")),
        90 => return Some((None, "S_US_NA_1")),
        91 => return Some((None, "S_UQ_NA_1")),
        92 => return Some((None, "S_UR_NA_1")),
        93 => return Some((None, "S_UK_NA_1")),
        94 => return Some((None, "S_UA_NA_1")),
        95 => return Some((None, "S_UC_NA_1")),
        100 => (1, "C_IC_NA_1"),
        101 => (1, "C_CI_NA_1"),
        102 => (0, "C_RD_NA_1"),
        103 => (7, "C_CS_NA_1"),
        104 => (2, "C_TS_NA_1"),
        105 => (1, "C_RP_NA_1"),
        106 => (2, "C_CD_NA_1"),
        107 => (9, "C_TS_TA_1"),
        110 => (3, "P_ME_NA_1"),
        111 => (3, "P_ME_NB_1"),
        112 => (5, "P_ME_NC_1"),
        113 => (1, "P_AC_NA_1"),
        120 => (6, "F_FR_NA_1"),
        121 => (7, "F_SR_NA_1"),
        122 => (4, "F_SC_NA_1"),
        123 => (5, "F_LS_NA_1"),
        124 => (4, "F_AF_NA_1"),
        125 => return Some((None, "F_SG_NA_1")),
        126 => (13, "F_DR_TA_1"),
        127 => (16, "F_SC_NB_1"),
        _ => return None,
    };
    Some((Some(size), name))
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::super::harness;
    use super::*;

    const STARTDT: [u8; 6] = [0x68, 4, 7, 0, 0, 0];
    /// C_IC_NA_1, activation, station 1, general interrogation.
    const INTERROGATION: [u8; 16] = [0x68, 14, 0, 0, 0, 0, 100, 1, 6, 0, 1, 0, 0, 0, 0, 20];

    fn probe(bytes: &[u8], ends: &[u16]) -> Probe {
        Iec104.probe(&Seen {
            carrier: Carrier::Tcp,
            first: Side::of(bytes, ends),
            second: Side::default(),
            known: None,
        })
    }

    #[test]
    fn the_controlling_station_starts() {
        let Probe::Proven(proof) = probe(&STARTDT, &[6]) else { panic!() };
        assert_eq!(proof.client, Some(End::First));
        let Probe::Proven(proof) = probe(&[0x68, 4, 0x0b, 0, 0, 0], &[6]) else { panic!() };
        assert_eq!(proof.client, Some(End::Second));
    }

    #[test]
    fn an_interrogation_alone_proves_where_the_segment_ends_with_it() {
        let Probe::Proven(proof) = probe(&INTERROGATION, &[16]) else { panic!() };
        assert_eq!(proof.facts.get("iec104.type"), Some("C_IC_NA_1"));
        assert_eq!(proof.facts.get("iec104.common-address"), Some("1"));
        assert_eq!(probe(&INTERROGATION, &[12]), Probe::NeedMore);
    }

    #[test]
    fn a_sequence_of_measurands_has_one_address() {
        // M_ME_NC_1, SQ, two objects of five octets.
        let mut apdu = vec![0x68, 23, 2, 0, 2, 0, 13, 0x82, 20, 0, 1, 0, 1, 0, 0];
        apdu.extend([0; 10]);
        assert_eq!(step(&apdu), Step::Whole(25, WEIGHT_I));
    }

    #[test]
    fn other_field_sizes_need_company() {
        // A cause of one octet, addresses of one and two: single points as IEC 60870-5-101 allows, never the standard's of this one.
        let odd = [0x68, 11, 2, 0, 0, 0, 1, 1, 3, 7, 1, 0, 1];
        assert_eq!(step(&odd), Step::Whole(13, WEIGHT_I_ODD));
        assert_eq!(probe(&odd, &[13]), Probe::NeedMore);
        let many = [odd; 6].concat();
        assert!(probe(&many, &[many.len() as u16]).proof().is_some());
        let confirmed = [&[0x68, 4, 0x0b, 0, 0, 0][..], &odd].concat();
        assert!(probe(&confirmed, &[6, 19]).proof().is_some());
    }

    #[test]
    fn secure_authentication_is_told_by_its_types() {
        // S_CH_NA_1, a challenge, first and last segment; cause 14.
        let mut challenge = vec![0x68, 21, 2, 0, 2, 0, 81, 1, 14, 0, 1, 0, 0xc1];
        challenge.extend([0; 10]);
        assert_eq!(step(&challenge), Step::Whole(23, WEIGHT_I_ODD));
        let started = [&STARTDT[..], &challenge].concat();
        let Probe::Proven(proof) = probe(&started, &[6, 29]) else { panic!() };
        assert_eq!(proof.facts.get("iec104.type"), Some("S_CH_NA_1"));
    }

    #[test]
    fn text_that_begins_with_h_is_none() {
        assert_eq!(step(b"hello, world of text"), Step::Wrong);
        assert_eq!(step(b"host: example.com, and more text than this"), Step::Wrong);
        assert_eq!(step(&[0x68, 4, 7, 0, 0, 1]), Step::Wrong);
        assert_eq!(step(&[0x68]), Step::Cut(0));
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Iec104, 0, 0);
        harness::check_steps(&Iec104);
    }
}

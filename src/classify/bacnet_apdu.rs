//! BACnet APDUs: services and the tags of their parameters (ANSI/ASHRAE 135, clauses 13 to 17, 20 and 21).

use compact_str::CompactString;
use compact_str::ToCompactString;

use super::bytes::Reader;

/// Services whose parameters, or results, may be none (clauses 13 and 16).
const WHO_IS: u8 = 8;
const GET_ALARM_SUMMARY: u8 = 3;
const GET_ENROLLMENT_SUMMARY: u8 = 4;
const GET_EVENT_INFORMATION: u8 = 29;

/// An APDU: PDU type (20.1) and service choice, where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apdu {
    /// PDU type, the upper four bits of the first byte.
    pub kind: u8,
    /// Service choice; reject, abort and acknowledged segments have none.
    pub service: Option<u8>,
}

impl Apdu {
    /// Clause 20.1: exact lengths where the PDU has one, reserved bits zero, services of clause 21.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let kind = bytes.first()? >> 4;
        let service = match *bytes {
            [head, limits, _, ref rest @ ..] if kind == 0 => {
                if head & 0x01 != 0 || limits & 0x80 != 0 || limits & 0x0f > 5 {
                    return None;
                }
                Some(service_of(head, rest)?)
            }
            // I-am, i-have, both time synchronisations, who-am-i and you-are.
            [0x10, service, ref parameters @ ..]
                if tags_fit(parameters, matches!(service, 0 | 1 | 6 | 9 | 13 | 14)) =>
            {
                (service == WHO_IS || !parameters.is_empty()).then_some(Some(service))?
            }
            [0x20, _, service] => Some(service),
            [head, _, ref rest @ ..] if kind == 3 && head & 0x03 == 0 => Some(service_of(head, rest)?),
            [0x40..=0x43, _, _, _] => None,
            // An error says class and code, both enumerated, perhaps within constructed tags.
            [0x50, _, service, _, _, ..] => Some(service),
            [0x60, _, reason] => (reason <= 9 || reason >= 64).then_some(None)?,
            [0x70 | 0x71, _, reason] => (reason <= 11 || reason >= 64).then_some(None)?,
            _ => return None,
        };
        let last = if kind == 1 { 14 } else { 34 };
        service.is_none_or(|service| service <= last).then_some(Self { kind, service })
    }

    /// The PDU type in words.
    pub fn name(&self) -> &'static str {
        match self.kind {
            0 => "confirmed-request",
            1 => "unconfirmed-request",
            2 => "simple-ack",
            3 => "complex-ack",
            4 => "segment-ack",
            5 => "error",
            6 => "reject",
            _ => "abort",
        }
    }

    /// What a request does to the device (clauses 13 to 17); `None` for the rest.
    pub fn access(&self) -> Option<&'static str> {
        match (self.kind, self.service?) {
            (0, 3 | 4 | 6 | 12..=14 | 26 | 29 | 33) => Some("read"),
            (0, 7..=11 | 15 | 16) | (1, 6 | 9 | 10) => Some("write"),
            (0, 17 | 20 | 27) => Some("control"),
            _ => None,
        }
    }

    /// The service by name, or its number.
    pub fn service_name(&self) -> Option<CompactString> {
        let service = self.service?;
        let names = if self.kind == 1 { UNCONFIRMED } else { CONFIRMED };
        Some(names.get(usize::from(service)).map_or_else(|| service.to_compact_string(), |&name| name.into()))
    }
}

/// The service of a confirmed request or complex ack: after sequence number and window where it is segmented, and
/// before parameters that can be checked where it is not.
fn service_of(head: u8, rest: &[u8]) -> Option<u8> {
    match (head & 0x08 != 0, rest) {
        (true, &[_, _, service, ..]) => Some(service),
        // Alarms and enrolments told, files, objects created and deleted, virtual terminals, keys.
        (false, &[service, ref parameters @ ..])
            if tags_fit(parameters, matches!(service, 3 | 4 | 6 | 7 | 10 | 11 | 21..=25)) =>
        {
            let may_be_empty =
                matches!(service, GET_ALARM_SUMMARY | GET_ENROLLMENT_SUMMARY | GET_EVENT_INFORMATION);
            (may_be_empty || !parameters.is_empty()).then_some(service)
        }
        _ => None,
    }
}

/// Whether service parameters are a row of tags (20.2.1) that ends where the PDU does.
///
/// A service begins with one of its first context tags, and only those named with an application value other than Null:
/// zeros are no parameters.
fn tags_fit(parameters: &[u8], begins_with_value: bool) -> bool {
    if let Some(&tag) = parameters.first() {
        let fits = match tag & 0x08 != 0 {
            true => tag >> 4 <= 3,
            false => begins_with_value && (1..=12).contains(&(tag >> 4)),
        };
        if !fits {
            return false;
        }
    }
    let mut reader = Reader::new(parameters);
    while let Some(tag) = reader.u8() {
        if tag >> 4 == 0x0f && reader.u8().is_none() {
            return false;
        }
        let is_context = tag & 0x08 != 0;
        let length = match tag & 0x07 {
            // An application boolean has its value there; 6 and 7 open and close a context tag.
            _ if !is_context && tag >> 4 == 1 => Some(0),
            6 | 7 if is_context => Some(0),
            6 | 7 => None,
            5 => extended_length(&mut reader),
            length => Some(usize::from(length)),
        };
        if length.and_then(|length| reader.skip(length)).is_none() {
            return false;
        }
    }
    true
}

/// The length of a value of five bytes and more (20.2.1.3.1).
fn extended_length(reader: &mut Reader<'_>) -> Option<usize> {
    match reader.u8()? {
        254 => reader.be16().map(usize::from),
        255 => reader.be32().and_then(|length| usize::try_from(length).ok()),
        length => Some(usize::from(length)),
    }
}

/// Unconfirmed service choices (21, BACnetUnconfirmedServiceChoice).
const UNCONFIRMED: &[&str] = &[
    "i-am",
    "i-have",
    "unconfirmed-cov-notification",
    "unconfirmed-event-notification",
    "unconfirmed-private-transfer",
    "unconfirmed-text-message",
    "time-synchronization",
    "who-has",
    "who-is",
    "utc-time-synchronization",
    "write-group",
    "unconfirmed-cov-notification-multiple",
    "unconfirmed-audit-notification",
    "who-am-i",
    "you-are",
];

/// Confirmed service choices (21, BACnetConfirmedServiceChoice).
const CONFIRMED: &[&str] = &[
    "acknowledge-alarm",
    "confirmed-cov-notification",
    "confirmed-event-notification",
    "get-alarm-summary",
    "get-enrollment-summary",
    "subscribe-cov",
    "atomic-read-file",
    "atomic-write-file",
    "add-list-element",
    "remove-list-element",
    "create-object",
    "delete-object",
    "read-property",
    "read-property-conditional",
    "read-property-multiple",
    "write-property",
    "write-property-multiple",
    "device-communication-control",
    "confirmed-private-transfer",
    "confirmed-text-message",
    "reinitialize-device",
    "vt-open",
    "vt-close",
    "vt-data",
    "authenticate",
    "request-key",
    "read-range",
    "life-safety-operation",
    "subscribe-cov-property",
    "get-event-information",
    "subscribe-cov-property-multiple",
    "confirmed-cov-notification-multiple",
    "confirmed-audit-notification",
    "audit-log-query",
    "auth-request",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;

    #[test]
    fn services_by_the_first_tag_of_their_parameters() {
        for (apdu, name) in [
            // An object deleted, and created (15.3, 15.4): an identifier as application value, a context tag.
            ("00 05 01 0b c4 00800001", Some("delete-object")),
            ("00 05 01 0a 0e 09 02 0f", Some("create-object")),
            // Who am I, you are (16.11, 16.12 of 2020): a vendor's number comes first.
            ("10 0d 21 05 75 04 00 415042 75 03 00 5331", Some("who-am-i")),
            ("10 0e 21 05 75 04 00 415042 75 03 00 5331 c4 0200007b", Some("you-are")),
            ("10 08", Some("who-is")),
            ("10 08 0a 0001 1a ffff", Some("who-is")),
            ("00 05 01 0c 0c 0200007b 19 4d", Some("read-property")),
            // A service that there is none of, a value where a context tag is due, a length that is not there.
            ("10 0f 21 05", None),
            ("00 05 01 0c c4 0200007b", None),
            ("00 05 01 0b c4 0080", None),
        ] {
            let found = Apdu::of(&hex(apdu)).and_then(|apdu| apdu.service_name());
            assert_eq!(found.as_deref(), name, "{apdu}");
        }
    }
}

//! Words of rulesets and sites that have a grammar of their own: services, addresses, host names, dates.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use toml::value::Datetime;

use crate::model::MacAddr;
use crate::model::Timestamp;

use super::Binding;
use super::Carrier;
use super::HostPattern;
use super::Service;
use super::suggest::did_you_mean;
use super::suggest::quoted;

/// Why a word is not what it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slip {
    /// What is wrong.
    pub(super) message: String,
    /// What was expected.
    pub(super) expected: String,
    /// What was probably meant.
    pub(super) help: Option<String>,
}

impl Slip {
    fn new(message: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { message: message.into(), expected: expected.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

const SERVICE: &str = "expected a service like tcp/5672, udp/1025-65535 or tcp+udp/53";

/// `tcp/5672`, `udp/1025-65535`, `tcp+udp/53`: one service for each carrier named.
pub(super) fn services(text: &str) -> Result<Vec<Service>, Slip> {
    let Some((carriers, ports)) = text.split_once('/') else {
        if ports_of(text).is_ok() {
            return Err(Slip::new(format!("{} names no transport", quoted(text)), SERVICE)
                .help(format!("did you mean 'tcp/{text}'?")));
        }
        let slip = Slip::new(format!("{} is no service", quoted(text)), SERVICE);
        let split = text.split_once([':', '-', ' ', '.', '_']);
        let repaired =
            split.filter(|(carriers, ports)| carriers_of(carriers).is_ok() && ports_of(ports).is_ok());
        return Err(match repaired {
            Some((carriers, ports)) => slip.help(format!("did you mean '{carriers}/{ports}'?")),
            None => slip,
        });
    };
    if ports_of(carriers).is_ok() && carriers_of(ports).is_ok() {
        return Err(Slip::new(format!("{} is turned round", quoted(text)), SERVICE)
            .help(format!("did you mean '{ports}/{carriers}'?")));
    }
    let carriers = carriers_of(carriers)?;
    let ports = ports_of(ports)?;
    Ok(carriers.into_iter().map(|carrier| Service { carrier, ports: ports.clone() }).collect())
}

fn carriers_of(text: &str) -> Result<Vec<Carrier>, Slip> {
    let mut carriers = Vec::new();
    for part in text.split('+') {
        let carrier = match part {
            "tcp" => Carrier::Tcp,
            "udp" => Carrier::Udp,
            other => {
                let slip =
                    Slip::new(format!("{} is no transport", quoted(other)), "expected tcp, udp or tcp+udp");
                return Err(match did_you_mean(other, ["tcp", "udp"]) {
                    Some(help) => slip.help(help),
                    None => slip,
                });
            }
        };
        if carriers.contains(&carrier) {
            return Err(Slip::new(format!("{part} is named twice"), SERVICE));
        }
        carriers.push(carrier);
    }
    Ok(carriers)
}

fn ports_of(text: &str) -> Result<RangeInclusive<u16>, Slip> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (port_of(low)?, port_of(high)?);
    if low > high {
        return Err(Slip::new(format!("the range {low}-{high} is empty"), "expected the lower port first")
            .help(format!("did you mean '{high}-{low}'?")));
    }
    Ok(low..=high)
}

fn port_of(text: &str) -> Result<u16, Slip> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(Slip::new(format!("{} is no port", quoted(text)), "expected a number from 1 to 65535")),
    }
}

/// `my.opswat.com`, `*.azure-devices.net`: a name as DNS has it (RFC 1123 section 2.1, with the underscores in use).
pub(super) fn host_pattern(text: &str) -> Result<HostPattern, Slip> {
    /// Octets in a name (RFC 1035 section 2.3.4), and in one label of it.
    const LONGEST: (usize, usize) = (253, 63);
    let wrong = |why: &str| {
        Slip::new(
            format!("{} is no host name: {why}", quoted(text)),
            "expected a name like my.opswat.com or *.azure-devices.net",
        )
    };
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        return Err(wrong("it is a URL").help(format!("did you mean {}?", quoted(host))));
    }
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_suffix('.').unwrap_or(&lower);
    let (name, wildcard) = match name.strip_prefix("*.") {
        Some(rest) => (rest, true),
        None => (name, false),
    };
    if !name.is_ascii() {
        return Err(wrong("it is not ASCII").help("write it as DNS does (xn--...)"));
    }
    if name.contains('*') {
        return Err(wrong("a wildcard stands for whole labels at the front"));
    }
    if name.is_empty() || name.len() > LONGEST.0 {
        return Err(wrong("it has no or too many characters"));
    }
    for label in name.split('.') {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if label.is_empty() || label.len() > LONGEST.1 || !label.bytes().all(fits) {
            return Err(wrong(&format!("its part {} does not fit", quoted(label))));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(wrong(&format!("its part {} begins or ends with a hyphen", quoted(label))));
        }
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("it ends in a number, as addresses do"));
    }
    Ok(HostPattern { name: name.to_owned(), wildcard })
}

const BINDING: &str = "expected an address, a prefix (10.20.0.0/16), ADDRESS@CELL, mac:00:1b:1b:00:00:01 or host:ldap.plant.example";

/// What plays a role, as one string. `cells` are the names of the site's cells.
pub(super) fn binding(text: &str, cells: &[&str]) -> Result<Binding, Slip> {
    if let Some(mac) = text.strip_prefix("mac:") {
        return mac_address(mac).map(Binding::Mac);
    }
    if let Some(host) = text.strip_prefix("host:") {
        return host_pattern(host).map(Binding::Host);
    }
    let (address, cell) = match text.split_once('@') {
        Some((address, cell)) => (address, Some(cell)),
        None => (text, None),
    };
    let cell = match cell {
        Some(cell) if !cells.contains(&cell) => {
            let slip = Slip::new(
                format!("no [[cell]] is named {}", quoted(cell)),
                if cells.is_empty() {
                    "this site has no [[cell]]".to_owned()
                } else {
                    format!("cells: {}", cells.join(", "))
                },
            );
            return Err(match did_you_mean(cell, cells.iter().copied()) {
                Some(help) => slip.help(help),
                None => slip,
            });
        }
        cell => cell.map(str::to_owned),
    };
    if address.contains('/') {
        let net = prefix(address)?;
        // One address is itself, and not a prefix that waits for somebody to be heard in it.
        return Ok(if net.prefix_len() == net.max_prefix_len() {
            Binding::Address { ip: net.addr(), cell }
        } else {
            Binding::Prefix { net, cell }
        });
    }
    match address.parse::<IpAddr>() {
        Ok(ip) => {
            let ip = ip.to_canonical();
            if ip.is_unspecified() {
                return Err(Slip::new(format!("{ip} is nobody's address"), BINDING));
            }
            Ok(Binding::Address { ip, cell })
        }
        Err(_) => Err(bad_address(address)),
    }
}

/// An address or a prefix whose host bits are zero.
pub(super) fn network(text: &str) -> Result<IpNet, Slip> {
    if text.contains('/') { prefix(text) } else { address(text).map(IpNet::from) }
}

/// An address.
pub(super) fn address(text: &str) -> Result<IpAddr, Slip> {
    text.parse::<IpAddr>().map(|ip| ip.to_canonical()).map_err(|_| bad_address(text))
}

fn prefix(text: &str) -> Result<IpNet, Slip> {
    let Ok(net) = text.parse::<IpNet>() else {
        let (address, length) = text.split_once('/').unwrap_or((text, ""));
        let most = match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return Err(bad_address(address)),
        };
        let slip = Slip::new(
            format!("{} is no prefix length for {address}", quoted(length)),
            format!("expected a number from 0 to {most}"),
        );
        return Err(match mask_length(length) {
            Some(length) => slip.help(format!("did you mean '{address}/{length}'?")),
            None => slip,
        });
    };
    if net.addr() == net.network() {
        return Ok(net);
    }
    Err(Slip::new(format!("{net} has bits set beyond its prefix"), "expected a prefix or an address")
        .help(format!("did you mean the prefix '{}' or the address '{}'?", net.trunc(), net.addr())))
}

/// The length of a dotted mask: `255.255.255.0` is 24.
fn mask_length(text: &str) -> Option<u32> {
    let mask = u32::from(text.parse::<Ipv4Addr>().ok()?);
    (mask.leading_ones() + mask.trailing_zeros() >= 32).then(|| mask.leading_ones())
}

/// An address that does not parse, told from a host name written without `host:`.
fn bad_address(text: &str) -> Slip {
    match host_pattern(text) {
        Ok(_) if text.contains('.') => Slip::new(format!("{} is no address", quoted(text)), BINDING)
            .help(format!("a host name is written 'host:{text}'")),
        _ => Slip::new(format!("{} is no address", quoted(text)), BINDING),
    }
}

/// `00:1b:1b:00:00:01`, with colons or hyphens.
pub(super) fn mac_address(text: &str) -> Result<MacAddr, Slip> {
    let wrong = || {
        Slip::new(format!("{} is no MAC address", quoted(text)), "expected six bytes like 00:1b:1b:00:00:01")
    };
    let mut octets = [0_u8; 6];
    let mut parts = text.split([':', '-']);
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
        *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
    }
    if parts.next().is_some() || text.contains('+') {
        return Err(wrong());
    }
    let mac = MacAddr(octets);
    if mac.is_group() {
        return Err(Slip::new(format!("{mac} is a group address"), "expected the address of one station"));
    }
    Ok(mac)
}

/// A product version: `3.5.0`, `22.1`. Missing parts count as zero.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version([u32; 4]);

/// Numbers joined by dots.
pub(super) fn version(text: &str) -> Result<Version, Slip> {
    let wrong = || {
        Slip::new(format!("{} is no version", quoted(text)), "expected numbers joined by dots, like 3.5.0")
    };
    let mut parts = [0; 4];
    let mut written = text.split('.');
    for part in &mut parts {
        let Some(word) = written.next() else { break };
        let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        *part = word.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
    }
    if written.next().is_some() {
        return Err(wrong());
    }
    Ok(Version(parts))
}

const SPAN: &str = "expected a length of time like 30s, 17m, 2h or 1d";

/// A number and its unit: `30s`, `17m` (or `17min`), `2h`, `1d`.
pub(super) fn span(text: &str) -> Result<Duration, Slip> {
    let wrong = || Slip::new(format!("{} is no length of time", quoted(text)), SPAN);
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds: u64 = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "" if !number.is_empty() => return Err(wrong().help(format!("did you mean '{number}s'?"))),
        _ => return Err(wrong()),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)) {
        // A period longer than a year is a slip of the pen, and a second is the shortest that a document would have.
        Some(1..=31_622_400) => Ok(Duration::from_secs(number.parse::<u64>().unwrap_or(1) * seconds)),
        _ => Err(wrong()),
    }
}

/// Which end of a day a date without a time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DayEnd {
    /// Its first nanosecond.
    First,
    /// Its last nanosecond.
    Last,
}

const MOMENT: &str = "expected a date like 2027-03-31 or a time with its offset like 2027-03-31T18:00:00Z";

/// A TOML date or time, or the same as a string, in UTC.
pub(super) fn moment(text: &str, end: DayEnd) -> Result<Timestamp, Slip> {
    let wrong = || Slip::new(format!("{} is no moment", quoted(text)), MOMENT);
    let parsed = text.trim().parse::<Datetime>().map_err(|_| wrong())?;
    let date = parsed.date.ok_or_else(wrong)?;
    if parsed.time.is_none() {
        let day = jiff::civil::Date::new(
            i16::try_from(date.year).map_err(|_| wrong())?,
            i8::try_from(date.month).map_err(|_| wrong())?,
            i8::try_from(date.day).map_err(|_| wrong())?,
        );
        let start =
            day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC)).map_err(|_| wrong())?.timestamp();
        let start = i64::try_from(start.as_nanosecond()).map_err(|_| wrong())?;
        let offset = if end == DayEnd::Last { 86_400_000_000_000 - 1 } else { 0 };
        return Ok(Timestamp::from_nanos(start.saturating_add(offset)));
    }
    if parsed.offset.is_none() {
        return Err(Slip::new(format!("{} has no offset", quoted(text)), MOMENT)
            .help(format!("did you mean '{}Z'? capture time is UTC", text.trim())));
    }
    let instant: jiff::Timestamp = text.trim().parse().map_err(|_| wrong())?;
    i64::try_from(instant.as_nanosecond()).map(Timestamp::from_nanos).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_a_unit() {
        for (text, seconds) in [("30s", 30), ("17m", 1_020), ("17 min", 1_020), ("2h", 7_200), ("1d", 86_400)]
        {
            assert_eq!(span(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for text in ["", "m", "0s", "17", "-1h", "1w", "367d", "99999999999999999999d"] {
            assert!(span(text).is_err(), "{text}");
        }
        assert_eq!(span("17").unwrap_err().help.as_deref(), Some("did you mean '17s'?"));
    }

    #[test]
    fn services_have_transport_and_ports() {
        let text = |written: &str| {
            services(written).map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(text("tcp/5672").unwrap(), "tcp/5672");
        assert_eq!(text("tcp+udp/53").unwrap(), "tcp/53 udp/53");
        assert_eq!(text("udp/1025-65535").unwrap(), "udp/1025-65535");
        for (wrong, help) in [
            ("5672", Some("did you mean 'tcp/5672'?")),
            ("5672/tcp", Some("did you mean 'tcp/5672'?")),
            ("tcp:502", Some("did you mean 'tcp/502'?")),
            ("tpc/502", Some("did you mean 'tcp'?")),
            ("tcp/20-10", Some("did you mean '10-20'?")),
            ("tcp/0", None),
            ("tcp/65536", None),
            ("tcp/+80", None),
            ("tcp/", None),
            ("tcp/1-", None),
            ("/1", None),
            ("tcp+tcp/1", None),
            ("", None),
        ] {
            assert_eq!(services(wrong).unwrap_err().help.as_deref(), help, "{wrong}");
        }
    }

    #[test]
    fn bindings_are_told_apart() {
        let cells = ["cell-2"];
        for right in ["10.0.0.5", "10.0.0.0/8", "10.0.0.5@cell-2", "10.0.0.0/8@cell-2", "fd00::1", "fd00::/8"]
        {
            assert!(binding(right, &cells).is_ok(), "{right}");
        }
        let one = binding("::ffff:10.0.0.5", &cells).unwrap();
        assert_eq!(one, binding("10.0.0.5/32", &cells).unwrap());
        for (wrong, help) in [
            ("10.0.0.5@cell-3", Some("did you mean 'cell-2'?")),
            ("10.0.0.5/24", Some("did you mean the prefix '10.0.0.0/24' or the address '10.0.0.5'?")),
            ("10.0.0.0/255.255.255.0", Some("did you mean '10.0.0.0/24'?")),
            ("ldap.plant.example", Some("a host name is written 'host:ldap.plant.example'")),
            ("10.0.0", None),
            ("10.0.0.0/33", None),
            ("0.0.0.0", None),
            ("mac:00:1b", None),
            ("mac:01:00:5e:00:00:01", None),
            ("host:", None),
            ("", None),
        ] {
            assert_eq!(binding(wrong, &cells).unwrap_err().help.as_deref(), help, "{wrong}");
        }
    }

    #[test]
    fn host_names_are_dns_names() {
        assert_eq!(host_pattern("My.OPSWAT.com.").unwrap().to_string(), "my.opswat.com");
        assert_eq!(host_pattern("*.Azure-Devices.net").unwrap().to_string(), "*.azure-devices.net");
        for wrong in
            ["*", "*.", "a.*.b", "a..b", "-a.b", "a b", "10.0.0.1", "bücher.example", ".", &"a".repeat(64)]
        {
            assert!(host_pattern(wrong).is_err(), "{wrong}");
        }
        let wild = host_pattern("*.example.com").unwrap();
        assert!(wild.covers("a.example.com") && wild.covers("a.b.EXAMPLE.com."));
        assert!(
            !wild.covers("example.com") && !wild.covers("badexample.com") && !wild.covers(".example.com")
        );
    }

    #[test]
    fn moments_are_utc() {
        let day = 86_400_000_000_000;
        assert_eq!(moment("1970-01-02", DayEnd::First).unwrap().as_nanos(), day);
        assert_eq!(moment("1970-01-02", DayEnd::Last).unwrap().as_nanos(), 2 * day - 1);
        assert_eq!(moment("1970-01-02T01:00:00+01:00", DayEnd::Last).unwrap().as_nanos(), day);
        for wrong in ["1970-02-30", "1970-01-02T01:00:00", "01:00:00", "tomorrow", "9999-12-31"] {
            assert!(moment(wrong, DayEnd::Last).is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_compare_by_number() {
        let parsed = |text: &str| version(text).unwrap();
        assert!(parsed("3.4.10") > parsed("3.4.7") && parsed("3.5") == parsed("3.5.0"));
        for wrong in ["", "3.", "v3", "3.5.0.0.1", "3.-5"] {
            assert!(version(wrong).is_err(), "{wrong}");
        }
    }
}

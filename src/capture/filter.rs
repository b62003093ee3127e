//! BPF filters on recorded packets, in tcpdump's language and by its compiler (feature `live`).

use crate::capture::source::CaptureError;
use crate::model::LinkType;

/// A filter, compiled once for each link type that turns up.
#[cfg(feature = "live")]
pub(super) struct Filter {
    text: String,
    programs: Vec<(LinkType, pcap::BpfProgram)>,
}

#[cfg(feature = "live")]
impl Filter {
    /// A filter; whether it compiles is known with the first link type.
    pub(super) fn new(text: &str) -> Result<Self, CaptureError> {
        Ok(Self { text: text.to_owned(), programs: Vec::new() })
    }

    /// Whether a packet passes.
    #[inline]
    pub(super) fn passes(&mut self, link: LinkType, bytes: &[u8]) -> Result<bool, CaptureError> {
        match self.programs.iter().find(|(of, _)| *of == link) {
            Some((_, program)) => Ok(program.filter(bytes)),
            None => {
                let program = self.compile(link)?;
                let passes = program.filter(bytes);
                self.programs.push((link, program));
                Ok(passes)
            }
        }
    }

    fn compile(&self, link: LinkType) -> Result<pcap::BpfProgram, CaptureError> {
        // libpcap's own numbers are those of the files, but for raw IP.
        let own = if link == LinkType::RAW { LinkType::RAW_BSD } else { link };
        pcap::Capture::dead(pcap::Linktype(i32::from(own.0)))
            .and_then(|dead| dead.compile(&self.text, true))
            .map_err(|error| self.error(link, &error))
    }

    fn error(&self, link: LinkType, error: &pcap::Error) -> CaptureError {
        let why = match error {
            pcap::Error::PcapError(words) => words.clone(),
            other => other.to_string(),
        };
        CaptureError::Filter {
            filter: self.text.clone(),
            why: format!("{why} (for packets of link type {})", link.0),
        }
    }
}

/// Filters are not in this build.
#[cfg(not(feature = "live"))]
pub(super) struct Filter;

#[cfg(not(feature = "live"))]
impl Filter {
    /// Says that this build has no filters.
    pub(super) fn new(text: &str) -> Result<Self, CaptureError> {
        let why = "this build has no packet filters: build it with the feature 'live'".to_owned();
        Err(CaptureError::Filter { filter: text.to_owned(), why })
    }

    /// Never reached: no filter can be made.
    pub(super) fn passes(&mut self, _: LinkType, _: &[u8]) -> Result<bool, CaptureError> {
        Ok(true)
    }
}

#[cfg(all(test, feature = "live"))]
mod tests {
    use super::*;

    /// An Ethernet frame with a UDP datagram to port 53 over IPv4.
    const DNS: [u8; 42] = [
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10,
        0, 0, 2, 0xc0, 0, 0, 53, 0, 8, 0, 0,
    ];

    #[test]
    fn filters_by_link_type() {
        let mut filter = Filter::new("udp port 53").unwrap();
        assert!(filter.passes(LinkType::ETHERNET, &DNS).unwrap());
        assert!(filter.passes(LinkType::RAW, &DNS[14..]).unwrap());
        assert!(!filter.passes(LinkType::RAW, &DNS).unwrap());
        assert!(!filter.passes(LinkType::ETHERNET, &[]).unwrap());
        assert!(!Filter::new("tcp").unwrap().passes(LinkType::ETHERNET, &DNS).unwrap());
    }

    #[test]
    fn says_what_does_not_compile() {
        let error = Filter::new("udp prt 53").unwrap().passes(LinkType::ETHERNET, &DNS).unwrap_err();
        assert!(error.to_string().starts_with("filter 'udp prt 53': "), "{error}");
        assert!(error.to_string().contains("syntax error"), "{error}");
        assert!(Filter::new("ether host 02:00:00:00:00:01").unwrap().passes(LinkType::RAW, &[]).is_err());
    }
}

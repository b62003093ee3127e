//! How an interface is opened: what may be asked of it, whose clock stamps its packets, and what its errors mean.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pcap::Active;
use pcap::Capture;
use pcap::Device;
use pcap::Error;
use pcap::Precision;
use pcap::TimestampType;

use crate::capture::socket;
use crate::capture::source::CaptureError;
use crate::model::LinkType;

/// How long the kernel may hold packets back to hand them over together, in milliseconds.
const TIMEOUT_MS: i32 = 50;

/// How an interface is to be listened to.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Its name, or `any` for all of them.
    pub interface: String,
    /// A filter in tcpdump's language, run in the kernel: what does not pass is not even counted.
    pub filter: Option<String>,
    /// The most bytes kept of a packet.
    pub snaplen: u32,
    /// Size of the kernel's buffer in bytes: what bridges a pause of this program.
    pub buffer: u32,
    /// Whether frames for other stations are wanted. A mirror port has nothing else.
    pub promiscuous: bool,
    /// The most packets to hand out (`-c`).
    pub count: Option<u64>,
    /// Ends the capture once it is set, within a pause of 10 ms.
    pub stop: Arc<AtomicBool>,
    /// Whether to wait for an interface that goes down or away; else that ends the capture.
    pub patient: bool,
    /// Which of how many rings this one is; `(0, 1)` is the only one.
    pub ring: (u32, u32),
    /// By how many shards packets are told apart where there are several rings.
    pub shards: u32,
    /// Whose clock puts the time on packets.
    pub stamps: Stamps,
}

/// Whose clock puts the time on packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stamps {
    /// The kernel's, as packets come in.
    #[default]
    Host,
    /// The adapter's, held to the kernel's time.
    Adapter,
    /// The adapter's as it is: for those that something else keeps on time.
    AdapterUnsynced,
}

impl Stamps {
    /// PCAP_TSTAMP_HOST, PCAP_TSTAMP_ADAPTER and PCAP_TSTAMP_ADAPTER_UNSYNCED (pcap-tstamp(7)).
    fn of_libpcap(self) -> TimestampType {
        match self {
            Self::Host => TimestampType::Host,
            Self::Adapter => TimestampType::Adapter,
            Self::AdapterUnsynced => TimestampType::AdapterUnsynced,
        }
    }

    /// In libpcap's words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Adapter => "adapter",
            Self::AdapterUnsynced => "adapter_unsynced",
        }
    }

    /// All of them.
    pub const ALL: [Self; 3] = [Self::Host, Self::Adapter, Self::AdapterUnsynced];
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            interface: String::new(),
            filter: None,
            // libpcap's MAXIMUM_SNAPLEN.
            snaplen: 256 * 1024,
            buffer: 64 * 1024 * 1024,
            promiscuous: true,
            count: None,
            stop: Arc::default(),
            patient: false,
            ring: (0, 1),
            shards: 1,
            stamps: Stamps::Host,
        }
    }
}

/// What its packets begin with.
pub(super) fn link_of(capture: &Capture<Active>) -> LinkType {
    match capture.get_datalink().0 {
        // libpcap's own number for raw IP differs from that of the files.
        12 => LinkType::RAW,
        number => LinkType(u16::try_from(number).unwrap_or(u16::MAX)),
    }
}

/// Opens a handle on an interface, for reading.
pub(super) fn open_capture(options: &LiveOptions) -> Result<Capture<Active>, CaptureError> {
    let error = |error: &Error| CaptureError::Live {
        interface: options.interface.clone(),
        why: explain(error, &options.interface),
    };
    let size = |bytes: u32| i32::try_from(bytes).unwrap_or(i32::MAX);
    let mut capture = Capture::from_device(options.interface.as_str())
        .map_err(|e| error(&e))?
        .promisc(options.promiscuous)
        .snaplen(size(options.snaplen.max(1)))
        .buffer_size(size(options.buffer))
        .timeout(TIMEOUT_MS)
        .precision(Precision::Nano)
        .tstamp_type(options.stamps.of_libpcap())
        .open()
        .and_then(Capture::setnonblock)
        .map_err(|e| error(&e))?;
    // libpcap takes a clock that the interface does not have for the host's, without a word.
    if options.stamps != Stamps::Host && !clocks(&capture).contains(&options.stamps) {
        let known: Vec<&str> = clocks(&capture).into_iter().map(Stamps::name).collect();
        return Err(CaptureError::Live {
            interface: options.interface.clone(),
            why: format!("it has no {} time stamps, only {}", options.stamps.name(), known.join(", ")),
        });
    }
    if let Some(filter) = &options.filter {
        capture.filter(filter, true).map_err(|error| CaptureError::Filter {
            filter: filter.clone(),
            why: match error {
                Error::PcapError(words) => words,
                other => other.to_string(),
            },
        })?;
    }
    Ok(capture)
}

/// Whose clock may put the time on an interface's packets. One that offers no choice has the host's.
pub(super) fn clocks(capture: &Capture<Active>) -> Vec<Stamps> {
    let told = socket::clocks(capture);
    let known = Stamps::ALL.into_iter().filter(|stamps| told.contains(&(stamps.of_libpcap() as i32)));
    let known: Vec<_> = known.collect();
    if known.is_empty() { vec![Stamps::Host] } else { known }
}

/// What went wrong and what to do.
pub(super) fn explain(error: &Error, interface: &str) -> String {
    let words = match error {
        Error::PcapError(words) => words.clone(),
        other => other.to_string(),
    };
    let lower = words.to_lowercase();
    if lower.contains("permission") || lower.contains("not permitted") {
        return format!("{words}: run as root, or give the program the right (setcap cap_net_raw+ep)");
    }
    let known: Vec<String> =
        Device::list().unwrap_or_default().into_iter().map(|device| device.name).collect();
    if known.is_empty() || known.iter().any(|name| name == interface) {
        return words;
    }
    format!("{words}; there are: {}", known.join(", "))
}

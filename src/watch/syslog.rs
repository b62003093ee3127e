//! Events as syslog messages (RFC 5424), over UDP (RFC 5426) or TCP (RFC 6587, octet counting), with JSON or CEF inside.

use std::io;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use nix::sys::socket::recv;

use super::event::Event;
use super::sink::Outlet;

/// Facility local0 (RFC 5424 table 1).
const LOCAL0: u8 = 16;
/// The port of syslog over UDP, and the usual one over TCP.
const PORT: u16 = 514;
/// What surely fits a UDP datagram over IPv6 with its headers.
const MOST_UDP: usize = 65_000;
/// Reads at one time of what a collector should not say.
const MOST_SAID: usize = 16;
/// How long a collector may take to accept.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where syslog messages go, and what is inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    to: SocketAddr,
    tcp: bool,
    cef: bool,
}

impl std::str::FromStr for Address {
    type Err = String;

    /// Reads `syslog://10.0.0.5`, `syslog+tcp://[2001:db8::5]:601?format=cef`. Names are not looked up: nothing here asks a resolver.
    fn from_str(text: &str) -> Result<Self, String> {
        let (tcp, rest) = match (text.strip_prefix("syslog://"), text.strip_prefix("syslog+udp://")) {
            (Some(rest), _) | (_, Some(rest)) => (false, rest),
            _ => match text.strip_prefix("syslog+tcp://") {
                Some(rest) => (true, rest),
                None => return Err("expected syslog://ADDRESS or syslog+tcp://ADDRESS".to_owned()),
            },
        };
        let (address, format) = rest.split_once('?').unwrap_or((rest, "format=json"));
        let cef = match format {
            "format=json" => false,
            "format=cef" => true,
            other => return Err(format!("'{other}': expected format=json or format=cef")),
        };
        let address = address.trim_end_matches('/');
        let to = address
            .parse::<SocketAddr>()
            .or_else(|_| address.trim_matches(['[', ']']).parse().map(|ip| SocketAddr::new(ip, PORT)))
            .map_err(|_| {
                format!(
                    "'{address}': expected an IP address, with or without a port; names are not looked up"
                )
            })?;
        Ok(Self { to, tcp, cef })
    }
}

/// A collector of syslog messages.
pub struct Syslog {
    address: Address,
    host: String,
    udp: Option<UdpSocket>,
    tcp: Option<TcpStream>,
}

impl Syslog {
    /// An outlet to a collector; `host` is this machine's name in the messages.
    pub fn new(address: Address, host: &str) -> Self {
        // RFC 5424 section 6: printable ASCII, at most 255.
        let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
        Self { address, host: if host.is_empty() { "-".to_owned() } else { host }, udp: None, tcp: None }
    }

    fn message(&self, event: &Event) -> String {
        let priority = LOCAL0 * 8 + event.level.syslog();
        // Six digits of a second are the most that RFC 5424 section 6.2.3 allows; capture times have nine.
        let time = event
            .time
            .as_deref()
            .and_then(|time| time.split_once('.'))
            .map_or("-".to_owned(), |(whole, nanos)| format!("{whole}.{}Z", nanos.get(..6).unwrap_or("0")));
        let inside = if self.address.cef { event.cef() } else { event.json().trim_end().to_owned() };
        format!(
            "<{priority}>1 {time} {} spanaudit {} {} - {inside}",
            self.host,
            std::process::id(),
            event.event
        )
    }

    fn send_udp(&mut self, message: &str) -> io::Result<()> {
        if self.udp.is_none() {
            let any = match self.address.to {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let socket = UdpSocket::bind(any)?;
            socket.set_nonblocking(true)?;
            socket.connect(self.address.to)?;
            self.udp = Some(socket);
        }
        let end = (0..=message.len().min(MOST_UDP)).rev().find(|&end| message.is_char_boundary(end));
        let message = message.get(..end.unwrap_or(0)).unwrap_or_default();
        match &self.udp {
            Some(socket) => socket.send(message.as_bytes()).map(drop),
            None => Ok(()),
        }
    }

    fn send_tcp(&mut self, message: &str) -> io::Result<()> {
        if self.tcp.as_ref().is_some_and(is_closed) {
            self.tcp = None;
        }
        if self.tcp.is_none() {
            let stream = TcpStream::connect_timeout(&self.address.to, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            self.tcp = Some(stream);
        }
        let Some(stream) = &mut self.tcp else { return Ok(()) };
        let framed = format!("{} {message}", message.len());
        let sent = stream.write_all(framed.as_bytes());
        if sent.is_err() {
            // What was cut short can't be gone on with: the collector drops it with the connection.
            self.tcp = None;
        }
        sent
    }
}

/// Whether the collector has ended the connection. It has nothing to say, so what there is to read is thrown away, and the end of it is the
/// end: what is written after that is lost without an error.
fn is_closed(stream: &TcpStream) -> bool {
    let mut said = [0; 256];
    for _ in 0..MOST_SAID {
        match recv(stream.as_raw_fd(), &mut said, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error, Errno::EAGAIN | Errno::EINTR),
        }
    }
    false
}

impl Outlet for Syslog {
    fn name(&self) -> String {
        format!("syslog {}/{}", self.address.to, if self.address.tcp { "tcp" } else { "udp" })
    }

    fn deliver(&mut self, event: &Event) -> io::Result<()> {
        let message = self.message(event);
        if self.address.tcp { self.send_tcp(&message) } else { self.send_udp(&message) }
    }

    /// UDP promises nothing, and an error it reports is that of an earlier message.
    fn tries(&self) -> Option<u32> {
        if self.address.tcp { None } else { Some(3) }
    }

    fn reopen(&mut self) {
        self.tcp = None;
        self.udp = None;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::super::event::About;
    use super::super::event::Level;
    use super::*;
    use crate::model::Timestamp;

    fn event() -> Event {
        let about = About::Condition { condition: "silent", detail: "no packet".to_owned() };
        let time = Some(Timestamp::from_nanos(1_795_166_043_112_345_678));
        Event::new("plant-7", time, "vantage-degraded", Level::Warning, "silent".to_owned(), about)
    }

    #[test]
    fn addresses_are_read() {
        let read = |text: &str| text.parse::<Address>();
        let udp = Address { to: "10.0.0.5:514".parse().unwrap(), tcp: false, cef: false };
        assert_eq!(read("syslog://10.0.0.5"), Ok(udp.clone()));
        assert_eq!(read("syslog+udp://10.0.0.5:514/"), Ok(udp));
        let tcp = Address { to: "[2001:db8::5]:601".parse().unwrap(), tcp: true, cef: true };
        assert_eq!(read("syslog+tcp://[2001:db8::5]:601?format=cef"), Ok(tcp));
        for wrong in ["syslog://collector.example", "tcp://10.0.0.5", "syslog://10.0.0.5?format=leef"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn udp_carries_one_message_a_datagram() {
        let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = format!("syslog://{}?format=cef", collector.local_addr().unwrap());
        let mut syslog = Syslog::new(address.parse().unwrap(), "sensor 1");
        syslog.deliver(&event()).unwrap();
        let mut buffer = [0; 2048];
        let length = collector.recv(&mut buffer).unwrap();
        let message = std::str::from_utf8(&buffer[..length]).unwrap();
        let head = format!(
            "<132>1 2026-11-20T09:14:03.112345Z sensor1 spanaudit {} vantage-degraded - CEF:0|",
            std::process::id()
        );
        assert!(message.starts_with(&head), "{message}");
    }

    #[test]
    fn a_collector_that_was_started_anew_misses_nothing() {
        let collector = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("syslog+tcp://{}", collector.local_addr().unwrap());
        let mut syslog = Syslog::new(address.parse().unwrap(), "sensor");
        for _ in 0..3 {
            // The connection before has ended, and this side has not written since.
            syslog.deliver(&event()).unwrap();
            let (mut stream, _) = collector.accept().unwrap();
            stream.write_all(b"hello").unwrap();
            let mut head = [0; 11];
            stream.read_exact(&mut head).unwrap();
            assert!(head.ends_with(b"<132>1 "), "{head:?}");
        }
    }

    #[test]
    fn tcp_counts_octets_and_connects_again() {
        let collector = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("syslog+tcp://{}", collector.local_addr().unwrap());
        let mut syslog = Syslog::new(address.parse().unwrap(), "sensor");
        for _ in 0..2 {
            syslog.deliver(&event()).unwrap();
            let (mut stream, _) = collector.accept().unwrap();
            syslog.tcp = None;
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            let (length, message) = text.split_once(' ').unwrap();
            assert_eq!(length.parse::<usize>().unwrap(), message.len());
            assert!(message.starts_with("<132>1 "), "{message}");
        }
    }
}

//! The watch for other programs on this machine: metrics, a health check, the live report. Read-only, loopback or a unix socket.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tiny_http::Header;
use tiny_http::Method;
use tiny_http::Request;
use tiny_http::Response;
use tiny_http::Server;

use crate::report::FORMATS;
use crate::report::Style;

use super::board::Board;
use super::metrics;

/// Threads that answer: a reader that stalls holds up one.
const THREADS: usize = 4;
/// Between two looks whether the watch has ended.
const PAUSE: Duration = Duration::from_millis(500);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A loopback address.
    Loopback(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loopback(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

impl std::str::FromStr for Listen {
    type Err = String;

    /// Reads `127.0.0.1:9640`, `[::1]:9640`, `unix:/run/spanaudit.sock`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let address: SocketAddr =
            text.parse().map_err(|_| "expected 127.0.0.1:PORT, [::1]:PORT or unix:PATH".to_owned())?;
        if !address.ip().is_loopback() {
            return Err(
                "only a loopback address or a unix socket is listened on; a reverse proxy does the rest"
                    .to_owned(),
            );
        }
        Ok(Self::Loopback(address))
    }
}

/// A server that is bound, so that it can be put to work after the right to bind is given up.
pub struct Http {
    server: Arc<Server>,
    /// Whether browsers can reach it: then the name they asked for has to be ours.
    by_tcp: bool,
}

impl Http {
    /// Binds.
    pub fn bind(listen: &Listen) -> io::Result<Self> {
        let server = match listen {
            Listen::Loopback(address) => Server::http(address),
            Listen::Unix(path) => {
                use std::os::unix::fs::FileTypeExt;
                // What an earlier run left behind is in the way; anything but a socket is not ours to remove, nor one that somebody answers on.
                if std::fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket()) {
                    if std::os::unix::net::UnixStream::connect(path).is_ok() {
                        return Err(io::ErrorKind::AddrInUse.into());
                    }
                    std::fs::remove_file(path)?;
                }
                Server::http_unix(path)
            }
        };
        let server = server.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { server: Arc::new(server), by_tcp: matches!(listen, Listen::Loopback(_)) })
    }

    /// Answers until `stop` is set.
    pub fn serve(&self, board: &Arc<Board>, stop: &Arc<AtomicBool>) {
        for _ in 0..THREADS {
            let (server, board, stop) = (Arc::clone(&self.server), Arc::clone(board), Arc::clone(stop));
            let by_tcp = self.by_tcp;
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(Some(request)) = server.recv_timeout(PAUSE) {
                        let answer = answer(&request, by_tcp, &board);
                        // A reader that is gone needs no answer.
                        let _ = request.respond(answer.response());
                    }
                }
            });
        }
    }
}

struct Answer {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Answer {
    fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, kind: TEXT, body: body.into().into_bytes() }
    }

    fn response(self) -> Response<io::Cursor<Vec<u8>>> {
        let mut response = Response::from_data(self.body).with_status_code(self.status);
        for (name, value) in [
            ("Content-Type", self.kind),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ] {
            if let Ok(header) = Header::from_bytes(name, value) {
                response.add_header(header);
            }
        }
        response
    }
}

fn answer(request: &Request, by_tcp: bool, board: &Board) -> Answer {
    if by_tcp && !is_local(host(request)) {
        return Answer::text(403, "ask for this machine by a loopback address or localhost\n");
    }
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Answer::text(405, "this is read-only\n");
    }
    let path = request.url().split('?').next().unwrap_or_default();
    match path {
        "/metrics" => {
            Answer { status: 200, kind: metrics::CONTENT_TYPE, body: metrics::text(board).into_bytes() }
        }
        "/healthz" => match board.trouble() {
            None => Answer::text(200, "ok\n"),
            Some(why) => Answer::text(503, why + "\n"),
        },
        "/api/v1/report" => report(board),
        "/" => Answer::text(200, "spanaudit watch\n\n/metrics\n/healthz\n/api/v1/report\n"),
        _ => Answer::text(404, "there are /metrics, /healthz and /api/v1/report\n"),
    }
}

fn report(board: &Board) -> Answer {
    let Some(look) = board.look() else {
        return Answer::text(503, "nothing has been judged yet\n");
    };
    let Some(json) = FORMATS.iter().find(|format| format.name() == "json") else {
        return Answer::text(500, "this build has no JSON\n");
    };
    let mut body = Vec::new();
    match json.write(&look.report, &Style::default(), &mut body) {
        Ok(()) => Answer { status: 200, kind: "application/json", body },
        Err(error) => Answer::text(500, format!("{error}\n")),
    }
}

/// The host that was asked for; a page of some other site that a browser was led here by asks for its own name.
fn host(request: &Request) -> Option<&str> {
    request.headers().iter().find(|header| header.field.equiv("Host")).map(|header| header.value.as_str())
}

fn is_local(host: Option<&str>) -> bool {
    let Some(host) = host else { return true };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::io::Write;
    use std::net::TcpStream;

    use super::super::clock::Monotonic;
    use super::*;

    #[test]
    fn only_this_machine_is_listened_to() {
        assert!("127.0.0.1:9640".parse::<Listen>().is_ok());
        assert!("[::1]:9640".parse::<Listen>().is_ok());
        assert_eq!("unix:/run/x".parse(), Ok(Listen::Unix("/run/x".into())));
        for wrong in ["0.0.0.0:9640", "10.0.0.1:9640", "[::]:9640", "localhost:9640", "9640"] {
            assert!(wrong.parse::<Listen>().is_err(), "{wrong}");
        }
        for (host, local) in
            [("localhost:9640", true), ("127.0.0.1", true), ("[::1]:1", true), ("evil.example", false)]
        {
            assert_eq!(is_local(Some(host)), local, "{host}");
        }
    }

    #[test]
    fn a_socket_that_somebody_answers_on_is_left_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let listen = Listen::Unix(path.clone());
        let first = Http::bind(&listen).unwrap();
        assert_eq!(Http::bind(&listen).err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        drop(first);
        // One that an earlier run left behind.
        drop(std::os::unix::net::UnixListener::bind(folder.path().join("left.sock")).unwrap());
        Http::bind(&Listen::Unix(folder.path().join("left.sock"))).unwrap();
    }

    #[test]
    fn answers_are_those_of_a_watch_that_has_just_begun() {
        let http = Http::bind(&Listen::Loopback("127.0.0.1:0".parse().unwrap())).unwrap();
        let address = http.server.server_addr().to_ip().unwrap();
        let board = Arc::new(Board::new(Arc::new(Monotonic::start()), Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        http.serve(&board, &stop);
        let ask = |request: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        let get = |path: &str, host: &str| {
            ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
        };
        let told = get("/metrics", "localhost");
        assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
        assert!(told.contains("\nspanaudit_packets_total 0\n") && told.ends_with("# EOF\n"), "{told}");
        assert!(get("/healthz", "127.0.0.1:1").starts_with("HTTP/1.1 200 "));
        assert!(get("/api/v1/report", "localhost").starts_with("HTTP/1.1 503 "));
        assert!(get("/etc/passwd", "localhost").starts_with("HTTP/1.1 404 "));
        assert!(get("/metrics", "evil.example").starts_with("HTTP/1.1 403 "));
        let post = ask(
            "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
        stop.store(true, Ordering::Relaxed);
    }
}

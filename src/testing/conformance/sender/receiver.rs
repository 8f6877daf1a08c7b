//! A receiver on a socket that shows what really went over the wire.
//!
//! It is made of threads and blocking reads, so that it needs no runtime and no HTTP library, whose reading of the
//! bytes would be one more thing between the sender and the check.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::Violation;
use crate::store::Wake;

/// How long a connection may be silent. No check takes this long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request as it came over the wire.
#[derive(Debug, Clone, Default)]
pub(super) struct RawRequest {
    pub(super) line: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

impl RawRequest {
    /// All values of a header, in order.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.iter().filter(move |(header, _)| header == name);
        named.map(|(_, value)| value.as_slice())
    }

    pub(super) fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// What the receiver does about a request.
pub(super) enum Act {
    /// Writes these bytes and waits for the next request.
    Answer(Vec<u8>),
    /// Writes these bytes and closes the connection.
    AnswerAndClose(Vec<u8>),
    /// Writes nothing and waits for the sender to close the connection.
    Hang,
}

/// A whole response, with its length.
pub(super) fn response(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes =
        format!("HTTP/1.1 {status} Reason\r\ncontent-length: {length}\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

pub(super) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<dyn Fn(&RawRequest) -> Act + Send + Sync>,
    requests: Mutex<Vec<RawRequest>>,
    /// How connections that were left hanging ended: whether the sender closed them.
    hung_up: Mutex<Vec<bool>>,
    bell: Wake,
    stopped: AtomicBool,
}

impl Receiver {
    pub(super) fn start(
        script: impl Fn(&RawRequest) -> Act + Send + Sync + 'static,
    ) -> Result<Self, Violation> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(no_socket)?;
        let address = listener.local_addr().map_err(no_socket)?;
        let shared = Arc::new(Shared {
            script: Box::new(script),
            requests: Mutex::default(),
            hung_up: Mutex::default(),
            bell: Wake::default(),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { address, shared })
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<RawRequest> {
        lock(&self.shared.requests).clone()
    }

    /// Waits until a request has come in whole.
    pub(super) async fn request_came(&self) {
        self.wait(|shared| !lock(&shared.requests).is_empty()).await;
    }

    /// Waits until a hanging connection is over, and says whether the sender closed it.
    pub(super) async fn was_hung_up(&self) -> bool {
        self.wait(|shared| !lock(&shared.hung_up).is_empty()).await;
        lock(&self.shared.hung_up).iter().all(|hung_up| *hung_up)
    }

    async fn wait(&self, reached: impl Fn(&Shared) -> bool) {
        loop {
            let rung = self.shared.bell.listen();
            if reached(&self.shared) {
                return;
            }
            rung.await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes the accepting thread, which then sees that it is over
    }
}

/// An address where nobody listens.
pub(super) fn nobody() -> Result<String, Violation> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(no_socket)?;
    let address = listener.local_addr().map_err(no_socket)?;
    Ok(format!("http://{address}/"))
}

fn no_socket(error: std::io::Error) -> Violation {
    Violation::new("the check can open a socket of its own", error.to_string())
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        if let Ok(stream) = stream {
            let shared = Arc::clone(shared);
            thread::spawn(move || serve(stream, &shared));
        }
    }
}

/// Serves one connection until either side has enough of it.
fn serve(mut stream: TcpStream, shared: &Shared) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut unread = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut unread) {
        let act = (shared.script)(&request);
        lock(&shared.requests).push(request);
        shared.bell.ring();
        let (answer, goes_on) = match act {
            Act::Answer(answer) => (answer, true),
            Act::AnswerAndClose(answer) => (answer, false),
            Act::Hang => {
                let hung_up = matches!(stream.read(&mut [0]), Ok(0))
                    || stream.take_error().is_ok_and(|error| error.is_some());
                lock(&shared.hung_up).push(hung_up);
                return shared.bell.ring();
            }
        };
        if stream.write_all(&answer).is_err() || !goes_on {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn read_request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<RawRequest> {
    let head_end = loop {
        if let Some(at) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        read_more(stream, unread)?;
    };
    let head: Vec<u8> = unread.drain(..head_end + 4).collect();
    let mut lines = head[..head_end]
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii);
    let line = String::from_utf8_lossy(lines.next()?).into_owned();
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
        Some((name, line[colon + 1..].trim_ascii().to_vec()))
    };
    let mut request = RawRequest {
        line,
        headers: lines.filter_map(header).collect(),
        body: Vec::new(),
    };
    let length = request.values("content-length").next();
    let length = length.and_then(|length| std::str::from_utf8(length).ok()?.parse().ok());
    let length = length.unwrap_or(0);
    while unread.len() < length {
        read_more(stream, unread)?;
    }
    request.body = unread.drain(..length).collect();
    Some(request)
}

fn read_more(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 16 * 1024];
    let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
    unread.extend_from_slice(&buffer[..count]);
    Some(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A sender of one's own, on whichever HTTP client: here hyper's bare connections, a new one for each request, to
//! plain `http` URLs. Then it has the suite for senders judge it, as a test of yours should.
//!
//! ```text
//! cargo run --example custom_sender
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ringback::testing::conformance;
use ringback::transport::{Guard, HttpSender, ResponseLimits, SendError, SendErrorKind};
use tokio::net::{TcpStream, lookup_host};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let guard = Guard::default().allow_http().allow_loopback(); // the suite's peers are on this machine
    let report = conformance::sender::run_all(&PlainSender { guard }).await;
    println!("{report}");
    if report.failures().is_empty() {
        Ok(())
    } else {
        Err("the contract is not kept".into())
    }
}

/// One connection for each request. `https` is refused, and so is what the guard does not let pass.
#[derive(Debug)]
struct PlainSender {
    guard: Guard,
}

#[async_trait]
impl HttpSender for PlainSender {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: &ResponseLimits,
    ) -> Result<Response<Bytes>, SendError> {
        let not_allowed = |why| SendError::new(SendErrorKind::NotAllowed, why);
        self.guard.check_uri(request.uri()).map_err(not_allowed)?;
        if request.uri().scheme_str() != Some("http") {
            return Err(SendErrorKind::HttpsUnsupported.into());
        }
        let stream = self.connect(request.uri()).await?;

        let mut head = http1::Builder::new();
        let head = head.max_buf_size(limits.headers.max(8 * 1024));
        let (mut sender, connection) = head.handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Driven by this very future, so that dropping it closes the connection.
        let exchange = async {
            let response = sender.send_request(on_the_wire(request)?).await.map_err(broken)?;
            read(response, limits).await
        };
        // When it ends, the exchange hears of it, after whatever the peer has sent until then.
        let driven = async {
            let _ = connection.await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            answer = exchange => answer,
            never = driven => match never {},
        }
    }

    fn supports_https(&self) -> bool {
        false
    }
}

impl PlainSender {
    /// Dials the very addresses that the guard has judged.
    async fn connect(&self, uri: &http::Uri) -> Result<TcpStream, SendError> {
        let name = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(80);
        let unresolved = |error| SendError::new(SendErrorKind::Resolve, error);
        let addresses: Vec<SocketAddr> = lookup_host((name, port)).await.map_err(unresolved)?.collect();
        if name.parse::<IpAddr>().is_err() {
            let found = addresses.iter().map(SocketAddr::ip);
            let checked = self.guard.check_resolved(name, found);
            checked.map_err(|why| SendError::new(SendErrorKind::NotAllowed, why))?;
        }
        let connected = TcpStream::connect(addresses.as_slice()).await;
        connected.map_err(|error| SendError::new(SendErrorKind::Connect, error))
    }
}

/// The request with its path alone in the request line, as servers expect it, and the host in a header.
fn on_the_wire(mut request: Request<Bytes>) -> Result<Request<Full<Bytes>>, SendError> {
    let malformed = |error| SendError::new(SendErrorKind::Protocol, error);
    let authority = request
        .uri()
        .authority()
        .map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority).map_err(malformed)?;
    request.headers_mut().entry(HOST).or_insert(host);
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = target.map(Into::into).unwrap_or_default();
    Ok(request.map(Full::new))
}

/// The whole response, or an error as soon as it is too large.
async fn read(
    response: Response<hyper::body::Incoming>,
    limits: &ResponseLimits,
) -> Result<Response<Bytes>, SendError> {
    limits.check_headers(response.headers())?;
    let (head, mut body) = response.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            limits.check_body_length((bytes.len() + data.len()) as u64)?;
            bytes.extend_from_slice(&data);
        }
    }
    Ok(Response::from_parts(head, bytes.freeze()))
}

fn broken(error: hyper::Error) -> SendError {
    let kind = if error.is_parse_too_large() {
        SendErrorKind::ResponseTooLarge
    } else if error.is_parse() {
        SendErrorKind::Protocol
    } else {
        SendErrorKind::Closed
    };
    SendError::new(kind, error)
}

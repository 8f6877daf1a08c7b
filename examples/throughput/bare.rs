//! The same HTTP client, with nothing around it: signed requests from memory, to a receiver that does the same work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ringback::signature::{BiSignature, HmacKey, Signer};
use ringback::system::SystemClock;
use ringback::time::Clock;

use super::AnyError;
use super::receiver::Receiver;
use super::settings::{PATH, SECRET, SenderKind, Settings, check};

/// How many requests at once are tried.
const IN_FLIGHT: [usize; 3] = [16, 64, 256];

/// The best that the client did.
pub(crate) struct Bare {
    pub(crate) per_second: f64,
    pub(crate) in_flight: usize,
}

pub(crate) async fn best(settings: &Settings) -> Result<Bare, AnyError> {
    let mut best = Bare {
        per_second: 0.0,
        in_flight: 0,
    };
    for in_flight in IN_FLIGHT {
        let per_second = post_all(settings, in_flight).await?;
        if per_second > best.per_second {
            best = Bare {
                per_second,
                in_flight,
            };
        }
    }
    Ok(best)
}

#[derive(Clone)]
enum AnyClient {
    Hyper(Client<HttpConnector, Full<Bytes>>),
    Reqwest(reqwest::Client),
}

async fn post_all(settings: &Settings, in_flight: usize) -> Result<f64, AnyError> {
    let receiver = Receiver::start(settings.deliveries, check()?).await?;
    let uri: Uri = format!("http://{}{PATH}", receiver.address).parse()?;
    let signed: Arc<[_]> = signed(settings, &uri)?.into();
    let client = client(settings.sender, in_flight)?;
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let posting: Vec<_> = std::iter::repeat_with(|| {
        let (client, uri, signed, next) = (
            client.clone(),
            uri.clone(),
            Arc::clone(&signed),
            Arc::clone(&next),
        );
        tokio::spawn(async move {
            while let Some((headers, body)) = signed.get(next.fetch_add(1, Ordering::Relaxed)) {
                client.post(&uri, headers.clone(), body.clone()).await?;
            }
            Ok::<_, AnyError>(())
        })
    })
    .take(in_flight)
    .collect();
    for posting in posting {
        posting.await??;
    }
    let took = start.elapsed().as_secs_f64();
    if receiver.verified() != settings.deliveries || receiver.distinct() != settings.deliveries {
        return Err(format!("the bare loop got {} through", receiver.verified()).into());
    }
    Ok(settings.deliveries as f64 / took)
}

/// What an engine would send, made in advance.
fn signed(settings: &Settings, uri: &Uri) -> Result<Vec<(HeaderMap, Bytes)>, AnyError> {
    let signer = Signer::new(BiSignature::path_only(), HmacKey::new(SECRET)?);
    let now = SystemClock.now();
    (0..settings.deliveries)
        .map(|number| {
            let (mut headers, body) = (HeaderMap::new(), settings.body(number));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let user_agent = concat!("ringback/", env!("CARGO_PKG_VERSION"));
            headers.insert(header::USER_AGENT, HeaderValue::from_static(user_agent));
            signer.sign(&Method::POST, uri.path(), &mut headers, &body, now)?;
            Ok((headers, body))
        })
        .collect()
}

fn client(kind: SenderKind, in_flight: usize) -> Result<AnyClient, AnyError> {
    Ok(match kind {
        SenderKind::Hyper => {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            AnyClient::Hyper(
                Client::builder(TokioExecutor::new())
                    .pool_timer(TokioTimer::new())
                    .pool_max_idle_per_host(in_flight)
                    .build(connector),
            )
        }
        SenderKind::Reqwest => {
            // Nothing is encrypted here, but reqwest makes no client without this. It may be there already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            AnyClient::Reqwest(
                reqwest::Client::builder()
                    .no_proxy()
                    .pool_max_idle_per_host(in_flight)
                    .build()?,
            )
        }
    })
}

impl AnyClient {
    async fn post(&self, uri: &Uri, headers: HeaderMap, body: Bytes) -> Result<(), AnyError> {
        let status = match self {
            Self::Hyper(client) => {
                let mut request = Request::new(Full::new(body));
                *request.method_mut() = Method::POST;
                *request.uri_mut() = uri.clone();
                *request.headers_mut() = headers;
                let response = client.request(request).await?;
                let status = response.status();
                response.into_body().collect().await?;
                status
            }
            Self::Reqwest(client) => {
                let request = client.post(uri.to_string()).headers(headers).body(body);
                let response = request.send().await?;
                let status = response.status();
                response.bytes().await?;
                status
            }
        };
        match status.is_success() {
            true => Ok(()),
            false => Err(format!("the receiver answered {status}").into()),
        }
    }
}

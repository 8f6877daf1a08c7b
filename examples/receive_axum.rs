//! Receives Powens' webhooks in axum: verified, at most five minutes old, read as typed events, and each handled once.
//! Prints what became of each message.
//!
//! ```text
//! cargo run --example receive_axum
//! ring="cargo run --example ring -- powens CONNECTION_SYNCED http://127.0.0.1:3000/hooks/powens/CONNECTION_SYNCED"
//! $ring; $ring --replay; $ring --bad-signature; $ring --stale; $ring --gzip
//! ```

use std::error::Error;

use axum::Router;
use axum::routing::post;
use ringback::provider::powens::{Event, EventName};
use ringback::receive::axum::{ReceiverLayer, Webhook};
use ringback::receive::{Payload, PowensEvents, Receiver, Report, listener_fn};
use ringback::signature::{BiSignature, HmacKey, KeyError, MaxAge, Verifier};
use ringback::store::MemoryStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = app("ring-ring")?; // the key of your webhook: from your configuration
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!(
        "listening on http://{}/hooks/powens/EVENT",
        listener.local_addr()?
    );
    Ok(axum::serve(listener, app).await?)
}

pub(crate) fn app(key: &str) -> Result<Router, KeyError> {
    let verifier = Verifier::new(BiSignature::path_only(), [HmacKey::new(key)?], MaxAge::minutes(5));
    // Powens says in no body which event it is, so the URL that is registered for it does.
    let event = |uri: &http::Uri| EventName::from(uri.path().rsplit('/').next().unwrap_or_default());
    let receiver = Receiver::new("powens", PowensEvents::by_uri(event), verifier)
        .seen(MemoryStore::new()) // a SqliteStore remembers across restarts
        .listener(listener_fn(|report: &Report<'_>| println!("{report}")));
    Ok(Router::new().route(
        "/hooks/powens/{event}",
        post(hook).layer(ReceiverLayer::new(receiver)),
    ))
}

/// Runs once for each message. Anything but a 2xx has Powens send it again.
async fn hook(Webhook(received): Webhook<Event>) {
    match received.payload {
        Payload::Known(Event::ConnectionSynced(synced)) => println!("connection: {:?}", synced.connection),
        Payload::Known(event) => println!("{:?}", event.name()),
        Payload::Unknown => println!("{} bytes of a shape that is not known", received.body.len()),
    }
}

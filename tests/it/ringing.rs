//! One example rings the other.

use std::net::SocketAddr;

use http::StatusCode;
use ringback::provider::truelayer::{TlSigningKey, TlVerifier};
use ringback::receive::axum::ReceiverLayer;
use ringback::receive::{
    Gate, Protocol, Receiver, StandardEvents, TrueLayerCallbacks, TrueLayerEvents, TruvEvents, UrlSecret,
    YodleeEvents,
};
use ringback::secret::Secret;
use ringback::signature::{HmacKey, MaxAge, StandardWebhooks, TruvSignature, Verifier};
use ringback::store::MemoryStore;

#[allow(dead_code)]
#[path = "../../examples/receive_axum.rs"]
mod receive_axum;
#[allow(dead_code)]
#[path = "../../examples/ring.rs"]
mod ring;
#[allow(dead_code)]
#[path = "../../examples/send_sqlite.rs"]
mod send_sqlite;

const TAKEN: StatusCode = StatusCode::OK;
const COPY: StatusCode = StatusCode::NO_CONTENT;
const REFUSED: StatusCode = StatusCode::UNAUTHORIZED;

async fn serve(app: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn rings(provider: &str, event: &str, address: SocketAddr, options: &str) -> Vec<StatusCode> {
    let url = format!("http://{address}/hooks/{provider}/{event}");
    let mut words = vec![provider, event, &url];
    words.extend(options.split_whitespace());
    ring::ring(&words).await.unwrap()
}

/// A receiver of that provider, as somebody would write it.
async fn receiving(protocol: impl Protocol, gate: impl Gate) -> SocketAddr {
    let receiver = Receiver::new("r", protocol, gate).seen(MemoryStore::new());
    let hook = axum::routing::post(async || ()).layer(ReceiverLayer::new(receiver));
    serve(axum::Router::new().route("/hooks/{*path}", hook)).await
}

#[tokio::test]
async fn the_receiver_accepts_refuses_and_knows_copies() {
    let address = serve(receive_axum::app("ring-ring").unwrap()).await;
    let ring = async |options| rings("powens", "CONNECTION_SYNCED", address, options).await;
    assert_eq!(ring("").await, [TAKEN]);
    assert_eq!(ring("--gzip").await, [TAKEN]);
    assert_eq!(ring("--replay").await, [TAKEN, COPY]);
    assert_eq!(ring("--bad-signature").await, [REFUSED]);
    assert_eq!(ring("--secret another").await, [REFUSED]);
    assert_eq!(ring("--stale").await, [REFUSED]);
}

#[tokio::test]
async fn what_is_sent_out_of_a_file_is_accepted() {
    let address = serve(receive_axum::app("ring-ring").unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{address}/hooks/powens/USER_CREATED");
    let said = send_sqlite::send(&folder.path().join("w.db"), &url)
        .await
        .unwrap();
    assert_eq!(said, "delivery 1 was accepted");
}

#[tokio::test]
async fn every_provider_rings_as_it_would() {
    let truv = Verifier::new(
        TruvSignature,
        [HmacKey::new("ring-ring").unwrap()],
        MaxAge::unlimited(),
    );
    let whsec = HmacKey::from_whsec("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let standard = Verifier::new(StandardWebhooks, [whsec], MaxAge::minutes(5));
    let secret = || UrlSecret::new("secret", Secret::from("ring-ring"));
    let keys = TlSigningKey::from_scalar("ring", &[1; 66]).unwrap().public();
    let tl = TlVerifier::new(keys, MaxAge::minutes(5)).published_by_truelayer();
    for (provider, event, address, has_date) in [
        (
            "truv",
            "task-status-updated",
            receiving(TruvEvents, truv).await,
            false,
        ),
        (
            "standard_webhooks",
            "invoice.paid",
            receiving(StandardEvents::<serde_json::Value>::new(), standard).await,
            true,
        ),
        (
            "yodlee",
            "AUTO_REFRESH_UPDATES",
            receiving(YodleeEvents, secret()).await,
            false,
        ),
        (
            "truelayer",
            "webhook-succeeded",
            receiving(TrueLayerCallbacks, secret()).await,
            false,
        ),
        (
            "truelayer",
            "payment_executed.webhook",
            receiving(TrueLayerEvents, tl).await,
            true,
        ),
    ] {
        let ring = async |options| rings(provider, event, address, options).await;
        assert_eq!(ring("").await, [TAKEN], "{provider} {event}");
        assert_eq!(ring("--replay --gzip").await, [TAKEN, COPY], "{provider} {event}");
        assert_eq!(ring("--bad-signature").await, [REFUSED], "{provider} {event}");
        if has_date {
            assert_eq!(ring("--stale").await, [REFUSED], "{provider} {event}");
        }
    }
}

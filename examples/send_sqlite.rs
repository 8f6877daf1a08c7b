//! Sends a webhook out of an SQLite file, as Powens would, until it is accepted. What `enqueue` has taken is in the
//! file, so a process that is killed after it goes on where it was when it is started again.
//!
//! ```text
//! cargo run --example receive_axum      # in one terminal
//! cargo run --example send_sqlite       # in another
//! ```

use std::error::Error;
use std::path::Path;

use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::Event;
use ringback::engine::{Engine, Notice, Registration, TokioTimer, listener_fn};
use ringback::provider;
use ringback::store::{EncryptionKey, SqliteStore};
use ringback::system::SystemEntropy;
use ringback::transport::{Guard, HyperSender};
use tokio::sync::mpsc;

type AnyError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let folder = tempfile::tempdir()?; // a service keeps its file
    let url = "http://127.0.0.1:3000/hooks/powens/USER_CREATED";
    println!("{}", send(&folder.path().join("webhooks.db"), url).await?);
    Ok(())
}

/// Sends one event, and says how it was taken.
pub(crate) async fn send(file: &Path, url: &str) -> Result<String, AnyError> {
    let key = EncryptionKey::generate(&SystemEntropy); // a service has it from its configuration
    let guard = Guard::default().allow_http().allow_loopback(); // by default https and public addresses only
    let sender = HyperSender::builder().guard(guard.clone()).build();
    let (tell, mut told) = mpsc::unbounded_channel();
    let engine = Engine::builder(SqliteStore::open(file, key)?, sender, TokioTimer)
        .profiles(provider::profiles())
        .guard(guard)
        .listener(listener_fn(move |notice: &Notice| {
            drop(tell.send(notice.clone()))
        }))
        .build();

    let dispatcher = engine.dispatcher();
    let key = HmacAuth::new(HmacScheme::BiSignature, "ring-ring");
    dispatcher
        .save_auth("key", "the key of acme's webhooks", AuthConfig::Hmac(key))
        .await?;
    let webhook = Registration::new("acme", url, "powens")
        .events(["USER_*"])
        .auth("key");
    dispatcher.register(webhook.id("users")).await?; // with an id, once more changes it and adds none
    let event = Event::builder("acme", "user-7/created", "USER_CREATED").json(r#"{"id":7}"#);
    dispatcher.enqueue(event.build()?).await?; // committed: from here on nothing loses it

    let (mut notice, worker) = (None, engine.worker());
    worker.run_until(async { notice = told.recv().await }).await?; // a service goes on until it is told to stop
    Ok(match notice {
        Some(Notice::Delivered { delivery, .. }) => format!("delivery {} was accepted", delivery.id),
        other => format!("{other:?}"),
    })
}

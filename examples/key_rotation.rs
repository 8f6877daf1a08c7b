//! Changes the key that webhooks are signed with, without a single one being refused: for a while the old key and the
//! new one both sign, and a receiver that has not heard of the new one yet accepts what comes, and so does one that has
//! forgotten the old one.
//!
//! ```text
//! cargo run --example key_rotation
//! ```

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use http::{Request, Response};
use ringback::auth::HmacScheme;
use ringback::delivery::Event;
use ringback::engine::{Dispatcher, Engine, Registration, Worker};
use ringback::provider;
use ringback::signature::{HmacKey, MaxAge, Message, StandardWebhooks, Verifier};
use ringback::store::MemoryStore;
use ringback::testing::ManualTime;
use ringback::time::Clock;
use ringback::transport::sender_fn;

const HOUR: Duration = Duration::from_secs(60 * 60);

type Sent = Arc<Mutex<Vec<Request<Bytes>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let time = ManualTime::new(DateTime::from_timestamp(1_780_000_000, 0).ok_or("no such time")?);
    let sent = Sent::default();
    let sender = sender_fn({
        let sent = Arc::clone(&sent);
        move |request| {
            sent.lock().expect("nobody panics").push(request);
            async { Ok(Response::default()) }
        }
    });
    let engine = Engine::builder(MemoryStore::new(), sender, time.clone())
        .profiles(provider::profiles())
        .build();
    let (dispatcher, worker) = (engine.dispatcher(), engine.worker());

    // Made by the engine, stored, and shown this once.
    let old = dispatcher
        .generate_auth("key", "orders", HmacScheme::StandardWebhooks)
        .await?;
    let webhook = Registration::new("acme", "https://example.com/hook", "standard_webhooks").auth("key");
    dispatcher.register(webhook).await?;

    let old = HmacKey::from_whsec(old.expose())?;
    let before = ring(&dispatcher, &worker, &sent, "1").await?;
    say("before", &before, &old, None, &time);
    assert!(is_accepted(&before, &old, &time));

    let rotated = dispatcher.rotate_auth(&"key".into(), 24 * HOUR).await?;
    let new = HmacKey::from_whsec(rotated.key.expose())?;
    let during = ring(&dispatcher, &worker, &sent, "2").await?;
    say("within the overlap", &during, &old, Some(&new), &time);
    assert!(is_accepted(&during, &old, &time) && is_accepted(&during, &new, &time));

    time.advance(25 * HOUR);
    let after = ring(&dispatcher, &worker, &sent, "3").await?;
    say("after the overlap", &after, &old, Some(&new), &time);

    assert!(time.now() > rotated.overlap_ends);
    assert!(!is_accepted(&after, &old, &time) && is_accepted(&after, &new, &time));
    println!(
        "ok: at no time was a receiver with a key that was current left without a signature that it knows"
    );
    Ok(())
}

/// Sends one event, and returns the request that came of it.
async fn ring(
    dispatcher: &Dispatcher,
    worker: &Worker,
    sent: &Sent,
    id: &str,
) -> Result<Request<Bytes>, Box<dyn Error>> {
    dispatcher
        .enqueue(Event::builder("acme", id, "order.paid").json("{}").build()?)
        .await?;
    let rang = async {
        while sent.lock().expect("nobody panics").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    worker.run_until(rang).await?;
    Ok(sent.lock().expect("nobody panics").remove(0))
}

fn is_accepted(request: &Request<Bytes>, key: &HmacKey, time: &ManualTime) -> bool {
    let verifier = Verifier::new(StandardWebhooks, [key.clone()], MaxAge::minutes(5));
    verifier.verify(&Message::from(request), time.now()).is_ok()
}

fn say(when: &str, request: &Request<Bytes>, old: &HmacKey, new: Option<&HmacKey>, time: &ManualTime) {
    let word = |key| {
        if is_accepted(request, key, time) {
            "accepted"
        } else {
            "refused"
        }
    };
    let signatures = request.headers()["webhook-signature"]
        .to_str()
        .unwrap_or_default();
    println!("{when}: {} signature(s)", signatures.split(' ').count());
    println!("  with the old key: {}", word(old));
    if let Some(new) = new {
        println!("  with the new key: {}", word(new));
    }
}

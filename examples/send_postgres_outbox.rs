//! Changes the application's own data and tells of it, both or neither: the webhook is submitted in the transaction that
//! inserts the order. One transaction is rolled back, and nothing is sent of it; another commits, and its webhook goes out.
//!
//! ```text
//! export RINGBACK_POSTGRES_URL=postgres://postgres@127.0.0.1:5432/test   # any server will do; it makes a schema `ringback`
//! cargo run --example receive_axum             # in one terminal
//! cargo run --example send_postgres_outbox     # in another
//! ```
//!
//! From clients in any language, the same is done by `SELECT ringback.enqueue('shop', 'A-18/placed', 'ORDER_PLACED', '{…}')`.

use std::error::Error;

use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::Event;
use ringback::engine::{Engine, Notice, Registration, TokioTimer, listener_fn};
use ringback::provider;
use ringback::store::{EncryptionKey, PostgresStore};
use ringback::system::{Entropy, SystemEntropy};
use ringback::transport::{Guard, HyperSender};
use tokio::sync::mpsc;
use tokio_postgres::{Client, Config, NoTls};

type AnyError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let server = std::env::var("RINGBACK_POSTGRES_URL").map_err(|_| "set RINGBACK_POSTGRES_URL")?;
    let server: Config = server.parse()?;
    // A service has one key, from its configuration. This one is for a schema that was made to be tried out.
    let key = EncryptionKey::new(*b"for trying things out, not more.");
    let store = PostgresStore::connect(server.clone(), NoTls, key).await?;

    // The application's own connection, and its own table.
    let (mut client, connection) = server.connect(NoTls).await?;
    tokio::spawn(connection);
    client
        .batch_execute("CREATE TABLE IF NOT EXISTS shop_orders (number text PRIMARY KEY)")
        .await?;

    let guard = Guard::default().allow_http().allow_loopback(); // by default https and public addresses only
    let sender = HyperSender::builder().guard(guard.clone()).build();
    let (tell, mut told) = mpsc::unbounded_channel();
    let engine = Engine::builder(store.clone(), sender, TokioTimer)
        .profiles(provider::profiles())
        .guard(guard)
        .listener(listener_fn(move |notice: &Notice| {
            drop(tell.send(notice.clone()))
        }))
        .build();
    let dispatcher = engine.dispatcher();
    let hmac = HmacAuth::new(HmacScheme::BiSignature, "ring-ring");
    dispatcher
        .save_auth("key", "the key of the shop's webhooks", AuthConfig::Hmac(hmac))
        .await?;
    let url = "http://127.0.0.1:3000/hooks/powens/USER_CREATED";
    let webhook = Registration::new("shop", url, "powens")
        .events(["ORDER_*"])
        .auth("key");
    dispatcher.register(webhook.id("orders")).await?;

    let (undone, done) = (order_number(), order_number());
    let shopping = async {
        place(&mut client, &store, &undone, false).await?;
        place(&mut client, &store, &done, true).await?;
        Ok::<_, AnyError>(told.recv().await)
    };
    let (mut notice, worker) = (Ok(None), engine.worker());
    worker.run_until(async { notice = shopping.await }).await?; // a service goes on until it is told to stop
    match notice? {
        Some(Notice::Delivered { delivery, .. }) => println!("the event {} was accepted", delivery.event),
        other => println!("{other:?}"),
    }
    let count = "SELECT count(*) FROM shop_orders WHERE number = ANY($1)";
    let orders: i64 = client
        .query_one(count, &[&[&undone, &done].as_slice()])
        .await?
        .get(0);
    println!("{orders} of 2 orders was placed");
    Ok(())
}

/// Places an order and tells of it, in one transaction.
async fn place(
    client: &mut Client,
    store: &PostgresStore,
    order: &str,
    commits: bool,
) -> Result<(), AnyError> {
    let body = format!(r#"{{"id":"{order}"}}"#);
    let event = Event::builder("shop", format!("{order}/placed"), "ORDER_PLACED")
        .json(body)
        .build()?;
    let transaction = client.transaction().await?;
    transaction
        .execute("INSERT INTO shop_orders VALUES ($1)", &[&order])
        .await?;
    store.submit_in(&transaction, &[event]).await?;
    match commits {
        true => transaction.commit().await?, // from here on nothing loses it
        false => transaction.rollback().await?,
    }
    Ok(())
}

/// One that nobody has had before, however often this is run.
fn order_number() -> String {
    let mut bytes = [0; 8];
    SystemEntropy.fill(&mut bytes);
    format!("A-{:x}", u64::from_be_bytes(bytes))
}

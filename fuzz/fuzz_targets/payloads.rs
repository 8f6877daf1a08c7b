#![no_main]

use std::fmt::Debug;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ringback::json::{self, PayloadError, Survey};
use ringback::provider::{powens, truelayer, truv, yodlee};
use serde::Serialize;

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, body) = input;
    let name = usize::from(choice) % (powens::EventName::KNOWN.len() + 1);
    let name = powens::EventName::KNOWN
        .get(name)
        .cloned()
        .unwrap_or_else(|| "NEW_EVENT".into());
    survives(body, |body| {
        powens::Event::parse(&name, Some("application/json"), &Bytes::copy_from_slice(body))
    });
    survives(body, truv::Event::parse);
    survives(body, yodlee::Event::parse);
    survives(body, truelayer::SignedEvent::parse);
    survives(body, json::parse::<truelayer::Callback>);
    survives(body, json::parse::<truelayer::Accepted>);
    survives(body, json::parse::<truv::WebhookRequestPage>);
    survives(body, json::parse::<powens::WebhookLogList>);
    survives(body, json::parse::<yodlee::EventsReply>);
});

/// What is read can be written back, and is then read as the same.
fn survives<T>(body: &[u8], parse: impl Fn(&[u8]) -> Result<T, PayloadError>)
where
    T: Debug + PartialEq + Serialize + Survey,
{
    if let Ok(read) = parse(body) {
        json::unfamiliar(&read);
        let written = serde_json::to_vec(&read).expect("what was read can be written");
        assert_eq!(parse(&written).as_ref(), Ok(&read));
    }
}

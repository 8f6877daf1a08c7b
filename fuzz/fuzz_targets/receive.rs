#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use ringback::provider::powens::EventName;
use ringback::receive::{
    BearerToken, PowensEvents, Protocol, Receiver, StandardEvents, TrueLayerCallbacks, TrueLayerEvents,
    TruvEvents, YodleeEvents,
};
use ringback::secret::Secret;

#[derive(Debug, Clone, Arbitrary)]
struct Input<'a> {
    target: &'a str,
    content_type: &'a [u8],
    webhook_id: Vec<&'a [u8]>,
    body: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let event = |uri: &http::Uri| EventName::from(uri.path().rsplit('/').next().unwrap_or_default());
    is_taken(PowensEvents::by_uri(event), &input);
    is_taken(StandardEvents::<serde_json::Value>::new(), &input);
    is_taken(TrueLayerCallbacks, &input);
    is_taken(TrueLayerEvents, &input);
    is_taken(TruvEvents, &input);
    is_taken(YodleeEvents, &input);
});

/// What is authentic is taken whatever it holds, under a key that any store can hold.
fn is_taken(protocol: impl Protocol, input: &Input<'_>) {
    let Some(request) = request(input) else {
        return;
    };
    let receiver = Receiver::new("r", protocol, BearerToken::new(Secret::from("t")));
    let accepted = pin!(receiver.accept(request));
    let Poll::Ready(Ok(received)) = accepted.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("an authentic message was not taken");
    };
    let key = received.key.key;
    assert!((1..=255).contains(&key.len()) && !key.contains(char::is_control));
    assert_eq!(received.body, input.body);
}

fn request(input: &Input<'_>) -> Option<Request<Bytes>> {
    let mut request = Request::post(input.target)
        .header("authorization", "Bearer t")
        .body(Bytes::copy_from_slice(input.body))
        .ok()?;
    let headers = request.headers_mut();
    headers.append(CONTENT_TYPE, HeaderValue::from_bytes(input.content_type).ok()?);
    for id in &input.webhook_id {
        headers.append(
            HeaderName::from_static("webhook-id"),
            HeaderValue::from_bytes(id).ok()?,
        );
    }
    Some(request)
}

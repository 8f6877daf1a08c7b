//! The senders against real sockets.

mod guard;
mod limits;
mod peer;
mod tls;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use ringback::transport::{
    Guard, HttpSender, HyperSender, ReqwestSender, Resolve, ResponseLimits, SendError, SendErrorKind,
};

/// Both senders, allowed to reach this machine.
fn senders() -> [Arc<dyn HttpSender>; 2] {
    guarded(Guard::default().allow_http().allow_loopback())
}

fn guarded(guard: Guard) -> [Arc<dyn HttpSender>; 2] {
    [
        Arc::new(HyperSender::builder().guard(guard.clone()).build()),
        Arc::new(ReqwestSender::builder().guard(guard).build().unwrap()),
    ]
}

fn resolving(guard: Guard, resolver: impl Resolve + Clone) -> [Arc<dyn HttpSender>; 2] {
    [
        Arc::new(
            HyperSender::builder()
                .guard(guard.clone())
                .resolver(resolver.clone())
                .build(),
        ),
        Arc::new(
            ReqwestSender::builder()
                .guard(guard)
                .resolver(resolver)
                .build()
                .unwrap(),
        ),
    ]
}

async fn post(sender: &dyn HttpSender, url: &str) -> Result<Response<Bytes>, SendError> {
    let request = Request::post(url).body(Bytes::from_static(b"{}")).unwrap();
    sender.send(request, &ResponseLimits::default()).await
}

async fn failure(sender: &dyn HttpSender, url: &str) -> SendErrorKind {
    let error = post(sender, url).await.expect_err(url);
    assert_shows_no_query(&error);
    error.kind()
}

/// Looks through everything that an error shows, down to its last cause.
fn assert_shows_no_query(error: &SendError) {
    let mut shown = format!("{error:?}");
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        shown.push_str(&format!(" {error} {error:?}"));
        next = error.source();
    }
    assert!(!shown.contains("t0p-secret"), "{shown}");
}

#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::Request;
use libfuzzer_sys::fuzz_target;
use ringback::receive::{Receiver, Rejection, UrlSecret, YodleeEvents};
use ringback::secret::Secret;

const WIRE: usize = 64 * 1024;
const INFLATED: usize = 1024 * 1024;

fuzz_target!(|input: (bool, &[u8])| {
    // Most bytes are no gzip, so the header that every stream begins with may be there already.
    let (with_header, bytes) = input;
    let header: &[u8] = if with_header {
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]
    } else {
        &[]
    };
    let request = Request::post("/hook?k=v")
        .header("content-encoding", "gzip")
        .body(Bytes::from([header, bytes].concat()))
        .expect("well formed");

    let gate = UrlSecret::new("k", Secret::from("v"));
    let receiver = Receiver::new("gzip", YodleeEvents, gate).limits(WIRE, INFLATED);
    let accepted = pin!(receiver.accept(request));
    match accepted.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(received)) => assert!(received.body.len() <= INFLATED),
        Poll::Ready(Err(Rejection::TooLarge | Rejection::Coding)) => {}
        Poll::Ready(Err(other)) => panic!("{other}"),
        Poll::Pending => panic!("nothing here waits"),
    }
});

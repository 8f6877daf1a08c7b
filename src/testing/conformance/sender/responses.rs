//! What comes back.

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::receiver::{Act, Receiver, response};
use super::{answered, build, failed, request, send};
use crate::testing::conformance::{Violation, equal};
use crate::transport::{HttpSender, ResponseLimits, SendErrorKind};

/// Any status is `Ok`, with the headers and the body it came with.
pub async fn every_status_is_an_answer(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver = Receiver::start(|request| {
        let status = request.path().trim_start_matches('/').parse().unwrap_or(200);
        let body: &[u8] = match status {
            304 => b"",
            _ => b"the body",
        };
        Act::Answer(response(
            status,
            "retry-after: 7\r\nx-two: a\r\nx-two: b\r\n",
            body,
        ))
    })?;
    for status in [
        200, 201, 202, 299, 300, 304, 400, 401, 404, 407, 410, 429, 500, 503, 599,
    ] {
        let answer = answered(send(sender, &receiver.url(&format!("/{status}"))).await?)?;
        equal(
            "a response of any status is `Ok`",
            answer.status().as_u16(),
            status,
        )?;
        let value = answer.headers().get("retry-after").map(HeaderValue::as_bytes);
        equal("a response keeps its headers", value, Some(&b"7"[..]))?;
        equal(
            "a response keeps all values of a header",
            answer.headers().get_all("x-two").iter().count(),
            2,
        )?;
        let body = if status == 304 { "" } else { "the body" };
        equal("a response keeps its body", answer.body(), &Bytes::from(body))?;
    }
    equal("one call is exactly one exchange", receiver.requests().len(), 15)
}

/// A body over the limit is `ResponseTooLarge`, whether its length is announced or not.
pub async fn a_body_over_the_limit_is_refused(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver = Receiver::start(|request| match request.path() {
        "/announced" => Act::Answer(response(200, "", &[b'x'; 1_001])),
        "/chunked" => Act::Answer(chunked(&[&[b'x'; 600], &[b'x'; 600]])),
        "/lying" => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\nx".to_vec();
            Act::Answer(head)
        }
        _ => {
            let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
            endless.resize(100_000, b'x');
            Act::AnswerAndClose(endless)
        }
    })?;
    for path in ["/announced", "/chunked", "/until-closed"] {
        let kind = failed(request(sender, &receiver.url(path), 1_000).await?)?;
        equal(
            "a response over a limit is `ResponseTooLarge`",
            kind,
            SendErrorKind::ResponseTooLarge,
        )?;
    }
    failed(request(sender, &receiver.url("/lying"), 1_000).await?).map(drop)
}

/// A body of exactly the limit is read whole.
pub async fn a_body_at_the_limit_is_read(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver = Receiver::start(|request| match request.path() {
        "/chunked" => Act::Answer(chunked(&[&[b'x'; 500], &[b'x'; 500]])),
        _ => Act::Answer(response(200, "", &[b'x'; 1_000])),
    })?;
    for path in ["/announced", "/chunked"] {
        let answer = answered(request(sender, &receiver.url(path), 1_000).await?)?;
        equal(
            "a response within the limits is read whole",
            answer.body().len(),
            1_000,
        )?;
    }
    Ok(())
}

/// Headers over the limit are an error.
pub async fn headers_over_the_limit_are_refused(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver = Receiver::start(|_| {
        let large = format!("x-large: {}\r\n", "x".repeat(3_000));
        Act::Answer(response(200, &large, b""))
    })?;
    let limits = ResponseLimits::default().with_headers(2_000);
    let request = build(Method::POST, &receiver.url("/"), Bytes::new())?;
    failed(sender.send(request, &limits).await).map(drop)
}

/// A coded body comes as it is on the wire, and its coding is still named.
pub async fn coded_bodies_are_left_alone(sender: &dyn HttpSender) -> Result<(), Violation> {
    /// The word "inflated".
    const GZIP: &[u8] =
        b"\x1f\x8b\x08\0\0\0\0\0\x02\xff\xcb\xcc\x4b\xcb\x49\x2c\x49\x4d\x01\0\x03\x4f\x57\x71\x08\0\0\0";
    let receiver = Receiver::start(|_| Act::Answer(response(200, "content-encoding: gzip\r\n", GZIP)))?;
    let answer = answered(send(sender, &receiver.url("/")).await?)?;
    equal("content coding is not removed", &answer.body()[..], GZIP)?;
    let coding = answer
        .headers()
        .get("content-encoding")
        .map(HeaderValue::as_bytes);
    equal("content coding is still named", coding, Some(&b"gzip"[..]))
}

/// Chunks are put together.
pub async fn transfer_coding_is_removed(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver = Receiver::start(|_| Act::Answer(chunked(&[b"one ", b"two ", b"three"])))?;
    let answer = answered(send(sender, &receiver.url("/")).await?)?;
    equal("transfer coding is removed", &answer.body()[..], b"one two three")
}

/// Half a response is none.
pub async fn a_broken_answer_is_an_error(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver = Receiver::start(|request| {
        let whole = match request.path() {
            "/chunked" => chunked(&[b"one ", b"two ", b"three"]),
            _ => response(200, "", b"one two three"),
        };
        let cut = match request.path() {
            "/head" => 20,
            _ => whole.len() - 8,
        };
        Act::AnswerAndClose(whole[..cut].to_vec())
    })?;
    for path in ["/head", "/body", "/chunked"] {
        failed(send(sender, &receiver.url(path)).await?)?;
    }
    equal(
        "the request reaches the network at most once",
        receiver.requests().len(),
        3,
    )
}

/// Bytes that are no HTTP response are an error.
pub async fn what_is_not_http_is_an_error(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver = Receiver::start(|request| {
        let bytes: &[u8] = match request.path() {
            "/text" => b"220 mail.example ESMTP\r\n\r\n",
            "/version" => b"HTTP/9.9 200 OK\r\n\r\n",
            "/status" => b"HTTP/1.1 20 OK\r\n\r\n",
            "/length" => b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            _ => b"\x16\x03\x01\x00\x05\x00\xff\r\n\r\n",
        };
        Act::AnswerAndClose(bytes.to_vec())
    })?;
    let paths = ["/text", "/version", "/status", "/length", "/tls"];
    for path in paths {
        failed(send(sender, &receiver.url(path)).await?)?;
    }
    equal(
        "the request reaches the network at most once",
        receiver.requests().len(),
        paths.len(),
    )
}

/// A response in these chunks.
fn chunked(chunks: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in chunks {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

//! The suite for HTTP senders: [`HttpSender`].
//!
//! Each check starts a receiver of its own on 127.0.0.1 and looks at the bytes that reach it. The sender must
//! therefore be one that may go to loopback addresses, over plain `http`.

mod receiver;

use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, join_all, select};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use self::receiver::{Act, RawRequest, Receiver, response};
use super::{Report, Violation, ensure, equal};
use crate::transport::{HttpSender, ResponseLimits, SendError, SendErrorKind};

/// Headers that a sender may add: they are about the connection, not the message. (And `accept: */*`, which says
/// nothing, and which not every client can be kept from adding.)
const CONNECTION_LEVEL: [&str; 4] = ["host", "content-length", "connection", "keep-alive"];

/// Runs every check.
///
/// ```
/// use ringback::testing::conformance;
/// use ringback::transport::{Guard, HyperSender};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let guard = Guard::default().allow_http().allow_loopback();
/// let sender = HyperSender::builder().guard(guard).build();
/// let report = conformance::sender::run_all(&sender).await;
/// assert!(report.failures().is_empty(), "{report}");
/// # });
/// ```
pub async fn run_all(sender: &dyn HttpSender) -> Report {
    let mut report = Report::default();
    macro_rules! run {
        ($($check:ident),+ $(,)?) => {
            $(report.run(stringify!($check), $check(sender)).await;)+
        };
    }
    run!(
        requests_are_sent_as_given,
        urls_are_never_rewritten,
        nothing_is_added_to_the_message,
        every_status_is_an_answer,
        redirects_are_not_followed,
        challenges_are_not_answered,
        a_dropped_connection_is_no_reason_to_send_again,
        a_reused_connection_that_drops_is_no_reason_either,
        one_request_after_another,
        answers_find_their_requests,
        a_body_over_the_limit_is_refused,
        a_body_at_the_limit_is_read,
        headers_over_the_limit_are_refused,
        coded_bodies_are_left_alone,
        transfer_coding_is_removed,
        a_broken_answer_is_an_error,
        what_is_not_http_is_an_error,
        nobody_there_is_an_error,
        a_dropped_send_is_abandoned,
    );
    report
}

/// Method, path, query, headers and body go over the wire byte for byte, once.
pub async fn requests_are_sent_as_given(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver = Receiver::start(|_| Act::Answer(response(200, "", b"")))?;
    let bodies = [
        Bytes::from_static(b"{\"a\": 1}\n"),
        Bytes::new(),
        Bytes::from((0..=255).collect::<Vec<u8>>()),
        Bytes::from(vec![b'x'; 300_000]),
    ];
    let mut sent = 0;
    for path in ["/", "/plain?x=1&y=%20&z=a+b&x="] {
        for (method, body) in [Method::POST, Method::PUT, Method::PATCH]
            .iter()
            .cycle()
            .zip(&bodies)
        {
            let mut request = build(method.clone(), &receiver.url(path), body.clone())?;
            let headers = request.headers_mut();
            for (name, value) in [
                ("x-signature", &b"v1=abc=="[..]),
                ("x-many", b"one"),
                ("x-many", b"two, three"),
                ("x-bytes", b"caf\xe9"),
                ("x-empty", b""),
                ("content-type", b"application/json; charset=utf-8"),
            ] {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    headers.append(HeaderName::from_static(name), value);
                }
            }
            let given = headers.clone();
            answered(sender.send(request, &ResponseLimits::default()).await)?;
            sent += 1;
            let seen = receiver.requests();
            equal("one call is exactly one exchange", seen.len(), sent)?;
            if let Some(seen) = seen.last() {
                compare(seen, method, path, &given, body)?;
            }
        }
    }
    Ok(())
}

/// A path or query that clients like to rewrite is sent byte for byte or, where the client cannot, not at all.
pub async fn urls_are_never_rewritten(sender: &dyn HttpSender) -> Result<(), Violation> {
    let paths = [
        "/a//b/",
        "/%7Euser/caf%C3%A9/%2F",
        "/;p=1,2/@:$!'()*+",
        "/a/%2e%2e/b",
        "/a/../b",
        "/q?x='&y=\"",
        "/q?x={1}|[2]",
        "/empty?",
    ];
    for path in paths {
        let receiver = Receiver::start(|_| Act::Answer(response(200, "", b"")))?;
        let Ok(request) = build(Method::POST, &receiver.url(path), Bytes::new()) else {
            continue; // the `http` crate refuses it already
        };
        match sender.send(request, &ResponseLimits::default()).await {
            Ok(_) => {
                let line = one_request(&receiver)?.line;
                equal(
                    "method, path and query go over the wire byte for byte",
                    line,
                    format!("POST {path} HTTP/1.1"),
                )?;
            }
            Err(error) => {
                equal(
                    "a URL that would be changed is refused",
                    error.kind(),
                    SendErrorKind::UrlChanged,
                )?;
                equal(
                    "where a URL is refused, nothing is sent",
                    receiver.requests().len(),
                    0,
                )?;
            }
        }
    }
    Ok(())
}

fn compare(
    seen: &RawRequest,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(), Violation> {
    let line = format!("{method} {path} HTTP/1.1");
    equal(
        "method, path and query go over the wire byte for byte",
        seen.line.as_str(),
        &line,
    )?;
    for name in headers.keys() {
        equal(
            "headers go over the wire byte for byte, with all their values",
            seen.values(name.as_str()).collect(),
            headers
                .get_all(name)
                .iter()
                .map(HeaderValue::as_bytes)
                .collect::<Vec<_>>(),
        )?;
    }
    ensure(
        "the body goes over the wire byte for byte",
        seen.body == *body,
        || format!("{} bytes for {}", seen.body.len(), body.len()),
    )
}

/// Only headers about the connection are added.
pub async fn nothing_is_added_to_the_message(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver = Receiver::start(|_| Act::Answer(response(200, "", b"")))?;
    answered(send(sender, &receiver.url("/")).await?)?;
    let seen = one_request(&receiver)?;
    let is_allowed = |name: &str, value: &[u8]| {
        CONNECTION_LEVEL.contains(&name) || (name, value) == ("accept", b"*/*".as_slice())
    };
    let mut headers = seen.headers.iter();
    let added = headers.find(|(name, value)| !is_allowed(name, value));
    ensure(
        "no headers are added but connection-level ones",
        added.is_none(),
        || format!("{added:?}"),
    )?;
    let authority = receiver.url("");
    equal(
        "the host header names the host of the URL, once",
        seen.values("host").collect(),
        vec![authority.trim_start_matches("http://").as_bytes()],
    )
}

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

/// A redirect is an answer, and nobody goes where it points.
pub async fn redirects_are_not_followed(sender: &dyn HttpSender) -> Result<(), Violation> {
    let elsewhere = Receiver::start(|_| Act::Answer(response(200, "", b"")))?;
    let target = elsewhere.url("/elsewhere");
    let receiver = Receiver::start(move |request| {
        let status = request.path().trim_start_matches('/').parse().unwrap_or(302);
        Act::Answer(response(status, &format!("location: {target}\r\n"), b""))
    })?;
    let statuses = [301, 302, 303, 307, 308];
    for status in statuses {
        let answer = answered(send(sender, &receiver.url(&format!("/{status}"))).await?)?;
        equal("no redirect is followed", answer.status().as_u16(), status)?;
    }
    equal("no redirect is followed", elsewhere.requests().len(), 0)?;
    equal(
        "one call is exactly one exchange",
        receiver.requests().len(),
        statuses.len(),
    )
}

/// A challenge is an answer.
pub async fn challenges_are_not_answered(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver =
        Receiver::start(|_| Act::Answer(response(401, "www-authenticate: Basic realm=\"r\"\r\n", b"")))?;
    let answer = answered(send(sender, &receiver.url("/")).await?)?;
    equal(
        "no challenge is answered",
        answer.status(),
        StatusCode::UNAUTHORIZED,
    )?;
    one_request(&receiver).map(drop)
}

/// Where the connection drops before an answer, that is an error, and the request is not sent again.
pub async fn a_dropped_connection_is_no_reason_to_send_again(
    sender: &dyn HttpSender,
) -> Result<(), Violation> {
    let receiver = Receiver::start(|_| Act::AnswerAndClose(Vec::new()))?;
    failed(send(sender, &receiver.url("/")).await?)?;
    one_request(&receiver).map(drop)
}

/// The same on a connection that served before, where clients are most tempted.
pub async fn a_reused_connection_that_drops_is_no_reason_either(
    sender: &dyn HttpSender,
) -> Result<(), Violation> {
    let receiver = Receiver::start(|request| match request.path() {
        "/drop" => Act::AnswerAndClose(Vec::new()),
        _ => Act::Answer(response(200, "", b"")),
    })?;
    answered(send(sender, &receiver.url("/")).await?)?;
    failed(send(sender, &receiver.url("/drop")).await?)?;
    equal(
        "the request reaches the network at most once",
        receiver.requests().len(),
        2,
    )
}

/// Requests one after another arrive, one each, whether the connection is kept or not.
pub async fn one_request_after_another(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver = Receiver::start(|request| match request.path() {
        "/close" => Act::AnswerAndClose(response(200, "connection: close\r\n", b"")),
        _ => Act::Answer(response(200, "", b"")),
    })?;
    let paths = ["/keep", "/keep", "/close", "/keep", "/close", "/close", "/keep"];
    for path in paths {
        answered(send(sender, &receiver.url(path)).await?)?;
    }
    let seen = receiver.requests();
    equal(
        "one call is exactly one exchange",
        seen.iter().map(RawRequest::path).collect(),
        paths.to_vec(),
    )
}

/// Of requests at the same time, each gets its own answer.
pub async fn answers_find_their_requests(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver = Receiver::start(|request| {
        let answer = response(200, "", request.path().as_bytes());
        Act::Answer(answer)
    })?;
    let paths: Vec<_> = (0..16).map(|number| format!("/{number}")).collect();
    let sends = paths.iter().map(|path| {
        let url = receiver.url(path);
        async move { answered(send(sender, &url).await?) }
    });
    for (path, answer) in paths.iter().zip(join_all(sends).await) {
        equal(
            "each request gets its own answer",
            answer?.body(),
            &Bytes::from(path.clone()),
        )?;
    }
    equal(
        "one call is exactly one exchange",
        receiver.requests().len(),
        paths.len(),
    )
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

/// Where nobody listens there is no connection.
pub async fn nobody_there_is_an_error(sender: &dyn HttpSender) -> Result<(), Violation> {
    let kind = failed(send(sender, &receiver::nobody()?).await?)?;
    equal(
        "where no connection can be made, the kind says so",
        kind,
        SendErrorKind::Connect,
    )
}

/// Dropping a send gives the exchange up, and the connection with it.
pub async fn a_dropped_send_is_abandoned(sender: &dyn HttpSender) -> Result<(), Violation> {
    let receiver = Receiver::start(|_| Act::Hang)?;
    let url = receiver.url("/");
    {
        let sending = pin!(send(sender, &url));
        let came = pin!(receiver.request_came());
        if let Either::Left((answer, _)) = select(sending, came).await {
            return Err(Violation::new(
                "there need be no deadline: the caller sets one by dropping the future",
                format!("{:?}", answer?.map(|answer| answer.status())),
            ));
        }
    }
    ensure(
        "dropping the future abandons the exchange: the connection is closed",
        receiver.was_hung_up().await,
        || "it stays open".into(),
    )?;
    one_request(&receiver).map(drop)
}

fn build(method: Method, url: &str, body: Bytes) -> Result<Request<Bytes>, Violation> {
    let request = Request::builder().method(method).uri(url).body(body);
    request.map_err(|error| Violation::new("the checks' own requests can be built", error.to_string()))
}

async fn send(sender: &dyn HttpSender, url: &str) -> Result<Result<Response<Bytes>, SendError>, Violation> {
    request(sender, url, 1 << 20).await
}

async fn request(
    sender: &dyn HttpSender,
    url: &str,
    body_limit: usize,
) -> Result<Result<Response<Bytes>, SendError>, Violation> {
    let request = build(Method::POST, url, Bytes::from_static(b"body"))?;
    let limits = ResponseLimits::default().with_body(body_limit);
    Ok(sender.send(request, &limits).await)
}

fn answered(answer: Result<Response<Bytes>, SendError>) -> Result<Response<Bytes>, Violation> {
    answer.map_err(|error| {
        Violation::new(
            "a complete response is an answer",
            format!("{:?}: {error}", error.kind()),
        )
    })
}

fn failed(answer: Result<Response<Bytes>, SendError>) -> Result<SendErrorKind, Violation> {
    match answer {
        Err(error) => Ok(error.kind()),
        Ok(answer) => Err(Violation::new(
            "it is an error whenever no complete response within the limits was read",
            format!("{} with {} bytes", answer.status(), answer.body().len()),
        )),
    }
}

fn one_request(receiver: &Receiver) -> Result<RawRequest, Violation> {
    let mut seen = receiver.requests();
    equal("the request reaches the network exactly once", seen.len(), 1)?;
    Ok(seen.pop().unwrap_or_default())
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

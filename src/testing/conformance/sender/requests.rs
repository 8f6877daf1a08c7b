//! What goes out, how often, and whereto.

use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, join_all, select};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::receiver::{self, Act, RawRequest, Receiver, response};
use super::{answered, build, failed, one_request, send};
use crate::testing::conformance::{Violation, ensure, equal};
use crate::transport::{HttpSender, ResponseLimits, SendErrorKind};

/// Headers that a sender may add: they are about the connection, not the message. (And `accept: */*`, which says
/// nothing, and which not every client can be kept from adding.)
const CONNECTION_LEVEL: [&str; 4] = ["host", "content-length", "connection", "keep-alive"];

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

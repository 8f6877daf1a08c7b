//! Responses without end, and just within the limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use ringback::transport::{HttpSender, ResponseLimits, SendErrorKind};
use tokio::time::timeout;

use super::peer::{Peer, ok};
use super::{assert_shows_no_query, failure, post, senders};

/// Writes `head`, then `more` again and again until the client closes, counting the bytes it got rid of.
async fn endless(head: &'static [u8], more: Vec<u8>, written: Arc<AtomicUsize>) -> Peer {
    let more: Arc<[u8]> = more.into();
    Peer::start(move |mut connection| {
        let (more, written) = (Arc::clone(&more), Arc::clone(&written));
        async move {
            connection.request().await?;
            connection.write(head).await?;
            loop {
                connection.write(&more).await?;
                written.fetch_add(more.len(), Ordering::SeqCst);
            }
        }
    })
    .await
}

#[tokio::test]
async fn endless_responses_end_at_the_limit() {
    let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
    let cases: [(&'static [u8], Vec<u8>); 7] = [
        (b"HTTP/1.1 200 OK\r\n", b"x-more: and more\r\n".to_vec()),
        (b"HTTP/1.1 200 OK\r\nx-long: ", vec![b'x'; 0x4000]),
        (b"HTTP/1.1 200 ", vec![b'O'; 0x4000]),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n".repeat(1000),
        ),
        (
            b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
            vec![b'x'; 0x4000],
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n",
            vec![b'x'; 0x4000],
        ),
    ];
    let limits = ResponseLimits::default().with_body(64 * 1024);
    for (head, more) in cases {
        for sender in senders() {
            let written = Arc::default();
            let peer = endless(head, more.clone(), Arc::clone(&written)).await;
            let request = Request::post(peer.url("/?t0p-secret"))
                .body(Bytes::new())
                .unwrap();
            let result = timeout(Duration::from_secs(5), sender.send(request, &limits)).await;
            let error = result.expect("it ends").expect_err("it is too large");
            assert_eq!(
                error.kind(),
                SendErrorKind::ResponseTooLarge,
                "{}",
                String::from_utf8_lossy(head)
            );
            assert_shows_no_query(&error);
            // What was read, and what lies in the sockets' buffers: never the gigabyte.
            assert!(written.load(Ordering::SeqCst) < 32 << 20);
        }
    }
}

#[tokio::test]
async fn endless_chunk_extensions_and_trailers_end_too() {
    let cases: [(&'static [u8], Vec<u8>); 2] = [
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;",
            vec![b'x'; 0x4000],
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
            b"x-more: and more\r\n".to_vec(),
        ),
    ];
    for (head, more) in cases {
        for sender in senders() {
            let peer = endless(head, more.clone(), Arc::default()).await;
            let result = timeout(Duration::from_secs(5), post(&*sender, &peer.url("/"))).await;
            assert!(result.expect("it ends").is_err());
        }
    }
}

#[tokio::test]
async fn a_response_may_be_as_large_as_the_limit_and_no_larger() {
    let limits = ResponseLimits::default().with_body(100);
    for (length, fits) in [(100, true), (101, false)] {
        let body = vec![b'x'; length];
        let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n");
        let chunked = [chunked.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
        for response in [ok(&body), chunked] {
            let peer = Peer::answering(response).await;
            for sender in senders() {
                let request = Request::post(peer.url("/")).body(Bytes::new()).unwrap();
                let result = sender.send(request, &limits).await;
                assert_eq!(result.is_ok_and(|response| response.body().len() == length), fits);
            }
        }
    }
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_without_waiting_for_the_body() {
    let peer = Peer::answering("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await;
    for sender in senders() {
        let kind = timeout(Duration::from_secs(5), failure(&*sender, &peer.url("/"))).await;
        assert_eq!(kind, Ok(SendErrorKind::ResponseTooLarge));
    }
}

#[tokio::test]
async fn headers_over_the_limit_are_refused_even_if_the_client_has_read_them() {
    let peer = Peer::answering(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(40_000))).await;
    for sender in senders() {
        assert_eq!(
            failure(&*sender, &peer.url("/")).await,
            SendErrorKind::ResponseTooLarge
        );
    }
}

#[tokio::test]
async fn what_stays_within_the_limits_for_ever_ends_when_the_future_is_dropped() {
    let drip = Peer::start(|mut connection| async move {
        connection.request().await?;
        connection
            .write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            .await?;
        loop {
            connection.write(b"x").await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let not_yet = endless(
        b"",
        b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100),
        Arc::default(),
    )
    .await;
    for peer in [drip, not_yet] {
        for sender in senders() {
            let result = timeout(Duration::from_millis(100), post(&*sender, &peer.url("/"))).await;
            assert!(result.is_err(), "{result:?}");
        }
    }
}

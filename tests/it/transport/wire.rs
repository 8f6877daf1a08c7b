//! What goes over the wire, how often, and what is made of what comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use ringback::transport::{HttpSender, ResponseLimits, SendError, SendErrorKind, sender_fn};
use ringback::url::WebhookUrl;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::peer::{Peer, ok};
use super::{failure, post, senders};

/// Sends to the echo, and compares the request line with the path and query that would be signed.
async fn request_line_is_the_signed_path(sender: &dyn HttpSender, url: &WebhookUrl) {
    let request = Request::post(url.uri().clone()).body(Bytes::new()).unwrap();
    let response = sender.send(request, &ResponseLimits::default()).await.unwrap();
    let echo = String::from_utf8(response.into_body().into()).unwrap();
    let (_, path_and_query) = url.expose().split_once("//").unwrap().1.split_once('/').unwrap();
    assert_eq!(
        echo.lines().next(),
        Some(format!("POST /{path_and_query} HTTP/1.1").as_str())
    );
    assert_eq!(
        url.uri().path_and_query().unwrap().as_str(),
        format!("/{path_and_query}")
    );
}

#[tokio::test]
async fn tricky_paths_arrive_as_they_were_signed() {
    let peer = Peer::echo().await;
    let paths = "/ ? /? ?a // //a//b/ /a/... /.a/..b/c.. /%2e%2e%2e /%2Fa%2f /%00%ff /a?b?c=/../d&e[]=%7B \
                 /;a=1/,b /'!$&()*+,;=:@~-_ /* /a:b@c /http://other.example/ /[x] /%41%61 /a?%20+ /?&&== /a%5Cb \
                 /@evil.example /:80/";
    for path in paths.split_whitespace().chain([""]) {
        let url = WebhookUrl::parse(&peer.url(path)).expect(path);
        for sender in senders() {
            request_line_is_the_signed_path(&*sender, &url).await;
        }
    }
}

#[test]
fn every_path_that_is_accepted_arrives_as_it_was_signed() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let peer = runtime.block_on(Peer::echo());
    let senders = senders();
    let paths = r"/[ -~]{0,10}|(/|\.|%2[eEfF]|%[0-9a-fA-F]{2}|[a-zA-Z0-9?'&=;@:\[\]!$()*+,_~-]){0,30}";
    let mut runner = TestRunner::new(ProptestConfig::with_cases(512));
    runner
        .run(&paths, |path| {
            if let Ok(url) = WebhookUrl::parse(&peer.url(&format!("/{path}"))) {
                for sender in &senders {
                    runtime.block_on(request_line_is_the_signed_path(&**sender, &url));
                }
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_path_that_reqwest_would_change_is_not_sent_by_it() {
    let peer = Peer::echo().await;
    let [hyper, reqwest] = senders();
    for path in ["/a/../b", "/x/%2e%2E/y", "/hook/{id}", "/?it's", "/a\\b"] {
        let url = peer.url(path);
        assert!(WebhookUrl::parse(&url).is_err());
        assert_eq!(
            failure(&*reqwest, &url).await,
            SendErrorKind::UrlChanged,
            "{path}"
        );
        let echo = post(&*hyper, &url).await.unwrap().into_body();
        assert!(
            echo.starts_with(format!("POST {path} HTTP/1.1\r\n").as_bytes()),
            "{path}"
        );
    }
    assert_eq!(peer.connections(), 1, "of hyper only");
}

#[tokio::test]
async fn method_headers_and_body_arrive_and_so_does_the_answer() {
    let peer = Peer::start(|mut connection| async move {
        let request = connection.request().await?.unwrap();
        let head = format!(
            "HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: {}\r\n\r\n",
            request.len()
        );
        connection.write(&[head.as_bytes(), &request].concat()).await
    })
    .await;
    let body = Bytes::from_static(b"\x00\xff\r\n\r\nnot text");
    for sender in senders() {
        let request = Request::put(peer.url("/"))
            .header("bi-signature", "c2ln")
            .header("x-twice", "1")
            .header("x-twice", "2")
            .body(body.clone())
            .unwrap();
        let response = sender.send(request, &ResponseLimits::default()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "7");
        let echo = response.into_body();
        assert!(echo.ends_with(&body));
        let head = String::from_utf8_lossy(&echo[..echo.len() - body.len()]).into_owned();
        assert!(head.starts_with("PUT / HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains("bi-signature: c2ln\r\n") && head.contains("x-twice: 1\r\nx-twice: 2\r\n"),
            "{head}"
        );
        assert!(head.contains(&format!("host: {}\r\n", peer.address)), "{head}");
    }
}

#[tokio::test]
async fn redirects_are_answers_like_any_other() {
    let target = Peer::answering(ok(b"")).await;
    for status in [301, 302, 303, 307, 308] {
        let redirect = format!(
            "HTTP/1.1 {status} Elsewhere\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
            target.url("/")
        );
        let peer = Peer::answering(redirect).await;
        for sender in senders() {
            assert_eq!(post(&*sender, &peer.url("/")).await.unwrap().status(), status);
        }
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn content_codings_are_left_as_they_are() {
    let peer = Peer::answering(
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nraw!".to_vec(),
    )
    .await;
    for sender in senders() {
        let response = post(&*sender, &peer.url("/")).await.unwrap();
        assert_eq!(response.body(), "raw!");
        assert_eq!(response.headers()["content-encoding"], "gzip");
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    for (index, sender) in senders().iter().enumerate() {
        let peer = Peer::answering(ok(b"thank you")).await;
        for _ in 0..3 {
            assert_eq!(post(sender, &peer.url("/")).await.unwrap().body(), "thank you");
        }
        assert_eq!(peer.connections(), 1, "sender {index}");
    }
}

/// Counts requests, and closes each connection after the first, answered or not.
async fn closing(answer: Option<Vec<u8>>, requests: Arc<AtomicUsize>) -> Peer {
    Peer::start(move |mut connection| {
        let (answer, requests) = (answer.clone().unwrap_or_default(), Arc::clone(&requests));
        async move {
            connection.request().await?;
            requests.fetch_add(1, Ordering::SeqCst);
            connection.write(&answer).await
        }
    })
    .await
}

#[tokio::test]
async fn a_request_that_is_not_answered_is_not_sent_again() {
    for sender in senders() {
        let requests = Arc::default();
        let peer = closing(None, Arc::clone(&requests)).await;
        assert_eq!(
            failure(&*sender, &peer.url("/?t0p-secret")).await,
            SendErrorKind::Closed
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(requests.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    for sender in senders() {
        let requests = Arc::default();
        let peer = closing(Some(ok(b"")), Arc::clone(&requests)).await;
        for _ in 0..3 {
            post(&*sender, &peer.url("/")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!((requests.load(Ordering::SeqCst), peer.connections()), (3, 3));
    }
}

#[tokio::test]
async fn dropping_the_future_abandons_the_exchange() {
    let beginnings: [&'static [u8]; 3] = [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
    ];
    for beginning in beginnings {
        for sender in senders() {
            let closed = Arc::new(Notify::new());
            let seen = Arc::clone(&closed);
            let peer = Peer::start(move |mut connection| {
                let seen = Arc::clone(&seen);
                async move {
                    connection.request().await?;
                    connection.write(beginning).await?;
                    let end = connection.request().await;
                    assert!(!matches!(end, Ok(Some(_))), "no second request");
                    seen.notify_one();
                    Ok(())
                }
            })
            .await;
            assert!(
                timeout(Duration::from_millis(50), post(&*sender, &peer.url("/")))
                    .await
                    .is_err()
            );
            timeout(Duration::from_secs(2), closed.notified())
                .await
                .expect("the connection is closed");
        }
    }
}

#[tokio::test]
async fn failures_are_told_apart() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let garbage = Peer::answering(b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec()).await;
    let cut = Peer::start(|mut connection| async move {
        connection.request().await?;
        connection
            .write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            .await
    })
    .await;
    let bad_chunk =
        Peer::answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a size\r\n".to_vec())
            .await;
    for sender in senders() {
        let connect = failure(&*sender, &format!("http://{nobody}/?t0p-secret")).await;
        assert_eq!(connect, SendErrorKind::Connect);
        assert_eq!(
            failure(&*sender, &garbage.url("/?t0p-secret")).await,
            SendErrorKind::Protocol
        );
        assert_eq!(
            failure(&*sender, &cut.url("/?t0p-secret")).await,
            SendErrorKind::Closed
        );
        assert_eq!(
            failure(&*sender, &bad_chunk.url("/?t0p-secret")).await,
            SendErrorKind::Protocol
        );
        assert_eq!(
            failure(&*sender, "/relative?t0p-secret").await,
            SendErrorKind::NotAllowed
        );
    }
}

#[tokio::test]
async fn a_closure_is_a_sender_within_limits() {
    let sender = sender_fn(|request: Request<Bytes>| async move {
        if request.uri().path() == "/fail" {
            return Err(SendError::from(SendErrorKind::Other));
        }
        Ok(http::Response::builder()
            .header("x", "y".repeat(100))
            .body(request.into_body())
            .unwrap())
    });
    let sender: Box<dyn HttpSender> = Box::new(Arc::new(sender));
    assert!(sender.supports_https());
    assert_eq!(
        failure(&sender, "https://example.com/fail").await,
        SendErrorKind::Other
    );
    assert_eq!(post(&sender, "https://example.com/").await.unwrap().body(), "{}");
    for limits in [
        ResponseLimits::default().with_body(1),
        ResponseLimits::default().with_headers(104),
    ] {
        let request = Request::post("https://example.com/")
            .body(Bytes::from("{}"))
            .unwrap();
        assert_eq!(
            sender.send(request, &limits).await.unwrap_err().kind(),
            SendErrorKind::ResponseTooLarge
        );
    }
}

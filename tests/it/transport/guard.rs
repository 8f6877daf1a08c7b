//! Where the senders do not go, by whatever name.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use ringback::transport::{
    Forbidden, Guard, HttpSender, HyperSender, ReqwestSender, Resolve, ResponseLimits, SendErrorKind,
};
use ringback::url::WebhookUrl;

use super::peer::{Peer, ok};
use super::{failure, guarded, post, resolving, senders};

/// Answers each look-up with the next of a list of answers, and the last one ever after.
#[derive(Debug, Clone)]
struct Answers {
    answers: Arc<[Vec<IpAddr>]>,
    asked: Arc<AtomicUsize>,
}

impl Answers {
    fn new(answers: &[&[&str]]) -> Self {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        Self {
            answers: answers.iter().map(parse).collect(),
            asked: Arc::default(),
        }
    }
}

#[async_trait::async_trait]
impl Resolve for Answers {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.get(asked).or(self.answers.last());
        answer.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn port_of(peer: &Peer) -> u16 {
    peer.address.port()
}

#[tokio::test]
async fn every_spelling_of_a_private_address_is_refused_before_dialling() {
    let peer = Peer::answering(ok(b"")).await;
    let literal = "127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7F.0.0.1 0177.0.0.1 017700000001 127.0.0.1. \
                   127.000.000.001 0 0.0.0.0 10.0.0.1 169.254.169.254 100.100.100.200 168.63.129.16";
    let bracketed = "[::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1] \
                     [64:ff9b:1::7f00:1] [2002:7f00:1::] [2001:0:7f00:1::] [fd00:ec2::254] [fe80::1] [fec0::1] \
                     [fe80::1%25lo] [fe80::1%lo]";
    let named = "localhost LocalHost a.localhost localhost. metadata.google.internal METADATA.google.internal \
                 metadata instance-data";
    for host in [literal, bracketed, named]
        .into_iter()
        .flat_map(str::split_whitespace)
    {
        for url in [
            format!("http://{host}:{}/?t0p-secret", port_of(&peer)),
            format!("https://{host}/?t0p-secret"),
        ] {
            let guard = Guard::default().allow_http();
            // At registration, by the spelling or by the guard.
            let registered = WebhookUrl::parse(&url).map(|url| guard.check_url(&url));
            assert!(!matches!(registered, Ok(Ok(()))), "{url}");
            // At sending, whatever was registered.
            for sender in guarded(guard) {
                assert_eq!(failure(&*sender, &url).await, SendErrorKind::NotAllowed, "{url}");
            }
        }
    }
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn a_name_is_judged_by_all_it_resolves_to() {
    let peer = Peer::answering(ok(b"")).await;
    let url = format!("http://receiver.test:{}/?t0p-secret", port_of(&peer));
    for answer in [
        &["127.0.0.1"][..],
        &["93.184.215.14", "127.0.0.1"],
        &["127.0.0.1", "93.184.215.14"],
        &["2606:4700::1", "::1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1"],
        &["169.254.169.254"],
    ] {
        for sender in resolving(Guard::default().allow_http(), Answers::new(&[answer])) {
            assert_eq!(
                failure(&*sender, &url).await,
                SendErrorKind::NotAllowed,
                "{answer:?}"
            );
        }
    }
    assert_eq!(peer.connections(), 0);

    for answers in [&[][..], &[&[][..]]] {
        for sender in resolving(Guard::default().allow_http(), Answers::new(answers)) {
            assert_eq!(failure(&*sender, &url).await, SendErrorKind::Resolve);
        }
    }
}

#[tokio::test]
async fn the_address_judged_is_the_address_dialled() {
    let only_this = Guard::default()
        .allow_http()
        .allow_network("127.0.0.1".parse().unwrap());
    let goodbye = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for which in 0..2 {
        let peer = Peer::answering(goodbye.to_vec()).await;
        let url = format!("http://receiver.test:{}/", port_of(&peer));
        // The second look-up of a name leads elsewhere, as a hostile name server would have it.
        let answers = Answers::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
        let sender = &resolving(only_this.clone(), answers.clone())[which];
        post(sender, &url).await.unwrap();
        assert_eq!(
            answers.asked.load(Ordering::SeqCst),
            1,
            "judged and dialled by one look-up"
        );
        assert_eq!(failure(sender, &url).await, SendErrorKind::NotAllowed);
        assert_eq!(peer.connections(), 1);
    }
}

#[tokio::test]
async fn allowances_let_through_what_they_name() {
    let peer = Peer::answering(ok(b"")).await;
    let by_name = format!("http://receiver.test:{}/", port_of(&peer));
    let answers = Answers::new(&[&["127.0.0.1"]]);
    let guard = Guard::default().allow_http();
    for allowed in [
        guard.clone().allow_host("Receiver.test"),
        guard.clone().allow_loopback(),
    ] {
        for sender in resolving(allowed, answers.clone()) {
            post(&*sender, &by_name).await.unwrap();
        }
    }
    for sender in resolving(guard.clone().allow_host("other.test"), answers) {
        assert_eq!(failure(&*sender, &by_name).await, SendErrorKind::NotAllowed);
    }
    for sender in guarded(guard.dangerous_allow_private()) {
        post(&*sender, &peer.url("/")).await.unwrap();
    }
}

/// Sends as the engine does for a webhook that has a guard of its own.
async fn post_under(sender: &dyn HttpSender, guard: &Guard, url: &str) -> Result<(), SendErrorKind> {
    let mut request = Request::post(url).body(Bytes::from_static(b"{}")).unwrap();
    request.extensions_mut().insert(Arc::new(guard.clone()));
    let sent = sender.send(request, &ResponseLimits::default()).await;
    sent.map(|_| ()).map_err(|error| error.kind())
}

#[tokio::test]
async fn a_requests_own_guard_decides_about_the_address_dialled() {
    let peer = Peer::answering(ok(b"")).await;
    let by_name = format!("http://receiver.test:{}/", port_of(&peer));
    let answers = Answers::new(&[&["127.0.0.1"]]);
    let strict = Guard::default().allow_http();
    let wide = strict.clone().allow_loopback();
    let elsewhere = wide.clone().only_host("elsewhere.test");
    let outside = wide.clone().only_network("192.0.2.0/24".parse().unwrap());
    for sender in resolving(strict.clone(), answers.clone()) {
        assert_eq!(failure(&*sender, &by_name).await, SendErrorKind::NotAllowed);
        for _ in 0..2 {
            let before = peer.connections();
            for url in [&by_name, &peer.url("/")] {
                post_under(&*sender, &wide, url).await.unwrap();
                // The connection is kept, and serves nobody else: not the sender's own guard, and not another's.
                for narrower in [&strict, &elsewhere, &outside] {
                    let refused = post_under(&*sender, narrower, url).await;
                    assert_eq!(refused, Err(SendErrorKind::NotAllowed), "{narrower:?}");
                }
            }
            assert!(peer.connections() <= before + 2);
        }
        assert_eq!(failure(&*sender, &by_name).await, SendErrorKind::NotAllowed);
    }
    assert_eq!(
        peer.connections(),
        4,
        "each sender has one to the name and one to the address"
    );
    // A wide sender is narrowed too.
    for sender in resolving(wide, answers) {
        post(&*sender, &by_name).await.unwrap();
        assert_eq!(
            post_under(&*sender, &strict, &by_name).await,
            Err(SendErrorKind::NotAllowed)
        );
    }
}

#[tokio::test]
async fn more_guards_than_are_kept_are_each_obeyed() {
    let peer = Peer::answering(ok(b"")).await;
    for sender in guarded(Guard::default()) {
        for host in 0..100 {
            let guard = Guard::default()
                .allow_http()
                .only_host(format!("host-{host}.test"));
            let refused = post_under(&*sender, &guard, &peer.url("/")).await;
            assert_eq!(refused, Err(SendErrorKind::NotAllowed));
            let guard = guard.allow_loopback().only_host("127.0.0.1");
            post_under(&*sender, &guard, &peer.url("/")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_system_resolver_is_judged_too() {
    let peer = Peer::answering(ok(b"")).await;
    let url = format!("http://localhost:{}/", port_of(&peer));
    for sender in senders() {
        post(&*sender, &url).await.unwrap();
    }
}

#[tokio::test]
async fn plain_http_needs_leave_and_https_needs_tls() {
    let peer = Peer::answering(ok(b"")).await;
    for sender in guarded(Guard::default().allow_loopback()) {
        assert!(sender.supports_https());
        let error = post(&*sender, &peer.url("/")).await.unwrap_err();
        assert_eq!(error.kind(), SendErrorKind::NotAllowed);
        let why = std::error::Error::source(&error).unwrap().downcast_ref();
        assert_eq!(why, Some(&Forbidden::PlainHttp));
    }
    let guard = Guard::default().allow_loopback();
    let hyper = HyperSender::builder().guard(guard.clone()).http_only().build();
    let reqwest = ReqwestSender::builder().guard(guard).http_only().build().unwrap();
    let https = peer.url("/?t0p-secret").replace("http:", "https:");
    for sender in [&hyper as &dyn HttpSender, &reqwest] {
        assert!(!sender.supports_https());
        assert_eq!(failure(sender, &https).await, SendErrorKind::HttpsUnsupported);
    }
    assert_eq!(peer.connections(), 0);
}

//! A receiver on an axum route.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::post;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use ringback::provider::powens::Event;
use ringback::receive::axum::{ReceiverLayer, Webhook};
use ringback::receive::{Rejection, Report, Sources, listener_fn};
use ringback::store::{MemoryStore, StoreErrorKind};
use ringback::testing::{Fault, FaultyStore};
use tower_service::Service;

use super::{BODY, receiver, signed, time};

/// What reached the handler, by the body of the request.
type Handled = Arc<Mutex<Vec<Bytes>>>;

/// A handler that answers with that status.
fn hook(handled: &Handled, status: StatusCode) -> axum::routing::MethodRouter {
    let handled = Arc::clone(handled);
    post(async move |Webhook(received): Webhook<Event>, body: Bytes| {
        handled.lock().unwrap().push(body);
        assert!(received.payload.known().is_some());
        (status, "the handler's own words")
    })
}

async fn call(mut app: Router, request: Request<impl Into<Body>>) -> Response<Body> {
    let Ok(response) = app.call(request.map(Into::into)).await;
    response
}

fn rejection(response: &Response<Body>) -> Option<&'static str> {
    response.extensions().get::<Rejection>().map(Rejection::as_str)
}

async fn text(response: Response<Body>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn the_handler_runs_once_for_what_is_authentic_and_has_the_last_word() {
    let (time, handled) = (time(), Handled::default());
    let layer = ReceiverLayer::new(receiver(&time).seen(MemoryStore::new()));
    let app = Router::new().route("/powens", hook(&handled, StatusCode::ACCEPTED).layer(layer));

    let response = call(app.clone(), signed(&time, BODY)).await;
    assert_eq!(
        (response.status(), rejection(&response)),
        (StatusCode::ACCEPTED, None)
    );
    assert_eq!(text(response).await, "the handler's own words");
    let copy = call(app.clone(), signed(&time, BODY)).await;
    assert_eq!(copy.status(), StatusCode::NO_CONTENT);
    assert_eq!(text(copy).await, "");

    let mut forged = signed(&time, BODY);
    *forged.body_mut() = Bytes::from_static(b"{}");
    let response = call(app, forged).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(rejection(&response), Some("refused"));
    assert_eq!(*handled.lock().unwrap(), [BODY]);
}

#[tokio::test]
async fn the_handler_has_the_bytes_as_they_came() {
    use std::io::Write;

    let (time, handled) = (time(), Handled::default());
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(BODY.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let layer = ReceiverLayer::new(receiver(&time));
    let app = Router::new().route("/powens", hook(&handled, StatusCode::OK).layer(layer));
    let mut request = signed(&time, packed.clone());
    request
        .headers_mut()
        .insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(call(app, request).await.status(), StatusCode::OK);
    assert_eq!(*handled.lock().unwrap(), [packed]);
}

#[tokio::test]
async fn what_the_handler_did_not_accept_is_handled_again() {
    let (time, handled) = (time(), Handled::default());
    let layer = ReceiverLayer::new(receiver(&time).seen(MemoryStore::new()));
    for status in [
        StatusCode::SEE_OTHER,
        StatusCode::NOT_FOUND,
        StatusCode::INTERNAL_SERVER_ERROR,
    ] {
        let app = Router::new().route("/powens", hook(&handled, status).layer(layer.clone()));
        let response = call(app, signed(&time, BODY)).await;
        assert_eq!(
            (response.status(), rejection(&response)),
            (status, Some("handler"))
        );
        assert_eq!(text(response).await, "the handler's own words");
    }
    assert_eq!(handled.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn of_two_copies_at_once_the_second_has_to_come_again() {
    let time = time();
    let layer = ReceiverLayer::new(receiver(&time).seen(MemoryStore::new()));
    let hanging = post(async |_: Webhook<Event>| pending::<()>().await).layer(layer);
    let app = Router::new().route("/powens", hanging);
    let mut first = std::pin::pin!(call(app.clone(), signed(&time, BODY)));
    assert!(first.as_mut().now_or_never().is_none());
    let second = call(app, signed(&time, BODY)).await;
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.headers()[RETRY_AFTER], "5");
    assert_eq!(rejection(&second), Some("in_progress"));
}

#[tokio::test]
async fn a_success_that_cannot_be_remembered_is_none() {
    let (time, handled) = (time(), Handled::default());
    let plan = |method| match method {
        "finish" => Fault::Refused(StoreErrorKind::Unavailable),
        _ => Fault::None,
    };
    let store = FaultyStore::new(Arc::new(MemoryStore::new()), Arc::new(time.clone()), plan);
    let layer = ReceiverLayer::new(receiver(&time).seen(store));
    let app = Router::new().route("/powens", hook(&handled, StatusCode::OK).layer(layer));
    let response = call(app, signed(&time, BODY)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(rejection(&response), Some("store"));
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn no_more_is_read_than_is_taken() {
    let (time, handled) = (time(), Handled::default());
    let layer = ReceiverLayer::new(receiver(&time).limits(1000, 1000));
    let app = Router::new().route("/powens", hook(&handled, StatusCode::OK).layer(layer));

    let read = Arc::new(Mutex::new(0));
    let endless = futures_util::stream::repeat_with({
        let read = Arc::clone(&read);
        move || {
            *read.lock().unwrap() += 100;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b' '; 100])))
        }
    });
    let request = signed(&time, BODY).map(|_| Body::new(StreamBody::new(endless)));
    let response = call(app.clone(), request).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(*read.lock().unwrap(), 1100);

    let announced = call(app, signed(&time, vec![b' '; 1001])).await;
    assert_eq!(announced.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(handled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn bodies_that_break_off_or_do_not_end_are_refused() {
    let (time, handled) = (time(), Handled::default());
    let layer = ReceiverLayer::new(receiver(&time)).read_within(Duration::from_secs(30), time.clone());
    let app = Router::new().route("/powens", hook(&handled, StatusCode::OK).layer(layer));

    let broken = futures_util::stream::iter([Ok(Frame::data(Bytes::from(BODY))), Err("reset")]);
    let request = signed(&time, BODY).map(|_| Body::new(StreamBody::new(broken)));
    let response = call(app.clone(), request).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(rejection(&response), Some("broken_off"));

    let stuck = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
    let request = signed(&time, BODY).map(|_| Body::new(StreamBody::new(stuck)));
    let mut waiting = std::pin::pin!(call(app, request));
    assert!(waiting.as_mut().now_or_never().is_none());
    time.advance(Duration::from_secs(30));
    let response = waiting.await;
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(rejection(&response), Some("too_slow"));
    assert!(handled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn signatures_hold_for_the_path_before_a_prefix_was_stripped() {
    let (time, handled) = (time(), Handled::default());
    let layer = ReceiverLayer::new(receiver(&time));
    let inner = Router::new().route("/", hook(&handled, StatusCode::OK).layer(layer));
    let app = Router::new().nest("/powens", inner);
    assert_eq!(call(app, signed(&time, BODY)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn addresses_are_checked_before_anything_is_read() {
    let (time, handled) = (time(), Handled::default());
    let sources = Sources::new(["192.0.2.0/24".parse().unwrap()]);
    let layer = ReceiverLayer::new(receiver(&time).only_from(sources));
    let app = Router::new().route("/powens", hook(&handled, StatusCode::OK).layer(layer));
    for (peer, status, why) in [
        (Some("192.0.2.7:4711"), StatusCode::OK, None),
        (
            Some("198.51.100.7:4711"),
            StatusCode::UNAUTHORIZED,
            Some("foreign_address"),
        ),
        (None, StatusCode::SERVICE_UNAVAILABLE, Some("unknown_address")),
    ] {
        let untouched =
            futures_util::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
                panic!("the body was read")
            });
        let mut request = signed(&time, BODY);
        if let Some(peer) = peer {
            let peer: SocketAddr = peer.parse().unwrap();
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let request = if why.is_some() {
            request.map(|_| Body::new(StreamBody::new(untouched)))
        } else {
            request.map(Body::from)
        };
        let response = call(app.clone(), request).await;
        assert_eq!(
            (response.status(), rejection(&response)),
            (status, why),
            "{peer:?}"
        );
    }
}

#[tokio::test]
async fn handlers_know_whether_there_is_a_receiver() {
    let app = Router::new()
        .route("/powens", post(async |_: Webhook<Event>| ()))
        .route(
            "/other",
            post(async |webhook: Option<Webhook<Event>>| assert!(webhook.is_none())),
        );
    let missing = call(app.clone(), Request::post("/powens").body("").unwrap()).await;
    assert_eq!(missing.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let optional = call(app, Request::post("/other").body("").unwrap()).await;
    assert_eq!(optional.status(), StatusCode::OK);
}

#[tokio::test]
async fn listeners_are_told_what_became_of_each_message() {
    let time = time();
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = {
        let told = Arc::clone(&told);
        listener_fn(move |report: &Report<'_>| {
            let took = report.took.as_secs();
            told.lock()
                .unwrap()
                .push((report.to_string(), report.ending.as_str(), took));
        })
    };
    let layer = ReceiverLayer::new(receiver(&time).seen(MemoryStore::new()).listener(listener));
    let handled = Handled::default();
    let app = Router::new().route("/powens", hook(&handled, StatusCode::OK).layer(layer.clone()));
    call(app.clone(), signed(&time, BODY)).await;
    call(app.clone(), signed(&time, BODY)).await;
    call(app, Request::post("/powens").body("").unwrap()).await;

    let hanging = post(async |_: Webhook<Event>| pending::<()>().await).layer(layer);
    let app = Router::new().route("/powens", hanging);
    {
        let mut dropped = std::pin::pin!(call(app, signed(&time, r#"{"id_webhook_data":2}"#)));
        assert!(dropped.as_mut().now_or_never().is_none());
        time.advance(Duration::from_secs(1));
    }
    let told = told.lock().unwrap();
    assert_eq!(
        *told,
        [
            ("powens/90313: handled".to_owned(), "handled", 0),
            ("powens/90313: duplicate".to_owned(), "duplicate", 0),
            (
                "powens: rejected: not authentic: missing header `bi-signature`".to_owned(),
                "refused",
                0
            ),
            ("powens/2: dropped".to_owned(), "dropped", 1),
        ]
    );
}

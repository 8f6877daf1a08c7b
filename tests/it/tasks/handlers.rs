//! Who is answered what.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use ringback::engine::{CallHandlers, NewCall, TaskError};
use ringback::id::TaskId;
use ringback::json::RawJson;
use ringback::store::StoreErrorKind;
use ringback::task::{Accepted, Results, TaskProgress, TaskStatus};
use ringback::testing::Fault;
use std::time::Duration;

use super::office::{End, Office, now};
use super::plain;
use crate::stories::stage::On;

fn body(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

fn results(response: &Response<Bytes>) -> Results<RawJson> {
    serde_json::from_slice(response.body()).unwrap()
}

fn request(method: Method, uri: &str, token: Option<&str>) -> Request<Bytes> {
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Bytes::from_static(b"input")).unwrap()
}

fn started(handlers: &CallHandlers, uri: &str) -> Response<Bytes> {
    now(handlers.start(request(Method::GET, uri, Some("user-1"))))
}

#[test]
fn a_call_is_started_and_its_results_are_fetched() {
    for on in On::ALL {
        let mut office = plain(on);
        let handlers = office.handlers();
        let response = started(
            &handlers,
            "/reports?from=1&async=true&webhook_uri=https%3A%2F%2Fcaller.example%2Frings",
        );
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let accepted: Accepted = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(accepted.status, TaskStatus::Queued);
        let id = accepted.task_id;
        assert_eq!(
            accepted.results_uri.as_str(),
            format!("https://service.example/results/{id}")
        );
        let task = office.record(&id).task;
        assert_eq!(
            (task.request_uri.as_str(), task.credentials_id.as_str()),
            ("/reports?from=1", "user-1")
        );
        assert_eq!(
            (task.input.as_ref(), task.webhook_uri.is_some()),
            (b"input".as_slice(), true)
        );

        let queued = office.results(&id, "user-1");
        assert_eq!(
            (queued.status(), &queued.headers()["retry-after"]),
            (StatusCode::ACCEPTED, &"1".parse().unwrap())
        );
        assert_eq!(
            body(&queued),
            format!(
                r#"{{"status":"Queued","results_uri":"https://service.example/results/{id}","task_id":"{id}"}}"#
            )
        );
        office.hire();
        office
            .desk
            .report(&id, TaskProgress::of(1, 4).with_message("reading"));
        office.settle();
        let running = results(&office.results(&id, "user-1"));
        assert_eq!(running.status.value(), Some(&TaskStatus::Running));
        assert_eq!(
            running.progress.value(),
            Some(&TaskProgress::of(1, 4).with_message("reading"))
        );

        office.desk.tell(&id, &End::Succeed(r#"[{"balance":1.0000}]"#));
        office.settle();
        let ready = office.results(&id, "user-1");
        assert_eq!(ready.status(), StatusCode::OK);
        assert_eq!(
            body(&ready),
            r#"{"results":[{"balance":1.0000}],"status":"Succeeded"}"#
        );
        assert_eq!(ready.headers()["cache-control"], "no-store");
        let slash = request(Method::GET, &format!("/nested/results/{id}/"), Some("user-1"));
        assert_eq!(now(handlers.results(slash)).body(), ready.body());

        let raw = handlers.with_media_type("text/csv".parse().unwrap());
        let raw = now(raw.results(request(Method::GET, &format!("/{id}"), Some("user-1"))));
        assert_eq!(
            (body(&raw), &raw.headers()["content-type"]),
            (r#"[{"balance":1.0000}]"#, &"text/csv".parse().unwrap())
        );
    }
}

#[test]
fn a_failed_task_says_why() {
    let mut office = plain(On::Memory);
    office.hire();
    let id = office.accept(NewCall::new("user-1", "/"));
    office.desk.tell(&id, &End::Fail);
    office.settle();
    let response = office.results(&id, "user-1");
    let failed = results(&response);
    assert_eq!(
        (response.status(), failed.status.value()),
        (StatusCode::OK, Some(&TaskStatus::Failed))
    );
    assert_eq!(failed.error.value().unwrap(), "access_denied");
    assert_eq!(failed.error_description.value().unwrap(), "the bank said no");
    assert!(failed.results.is_absent());
}

#[test]
fn who_may_not_know_of_a_task_learns_nothing_of_it() {
    for on in On::ALL {
        let mut office = Office::new(on, |builder| builder.keep_results(Duration::from_secs(100)));
        office.hire();
        let [ready, open] = [(); 2].map(|()| office.accept(NewCall::new("user-1", "/")));
        office.desk.tell(&ready, &End::Succeed(r#"["secret"]"#));
        office.settle();
        let guessed = TaskId::from("00000000-0000-4000-8000-000000000000");
        let handlers = office.handlers().with_cancellation();
        office.calls();

        // Whole answers, head and body, so that nothing at all tells them apart.
        let mut answers = Vec::new();
        for method in [Method::GET, Method::DELETE] {
            for id in [&ready, &open, &guessed] {
                for token in [None, Some(""), Some("wrong"), Some("user-2")] {
                    let request = request(method.clone(), &format!("/results/{id}"), token);
                    let response = now(handlers.results(request));
                    assert_eq!(
                        office.calls(),
                        [("task", 1)].into(),
                        "one look-up, whoever asks for what"
                    );
                    let expected = match token {
                        Some("user-2") => StatusCode::NOT_FOUND,
                        _ => StatusCode::UNAUTHORIZED,
                    };
                    assert_eq!(response.status(), expected);
                    answers.push(format!("{response:?}"));
                }
            }
        }
        answers.sort();
        answers.dedup();
        assert_eq!(answers.len(), 2, "one for 401, one for 404: {answers:#?}");

        // To its owner a guessed id is as unknown as to anybody.
        let unknown = office.results(&guessed, "user-1");
        let others = office.results(&ready, "user-2");
        assert_eq!(format!("{unknown:?}"), format!("{others:?}"));
        office.calls();
        assert_eq!(office.results(&ready, "user-1").status(), StatusCode::OK);
        assert_eq!(
            office.calls(),
            [("task", 1)].into(),
            "who may see it costs the same"
        );

        // Expired: its owner is told, and nobody else, purged or not, until it is forgotten.
        office.pass_seconds(100);
        for purge in [false, true] {
            if purge {
                assert_eq!(now(office.store.purge_tasks(10, office.now())).unwrap(), 1);
            }
            assert_eq!(office.results(&ready, "user-1").status(), StatusCode::GONE);
            assert_eq!(
                format!("{:?}", office.results(&ready, "user-2")),
                format!("{others:?}")
            );
            assert_eq!(office.results(&ready, "wrong").status(), StatusCode::UNAUTHORIZED);
        }
        office.crash(0); // it would look at the store each second of a month
        office.pass_seconds(30 * 24 * 60 * 60);
        now(office.store.purge_tasks(10, office.now())).unwrap();
        assert_eq!(
            format!("{:?}", office.results(&ready, "user-1")),
            format!("{others:?}")
        );
    }
}

#[test]
fn tokens_are_read_strictly() {
    let office = plain(On::Memory);
    let handlers = office.handlers();
    let with = |values: &[&str]| {
        let mut request = Request::get("/r").body(Bytes::new()).unwrap();
        for value in values {
            request
                .headers_mut()
                .append("authorization", value.parse().unwrap());
        }
        now(handlers.start(request)).status()
    };
    for refused in [
        &[][..],
        &["Bearer "],
        &["Bearer"],
        &["Basic user-1"],
        &["user-1"],
        &["Bearer wrong"],
        &["Bearer user-1", "Bearer user-1"],
    ] {
        assert_eq!(with(refused), StatusCode::UNAUTHORIZED, "{refused:?}");
    }
    assert_eq!(with(&["Bearer unavailable"]), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn doubtful_calls_are_refused_and_nothing_is_stored() {
    let office = plain(On::Memory);
    let handlers = office.handlers().with_largest_request(5);
    for uri in [
        "/r?async=maybe",
        "/r?async=true&async=true",
        "/r?webhook_uri=https%3A%2F%2Fcaller.example%2F",
        "/r?async=true&webhook_uri=caller.example",
        "/r?async=true&webhook_uri=http%3A%2F%2Fcaller.example%2F",
        "/r?async=true&webhook_uri=https%3A%2F%2F127.0.0.1%2F",
        "/r?async=true&webhook_uri=https%3A%2F%2Fcaller.example%2Fa%2F..%2Fb",
    ] {
        let response = started(&handlers, uri);
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{uri}");
        assert!(body(&response).contains(r#""error":"validation_error""#), "{uri}");
    }
    let large = handlers.with_largest_request(4);
    assert_eq!(
        started(&large, "/r?async=true").status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(office.calls(), [].into());
    let post = now(office
        .handlers()
        .results(request(Method::POST, "/results/x", Some("user-1"))));
    assert_eq!(
        (post.status(), &post.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET".parse().unwrap())
    );
    let delete = now(office
        .handlers()
        .results(request(Method::DELETE, "/results/x", Some("user-1"))));
    assert_eq!(
        delete.status(),
        StatusCode::METHOD_NOT_ALLOWED,
        "unless it is offered"
    );
}

#[test]
fn a_caller_can_cancel_where_it_is_offered() {
    for on in On::ALL {
        let mut office = plain(on);
        office.hire_here();
        let handlers = office.handlers().with_cancellation();
        let delete = |id: &TaskId| request(Method::DELETE, &format!("/results/{id}"), Some("user-1"));
        let [open, ready] = [(); 2].map(|()| office.accept_with_webhook());
        office.pass_seconds(1);
        office.desk.tell(&ready, &End::Succeed("[]"));
        office.settle();

        let response = now(handlers.results(delete(&open)));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(results(&response).error.value().unwrap(), TaskError::CANCELLED);
        office.settle();
        assert!(office.desk.under_way().is_empty());
        assert_eq!(office.callbacks(&open), ["Failed"]);
        let late = now(handlers.results(delete(&ready)));
        assert_eq!(results(&late).status.value(), Some(&TaskStatus::Succeeded));
        assert_eq!(office.callbacks(&ready), ["Succeeded"]);
    }
}

#[test]
fn a_store_that_fails_is_no_404() {
    let office = plain(On::Memory);
    office.plan(|_| Fault::Refused(StoreErrorKind::Unavailable));
    let id = TaskId::from("t");
    assert_eq!(
        office.results(&id, "user-1").status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(office.results(&id, "wrong").status(), StatusCode::UNAUTHORIZED);
    let response = started(&office.handlers(), "/r?async=true");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_same_work_is_done_at_once_for_who_waits() {
    let office = Office::new(On::Memory, |builder| {
        builder.at_once(2).at_once_limit(Duration::from_secs(10))
    });
    let handlers = office.handlers();
    let start = |uri| {
        let (handlers, uri) = (handlers.clone(), request(Method::GET, uri, Some("user-1")));
        tokio::spawn(async move { handlers.start(uri).await })
    };
    let (first, second) = (start("/first?x=1&async=false"), start("/second"));
    while office.desk.under_way().len() < 2 {
        tokio::task::yield_now().await;
    }
    let busy = handlers
        .start(request(Method::GET, "/third", Some("user-1")))
        .await;
    assert_eq!(
        (busy.status(), &busy.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    let [one, two] = office.desk.under_way().try_into().unwrap();
    office.desk.tell(&one, &End::Succeed("[1]"));
    office.desk.tell(&two, &End::Fail);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!(body(&first), r#"{"results":[1],"status":"Succeeded"}"#);
    assert_eq!(second.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        body(&second),
        r#"{"error":"access_denied","error_description":"the bank said no"}"#
    );

    // The places are free again, of those that were given up too; and the time is limited.
    let given_up = start("/given-up");
    while office.desk.under_way().is_empty() {
        tokio::task::yield_now().await;
    }
    given_up.abort();
    assert!(given_up.await.is_err());
    let [slow, panicking] = [start("/slow"), start("/panicking")];
    while office.desk.under_way().len() < 2 {
        tokio::task::yield_now().await;
    }
    office.desk.tell(&office.desk.under_way()[1], &End::Panic);
    assert!(body(&panicking.await.unwrap()).contains(TaskError::INTERNAL));
    office.time.advance(Duration::from_secs(10));
    let slow = slow.await.unwrap();
    assert_eq!(slow.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(body(&slow).contains(r#""error":"timeout""#));
    assert_eq!(office.calls(), [].into(), "nothing was stored");
}

#[tokio::test]
async fn they_mount_into_axum() {
    let office = plain(On::Memory);
    let handlers = office.handlers().with_largest_request(100);
    let router: axum::Router = axum::Router::new()
        .route("/reports", handlers.start_route())
        .nest(
            "/v1",
            axum::Router::new().route("/results/{id}", handlers.results_route()),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let guard = ringback::transport::Guard::default()
        .allow_http()
        .allow_loopback();
    let sender = ringback::transport::HyperSender::builder().guard(guard).build();
    let send = async |request: Request<Bytes>| {
        use ringback::transport::HttpSender;
        sender.send(request, &Default::default()).await.unwrap()
    };
    let uri = format!("http://{address}/reports?async=true");
    let accepted = send(request(Method::POST, &uri, Some("user-1"))).await;
    let accepted: Accepted = serde_json::from_slice(accepted.body()).unwrap();
    assert_eq!(office.record(&accepted.task_id).task.input, "input");
    let uri = format!("http://{address}/v1/results/{}", accepted.task_id);
    let queued = send(request(Method::GET, &uri, Some("user-1"))).await;
    assert_eq!(results(&queued).status.value(), Some(&TaskStatus::Queued));
    let other = send(request(Method::GET, &uri, Some("user-2"))).await;
    assert_eq!(other.status(), StatusCode::NOT_FOUND);

    let mut large = request(
        Method::POST,
        &format!("http://{address}/reports?async=true"),
        Some("user-1"),
    );
    *large.body_mut() = Bytes::from(vec![b'x'; 101]);
    assert_eq!(send(large).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

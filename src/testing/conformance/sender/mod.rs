//! The suite for HTTP senders: [`HttpSender`].
//!
//! Each check starts a receiver of its own on 127.0.0.1 and looks at the bytes that reach it. The sender must
//! therefore be one that may go to loopback addresses, over plain `http`.

mod receiver;
mod requests;
mod responses;

use bytes::Bytes;
use http::{Method, Request, Response};

use self::receiver::{RawRequest, Receiver};
pub use self::requests::*;
pub use self::responses::*;
use super::{Report, Violation, equal};
use crate::transport::{HttpSender, ResponseLimits, SendError, SendErrorKind};

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
    run_checks!(sender:
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
    )
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

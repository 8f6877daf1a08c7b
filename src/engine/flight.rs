//! One claimed delivery, from its claim to what is to be settled.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use super::assembly::Parts;
use super::coding::{self, WireBody};
use super::listener::{Landed, LandedFacts};
use crate::auth::{AuthContext, AuthError, AuthErrorKind, AuthProvider};
use crate::delivery::{AttemptReport, Outcome, Pacing, Profile, SendFailure};
use crate::observe;
use crate::retry::{Decision, Progress, RetryAfter, Verdict};
use crate::store::{Claimed, Next, Settlement};
use crate::time::{after, elapsed};
use crate::transport::{SendError, SendErrorKind};

/// When to look again at a delivery that could not even be attempted: its profile is not known here, or nothing
/// could prove it. Nothing is counted, so it waits for as long as it takes. Where the same goes for everything in its lane,
/// the lane pauses for as long.
pub(super) const POSTPONED: Duration = Duration::from_secs(30);

/// What the request of a [test](crate::delivery::Target::Test) says that it is, so that its receiver need not act on it.
const TEST_HEADER: HeaderName = HeaderName::from_static("webhook-test");

/// How much of a response's body history keeps.
const EXCERPT: usize = 1024;

/// Makes the attempt that a claim is for, and says what follows from it.
pub(super) async fn fly(parts: Arc<Parts>, claimed: Claimed) -> Landed {
    let started_at = parts.timer.now();
    // A panic in the user's sender, authentication or profile costs this attempt and nothing else: whatever state it left
    // behind is the user's own.
    let attempted = async {
        let attempted = AssertUnwindSafe(attempt(&parts, &claimed)).catch_unwind().await;
        let attempted = attempted.unwrap_or_else(|_panic| after_panic(&parts, &claimed, started_at));
        observe::attempted(&parts.figures, &claimed, attempted.report.as_ref());
        attempted
    };
    let Attempted { report, next, pacing } = observe::attempt(&claimed, attempted).await;
    Landed {
        settlement: Settlement {
            id: claimed.id,
            fence: claimed.fence,
            attempt: report,
            next,
            pacing,
        },
        facts: LandedFacts::of(&claimed),
    }
}

/// What came of a claim.
struct Attempted {
    /// The attempt, if one was made.
    report: Option<AttemptReport>,
    next: Next,
    pacing: Pacing,
}

impl Attempted {
    fn nothing(next: Next, pacing: Pacing) -> Self {
        Self {
            report: None,
            next,
            pacing,
        }
    }
}

async fn attempt(parts: &Parts, claimed: &Claimed) -> Attempted {
    let postponed = |pacing| {
        let next = Next::Retry(after(parts.timer.now(), POSTPONED));
        Attempted::nothing(next, pacing)
    };
    let Some(profile) = parts.profiles.find(claimed.target.profile()) else {
        return postponed(Pacing::Keep); // another process may know it
    };
    if let Some(next) = judge_interruption(parts, claimed, profile.as_ref()) {
        return Attempted::nothing(next, Pacing::Keep);
    }

    let started_at = parts.timer.now();
    let exchanged = exchange(parts, claimed, profile.as_ref()).await;
    let now = parts.timer.now();
    let report = |outcome, excerpt| AttemptReport {
        started_at,
        duration: elapsed(started_at, now),
        outcome,
        excerpt,
    };
    match exchanged {
        Exchanged::Answer(response) => {
            let status = response.status();
            let hint = RetryAfter::from_headers(response.headers());
            let next = match verdict(claimed, profile.as_ref(), status) {
                Verdict::Accepted => Next::Delivered,
                Verdict::Gone => Next::Gone,
                Verdict::Failed => after_failure(parts, claimed, profile.as_ref(), hint),
            };
            let outcome = Outcome::Answered(status);
            Attempted {
                report: Some(report(outcome, excerpt(response.body()))),
                next,
                pacing: pacing(claimed, outcome, hint, now),
            }
        }
        Exchanged::Nothing(outcome) => Attempted {
            report: Some(report(outcome, Bytes::new())),
            next: after_failure(parts, claimed, profile.as_ref(), None),
            pacing: pacing(claimed, outcome, None, now),
        },
        Exchanged::NoProof => postponed(Pacing::Keep),
        Exchanged::NoProofOfAny => postponed(Pacing::Pause(POSTPONED)),
    }
}

/// What an attempt says of the pace. A test says nothing, so that the next one waits for nothing. A webhook with a flusher
/// is slowed by its runs, which end early when it fails; its first sends go at once whatever becomes of the others.
fn pacing(claimed: &Claimed, outcome: Outcome, hint: Option<RetryAfter>, now: DateTime<Utc>) -> Pacing {
    match Pacing::of(outcome, hint, now) {
        _ if claimed.target.is_test() => Pacing::Keep,
        Pacing::Slow(_) if claimed.target.awaits_runs() => Pacing::Keep,
        pacing => pacing,
    }
}

/// What the answer's status means. To a webhook that asked to be disabled by it, `410 Gone` means what it says.
fn verdict(claimed: &Claimed, profile: &dyn Profile, status: StatusCode) -> Verdict {
    let webhook = claimed.target.webhook();
    let is_gone = status == StatusCode::GONE && webhook.is_some_and(|webhook| webhook.auto_disable.when_gone);
    match profile.classification().classify(status) {
        Verdict::Failed if is_gone => Verdict::Gone,
        verdict => verdict,
    }
}

fn after_panic(parts: &Parts, claimed: &Claimed, started_at: DateTime<Utc>) -> Attempted {
    let now = parts.timer.now();
    let report = AttemptReport {
        started_at,
        duration: elapsed(started_at, now),
        outcome: Outcome::Panicked,
        excerpt: Bytes::new(),
    };
    // It may be the schedule itself that panics.
    let next = catch_unwind(AssertUnwindSafe(|| {
        let profile = parts.profiles.find(claimed.target.profile())?;
        Some(after_failure(parts, claimed, profile.as_ref(), None))
    }));
    Attempted {
        report: Some(report),
        next: next.ok().flatten().unwrap_or(Next::Retry(after(now, POSTPONED))),
        pacing: Pacing::Keep,
    }
}

/// An interrupted attempt was counted when its lease ended, but nobody asked the schedule what follows. `None`:
/// the next attempt may be made now.
fn judge_interruption(parts: &Parts, claimed: &Claimed, profile: &dyn Profile) -> Option<Next> {
    // What awaits runs was made to await one as its lease ended.
    if !claimed.interrupted || claimed.target.awaits_runs() {
        return None;
    }
    if claimed.target.is_test() {
        return Some(Next::Exhausted);
    }
    let now = parts.timer.now();
    let progress = Progress {
        attempts: claimed.attempts,
        first_failure: claimed.first_failure.unwrap_or(now),
        now: claimed.due,
        retry_after: None,
        random: parts.entropy.next_u64(),
    };
    match profile.schedule().decide(&progress) {
        Decision::GiveUp => Some(Next::Exhausted),
        Decision::RetryAt(due) => (due > now).then_some(Next::Retry(due)),
    }
}

fn after_failure(parts: &Parts, claimed: &Claimed, profile: &dyn Profile, hint: Option<RetryAfter>) -> Next {
    if claimed.target.awaits_runs() {
        return Next::AwaitRun; // whatever a schedule or the receiver says of when
    }
    if claimed.target.is_test() {
        return Next::Exhausted; // whoever tries a webhook out wants to know, and tries again
    }
    let now = parts.timer.now();
    let progress = Progress {
        attempts: claimed.attempts.saturating_add(1),
        first_failure: claimed.first_failure.unwrap_or(now),
        now,
        retry_after: hint,
        random: parts.entropy.next_u64(),
    };
    match profile.schedule().decide(&progress) {
        Decision::GiveUp => Next::Exhausted,
        Decision::RetryAt(due) => Next::Retry(due),
    }
}

enum Exchanged {
    Answer(Response<Bytes>),
    Nothing(Outcome),
    /// Nothing was sent, since at present nothing could prove it.
    NoProof,
    /// The same, and nothing else in its lane can be proved either.
    NoProofOfAny,
}

/// One exchange; or two, where the receiver answers 401 and the proof can be made anew. Both have the attempt's one
/// deadline.
async fn exchange(parts: &Parts, claimed: &Claimed, profile: &dyn Profile) -> Exchanged {
    let url = claimed.target.url();
    let guard = claimed.target.guard().map_or(&parts.guard, |guard| guard);
    if guard.check_url(url).is_err() {
        return Exchanged::Nothing(Outcome::Failed(SendFailure::NotAllowed));
    }
    let body = coding::body(claimed).await;
    let Some(auth) = claimed.target.auth() else {
        let request = request(claimed, profile, body);
        return send(parts, request, &mut deadline(parts, claimed, profile)).await;
    };
    // What a store keeps proves all events alike. One that the application gave may prove one user's and not another's, so
    // what it cannot prove holds up nothing else.
    let no_proof = || match parts.has_auth(auth) {
        true => Exchanged::NoProof,
        false => Exchanged::NoProofOfAny,
    };
    let Ok(provider) = parts.auth_provider(auth, claimed.auth.as_ref()) else {
        return no_proof();
    };
    let prove = || prove(parts, claimed, profile, &body, provider.as_ref());
    let mut deadline: BoxFuture<'_, ()>;
    let (sent, headers) = match proven(parts, pin!(prove())).await {
        Some(Ok(request)) => {
            deadline = self::deadline(parts, claimed, profile);
            // The sender takes the request, so what the provider may be asked about is kept apart.
            let headers = provider.can_renew().then(|| request.headers().clone());
            (send(parts, request, &mut deadline), headers)
        }
        // Waiting does not make it provable, so it is a failure that the schedule brings to an end.
        Some(Err(error)) if error.kind() == AuthErrorKind::NotApplicable => {
            return Exchanged::Nothing(Outcome::Failed(SendFailure::Unprovable));
        }
        Some(Err(_)) | None => return no_proof(),
    };
    let answer = match sent.await {
        Exchanged::Answer(answer) if answer.status() == StatusCode::UNAUTHORIZED => answer,
        exchanged => return exchanged,
    };
    let context = AuthContext::new(&claimed.event, parts.timer.now());
    if !headers.is_some_and(|headers| provider.refused(&headers, &context)) {
        return Exchanged::Answer(answer);
    }
    let sent = match within(&mut deadline, pin!(prove())).await {
        Some(Ok(request)) => send(parts, request, &mut deadline),
        Some(Err(_)) | None => return Exchanged::Answer(answer),
    };
    sent.await
}

/// The first proof, if it is made in time. Most are made at once, and then no time is kept.
async fn proven<F: Future>(parts: &Parts, mut prove: Pin<&mut F>) -> Option<F::Output> {
    if let Poll::Ready(proof) = poll_fn(|cx| Poll::Ready(prove.as_mut().poll(cx))).await {
        return Some(proof);
    }
    within(&mut parts.timer.sleep(parts.auth_deadline), prove).await
}

/// The request of an attempt, with its proof.
async fn prove(
    parts: &Parts,
    claimed: &Claimed,
    profile: &dyn Profile,
    body: &WireBody,
    provider: &dyn AuthProvider,
) -> Result<Request<Bytes>, AuthError> {
    let mut request = request(claimed, profile, body.clone());
    let context = AuthContext::new(&claimed.event, parts.timer.now());
    provider.authenticate(&mut request, &context).await?;
    Ok(request)
}

/// The time that an attempt has.
fn deadline<'a>(parts: &'a Parts, claimed: &Claimed, profile: &dyn Profile) -> BoxFuture<'a, ()> {
    let asked = claimed.target.deadline().unwrap_or(profile.deadline());
    parts.timer.sleep(asked.min(parts.longest_deadline))
}

/// Not an `async fn`: that would keep room for the request as long as there is no answer.
fn send(
    parts: &Parts,
    request: Request<Bytes>,
    deadline: &mut BoxFuture<'_, ()>,
) -> impl Future<Output = Exchanged> {
    let sent = parts.sender.send(request, &parts.limits);
    async move {
        match within(deadline, sent).await {
            None => Exchanged::Nothing(Outcome::TimedOut),
            Some(Ok(response)) => Exchanged::Answer(response),
            Some(Err(error)) => Exchanged::Nothing(failure(&error)),
        }
    }
}

/// The request of an attempt. Its URI is the registered one as it is, and its body the one that goes over the wire: what
/// signs it and what sends it see the same. Its extensions tell the sender where the webhook lets it go, if it has its own
/// say.
fn request(claimed: &Claimed, profile: &dyn Profile, body: WireBody) -> Request<Bytes> {
    let event = &claimed.event;
    let mut request = Request::new(body.bytes);
    if let Some(guard) = claimed.target.guard() {
        request.extensions_mut().insert(Arc::clone(guard));
    }
    *request.method_mut() = Method::POST;
    *request.uri_mut() = claimed.target.url().uri().clone();
    let headers = request.headers_mut();
    *headers = event.headers().clone();
    headers.insert(CONTENT_TYPE, event.media_type().clone());
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!(
            "ringback/",
            env!("CARGO_PKG_VERSION")
        )));
    profile.headers(event, headers);
    if let Some(coding) = body.coding {
        headers.insert(CONTENT_ENCODING, coding);
    }
    if claimed.target.is_test() {
        headers.insert(TEST_HEADER, HeaderValue::from_static("true"));
    }
    request
}

/// What comes of a future before the deadline; `None` if that is first. The future is polled first, so one that is
/// ready is never late.
async fn within<F: Future + Unpin>(deadline: &mut BoxFuture<'_, ()>, future: F) -> Option<F::Output> {
    match select(future, deadline).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(((), _)) => None,
    }
}

fn failure(error: &SendError) -> Outcome {
    Outcome::Failed(match error.kind() {
        SendErrorKind::TimedOut => return Outcome::TimedOut,
        SendErrorKind::NotAllowed => SendFailure::NotAllowed,
        SendErrorKind::UrlChanged => SendFailure::UrlChanged,
        SendErrorKind::Resolve => SendFailure::Resolve,
        SendErrorKind::Connect => SendFailure::Connect,
        SendErrorKind::Tls | SendErrorKind::HttpsUnsupported => SendFailure::Tls,
        SendErrorKind::Closed => SendFailure::Disconnected,
        SendErrorKind::ResponseTooLarge => SendFailure::ResponseTooLarge,
        SendErrorKind::Protocol => SendFailure::Protocol,
        _ => SendFailure::Other,
    })
}

/// The beginning of a body, in a buffer of its own, so that history does not hold on to the rest.
fn excerpt(body: &Bytes) -> Bytes {
    Bytes::copy_from_slice(&body[..body.len().min(EXCERPT)])
}

//! What the results URI answers.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Response, StatusCode};

use super::error::CallError;
use super::patience::Polled;
use crate::json::{self, Maybe, RawJson};
use crate::retry::RetryAfter;
use crate::task::{Results, TaskProgress, TaskStatus};

/// What is known of a call beside its status. Never printed: results are somebody's own.
#[derive(Clone, Default)]
pub(super) struct Detail {
    pub(super) error: Option<String>,
    pub(super) description: Option<String>,
    pub(super) results_uri: Option<String>,
    pub(super) results: Option<RawJson>,
    pub(super) progress: Option<TaskProgress>,
}

impl Detail {
    /// What is known after this was said too: a callback brings no results, and takes none away that have come.
    pub(super) fn after(self, former: Option<&Self>) -> Self {
        let Some(former) = former.cloned() else {
            return self;
        };
        Self {
            error: self.error.or(former.error),
            description: self.description.or(former.description),
            results_uri: self.results_uri.or(former.results_uri),
            results: self.results.or(former.results),
            progress: self.progress.or(former.progress),
        }
    }

    pub(super) fn failure(self) -> CallError {
        CallError::Failed {
            error: self.error,
            description: self.description,
        }
    }
}

/// Reads an answer. What may pass is an answer without a status: no documented service says with which status it
/// answers for a task that has not ended, so everything is taken for "not yet" that can be.
pub(super) fn read(
    response: &Response<Bytes>,
    not_found_left: &AtomicU32,
) -> Result<Polled<TaskStatus, Detail>, CallError> {
    let retry_after = RetryAfter::from_headers(response.headers());
    let nothing = || Ok(Polled::nothing().with_retry_after(retry_after));
    match response.status() {
        status if status.is_success() => {
            let Ok(answer) = json::parse::<Results<RawJson>>(response.body()) else {
                return nothing();
            };
            let Some((status, detail)) = known(answer) else {
                return nothing();
            };
            Ok(Polled::status(status, detail).with_retry_after(retry_after))
        }
        StatusCode::GONE => Err(CallError::Expired),
        StatusCode::NOT_FOUND if take_one(not_found_left) => nothing(),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => nothing(),
        status if status.is_server_error() => nothing(),
        status => Err(CallError::Refused(status)),
    }
}

fn take_one(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
        .is_ok()
}

/// The status and what goes with it. An answer with results but without a status is one of success; `null` is a result if
/// the status says so. What a task that is still running shows in their place is no result.
fn known(answer: Results<RawJson>) -> Option<(TaskStatus, Detail)> {
    let (status, results) = match (answer.status.into_value(), answer.results) {
        (Some(TaskStatus::Succeeded), Maybe::Null) => (TaskStatus::Succeeded, RawJson::parse("null").ok()),
        (Some(TaskStatus::Succeeded), results) => (TaskStatus::Succeeded, results.into_value()),
        (Some(status), _) => (status, None),
        (None, Maybe::Value(results)) => (TaskStatus::Succeeded, Some(results)),
        (None, _) => return None,
    };
    let detail = Detail {
        error: answer.error.into_value(),
        description: answer.error_description.into_value(),
        results_uri: None,
        results,
        progress: answer.progress.into_value(),
    };
    Some((status, detail))
}

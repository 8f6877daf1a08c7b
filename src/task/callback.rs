use super::TaskStatus;
use crate::id::TaskId;
use crate::json::{Maybe, Timestamp, UrlText, wire_object};

wire_object! {
    /// The body posted to `webhook_uri` when a task has ended. It never holds the results.
    ///
    /// It has no event id: `(task_id, status)` is what tells two of them apart.
    pub struct Callback {
        required {
            /// The task's id: text, and not always a UUID.
            task_id: TaskId,
            /// [`TaskStatus::Succeeded`] or [`TaskStatus::Failed`].
            status: TaskStatus,
        }
        optional {
            /// When the original request was made, not when this was sent. The documents print the year 1,
            /// so it says nothing about freshness.
            request_timestamp: Maybe<Timestamp>,
            /// The URI of the original request.
            request_uri: Maybe<UrlText>,
            /// The set of user credentials that the request was made with: opaque base64 text.
            credentials_id: Maybe<String>,
            /// Where the results can be fetched. It may end in a slash that the accepted reply did not have.
            results_uri: Maybe<UrlText>,
            /// More about the error, for people; `null` on success.
            error_description: Maybe<String>,
            /// An error code; `null` on success.
            error: Maybe<String>,
        }
    }
}

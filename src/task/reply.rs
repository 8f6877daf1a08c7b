use super::{TaskProgress, TaskStatus};
use crate::id::TaskId;
use crate::json::{Maybe, UrlText, wire_object};

wire_object! {
    /// The immediate reply to an asynchronous call: all three fields are always there.
    pub struct Accepted {
        required {
            /// Where the results can be fetched once there are any. Follow it as it is; it cannot be built
            /// from the task's id, since batch calls have another path.
            results_uri: UrlText,
            /// The status at the time of the reply, usually [`TaskStatus::Queued`].
            status: TaskStatus,
            /// The task's id: text, and not always a UUID.
            task_id: TaskId,
        }
        optional {}
    }
}

wire_object! {
    /// What `results_uri` answers: the status until the task has ended, and then the results.
    ///
    /// TrueLayer prints no example. That `results` and `status` stand side by side is in its OpenAPI
    /// document; the other fields are taken from the accepted reply and the callback, and all are optional.
    /// `T` is the type of `results`: `Vec<…>` of a type of your own, or [`RawJson`](crate::json::RawJson).
    pub struct Results<T> {
        /// The results, usually an array. Not there before the task has succeeded.
        results: Maybe<T>,
        /// How far the task has come.
        status: Maybe<TaskStatus>,
        /// How far the task has come in more detail, where the service says so. TrueLayer's documents have no such
        /// field; it is what this crate's own `TaskRunner` answers.
        progress: Maybe<TaskProgress>,
        /// Where the results can be fetched.
        results_uri: Maybe<UrlText>,
        /// The task's id.
        task_id: Maybe<TaskId>,
        /// An error code, of a task that failed.
        error: Maybe<String>,
        /// More about the error, for people.
        error_description: Maybe<String>,
    }
}

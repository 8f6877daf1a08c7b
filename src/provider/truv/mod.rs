//! Truv: webhooks about payroll connections, the tasks that read them, and the orders that ask for them.
//!
//! # The protocol on one page
//!
//! **What it sends.** One POST per event to each [webhook](WebhookEndpoint) registered for its type and
//! environment, with a JSON body and `User-Agent: Truv-Webhook-Service/2.0` \[TV2\]. There are 19 types: 17 in
//! the API's own list \[TV4\], and `order-finalized` and `certification-completed` on the newest pages \[TV12\].
//! `webhook_id` identifies a delivery and stays the same when it is sent again \[TV19\].
//!
//! **How it proves itself.** `X-WEBHOOK-SIGN: v1=` and the lower-case hexadecimal HMAC-SHA256 of the body, with
//! the access secret as key \[TV7\]. No time is signed, so a replay shows only in its `webhook_id`. Truv sends
//! from 34.212.57.93, 44.224.243.166 and 52.25.14.79 \[TV8\].
//!
//! **When it tries again.** Success is a 2xx within 10 seconds, redirects followed; else up to 3 more times, 30 seconds
//! apart \[TV3, TV19\]. After that the event is lost to the webhook, and is found in the
//! [history](WebhookRequestPage) of the last 30 days \[TV1\]. An endpoint that goes on failing may be disabled
//! (`enabled`) \[TV1\].
//!
//! **Order.** Events may come out of order. They are ordered by `updated_at`, which some types and generations
//! do not have, and then by `event_created_at` ([`Event::happened_at`]). The two are written differently, `Z`
//! and `+00:00`, so they are compared as instants. [`Progress`](crate::task::Progress) does that, with
//! [`TaskStatus`] and [`OrderStatus`].
//!
//! **What the documents leave open.** Which statuses follow an error of the same task, if any; whether two
//! webhooks share a `webhook_id`; whether `order-status-updated` is sent per suborder (the newest pages) or
//! once (older ones), so a completed event is not the whole order's. Three generations of pages disagree on
//! which fields are there, so only `webhook_id` and `event_type` are required here. `base_parse` is an older
//! name of `parse`.
//!
//! # Sources
//!
//! * TV1 <https://docs.truv.com/api-reference/webhooks/object>
//! * TV2 <https://docs.truv.com/api-reference/webhooks>
//! * TV3, TV7 <https://truv.com/docs/api-reference/webhooks/object>, `…/security`
//! * TV4, TV6, TV10 <https://docs.truv.com/api-reference/webhooks/webhooks_create>, `…/webhooks_partial_update`,
//!   `…/webhook_requests_list`
//! * TV8 <https://docs.truv.com/api-reference/webhook-events>
//! * TV11 to TV17 <https://docs.truv.com/api-reference/tasks/events>, and the same of orders, links,
//!   employment, statements, shifts and bank-accounts
//! * TV18, TV22 <https://docs.truv.com/api-reference/tasks/object>, `…/tasks/lifecycle`
//! * TV19 <https://github.com/truvhq/demo-apps/blob/main/USE-CASES.md>
//! * TV28 <https://truv.com/docs/developers/integration/manual-orders/manage-orders>
//!
//! ```
//! use ringback::provider::truv::{Event, TaskStatus};
//! use ringback::task::{Observation, Progress, Step};
//!
//! let mut task = Progress::new(TaskStatus::Login, None);
//! let body = br#"{"webhook_id":"a95d","event_type":"task-status-updated","task_id":"478f",
//!     "status":"full_parse","updated_at":"2026-03-09T08:15:41.120391+00:00"}"#;
//! let event = Event::parse(body)?;
//! assert_eq!(event.webhook_id(), "a95d");
//! let at = event.happened_at();
//! let Event::TaskStatusUpdated(update) = event else { unreachable!() };
//! let status = update.status.into_value().unwrap();
//! assert_eq!(task.observe(status, at), Observation::Taken(Step::Skipping));
//! # Ok::<(), ringback::json::PayloadError>(())
//! ```

mod event;
mod history;
mod profile;
mod registration;
mod status;

pub use event::{
    CountChange, Event, EventType, LinkChange, ObjectChange, OrderChange, TaskChange, UnknownEvent,
};
pub use profile::truv;
pub use registration::{
    EnvType, Task, TaskProvider, WebhookEndpoint, WebhookEndpointList, WebhookEndpointRequest,
    WebhookRequestPage, WebhookRequestRecord,
};
pub use status::{OrderStatus, TaskStatus};

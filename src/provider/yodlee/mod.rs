//! Yodlee (Envestnet): event notifications about provider accounts and users' data.
//!
//! # The protocol on one page
//!
//! **What it sends.** One POST per notification to the URL [subscribed](SubscribeRequest) for that event name,
//! one URL per name. The body is `{"event": {"info": …, "data": …}}`; `info` says which event it is, before
//! the first dot, and `data` is an object, but an array in `AUTO_REFRESH_UPDATES` \[YW, YA\]. `DATA_UPDATES`
//! carries no data either: it names a window of time and the users to fetch with *Get User Data*. It is sent
//! every 15 minutes if there was an update, for at most 2000 users a notification; 5000 make three \[YN\]. See
//! [`data_updates`].
//!
//! **How it proves itself.** Nothing is documented but advice to allow Yodlee's source addresses \[YW\]. So: a
//! secret in the callback URL, the addresses, and the API itself, which says what is true.
//!
//! **When it tries again.** "In intervals of 10, 20, 40, 80, 160, 320, 640, and 1280 minutes", each notification
//! "for a maximum of 1280 minutes before discarding it"; after 21 minutes of downtime the first one comes "at
//! the 40th minute" \[YN\]. Only marks counted from the first failure fit all three sentences: eight retries.
//! Before planned downtime one unsubscribes, and after subscribing again gets the last 6 hours at once. What is
//! older is polled for, in windows of at most 60 minutes, at most 7 days back \[YP\]: see [`PollPlan`].
//!
//! **What the documents leave open.** What counts as success (any 2xx is assumed), the timeout, whether
//! `notificationId` stays the same when a notification is sent again, and retries of the events other than
//! `DATA_UPDATES` and `AUTO_REFRESH_UPDATES`. Whether windows hold their ends: printed ones end in `:59`, here
//! they are half-open. `loginName` in the envelope is documented for `REFRESH` alone and printed elsewhere; the
//! balance event is `LATEST_BALANCE_UPDATES` in the sample and `LATEST_BALANCE.COMPLETED` in the table; both are
//! read. `OB_CONSENT` and `CREDIT_MATRIX_REPORT_UPDATES` exist, and their fields are not public, so they are
//! kept as [`Event::Unknown`]. `href` is printed unescaped though login names may hold `:`, so it is
//! [rebuilt](UserDataRequest::href).
//!
//! # Sources
//!
//! * YN <https://developer.envestnet.com/resources/yodlee/data-extracts/docs/event_notification>
//! * YP <https://developer.envestnet.com/resources/yodlee/data-extracts/docs/event_polling>
//! * YW <https://developer.envestnet.com/resources/yodlee/webhooks>; YR, YA, YB, YV its pages
//!   `docs/refresh_events`, `auto_refresh_status_notification`, `latest_balance_status_notification`,
//!   `challenge_deposit_status_notification`
//! * YO <https://github.com/Yodlee/OpenAPI> `swagger.yaml` (June 2025)
//!
//! ```
//! use ringback::provider::yodlee::Event;
//!
//! let event = Event::parse(
//!     br#"{"event":{"info":"DATA_UPDATES.USER_DATA","data":{
//!         "fromDate":"2024-03-04T10:00:00Z","toDate":"2024-03-04T10:14:59Z",
//!         "userData":[{"user":{"loginName":"org:a&b"}}]}}}"#,
//! )?;
//! let Event::DataUpdates(envelope) = event else { unreachable!() };
//! let requests: Vec<_> = envelope.event.data().iter().flat_map(|updates| updates.requests()).collect();
//! assert_eq!(
//!     requests[0].href(),
//!     "dataExtracts/userData?fromDate=2024-03-04T10%3A00%3A00Z&toDate=2024-03-04T10%3A14%3A59Z\
//!      &loginName=org%3Aa%26b",
//! );
//! # Ok::<(), ringback::json::PayloadError>(())
//! ```

use std::time::Duration;

mod account;
mod digest;
mod event;
mod extract;
mod profile;
mod subscription;
mod window;

/// What is sent at once to who subscribes again: what happened within the last 6 hours, counted back from then
/// \[YN, YP\]. For `Dispatcher::resubscribe`.
pub const RESUBSCRIPTION_WINDOW: Duration = Duration::from_secs(6 * 60 * 60);

pub use account::{
    AdditionalStatus, AggregationSource, Dataset, DatasetName, ProviderAccount, ProviderAccountStatus,
    UpdateEligibility,
};
pub use digest::data_updates;
pub use event::{
    AutoRefresh, AutoRefreshReason, AutoRefreshStatus, AutoRefreshUpdate, CdvStatus, Envelope, Event,
    EventName, LatestBalance, LatestBalances, Notification, OutcomeStatus, RefreshData, VerificationReason,
    VerificationStatus,
};
pub use extract::{
    DataUpdates, EventsReply, Link, User, UserDataExtract, UserDataReply, UserDataRequest, UserUpdate,
};
pub use profile::yodlee;
pub use subscription::{
    ErrorCode, ErrorReply, SubscribeRequest, Subscription, SubscriptionList, SubscriptionTarget,
};
pub use window::{PollError, PollPlan};

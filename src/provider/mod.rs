//! The protocols of four providers: payload types, statuses and their life cycles, and what else their
//! documents say. Each module starts with the provider's protocol on one page.
//!
//! To send as one of them does, an engine is given its [`Profile`](crate::delivery::Profile), or all of them
//! ([`profiles`]), and the webhook one of the usual authentications:
//!
//! | profile | puts into each message | retries | authentication |
//! |---|---|---|---|
//! | [`truelayer()`] | nothing | 6, from 100 ms to 6 min apart | none, or `Tl-Signature` |
//! | [`truv()`] | `webhook_id`, `event_type`, `event_created_at` | 3, 30 s apart | `X-WEBHOOK-SIGN` |
//! | [`powens()`] | `id_webhook_data` | until accepted | user token, `BI-Signature` or OAuth 2.0 |
//! | [`yodlee()`] | `notificationId` | 8, up to 1280 min after the first failure | none |
//! | [`standard_webhooks()`] | the header `webhook-id` | 9, over three days | `webhook-signature` |
//!
//! Ids are put in when an event is enqueued, so every attempt sends the same bytes. They are spliced into the
//! body's text, whose other bytes stay as they are.

pub mod powens;
mod profile;
mod standard_webhooks;
pub mod truelayer;
pub mod truv;
pub mod yodlee;

pub use powens::powens;
pub use profile::ProviderProfile;
pub use standard_webhooks::standard_webhooks;
pub use truelayer::truelayer;
pub use truv::truv;
pub use yodlee::yodlee;

use crate::delivery::Profiles;

/// All the published profiles, by the names `truelayer`, `truv`, `powens`, `yodlee` and `standard_webhooks`.
///
/// ```
/// use ringback::provider;
///
/// assert!(provider::profiles().find(&"powens".into()).is_some());
/// ```
#[inline]
pub fn profiles() -> Profiles {
    [truelayer(), truv(), powens(), yodlee(), standard_webhooks()]
        .into_iter()
        .fold(Profiles::none(), Profiles::with)
}

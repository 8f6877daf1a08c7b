//! How TrueLayer sends.

use crate::provider::profile::{Dialect, ProviderProfile};
use crate::retry::Schedule;

/// TrueLayer's profile, `truelayer`: at most 6 retries ([`Schedule::truelayer`]), and bodies as they are.
///
/// A [`Callback`](super::Callback) has no id: receivers tell two of them apart by task and status. Callbacks of
/// the Data API v1 are not authenticated; the products that sign do so with `Tl-Signature` (feature `jws`).
pub fn truelayer() -> ProviderProfile {
    ProviderProfile::new("truelayer", Schedule::truelayer(), &TrueLayer)
}

#[derive(Debug)]
struct TrueLayer;

impl Dialect for TrueLayer {}

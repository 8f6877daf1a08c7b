//! Forgetting the keys of what was received.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::assembly::Parts;
use super::upkeep::{Pass, Step};
use crate::store::StoreError;
use crate::time::after;

/// How many keys a step forgets.
const AT_ONCE: usize = 500;

/// How often there is a look for keys that have expired. They only take up room, so there is no hurry.
const INTERVAL: Duration = Duration::from_secs(60);

/// Forgets keys that need no longer be kept.
#[derive(Debug)]
pub(super) struct Forgetting;

#[async_trait]
impl Pass for Forgetting {
    async fn step(&mut self, parts: &Arc<Parts>) -> Result<Step, StoreError> {
        let now = parts.timer.now();
        let forgotten = parts.store.forget_expired(AT_ONCE, now).await?;
        Ok(if forgotten < AT_ONCE {
            Step::Until(after(now, INTERVAL))
        } else {
            Step::Again
        })
    }
}

//! Removing what need not be kept any more.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::assembly::Parts;
use super::upkeep::{Pass, Step};
use crate::store::StoreError;
use crate::time::after;

/// How many things a step removes: some milliseconds' work for a store on a disk.
const AT_ONCE: usize = 200;

/// How often there is a look for what has come to be over for long enough. What is kept for days need not go by the minute.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Removes what the engine's [`Retention`](crate::delivery::Retention) does not keep.
#[derive(Debug)]
pub(super) struct Purging;

#[async_trait]
impl Pass for Purging {
    async fn step(&mut self, parts: &Arc<Parts>) -> Result<Step, StoreError> {
        let now = parts.timer.now();
        let purged = parts.store.purge(&parts.retention, AT_ONCE, now).await?;
        Ok(if purged.is_done {
            Step::Until(after(now, INTERVAL))
        } else {
            Step::Again
        })
    }
}

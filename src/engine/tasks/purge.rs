//! Taking away what has been kept long enough.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::engine::assembly::Parts;
use crate::engine::upkeep::{Pass, Step};
use crate::store::StoreError;
use crate::time::after;

/// Of how many tasks a step takes something away. Results can be large, so it is less than of smaller things.
const AT_ONCE: usize = 100;

/// How often there is a look. Expired results are not shown, purged or not, so there is no hurry.
const INTERVAL: Duration = Duration::from_secs(60);

/// Takes away the results of tasks, and then the tasks, when their time has come.
#[derive(Debug)]
pub(in crate::engine) struct PurgingTasks;

#[async_trait]
impl Pass for PurgingTasks {
    async fn step(&mut self, parts: &Arc<Parts>) -> Result<Step, StoreError> {
        let now = parts.timer.now();
        let purged = parts.store.purge_tasks(AT_ONCE, now).await?;
        Ok(if purged < AT_ONCE {
            Step::Until(after(now, INTERVAL))
        } else {
            Step::Again
        })
    }
}

//! The suite for stores, check by check.

use libtest_mimic::Trial;
use ringback::testing::conformance::store::CHECKS;

use crate::server::trial;

pub(crate) fn trials() -> impl Iterator<Item = Trial> {
    CHECKS.iter().map(|check| {
        trial(format!("conformance::{}", check.name), async move |server| {
            let store = server.store().await;
            check.run(&store).await.unwrap();
        })
    })
}

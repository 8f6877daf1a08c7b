//! Instants, spans and numbers at their ends: nothing panics, nothing fails, nothing gets stuck.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{AttemptReport, Limits, Order, Rate, Webhook};
use crate::id::{DeliveryId, Fence};
use crate::store::{ClaimRequest, Next, Settlement};
use crate::task::TaskStatus;

const FIRST: DateTime<Utc> = DateTime::<Utc>::MIN_UTC;
const LAST: DateTime<Utc> = DateTime::<Utc>::MAX_UTC;
const ENDS: [DateTime<Utc>; 3] = [FIRST, DateTime::<Utc>::UNIX_EPOCH, LAST];

/// Deliveries at the ends of time are taken in, claimed, settled and asked for without a panic.
pub async fn the_ends_of_time_are_instants(store: &dyn Store) -> Result<(), Violation> {
    let rate = Rate {
        interval: Duration::MAX,
        burst: NonZeroU32::MAX,
    };
    for (id, rate, order) in [
        ("a", None, Order::Any),
        ("b", Some(rate), Order::Any),
        ("c", None, Order::Strict),
    ] {
        let webhook = Webhook {
            order,
            limits: Limits {
                in_flight: NonZeroU32::MAX,
                rate,
            },
            deadline: Some(Duration::MAX),
            created_at: FIRST,
            updated_at: LAST,
            ..webhook(id)
        };
        save(store, webhook, LAST).await?;
        for (number, now) in (0..).zip(ENDS) {
            enqueue(store, id, number..number + 1, now).await?;
        }
    }
    for now in [FIRST, LAST, FIRST, LAST] {
        for lease in [Duration::ZERO, Duration::MAX] {
            let request = ClaimRequest {
                lease,
                ..request(usize::MAX, now)
            };
            let claimed = store.claim(request).await?;
            store.next_due(now).await?;
            for (claimed, next) in claimed.iter().zip(ENDS.map(Next::Retry).into_iter().cycle()) {
                let report = AttemptReport {
                    started_at: now,
                    duration: Duration::MAX,
                    ..attempt(ERROR, at(0))
                };
                let settlement = Settlement {
                    attempt: Some(report),
                    ..settlement(claimed, ERROR, next, at(0))
                };
                store.settle(vec![settlement], now).await?;
            }
        }
    }
    for now in ENDS {
        store.next_due(now).await?;
        store.next_task_due(now).await?;
    }
    Ok(())
}

/// After deliveries at the ends of time, ordinary ones still go.
pub async fn ordinary_deliveries_go_on(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    let last = only(enqueue(store, "a", 0..1, LAST).await?)?;
    let first = only(enqueue(store, "a", 1..2, FIRST).await?)?;
    let between = only(enqueue(store, "a", 2..3, at(0)).await?)?;
    let claimed = claim(store, 10, at(0)).await?;
    equal(
        "what is due is claimed, however long it was",
        distinct(&claimed),
        [first, between].into(),
    )?;
    deliver_all(store, &claimed, at(1)).await?;
    let due = store.next_due(at(1)).await?;
    ensure(
        "what is due at the end of time is waited for",
        due.is_some(),
        || "nothing to wait for".into(),
    )?;
    equal(
        "at the end of time the last one goes",
        claim_one(store, LAST).await?.id,
        last,
    )
}

/// Numbers at their ends are answered like any other.
pub async fn the_ends_of_numbers_are_numbers(store: &dyn Store) -> Result<(), Violation> {
    save(store, webhook("a"), at(0)).await?;
    enqueue_one(store, "a", at(0)).await?;
    for id in [i64::MIN, -1, 0, i64::MAX].map(DeliveryId) {
        equal(
            "an unknown delivery is not there",
            store.delivery(id).await?,
            None,
        )?;
        equal(
            "an unknown delivery has no history",
            store.attempts(id).await?,
            vec![],
        )?;
        store.replay(id, at(0)).await?;
        for fence in [Fence(i64::MIN), Fence::UNCLAIMED, Fence(i64::MAX)] {
            store.release(vec![(id, fence)], at(0)).await?;
        }
    }
    store.reserve_numbers(u32::MAX).await?;
    let first = store.reserve_numbers(0).await?;
    ensure(
        "numbers go on past the largest request",
        first > i64::from(u32::MAX),
        || first.to_string(),
    )
}

/// Leases and keeping times without end are taken as they are.
pub async fn spans_without_end(store: &dyn Store) -> Result<(), Violation> {
    let key = crate::store::SeenKey::new("receiver", "key");
    for now in ENDS {
        if let crate::store::Seen::Fresh(fence) = store.begin(&key, Duration::MAX, now).await? {
            store.finish(&key, fence, Duration::MAX, now).await?;
        }
        store.forget_expired(usize::MAX, now).await?;
    }
    let task = crate::store::NewTask {
        id: "t".into(),
        credentials_id: String::new(),
        request_uri: String::new(),
        input: bytes::Bytes::new(),
        results_uri: String::new(),
        webhook_uri: None,
        deadline: LAST,
    };
    store.create_task(task, LAST).await?;
    let endless = ClaimRequest {
        lease: Duration::MAX,
        ..request(usize::MAX, FIRST)
    };
    let claimed = only(store.claim_tasks(endless).await?)?;
    store
        .renew_task(&"t".into(), claimed.fence, Duration::MAX, LAST)
        .await?;
    let record = store.task(&"t".into()).await?;
    equal(
        "a task whenever it was created is a task",
        record.map(|record| record.status),
        Some(TaskStatus::Running),
    )
}

//! Enqueueing, claiming, settling, and holds.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use proptest::collection::vec;
use proptest::prelude::*;
use ringback::delivery::{AttemptReport, Outcome, Pacing, SendFailure};
use ringback::id::{DeliveryId, Fence};
use ringback::store::{Claimed, HoldKey, Next, Release, Settlement, Store};

use super::{Answer, Caller, Learnt, new_event, pick, shown, skew, skewed};

/// Which, and whether with a body of its own.
type Targets = Vec<(u8, bool)>;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Enqueue(Vec<(u8, u8, Targets)>),
    EnqueueMany(u8, u8),
    Claim { max: usize, lease_ms: u64 },
    Settle(Vec<(usize, i64, u8)>),
    Release(Vec<(usize, i64)>),
    Hold(u8),
    Lift(u8, u8),
    Reserve(u32),
}

pub(super) fn op(copies_go_elsewhere: bool) -> impl Strategy<Value = Op> {
    let target = (0u8..7, any::<bool>());
    let event = (0u8..40, 0u8..8, vec(target, 0..4));
    let event = event.prop_map(move |(id, body, targets)| match copies_go_elsewhere {
        true => (id, body, targets),
        false => (id + 60, body, targets_of(id)),
    });
    prop_oneof![
        8 => vec(event, 0..4).prop_map(Op::Enqueue),
        1 => (40u8..60, 0u8..3).prop_map(|(first, webhook)| Op::EnqueueMany(first, webhook)),
        12 => (0usize..7, 1u64..500).prop_map(|(max, lease_ms)| Op::Claim { max, lease_ms }),
        8 => vec((any::<usize>(), skew(), 0u8..11), 0..4).prop_map(Op::Settle),
        2 => vec((any::<usize>(), skew()), 0..3).prop_map(Op::Release),
        3 => (0u8..5).prop_map(Op::Hold),
        3 => (0u8..5, 0u8..4).prop_map(|(key, release)| Op::Lift(key, release)),
        1 => (0u32..9).prop_map(Op::Reserve),
    ]
}

/// Where an event goes that always goes there.
fn targets_of(id: u8) -> Targets {
    (0..id % 4).map(|n| ((id + n * 5) % 6, n == 1)).collect()
}

impl Caller {
    pub(super) async fn call_deliveries(&self, store: &dyn Store, op: &Op) -> Answer {
        let now = self.now;
        let text = match op {
            Op::Enqueue(events) => {
                let events = events
                    .iter()
                    .map(|(id, body, targets)| new_event(*id, *body, targets));
                shown(store.enqueue(events.collect(), now).await)
            }
            Op::EnqueueMany(id, webhook) => {
                // More than one call moves of a hold.
                let event = new_event(*id, 0, &[(*webhook, false); 150]);
                shown(store.enqueue(vec![event], now).await)
            }
            Op::Claim { max, lease_ms } => {
                let claimed = store.claim(self.claim(*max, *lease_ms)).await.unwrap();
                return Answer {
                    text: claimed.iter().map(show_claim).collect::<Vec<_>>().join("\n"),
                    learnt: Learnt::Claims(claimed.iter().map(|c| (c.id, c.fence)).collect()),
                };
            }
            Op::Settle(picks) => {
                let settlements = picks.iter().filter_map(|(at, skew, kind)| {
                    let (id, fence) = pick(&self.claims, *at)?;
                    Some(settlement((id, skewed(fence, *skew)), *kind, now))
                });
                shown(store.settle(settlements.collect(), now).await)
            }
            Op::Release(picks) => {
                let claims = picks.iter().filter_map(|(at, skew)| {
                    pick(&self.claims, *at).map(|(id, fence)| (id, skewed(fence, *skew)))
                });
                shown(store.release(claims.collect(), now).await)
            }
            Op::Hold(key) => shown(store.hold(hold_key(*key), now).await),
            Op::Lift(key, release) => {
                let release = match release {
                    0 => Release::Nothing,
                    1 => Release::Since(now - TimeDelta::milliseconds(300)),
                    _ => Release::All,
                };
                shown(store.lift(&hold_key(*key), release, now).await)
            }
            Op::Reserve(count) => shown(store.reserve_numbers(*count).await),
        };
        text.into()
    }
}

fn settlement((id, fence): (DeliveryId, Fence), kind: u8, now: DateTime<Utc>) -> Settlement {
    let next = match kind {
        0 | 1 => Next::Delivered,
        2 => Next::Exhausted,
        3 => Next::Gone,
        8.. => Next::AwaitRun,
        later => Next::Retry(now + TimeDelta::milliseconds(i64::from(later) * 40 - 180)),
    };
    Settlement {
        id,
        fence,
        attempt: (kind != 7).then(|| report(now, kind)),
        next,
        pacing: match id.0 + i64::from(kind) {
            sum if sum % 32 == 0 => Pacing::Slow(None),
            sum if sum % 4 == 0 => Pacing::Slow(Some(Duration::from_millis(60))),
            sum if sum % 16 == 1 => Pacing::Pause(Duration::from_millis(90)),
            sum if sum % 4 == 1 => Pacing::Keep,
            _ => Pacing::Gain,
        },
    }
}

fn report(now: DateTime<Utc>, kind: u8) -> AttemptReport {
    AttemptReport {
        started_at: now - TimeDelta::milliseconds(7),
        duration: Duration::from_micros(5_003),
        outcome: match kind {
            0 => Outcome::Answered(StatusCode::OK),
            1 | 8 => Outcome::TimedOut,
            _ => Outcome::Failed(SendFailure::Connect),
        },
        excerpt: Bytes::from_static(b"<html>"),
    }
}

/// All of a claim: `Debug` leaves bodies and queries out.
fn show_claim(claim: &Claimed) -> String {
    let (event, url) = (&claim.event, claim.target.url().expose());
    format!("{claim:?} {:?} {:?} {url}", event.body(), event.headers())
}

/// A webhook's, or that of the subject that some events of each scope are about.
fn hold_key(key: u8) -> HoldKey {
    match key {
        webhook @ 0..=2 => HoldKey::Webhook(format!("w{webhook}").into()),
        scope => HoldKey::Subject {
            scope: format!("s{}", scope % 2).into(),
            subject: "u".into(),
        },
    }
}

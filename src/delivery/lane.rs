//! Taking turns: which waiting deliveries may go now.
//!
//! Deliveries wait in *lanes*, one for each webhook (or one for each scheme, host and port of URLs given with a
//! call). Lanes take turns, so that one with a million waiting is served no more often than one with a single
//! delivery; each lane has its own limits, so that one whose receiver hangs holds only its own places. Stores
//! keep a lane's few facts and apply these rules inside the transaction that claims, which is why they hold
//! across processes.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::pace::{Pace, Pacing};
use super::webhook::{Call, Webhook};
use crate::id::WebhookId;
use crate::retry::Flusher;
use crate::time::{after, before, elapsed};
use crate::url::WebhookUrl;

/// The name of a lane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneKey(String);

impl LaneKey {
    /// The lane of a registered webhook.
    pub fn webhook(id: &WebhookId) -> Self {
        Self(format!("webhook {id}"))
    }

    /// The lane of what is sent to a webhook to try it out: apart from the webhook's own, so that it neither waits
    /// behind what waits there nor counts for it.
    pub fn test(id: &WebhookId) -> Self {
        Self(format!("test {id}"))
    }

    /// The lane of all URLs with one scheme, host and port.
    pub fn origin(url: &WebhookUrl) -> Self {
        Self(format!("origin {}", url.origin()))
    }

    /// The name as stores keep it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// In which order a webhook's deliveries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Whichever is due. A failed one lets the others pass. None of the four providers promises more.
    #[default]
    Any,
    /// One at a time, in the order they were enqueued; a failed one is retried before the next goes, until it
    /// is accepted or dead. What is held back for its subject lets the others pass, and goes before what is younger once it
    /// is released.
    Strict,
}

/// How much may go on at once in a lane, and how fast, at the most: a lane whose receiver cannot bear it goes at a lower
/// [`Pace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Requests in flight at once. Default 8: enough to keep a healthy receiver busy over a slow line, little
    /// enough that one that hangs ties up few of a worker's places.
    pub in_flight: NonZeroU32,
    /// Requests over time. Default: no limit.
    pub rate: Option<Rate>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: NonZeroU32::MIN.saturating_add(7),
            rate: None,
        }
    }
}

/// How far the clocks of machines that share a store may lie apart for rates to hold across them. A clock set back
/// by more than this costs a rate one burst too many, not a standstill.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(10);

/// At most one request each `interval`, after `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// The time one request uses up.
    pub interval: Duration,
    /// How many may go at once when nothing has gone for a while.
    pub burst: NonZeroU32,
}

impl Rate {
    /// So many a second, evenly spread: no burst.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use std::time::Duration;
    /// use ringback::delivery::Rate;
    ///
    /// let rate = Rate::per_second(NonZeroU32::new(50).unwrap());
    /// assert_eq!(rate.interval, Duration::from_millis(20));
    /// ```
    pub fn per_second(requests: NonZeroU32) -> Self {
        Self {
            interval: Duration::from_secs(1) / requests.get(),
            burst: NonZeroU32::MIN,
        }
    }

    /// When the whole burst is available again. What was noted is believed as long as the clocks of machines that
    /// share a store can explain it. A clock that was set back further leaves an instant that would hold everything
    /// back until it has caught up; it is taken for none.
    fn whole_at(self, noted: Option<DateTime<Utc>>, now: DateTime<Utc>) -> DateTime<Utc> {
        let latest = after(now, self.longest_wait());
        noted.filter(|at| *at <= latest).map_or(now, |at| at.max(now))
    }

    /// The longest that anything can have to wait for its turn by the rate alone.
    pub(crate) fn longest_wait(self) -> Duration {
        let burst = self.interval.saturating_mul(self.burst.get());
        burst.saturating_add(CLOCK_SKEW)
    }

    /// How many requests may go now.
    fn tokens(self, noted: Option<DateTime<Utc>>, now: DateTime<Utc>) -> u32 {
        if self.interval.is_zero() {
            return u32::MAX;
        }
        let owed = elapsed(now, self.whole_at(noted, now));
        let owed = owed.as_nanos().div_ceil(self.interval.as_nanos());
        self.burst
            .get()
            .saturating_sub(u32::try_from(owed).unwrap_or(u32::MAX))
    }
}

/// What a webhook or call says of its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaneRules {
    pub(crate) limits: Limits,
    pub(crate) order: Order,
    pub(crate) enabled: bool,
    pub(crate) flusher: Option<Flusher>,
}

impl LaneRules {
    /// Those of the lane in which a webhook is tried out: once at a time.
    pub(crate) const TEST: Self = Self {
        limits: Limits {
            in_flight: NonZeroU32::MIN,
            rate: None,
        },
        order: Order::Any,
        enabled: true,
        flusher: None,
    };
}

impl From<&Webhook> for LaneRules {
    fn from(webhook: &Webhook) -> Self {
        Self {
            limits: webhook.limits,
            order: webhook.order,
            enabled: webhook.enabled,
            flusher: webhook.runs_by(),
        }
    }
}

impl From<&Call> for LaneRules {
    fn from(call: &Call) -> Self {
        Self {
            limits: call.limits,
            order: Order::Any,
            enabled: true,
            flusher: None,
        }
    }
}

/// A lane's facts, as a store keeps them, and what they allow.
///
/// ```
/// use chrono::DateTime;
/// use ringback::delivery::{Lane, Limits, Order};
///
/// let lane = Lane { order: Order::Strict, ..Lane::new(Limits::default()) };
/// assert_eq!(lane.allowance(0, DateTime::UNIX_EPOCH), 1);
/// assert_eq!(lane.allowance(1, DateTime::UNIX_EPOCH), 0, "strict: one at a time");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// The limits of its webhook.
    pub limits: Limits,
    /// The order of its webhook.
    pub order: Order,
    /// Whether its webhook is enabled.
    pub enabled: bool,
    /// When the rate's whole burst is available again; `None` if it never was used.
    pub whole_at: Option<DateTime<Utc>>,
    /// How fast it goes at present, of what the limits allow.
    pub pace: Pace,
}

impl Lane {
    /// A lane with these limits, enabled, in any order, of which nothing has gone yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            order: Order::Any,
            enabled: true,
            whole_at: None,
            pace: Pace::full(),
        }
    }

    /// Goes by these rules. One that is enabled again, or that comes to go by a flusher, which has a pace of its own,
    /// begins at full pace.
    pub(crate) fn follow(&mut self, rules: &LaneRules) {
        if rules.flusher.is_some() || (rules.enabled && !self.enabled) {
            self.pace = Pace::full();
        }
        (self.limits, self.order, self.enabled) = (rules.limits, rules.order, rules.enabled);
    }

    /// The most that its limits let be in flight.
    fn limit(&self) -> NonZeroU32 {
        match self.order {
            Order::Any => self.limits.in_flight,
            Order::Strict => NonZeroU32::MIN,
        }
    }

    /// How many may be in flight at once, at its present pace.
    pub fn places(&self) -> u32 {
        self.pace.places(self.limit())
    }

    /// How many more deliveries may be claimed now, with so many in flight.
    pub fn allowance(&self, in_flight: u32, now: DateTime<Utc>) -> u32 {
        if !self.enabled || self.pace.open_at(now) > now {
            return 0;
        }
        let places = self.places().saturating_sub(in_flight);
        match self.limits.rate {
            Some(rate) => places.min(rate.tokens(self.whole_at, now)),
            None => places,
        }
    }

    /// Notes that so many were claimed.
    pub fn spend(&mut self, claimed: u32, now: DateTime<Utc>) {
        if let (Some(rate), true) = (self.limits.rate, claimed > 0) {
            let from = rate.whole_at(self.whole_at, now);
            self.whole_at = Some(after(from, rate.interval.saturating_mul(claimed)));
        }
    }

    /// Notes that one that was in flight has come back, and what that says of the pace. `others` is how many still are.
    pub fn land(&mut self, pacing: Pacing, others: u32, now: DateTime<Utc>) {
        self.pace.land(pacing, self.limit(), others, now);
    }

    /// When the rate and the pace let the next one go.
    pub fn open_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let paused_until = self.pace.open_at(now);
        let Some(rate) = self.limits.rate else {
            return paused_until;
        };
        let whole_at = rate.whole_at(self.whole_at, now);
        before(whole_at, rate.interval.saturating_mul(rate.burst.get() - 1)).max(paused_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lane(in_flight: u32, rate: Option<Rate>) -> Lane {
        Lane::new(Limits {
            in_flight: NonZeroU32::new(in_flight).unwrap(),
            rate,
        })
    }

    #[test]
    fn a_disabled_lane_gives_nothing() {
        let lane = Lane {
            enabled: false,
            ..lane(8, None)
        };
        assert_eq!(lane.allowance(0, DateTime::UNIX_EPOCH), 0);
    }

    #[test]
    fn more_in_flight_than_allowed_is_no_panic() {
        assert_eq!(lane(2, None).allowance(5, DateTime::UNIX_EPOCH), 0);
    }

    #[test]
    fn a_slowed_lane_gives_less_and_a_paused_one_nothing() {
        let (mut lane, now) = (lane(2, None), DateTime::UNIX_EPOCH);
        lane.land(Pacing::Slow(None), 1, now);
        assert_eq!((lane.allowance(0, now), lane.allowance(1, now)), (1, 0));
        lane.land(Pacing::Keep, 0, now);
        lane.land(Pacing::Slow(None), 0, now);
        let open = lane.open_at(now);
        assert_eq!(open, after(now, Pace::FIRST_PAUSE));
        assert_eq!((lane.allowance(0, now), lane.allowance(0, open)), (0, 1));
    }

    #[test]
    fn a_lane_that_is_enabled_again_or_comes_to_have_runs_begins_at_full_pace() {
        let now = DateTime::UNIX_EPOCH;
        let rules = LaneRules {
            limits: Limits::default(),
            order: Order::Any,
            enabled: true,
            flusher: None,
        };
        let off = LaneRules {
            enabled: false,
            ..rules
        };
        let flushed = LaneRules {
            flusher: Some(Flusher::default()),
            ..rules
        };
        for (meanwhile, places) in [(rules, 4), (off, 8), (flushed, 8)] {
            let mut lane = Lane::new(Limits::default());
            lane.land(Pacing::Slow(None), 0, now);
            lane.follow(&meanwhile);
            lane.follow(&rules);
            assert_eq!(lane.places(), places);
        }
    }

    proptest! {
        /// Over any span, no more go than the burst and one for each interval.
        #[test]
        fn the_rate_holds(
            burst in 1u32..5,
            interval_ms in 1u64..500,
            steps in proptest::collection::vec((0u64..700, 0u32..6), 1..60),
        ) {
            let rate = Rate { interval: Duration::from_millis(interval_ms), burst: NonZeroU32::new(burst).unwrap() };
            let mut lane = lane(1000, Some(rate));
            let start = DateTime::UNIX_EPOCH;
            let mut now = start;
            let mut total = 0u64;
            for (wait, wanted) in steps {
                now = after(now, Duration::from_millis(wait));
                let claimed = lane.allowance(0, now).min(wanted);
                lane.spend(claimed, now);
                total += u64::from(claimed);
                let elapsed = elapsed(start, now).as_millis() as u64;
                prop_assert!(total <= u64::from(burst) + elapsed / interval_ms);
                // When it says it is open, it gives at least one; a moment before, none.
                if lane.allowance(0, now) == 0 {
                    let open = lane.open_at(now);
                    prop_assert!(open > now);
                    prop_assert!(lane.allowance(0, open) >= 1);
                    prop_assert_eq!(lane.allowance(0, before(open, Duration::from_nanos(1))), 0);
                }
            }
        }
    }

    #[test]
    fn a_clock_set_back_far_stops_nothing() {
        let rate = Rate {
            interval: Duration::from_secs(1),
            burst: NonZeroU32::MIN,
        };
        let mut lane = lane(8, Some(rate));
        let late = after(DateTime::UNIX_EPOCH, Duration::from_secs(1_000_000));
        lane.spend(1, late);
        assert_eq!(lane.open_at(DateTime::UNIX_EPOCH), DateTime::UNIX_EPOCH);
        assert_eq!(lane.allowance(0, DateTime::UNIX_EPOCH), 1);
        lane.spend(1, DateTime::UNIX_EPOCH);
        assert_eq!(
            lane.allowance(0, DateTime::UNIX_EPOCH),
            0,
            "from there on the rate holds"
        );
    }

    #[test]
    fn the_rate_holds_between_clocks_that_lie_apart() {
        let rate = Rate::per_second(NonZeroU32::new(50).unwrap());
        let mut lane = lane(8, Some(rate));
        let ahead = after(DateTime::UNIX_EPOCH, Duration::from_secs(5));
        lane.spend(1, ahead);
        assert_eq!(lane.allowance(0, DateTime::UNIX_EPOCH), 0);
        assert_eq!(lane.open_at(DateTime::UNIX_EPOCH), after(ahead, rate.interval));
    }
}

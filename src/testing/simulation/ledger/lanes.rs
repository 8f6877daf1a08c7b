//! What is known of one lane: the rules of turns, limits and rates, kept in another way than stores keep them, and its
//! pace.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::row::Standing;
use super::runs::RunBook;
use super::{Book, Readback};
use crate::delivery::{LaneKey, Limits, Order, Pace, Pacing, Webhook};
use crate::id::{DeliveryId, Scope, WebhookId};
use crate::store::{HoldKey, Switch};
use crate::testing::simulation::violation::Invariant;
use crate::time::{Clock, after, elapsed};

/// How often another lane may go while one that could go does not. One turn each is the rule; what is due at the
/// same instant may go in either order.
const PASSES: u32 = 3;

/// How long a rate may wait for a clock that was set back. It is waited for up to 10 seconds; but what a frozen call
/// notes from before can come to lie within that only after a while.
const CLOCK_SKEW: Duration = Duration::from_secs(25);

/// How far ahead of the present a rate's note is believed to be the doing of clocks that differ.
const BELIEVED: Duration = Duration::from_secs(10);

/// How long a call of the store can be under way, with its worker frozen meanwhile, more than once.
const LONGEST_CALL: Duration = Duration::from_secs(80);

/// Stores keep instants to the microsecond, and a rate adds up many.
const RATE_ROUNDING: Duration = Duration::from_millis(1);

pub(super) struct LaneBook {
    pub(super) key: LaneKey,
    /// Where it belongs; URLs given with calls belong nowhere.
    pub(super) scope: Option<Scope>,
    pub(super) limits: Limits,
    pub(super) order: Order,
    pub(super) enabled: bool,
    pub(super) removed: bool,
    /// Whether a hold closes it; `None` if it never had one. One that was lifted may take a while to let it go.
    pub(super) hold: Option<bool>,
    pub(super) runs: RunBook,
    /// How fast it goes, by what its deliveries came back with.
    pub(super) pace: Pace,
    /// Since when it has had nothing but failures, of those that its receiver has to do with.
    pub(super) failing_since: Option<DateTime<Utc>>,
    pub(super) pending: BTreeSet<DeliveryId>,
    pub(super) sending: BTreeSet<DeliveryId>,
    /// When the rate would have come to rest, had nothing been held back.
    rests_at: Option<DateTime<Utc>>,
    /// When it last gave something, by what had passed.
    gave: Option<Duration>,
    /// Since when it has had something due and a place for it, by what had passed.
    wanted_since: Option<Duration>,
    /// How often each other lane went while this one could have gone.
    passed_by: BTreeMap<usize, u32>,
}

impl LaneBook {
    /// The most that may be in flight at once.
    pub(super) fn limit(&self) -> NonZeroU32 {
        match self.order {
            Order::Any => self.limits.in_flight,
            Order::Strict => NonZeroU32::MIN,
        }
    }

    /// How many may be in flight at once, at its present pace.
    pub(super) fn places(&self) -> usize {
        self.pace.places(self.limit()) as usize
    }

    /// Whether it gives anything at all now, as far as its switch and its places say.
    pub(super) fn is_open(&self) -> bool {
        self.enabled && !self.removed && self.hold.is_none() && self.sending.len() < self.places()
    }

    /// Whether it need not give anything, since a pause has not come to its end. One that was reckoned before the clock
    /// was set back need not be kept, but nobody need know at once that it was.
    pub(super) fn may_pause(&self, now: DateTime<Utc>) -> bool {
        self.pace.paused_until().is_some_and(|until| until > now)
    }

    /// A delivery has come back, and is not in flight any more.
    pub(super) fn land(&mut self, pacing: Pacing, now: DateTime<Utc>) {
        let others = u32::try_from(self.sending.len()).unwrap_or(u32::MAX);
        self.pace.land(pacing, self.limit(), others, now);
    }

    /// Whether its rate holds nothing back for sure: it has none, or has rested for so long that all of the burst is
    /// there again. Where the wall clock was set, it may be waited for, but not for ever.
    fn is_rested(&self, passed: Duration, clock_set: Option<Duration>) -> bool {
        let (Some(rate), Some(gave)) = (self.limits.rate, self.gave) else {
            return true;
        };
        let burst = rate.interval * (rate.burst.get() + 1);
        let is_undisturbed = clock_set.is_none_or(|at| at + LONGEST_CALL < gave);
        (is_undisturbed && passed > gave + burst)
            || self
                .wanted_since
                .is_some_and(|since| passed > since + burst + CLOCK_SKEW)
    }

    /// Notes one more that goes. Whether the rate had let it.
    pub(super) fn spend(&mut self, now: DateTime<Utc>, passed: Duration) -> bool {
        (self.gave, self.wanted_since) = (Some(passed), None);
        let Some(rate) = self.limits.rate else { return true };
        let burst = rate.interval * rate.burst.get();
        // A call that was under way while the clock was set back speaks of a time that has not come.
        let former = self.rests_at.filter(|at| *at <= after(now, burst + BELIEVED));
        let rests_at = after(former.map_or(now, |at| at.max(now)), rate.interval);
        self.rests_at = Some(rests_at);
        elapsed(now, rests_at) <= burst + RATE_ROUNDING
    }

    pub(super) fn forget_time(&mut self) {
        (self.rests_at, self.wanted_since) = (None, None);
        self.passed_by.clear();
        self.runs.forget_time();
    }
}

impl Book {
    pub(in super::super) fn webhook_saved(&mut self, webhook: &Webhook) {
        self.log(|| {
            format!(
                "webhook {} is {}",
                webhook.url,
                if webhook.enabled { "on" } else { "off" }
            )
        });
        self.webhooks.insert(webhook.id.clone(), webhook.clone());
        let key = LaneKey::webhook(&webhook.id);
        let no = self.lane(key, Some(webhook.scope.clone()), webhook.limits);
        let lane = &mut self.lanes[no];
        if webhook.enabled && !lane.enabled {
            (lane.failing_since, lane.pace) = (None, Pace::full());
        }
        if webhook.runs_by().is_some() {
            lane.pace = Pace::full();
        }
        (lane.order, lane.enabled) = (webhook.order, webhook.enabled);
        lane.runs.flusher = webhook.runs_by();
        lane.passed_by.clear();
    }

    /// What awaits a run of a webhook.
    pub(in super::super) fn awaiting_of(&self, id: &WebhookId) -> Vec<DeliveryId> {
        let no = self.lane_nos.get(&LaneKey::webhook(id));
        no.map_or_else(Vec::new, |no| self.lanes[*no].runs.awaiting().collect())
    }

    /// A webhook has no flusher any more: what awaited a run goes by its due time, as the store says.
    pub(in super::super) fn awaits_no_more(&mut self, found: &[Readback]) {
        for found in found {
            if let Some(record) = &found.record {
                self.starts_to_wait(found.id, record.due);
            }
        }
    }

    /// A webhook is about to be known as it was switched. If for failing, it must have been failing for its whole time.
    pub(in super::super) fn webhook_switched(
        &mut self,
        webhook: &Webhook,
        switch: Switch,
        now: DateTime<Utc>,
    ) {
        let Switch::OffIfFailingSince(asked) = switch else {
            return;
        };
        let lane = self.lane_nos.get(&LaneKey::webhook(&webhook.id));
        let since = lane.and_then(|no| self.lanes[*no].failing_since);
        let is_the_same = since.is_some_and(|since| since.timestamp_micros() == asked.timestamp_micros());
        let time = webhook.auto_disable.after.unwrap_or(Duration::MAX);
        if !is_the_same || elapsed(asked, now) < time {
            self.breach(Invariant::DisabledUnduly, || {
                format!(
                    "webhook {} was disabled at {now} for failing since {asked}; it has been since {since:?}, and has {time:?}",
                    webhook.id
                )
            });
        }
    }

    pub(in super::super) fn webhook_removed(&mut self, id: &WebhookId) {
        self.log(|| format!("webhook {} is removed", id));
        if let Some(no) = self.lane_nos.get(&LaneKey::webhook(id)) {
            self.lanes[*no].removed = true;
        }
        self.held_no_more(&HoldKey::Webhook(id.clone()));
    }

    /// The lane of that name, opened if need be, with these limits.
    pub(super) fn lane(&mut self, key: LaneKey, scope: Option<Scope>, limits: Limits) -> usize {
        let no = match self.lane_nos.get(&key) {
            Some(no) => *no,
            None => {
                self.lane_nos.insert(key.clone(), self.lanes.len());
                self.lanes.push(LaneBook {
                    key,
                    scope,
                    limits,
                    order: Order::Any,
                    enabled: true,
                    removed: false,
                    hold: None,
                    runs: RunBook::default(),
                    pace: Pace::full(),
                    failing_since: None,
                    pending: BTreeSet::new(),
                    sending: BTreeSet::new(),
                    rests_at: None,
                    gave: None,
                    wanted_since: None,
                    passed_by: BTreeMap::new(),
                });
                self.lanes.len() - 1
            }
        };
        self.lanes[no].limits = limits;
        no
    }

    /// When the next of a lane is due.
    pub(super) fn head_due(&self, no: usize) -> Option<DateTime<Utc>> {
        let lane = &self.lanes[no];
        let due = |id: &DeliveryId| self.rows.get(id).map(|row| row.due);
        match lane.order {
            Order::Strict => lane.pending.first().and_then(due),
            Order::Any if lane.runs.next().is_some() => Some(DateTime::<Utc>::MIN_UTC),
            Order::Any => {
                let first_sends = lane.pending.iter().filter(|id| !lane.runs.is_awaiting(id));
                first_sends.filter_map(due).min()
            }
        }
    }

    /// The lanes that give something whatever their rate, as soon as it is due. Of rates nothing is known where the
    /// caller's present is not the present, since its call was long under way.
    fn giving(&self, now: DateTime<Utc>) -> impl Iterator<Item = usize> {
        let (passed, is_present) = (self.time.passed(), now == self.time.now());
        let is_giving = move |lane: &LaneBook| {
            let is_rested = is_present && lane.is_rested(passed, self.clock_set);
            lane.is_open() && (is_rested || lane.limits.rate.is_none())
        };
        (0..self.lanes.len()).filter(move |no| is_giving(&self.lanes[*no]))
    }

    /// Notes which lanes want to give something now.
    pub(super) fn note_wanting(&mut self, now: DateTime<Utc>) {
        let passed = self.time.passed();
        for no in 0..self.lanes.len() {
            let is_open = self.lanes[no].is_open() && !self.lanes[no].may_pause(now);
            let wants = is_open && self.head_due(no).is_some_and(|due| due <= now);
            let since = self.lanes[no].wanted_since.unwrap_or(passed);
            self.lanes[no].wanted_since = wants.then_some(since);
        }
    }

    /// The lanes that could go now.
    pub(super) fn could_go(&self, now: DateTime<Utc>) -> BTreeSet<usize> {
        self.giving(now)
            .filter(|no| !self.lanes[*no].may_pause(now))
            .filter(|no| self.head_due(*no).is_some_and(|due| due <= now))
            .collect()
    }

    /// Whether a removed webhook still has deliveries to be buried, which takes up turns.
    pub(super) fn has_burials(&self) -> bool {
        self.lanes
            .iter()
            .any(|lane| lane.removed && !(lane.pending.is_empty() && lane.sending.is_empty()))
    }

    /// Notes who went. Gives the lanes that others have passed by too often.
    pub(super) fn take_turns(
        &mut self,
        could_go: &BTreeSet<usize>,
        went: &BTreeSet<usize>,
    ) -> Vec<(usize, usize)> {
        let mut starved = Vec::new();
        for (no, lane) in self.lanes.iter_mut().enumerate() {
            if went.contains(&no) || !could_go.contains(&no) {
                lane.passed_by.clear();
                continue;
            }
            for other in went {
                let passes = lane.passed_by.entry(*other).or_default();
                *passes += 1;
                if *passes > PASSES {
                    starved.push((no, *other));
                }
            }
        }
        starved
    }

    /// Takes a delivery out of its lane, wherever it stands.
    pub(super) fn leave_lane(&mut self, id: DeliveryId) {
        let Some(row) = self.rows.get(&id) else { return };
        let lane = &mut self.lanes[row.lane];
        lane.pending.remove(&id);
        lane.runs.leave(id);
        lane.sending.remove(&id);
        if let Standing::Sending(lease) = &row.standing {
            self.leases.remove(&(lease.ends, id));
        }
    }

    pub(super) fn starts_to_wait(&mut self, id: DeliveryId, due: DateTime<Utc>) {
        self.leave_lane(id);
        let Some(row) = self.rows.get_mut(&id) else { return };
        (row.standing, row.due, row.awaits) = (Standing::Pending, due, None);
        self.lanes[row.lane].pending.insert(id);
        self.unfinished.insert(id);
    }

    pub(super) fn comes_to_its_end(&mut self, id: DeliveryId) {
        self.leave_lane(id);
        if let Some(row) = self.rows.get_mut(&id) {
            row.standing = Standing::Final;
        }
        self.unfinished.remove(&id);
    }

    /// The earliest instant at which a claim could find something, as far as this book can tell.
    pub(super) fn next_instant(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let heads = self.giving(now).filter_map(|no| {
            let (due, pause) = (self.head_due(no)?, self.lanes[no].pace.paused_until());
            Some(pause.map_or(due, |until| until.max(due)))
        });
        let lease = self.leases.first().map(|(ends, _)| *ends);
        let at = heads.chain(lease).min()?;
        Some(at.max(now) + TimeDelta::microseconds(1))
    }
}

//! What is known of one delivery.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::ActorNo;
use super::exchanges::Exchange;
use crate::delivery::{Attempt, Event, Outcome, Profile, State, TRANSITIONS};
use crate::id::{DeliveryId, Fence};
use crate::retry::{Decision, Progress, RetryAfter};
use crate::store::DeliveryRecord;

/// What a store holds of a delivery.
#[derive(Debug)]
pub(in super::super) struct Readback {
    pub(in super::super) id: DeliveryId,
    pub(in super::super) record: Option<DeliveryRecord>,
    pub(in super::super) attempts: Vec<Attempt>,
}

pub(super) struct Row {
    pub(super) event: Arc<Event>,
    pub(super) lane: usize,
    pub(super) profile: Arc<dyn Profile>,
    pub(super) standing: Standing,
    /// The state that was last seen in the store.
    pub(super) seen: State,
    pub(super) due: DateTime<Utc>,
    pub(super) fence: Fence,
    pub(super) attempts: u32,
    pub(super) first_failure: Option<DateTime<Utc>>,
    pub(super) interrupted: bool,
    /// The number of the first run that may take it, if it awaits one or was given out by one.
    pub(super) awaits: Option<u64>,
    pub(super) replays: u32,
    pub(super) history: Vec<Outcome>,
    /// The receiver has accepted it at least once.
    pub(super) accepted: bool,
    /// It was accepted, and nothing has happened since that would hide it.
    pub(super) known_accepted: bool,
    /// What was done under each claim.
    pub(super) flights: BTreeMap<Fence, Flight>,
}

#[derive(Debug)]
pub(super) enum Standing {
    Held,
    Pending,
    Sending(Lease),
    /// As [`Row::seen`] says.
    Final,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) holder: ActorNo,
    pub(super) ends: DateTime<Utc>,
}

/// What a worker did under one claim.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) worker: ActorNo,
    pub(super) lease_ends: DateTime<Utc>,
    /// When the claim was begun, or a little before, by what had passed.
    pub(super) claimed: Duration,
    /// Whether what fails awaits a run, as the worker was told.
    pub(super) awaits_runs: bool,
    pub(super) exchange: Option<Exchange>,
}

impl Row {
    pub(super) fn state(&self) -> State {
        match self.standing {
            Standing::Held => State::Held,
            Standing::Pending => State::Pending,
            Standing::Sending(_) => State::Sending,
            Standing::Final => self.seen,
        }
    }

    /// Whether a claim with this fence holds now.
    pub(super) fn is_held_under(&self, fence: Fence) -> bool {
        matches!(self.standing, Standing::Sending(_)) && self.fence == fence
    }

    /// What the schedule says after a failure, with the least jitter.
    pub(super) fn decide(
        &self,
        attempts: u32,
        now: DateTime<Utc>,
        retry_after: Option<RetryAfter>,
    ) -> Decision {
        self.profile.schedule().decide(&Progress {
            attempts,
            first_failure: self.first_failure.unwrap_or(now),
            now,
            retry_after,
            random: 0,
        })
    }
}

/// Whether the table leads from one state to another; by way of pending, where an ended lease came between.
pub(super) fn may_follow(from: State, to: State, by_replay: bool) -> bool {
    let leads = |from: State, to: State| {
        let table = TRANSITIONS
            .iter()
            .any(|line| line.to == to && line.replay == by_replay);
        table && (from.advance(to).is_ok() || by_replay && from.replayed() == Ok(to))
    };
    from == to || leads(from, to) || (from == State::Sending && leads(State::Pending, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::DeadReason;

    #[test]
    fn only_a_replay_leads_back() {
        let dead = State::Dead(DeadReason::Exhausted);
        assert!(may_follow(dead, State::Pending, true));
        assert!(!may_follow(dead, State::Pending, false));
        assert!(!may_follow(State::Delivered, State::Sending, false));
        assert!(!may_follow(State::Pending, State::Delivered, false));
        assert!(may_follow(
            State::Sending,
            State::Dead(DeadReason::WebhookDeleted),
            false
        ));
    }
}

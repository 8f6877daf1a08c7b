//! Deliveries: taken in, claimed, settled.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{AuthRecord, HoldKey, Release, StoreError, Wake};
use crate::delivery::{AttemptReport, Call, Compression, DeadReason, Event, Pacing, State, Target, Webhook};
use crate::guard::Guard;
use crate::id::{AuthId, DeliveryId, Fence, HolderName, ProfileName};
use crate::secret::Hidden;
use crate::url::WebhookUrl;

/// Keeps deliveries from the moment they are enqueued until they are accepted or dead.
///
/// # Contract
///
/// **Lanes.** A delivery waits in the lane of its [`Target`]. A lane's limits, order and switch are those of
/// its webhook as last saved, or of the [`Call`] last enqueued in it. Among lanes with work due, `claim` serves
/// first the one whose last turn is longest ago, so lanes take turns; it shares the places it was given among them.
/// From a lane it takes what is due, oldest due first (in an [`Order::Strict`](crate::delivery::Order::Strict) lane: only
/// the oldest of all, and only when none of it is in flight), and never more than
/// [`Lane::allowance`](crate::delivery::Lane::allowance). Since this is decided inside the claim, it holds across processes.
///
/// **Pace.** A lane has a [`Pace`](crate::delivery::Pace), kept with it in the commit that settles: it is told of each
/// delivery that comes back, settled, released or interrupted ([`Lane::land`](crate::delivery::Lane::land)), and while it
/// pauses nothing is claimed from its lane. A lane whose webhook is enabled again, or comes to have a flusher, begins at
/// full pace.
///
/// **Runs.** In the lane of a webhook with a [`flusher`](Webhook::flusher), what is settled with [`Next::AwaitRun`] or
/// whose lease has ended waits for a run, as [`Runs`](crate::delivery::Runs) says; so does what was waiting for one and
/// comes back without an attempt. A run takes what awaits it one at a time, oldest first, each at most once, and whatever
/// comes to wait during it is left to the next. While there is a place, what the run under way takes goes before anything
/// else of its lane. Runs are kept with the lane: whoever claims next goes on with the one under way, and no two of a
/// lane overlap. What waits goes by its due time as soon as the webhook has no flusher any more.
///
/// **Holds.** While a webhook is [held](HoldKey::Webhook) nothing in its lane is claimed. What waits there becomes `held`,
/// and so does what is enqueued for it, or goes back to wait after an attempt that was under way, or is replayed. A hold of
/// a [subject](HoldKey::Subject) concerns what is enqueued about it from then on, wherever that goes. A delivery is kept
/// back by one hold at a time. When a hold is lifted, what the [`Release`] leaves out ends as
/// [expired](DeadReason::Expired), what another hold that is not lifted also concerns is kept back by that one from then on,
/// and everything else becomes pending, due since the hold was lifted, so that it goes in the order of ids. What is
/// enqueued meanwhile queues up behind, and is sent. A million held are not moved in one commit: each enqueue and each claim
/// moves some, the oldest first, so it goes on by itself after a crash, and with its last delivery the hold is gone. A webhook
/// that is removed is held no more.
///
/// **Leases.** A claimed delivery is `sending` under a fence one higher than ever before for it. Until its
/// lease ends no other claim returns it. A claim that finds a lease that has ended first records the attempt as
/// [`Outcome::Interrupted`](crate::delivery::Outcome::Interrupted), which counts, and makes the delivery
/// pending and due at once; then it may be claimed like any other, marked [`Claimed::interrupted`].
///
/// **Fences.** `settle` and `release` with a fence that is not the delivery's present one, or for a delivery
/// that is not `sending`, change nothing and answer [`Settled::LeaseLost`]. A lease that has ended but that
/// nobody took over still holds.
///
/// **One commit.** An attempt and its outcome are recorded together or not at all.
///
/// **States** change only along [`TRANSITIONS`](crate::delivery::TRANSITIONS).
///
/// **Deleted webhooks.** What waits for a deleted webhook becomes dead
/// ([`DeadReason::WebhookDeleted`]), at the latest when claims have passed its lane often enough; none of it is
/// ever claimed. What is enqueued for a webhook that the store does not know is recorded as dead the same way.
///
/// **Scopes.** An event never reaches a webhook of another scope, not even one that was registered under the id of a
/// removed one: what is enqueued for a webhook of another scope than the event's is recorded as dead as though the
/// webhook were deleted, and a replay to one is refused.
///
/// **Tests.** What goes to a webhook to try it out ([`Target::Test`]) waits in a lane of its own, one at a time, whether
/// or not the webhook is enabled, and does not count for how the webhook fares.
///
/// **Gone.** Settling an attempt that a receiver answered with `410 Gone` as [`Next::Gone`] disables the webhook in the
/// same commit, if it asked for that ([`AutoDisable::when_gone`](crate::delivery::AutoDisable)), is enabled, and was not
/// changed since the delivery was claimed. A test disables nothing.
///
/// # Errors
///
/// As the [module](super) says. A batch is carried out whole or not at all.
///
/// # Cancellation
///
/// Dropping a future gives up the answer, not the call. A `claim` whose answer is lost leaves deliveries
/// `sending` until their leases end.
///
/// # Example
///
/// [`MemoryStore`](super::MemoryStore) is the shortest. A store that forwards to another, as the example `custom_store`
/// does, implements every method: none has a default that a wrapper could forget.
#[async_trait]
pub trait DeliveryStore: Debug + Send + Sync + 'static {
    /// Takes in events with their deliveries, due at once, in one commit.
    ///
    /// Idempotent on (scope, event id): an event that is there already with the same
    /// [`fingerprint`](Event::fingerprint) is a [`Enqueued::Duplicate`] and adds nothing; with another
    /// fingerprint it is a [`Enqueued::Conflict`] and changes nothing. The answers are in the order of the
    /// events. Delivery ids rise in the order of the batch, and from one call to the next.
    async fn enqueue(&self, events: Vec<NewEvent>, now: DateTime<Utc>) -> Result<Vec<Enqueued>, StoreError>;

    /// Claims up to `request.max` deliveries that are due.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError>;

    /// Records what came of claimed deliveries, in one commit. The answers are in the order of the settlements.
    async fn settle(
        &self,
        settlements: Vec<Settlement>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError>;

    /// Gives claimed deliveries back that were not attempted: pending, due as before, nothing counted.
    async fn release(
        &self,
        claims: Vec<(DeliveryId, Fence)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Settled>, StoreError>;

    /// Places a hold. Whether it was not there already; one that is being lifted holds again, with what it has not yet
    /// let go.
    async fn hold(&self, key: HoldKey, now: DateTime<Utc>) -> Result<bool, StoreError>;

    /// Lifts a hold, and says which of what it has kept back is still sent. Whether there was one to lift; where it is being
    /// lifted already, nothing is changed.
    async fn lift(&self, key: &HoldKey, release: Release, now: DateTime<Utc>) -> Result<bool, StoreError>;

    /// The earliest instant at which a claim could return something that it cannot return now, leases that
    /// will end included: `now` or earlier if there is work already, `None` if there is nothing to wait for.
    /// It may be too early, never too late.
    async fn next_due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// Sets aside `count` numbers that no other call will get, and returns the first. They may have gaps.
    async fn reserve_numbers(&self, count: u32) -> Result<i64, StoreError>;

    /// Rings when something may have become due sooner than [`next_due`](Self::next_due) last said.
    fn wake(&self) -> &Wake;
}

/// An event with its deliveries.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// What happened.
    pub event: Arc<Event>,
    /// Where it goes. An event without any is recorded all the same, so that its id is taken.
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery to take in.
#[derive(Clone)]
pub struct NewDelivery {
    /// Where it goes.
    pub target: Target,
    /// The bytes to send, where they are not the event's own.
    pub body: Option<Bytes>,
}

impl fmt::Debug for NewDelivery {
    /// Of what may be personal or secret only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewDelivery")
            .field("target", &self.target)
            .field("body", &self.body.as_ref().map(Hidden))
            .finish()
    }
}

/// What became of an event that was to be enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// It is new. Its deliveries, in the order given.
    Fresh(Vec<DeliveryId>),
    /// It was there already. The deliveries it had then.
    Duplicate(Vec<DeliveryId>),
    /// Its id belongs to an event that differs.
    Conflict,
}

/// Who claims, how much, for how long.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// Who claims; for people who read the tables.
    pub holder: HolderName,
    /// The present.
    pub now: DateTime<Utc>,
    /// How long the claims hold. Longer than everything that is done under them.
    pub lease: Duration,
    /// How many at the most.
    pub max: usize,
}

/// A delivery in the hands of whoever claimed it.
#[derive(Clone)]
pub struct Claimed {
    /// Which one.
    pub id: DeliveryId,
    /// What to settle or release it with.
    pub fence: Fence,
    /// Attempts counted since it was enqueued or last replayed.
    pub attempts: u32,
    /// When the first of them was known to have failed.
    pub first_failure: Option<DateTime<Utc>>,
    /// Whether the last attempt was interrupted, so that nobody yet asked its schedule what follows.
    pub interrupted: bool,
    /// Since when its webhook has had nothing but failures; `None` for a call or a test.
    pub failing_since: Option<DateTime<Utc>>,
    /// When it was due.
    pub due: DateTime<Utc>,
    /// What happened.
    pub event: Arc<Event>,
    /// The bytes to send.
    pub body: Bytes,
    /// Where it goes.
    pub target: ClaimedTarget,
    /// The record that the target's `auth` names, as it is now; `None` if it names none, or none that the store
    /// knows.
    pub auth: Option<Arc<AuthRecord>>,
}

impl fmt::Debug for Claimed {
    /// Of what may be personal or secret only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claimed")
            .field("id", &self.id)
            .field("fence", &self.fence)
            .field("attempts", &self.attempts)
            .field("first_failure", &self.first_failure)
            .field("interrupted", &self.interrupted)
            .field("failing_since", &self.failing_since)
            .field("due", &self.due)
            .field("event", &self.event)
            .field("body", &Hidden(&self.body))
            .field("target", &self.target)
            .field("auth", &self.auth)
            .finish()
    }
}

/// Where a claimed delivery goes, as things stand.
#[derive(Debug, Clone)]
pub enum ClaimedTarget {
    /// A registered webhook.
    Webhook(Arc<Webhook>),
    /// A URL given with a call.
    Call(Arc<Call>),
    /// A registered webhook that is tried out.
    Test(Arc<Webhook>),
}

impl ClaimedTarget {
    /// The webhook it goes to, if it is one.
    pub fn webhook(&self) -> Option<&Arc<Webhook>> {
        match self {
            Self::Webhook(webhook) | Self::Test(webhook) => Some(webhook),
            Self::Call(_) => None,
        }
    }

    /// Whether it is there to try a webhook out.
    pub fn is_test(&self) -> bool {
        matches!(self, Self::Test(_))
    }

    /// Where to send.
    pub fn url(&self) -> &WebhookUrl {
        match self {
            Self::Webhook(webhook) | Self::Test(webhook) => &webhook.url,
            Self::Call(call) => &call.url,
        }
    }

    /// How to send.
    pub fn profile(&self) -> &ProfileName {
        match self {
            Self::Webhook(webhook) | Self::Test(webhook) => &webhook.profile,
            Self::Call(call) => &call.profile,
        }
    }

    /// How to prove who sends.
    pub fn auth(&self) -> Option<&AuthId> {
        match self {
            Self::Webhook(webhook) | Self::Test(webhook) => webhook.auth.as_ref(),
            Self::Call(call) => call.auth.as_ref(),
        }
    }

    /// Whether a failed delivery waits for a run, and is not tried again by the schedule.
    pub fn awaits_runs(&self) -> bool {
        match self {
            Self::Webhook(webhook) => webhook.runs_by().is_some(),
            Self::Call(_) | Self::Test(_) => false,
        }
    }

    /// Where its requests may go, if the registration says so itself.
    pub fn guard(&self) -> Option<&Arc<Guard>> {
        self.webhook().and_then(|webhook| webhook.guard.as_ref())
    }

    /// Whether its bodies are compressed.
    pub fn compression(&self) -> Compression {
        self.webhook()
            .map_or(Compression::None, |webhook| webhook.compression)
    }

    /// The deadline of an attempt, where the registration sets one.
    pub fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Webhook(webhook) | Self::Test(webhook) => webhook.deadline,
            Self::Call(_) => None,
        }
    }
}

/// What came of a claimed delivery.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// Which one.
    pub id: DeliveryId,
    /// The fence it was claimed with.
    pub fence: Fence,
    /// The attempt that was made; `None` if none was, and then none is counted.
    pub attempt: Option<AttemptReport>,
    /// What follows.
    pub next: Next,
    /// What it says of how fast the lane may go.
    pub pacing: Pacing,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It was accepted.
    Delivered,
    /// Another attempt, not before this instant.
    Retry(DateTime<Utc>),
    /// Another attempt in a run of its webhook's flusher. Where the webhook has none by now: at once.
    AwaitRun,
    /// It ends here: its schedule has no further attempt.
    Exhausted,
    /// It ends here: the receiver is gone for good.
    Gone,
}

impl Next {
    /// The state that the delivery goes to.
    pub fn state(self) -> State {
        match self {
            Next::Delivered => State::Delivered,
            Next::Retry(_) | Next::AwaitRun => State::Pending,
            Next::Exhausted => State::Dead(DeadReason::Exhausted),
            Next::Gone => State::Dead(DeadReason::Gone),
        }
    }
}

/// Whether a settlement or release took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It did.
    Done,
    /// The delivery is no longer held under that fence. Nothing was changed.
    LeaseLost,
}

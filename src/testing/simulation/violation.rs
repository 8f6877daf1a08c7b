//! What must never be seen.

use std::fmt;
use std::time::Duration;

/// A promise that a simulation watches over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Invariant {
    /// What was taken in is accepted by its receiver, or dead for a reason that holds.
    Lost,
    /// States change along [`TRANSITIONS`](crate::delivery::TRANSITIONS), and to what was asked for.
    IllegalTransition,
    /// Nothing is attempted earlier than its schedule lets it.
    SentBeforeDue,
    /// Who has lost a lease can change nothing.
    SettledAfterLostLease,
    /// A webhook's limit of requests in flight holds, and a worker's.
    OverLimitInFlight,
    /// A strict webhook is served one delivery at a time, in the order they were enqueued.
    OutOfStrictOrder,
    /// Once the faults have ceased, everything comes to its end.
    NotTerminating,
    /// While a lease holds, nobody else gets the delivery, and its holder can settle it.
    LeaseDisregarded,
    /// A request is over before the lease that it is made under.
    LeaseOutlived,
    /// Every attempt made or interrupted is counted once, in history too, and nothing else is.
    AttemptsMiscounted,
    /// A webhook's rate holds.
    RateExceeded,
    /// A lane is slowed by what its receiver cannot bear, and goes no faster than its pace.
    PaceIgnored,
    /// Nothing is sent again after it was accepted, unless a fault hid that it was.
    DuplicatedWithoutFault,
    /// An event reaches only webhooks of its scope, with its own bytes.
    ScopeLeaked,
    /// Webhooks take turns, and nothing that may go now is left waiting.
    Unfair,
    /// The engine disables a webhook for failing only if it has been failing all the time that its registration gives it.
    DisabledUnduly,
    /// Nothing new goes to a webhook that is disabled or removed.
    SentWhileOff,
    /// An event enqueued twice is sent once; another event under its id is refused.
    EnqueueMisjudged,
    /// What is acknowledged is stored.
    AcknowledgedNotStored,
    /// A worker that stops in peace leaves nothing behind under a lease.
    StoppedUncleanly,
    /// A flusher's run over a webhook has one delivery in flight at a time, and no two runs overlap.
    RunsOverlap,
    /// A run that was stopped takes nothing more, and the next one waits for its tick.
    RunWentOn,
    /// A run goes oldest first, and leaves out what comes during it.
    RunOutOfOrder,
    /// What is held is not sent while anything holds it.
    ReleasedEarly,
    /// What was held is sent or has expired as was asked when its hold was lifted, and is not held for ever.
    HeldLost,
    /// Each update that is recorded is in a notification, in time.
    UpdateLost,
    /// No update is in two notifications.
    UpdateRepeated,
    /// A notification has at most as many users as its digest allows.
    DigestOversized,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::Lost,
        Self::IllegalTransition,
        Self::SentBeforeDue,
        Self::SettledAfterLostLease,
        Self::OverLimitInFlight,
        Self::OutOfStrictOrder,
        Self::NotTerminating,
        Self::LeaseDisregarded,
        Self::LeaseOutlived,
        Self::AttemptsMiscounted,
        Self::RateExceeded,
        Self::PaceIgnored,
        Self::DuplicatedWithoutFault,
        Self::ScopeLeaked,
        Self::Unfair,
        Self::DisabledUnduly,
        Self::SentWhileOff,
        Self::EnqueueMisjudged,
        Self::AcknowledgedNotStored,
        Self::StoppedUncleanly,
        Self::RunsOverlap,
        Self::RunWentOn,
        Self::RunOutOfOrder,
        Self::ReleasedEarly,
        Self::HeldLost,
        Self::UpdateLost,
        Self::UpdateRepeated,
        Self::DigestOversized,
    ];

    /// What a breach of it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::IllegalTransition => "illegal transition",
            Self::SentBeforeDue => "sent before due",
            Self::SettledAfterLostLease => "settled after a lost lease",
            Self::OverLimitInFlight => "over a limit in flight",
            Self::OutOfStrictOrder => "out of strict order",
            Self::NotTerminating => "not terminating",
            Self::LeaseDisregarded => "lease disregarded",
            Self::LeaseOutlived => "lease outlived",
            Self::AttemptsMiscounted => "attempts miscounted",
            Self::RateExceeded => "rate exceeded",
            Self::PaceIgnored => "pace ignored",
            Self::DuplicatedWithoutFault => "duplicated without a fault",
            Self::ScopeLeaked => "scope leaked",
            Self::Unfair => "unfair",
            Self::DisabledUnduly => "disabled unduly",
            Self::SentWhileOff => "sent while off",
            Self::EnqueueMisjudged => "enqueue misjudged",
            Self::AcknowledgedNotStored => "acknowledged, not stored",
            Self::StoppedUncleanly => "stopped uncleanly",
            Self::RunsOverlap => "runs overlap",
            Self::RunWentOn => "run went on after its stop",
            Self::RunOutOfOrder => "run out of order",
            Self::ReleasedEarly => "hold released early",
            Self::HeldLost => "held, lost",
            Self::UpdateLost => "update in no window",
            Self::UpdateRepeated => "update in two windows",
            Self::DigestOversized => "digest over its size",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The seed to see it again with.
    pub seed: u64,
    /// How much simulated time had passed.
    pub after: Duration,
    /// Which promise.
    pub invariant: Invariant,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            after,
            invariant,
            seen,
        } = self;
        write!(
            f,
            "{invariant}: {seen} (seed {seed}, after {:.3} s)",
            after.as_secs_f64()
        )
    }
}

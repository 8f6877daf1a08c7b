//! Stores that break one promise each.
//!
//! A suite that passes everything proves nothing. These stores are known to be broken, each in one clause of its
//! contract; a suite or simulation is good if it finds every one of them.
//!
//! ```
//! use std::sync::Arc;
//! use ringback::store::MemoryStore;
//! use ringback::testing::{conformance, mutants::Mutant};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let store = Mutant::FenceIgnored.wrap(Arc::new(MemoryStore::new()));
//! let broken = conformance::store::leases::a_late_settlement_changes_nothing(&store).await;
//! assert!(broken.is_err());
//! # });
//! ```

mod digests;
mod intake;
mod lanes;
mod notes;
mod store;
mod tasks;
mod webhooks;

use std::fmt;
use std::sync::Arc;

pub use self::store::MutantStore;
use crate::store::Store;

macro_rules! mutants {
    ($($(#[$doc:meta])+ $mutant:ident = $name:literal,)+) => {
        /// What is broken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Mutant {
            $($(#[$doc])+ $mutant,)+
        }

        impl Mutant {
            /// Every mutant there is.
            pub const ALL: &[Self] = &[$(Self::$mutant),+];

            /// Its name, for command lines and reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$mutant => $name),+
                }
            }
        }
    };
}

mutants! {
    /// Settles and releases whatever fence it is given.
    FenceIgnored = "fence-ignored",
    /// Gives out the same fence at every claim, so that a late holder cannot be told from the present one.
    FenceStuck = "fence-stuck",
    /// Answers a late settlement as if it had taken effect.
    LateSettlementAnsweredDone = "late-settlement-answered-done",
    /// Gives one delivery to two holders.
    ClaimedTwice = "claimed-twice",
    /// Records outcomes without their attempts.
    HistoryLost = "history-lost",
    /// Lets an attempt whose lease ended go uncounted.
    InterruptionUncounted = "interruption-uncounted",
    /// Does not say that the last attempt was interrupted.
    InterruptionUnmarked = "interruption-unmarked",
    /// Makes a retry due at once.
    RetryBeforeDue = "retry-before-due",
    /// Ends leases after half their time.
    LeaseShortened = "lease-shortened",
    /// Acknowledges its first deliveries and forgets them.
    AcknowledgedBeforeStored = "acknowledged-before-stored",
    /// Sends a duplicate once more.
    DuplicateSentAgain = "duplicate-sent-again",
    /// Takes an event whose id belongs to another for a new one.
    ConflictAccepted = "conflict-accepted",
    /// Takes bodies for UTF-8 text.
    BodyAsText = "body-as-text",
    /// Serves whichever delivery is oldest, so that a lane with many waiting keeps the others.
    TurnsDropped = "turns-dropped",
    /// Ignores a webhook's limit of requests in flight.
    InFlightLimitIgnored = "in-flight-limit-ignored",
    /// Ignores a webhook's strict order.
    StrictOrderIgnored = "strict-order-ignored",
    /// Ignores a webhook's rate.
    RateIgnored = "rate-ignored",
    /// Slows nothing down, whatever a receiver bears.
    PaceIgnored = "pace-ignored",
    /// Pauses for nothing.
    PausesIgnored = "pauses-ignored",
    /// Leaves a lane that was slowed as it is.
    PaceNeverWonBack = "pace-never-won-back",
    /// Sends for webhooks that are disabled.
    SwitchIgnored = "switch-ignored",
    /// Goes by the limits a webhook had when it was first saved.
    LimitsFrozen = "limits-frozen",
    /// Tries everything that awaits a run again after the same time.
    RunsAtOnce = "runs-at-once",
    /// Goes on with a run whatever comes of it.
    RunNeverStops = "run-never-stops",
    /// Starts runs as soon as there is something for them.
    RunsTooOften = "runs-too-often",
    /// Keeps nothing back.
    HoldIgnored = "hold-ignored",
    /// Lets everything expire that was kept back.
    HoldExpires = "hold-expires",
    /// Keeps everything back for ever.
    HoldNeverLifted = "hold-never-lifted",
    /// Sends everything that was kept back, whatever was to be left out.
    ReleaseIgnored = "release-ignored",
    /// Goes on sending for deleted webhooks.
    DeletedStillSent = "deleted-still-sent",
    /// Moves a webhook to another scope.
    WebhookMoved = "webhook-moved",
    /// Delivers what is enqueued for a webhook of another scope.
    ScopeUnchecked = "scope-unchecked",
    /// Lets what tries a webhook out wait among what waits for it.
    TestAmongOthers = "test-among-others",
    /// Takes a webhook for failing that once was.
    FailingSinceKeptAfterSuccess = "failing-since-kept-after-success",
    /// Disables a webhook for failing whether or not it still is.
    DisableIgnoresRace = "disable-ignores-race",
    /// Forgets what waits for a webhook that it disables for failing.
    DisablingForgets = "disabling-forgets",
    /// Leaves a webhook enabled whose receiver is gone.
    GoneIgnored = "gone-ignored",
    /// Begins every page of a list at the beginning.
    PagesRepeated = "pages-repeated",
    /// Replaces a webhook whatever it has become.
    WebhookReplacedBlindly = "webhook-replaced-blindly",
    /// Has claims go by the limits of a webhook that was replaced.
    ReplacedInNameOnly = "replaced-in-name-only",
    /// Replaces an auth record whatever it has become.
    AuthReplacedBlindly = "auth-replaced-blindly",
    /// Forgets which webhooks name an auth record.
    AuthUsersForgotten = "auth-users-forgotten",
    /// Counts a release as an attempt.
    ReleaseCounted = "release-counted",
    /// Counts on after a replay.
    ReplayKeepsCount = "replay-keeps-count",
    /// Replays what was delivered together with what is dead.
    ReplayDeadTakesDelivered = "replay-dead-takes-delivered",
    /// Begins each page with the last entry of the one before.
    PageRepeats = "page-repeats",
    /// Leaves out an attempt between two pages.
    PageSkips = "page-skips",
    /// Shows attempts whatever came of them.
    OutcomeFilterIgnored = "outcome-filter-ignored",
    /// Counts attempts that were interrupted against the receiver's health.
    HealthCountsInterrupted = "health-counts-interrupted",
    /// Removes what waits, if it has waited for long.
    PurgeTakesPending = "purge-takes-pending",
    /// Removes bodies as soon as they are delivered.
    BodyPurgeTooEarly = "body-purge-too-early",
    /// Removes all that is over at once, whatever it is told.
    HistoryPurgeUnbounded = "history-purge-unbounded",
    /// Never removes what is over.
    HistoryPurgeForgotten = "history-purge-forgotten",
    /// Says that the next delivery is due an hour after it is.
    NextDueLate = "next-due-late",
    /// Never rings.
    BellSilent = "bell-silent",
    /// Gives numbers out more than once.
    NumbersRepeated = "numbers-repeated",
    /// Acknowledges every fifth update and forgets it.
    UpdateForgotten = "update-forgotten",
    /// Puts an update into its window and into the next one as well.
    UpdateInTwoWindows = "update-in-two-windows",
    /// Counts updates of one user as one.
    UpdatesUncounted = "updates-uncounted",
    /// Lets what comes late into a window that was sealed.
    SealedWindowReopened = "sealed-window-reopened",
    /// Seals windows a minute before their end.
    SealedEarly = "sealed-early",
    /// Gathers the updates of all scopes together.
    DigestScopesMixed = "digest-scopes-mixed",
    /// Gives out more users than a chunk may have.
    ChunkTooLarge = "chunk-too-large",
    /// Removes a chunk's users without enqueueing their notification.
    ChunkWithoutNotification = "chunk-without-notification",
    /// Enqueues a chunk's notification and leaves its users in the window.
    ChunkLeftBehind = "chunk-left-behind",
    /// Enqueues the notification of whoever takes a chunk that is taken already.
    ChunkTakenTwice = "chunk-taken-twice",
    /// Says that the next window ends an hour after it does.
    WindowEndLate = "window-end-late",
    /// Submits a batch the other way round.
    SubmissionsReversed = "submissions-reversed",
    /// Takes a submission in without its deliveries.
    SubmissionForgotten = "submission-forgotten",
    /// Enqueues what was submitted and leaves it where it was.
    SubmissionLeftBehind = "submission-left-behind",
    /// Enqueues for whoever takes in what is taken in already.
    SubmissionTakenTwice = "submission-taken-twice",
    /// Removes what cannot be enqueued.
    SetAsideForgotten = "set-aside-forgotten",
    /// Stores a task's end without its callback.
    CallbackForgotten = "callback-forgotten",
    /// Finishes a task whatever fence it is given.
    TaskFenceIgnored = "task-fence-ignored",
    /// Gives one task to two runners.
    TaskClaimedTwice = "task-claimed-twice",
    /// Lets a task be retried at once, whatever it is to wait.
    TaskRetriedAtOnce = "task-retried-at-once",
    /// Does not count a task's failures.
    TaskFailureUncounted = "task-failure-uncounted",
    /// Does not count how often a task's runner died.
    TaskInterruptionUncounted = "task-interruption-uncounted",
    /// Notes progress whatever fence it is given.
    ProgressFromAnyone = "progress-from-anyone",
    /// Answers a cancellation as if it had taken effect.
    CancellationIgnored = "cancellation-ignored",
    /// Takes results away as soon as there are some.
    ResultsPurgedEarly = "results-purged-early",
    /// Purges everything in one step.
    PurgeUnbounded = "purge-unbounded",
    /// Forgets that a message was handled.
    SeenForgotten = "seen-forgotten",
    /// Lets every copy of a message be handled at the same time.
    SeenAtOnce = "seen-at-once",
    /// Never lets a message be handled whose first handler died.
    SeenNeverTakenOver = "seen-never-taken-over",
}

impl Mutant {
    /// The mutant of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }

    /// Breaks this store.
    pub fn wrap(self, store: Arc<dyn Store>) -> MutantStore {
        MutantStore::new(self, store)
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

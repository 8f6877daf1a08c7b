//! One event on its way to one webhook: the words, the states and the rules, without any machinery.
//!
//! An [`Event`] happens in a [`Scope`](crate::id::Scope). Every [`Webhook`] of that scope whose
//! [`EventPattern`]s match gets a *delivery* of it; so does a URL that was given with a call ([`Call`]). A
//! delivery makes *attempts*, one HTTP exchange each, until one is accepted or its schedule ends. What may
//! follow what is the [`TRANSITIONS`] table; which delivery goes next is decided lane by lane ([`Lane`], [`Pace`],
//! [`Runs`]); and how a provider sends is its [`Profile`]. Updates that are not worth a delivery each are gathered into a
//! [`Digest`]. What was attempted is looked up with a [`HistoryQuery`], how well that went is a webhook's [`Health`], and
//! how long it is kept is the [`Retention`].

mod attempt;
mod auto_disable;
mod compression;
mod digest;
mod event;
mod health;
mod history;
mod lane;
mod pace;
mod profile;
mod retention;
mod runs;
mod state;
mod webhook;

pub use attempt::{Attempt, AttemptReport, Outcome, RequestId, RequestIdError, SendFailure};
pub use auto_disable::{AutoDisable, DisableReason, Disabled, FailingVerdict, failing_since};
pub use compression::Compression;
pub use digest::{Digest, DigestEntry, DigestForm, Interval, IntervalError, Window};
pub use event::{Event, EventBuilder, EventError, Fingerprint};
pub(crate) use health::minute_of;
pub use health::{Health, HealthLimits, HealthWarning};
pub(crate) use history::recorded_at;
pub use history::{
    Cursor, CursorError, Direction, HistoryEntry, HistoryPage, HistoryQuery, LONGEST_PAGE, OutcomeClass,
    PagePosition, Walk, Walked,
};
pub(crate) use lane::CLOCK_SKEW;
pub(crate) use lane::LaneRules;
pub use lane::{Lane, LaneKey, Limits, Order, Rate};
pub use pace::{Pace, Pacing};
pub use profile::{Ids, PlainProfile, Profile, Profiles, RenderError};
pub use retention::Retention;
pub use runs::{RunWindow, Runs};
pub use state::{Before, DeadReason, IllegalTransition, State, TRANSITIONS, Transition, UnknownReason};
pub use webhook::{Call, EventPattern, PatternError, Target, Webhook};

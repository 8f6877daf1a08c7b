//! The intake: events that applications hand over in transactions of their own.

use std::fmt::{self, Debug};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{NewEvent, StoreError, Wake};
use crate::delivery::Event;
use crate::id::{DeliveryId, EventId, Scope};

/// Keeps events that were handed over, until a worker takes them in.
///
/// An application that changes its own data and tells of it wants both or neither. So the event is written into the
/// database in the very transaction that changes the data: a *submission*. If that is rolled back, there never was one. Once
/// it is committed, a worker (`engine::Worker`) finds the webhooks that want the event, renders it for each, and enqueues it
/// in one commit with taking the submission away. What happens in between is nobody's loss: the submission is still there.
///
/// Writing one takes no lock that a worker wants, however long the transaction goes on. Where the transaction is the
/// application's, the submission is written by a method of the store that is in that database: `PostgresStore::submit_in`,
/// `SqliteStore::submit_in`, or, from any client, the SQL function that `PostgresStore` installs.
///
/// # Contract
///
/// **Order.** Submissions come in the order in which they were submitted. Of several transactions under way at the same
/// time, one that commits later may have been earlier.
///
/// **Once.** Taking a submission in is one commit: its event is enqueued, as
/// [`DeliveryStore::enqueue`](super::DeliveryStore::enqueue) does it, and it is gone. One that is not there any more, or was
/// set aside, is answered with [`TakenIn::Gone`], and nothing is enqueued for it. Numbers are never given out again.
///
/// **Set aside.** What cannot be enqueued, whose submitter has gone by now, is neither lost nor in the way: it is not
/// [given out](Self::submissions) any more, and kept until it is [discarded](Self::discard).
///
/// # Errors
///
/// As the [module](super) says. A batch is carried out whole or not at all.
///
/// # Cancellation
///
/// Dropping a future gives up the answer, not the call.
#[async_trait]
pub trait IntakeStore: Debug + Send + Sync + 'static {
    /// Submits events in a commit of their own, in that order. Whether their ids are free, nobody asks yet.
    async fn submit(&self, events: Vec<Event>) -> Result<(), StoreError>;

    /// The first `max` submissions that are to be taken in, from after that one on.
    async fn submissions(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<Submission>, StoreError>;

    /// Takes submissions in. The answers are in their order.
    async fn take_in(&self, taking: Vec<TakeIn>, now: DateTime<Utc>) -> Result<Vec<TakenIn>, StoreError>;

    /// Up to `max` of those that were set aside, from after that one on, and why they were.
    async fn set_aside(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<(Submission, SetAside)>, StoreError>;

    /// Removes one that was set aside, once somebody has looked at it. Whether it was there.
    async fn discard(&self, number: SubmissionNo) -> Result<bool, StoreError>;

    /// Rings when something was submitted. Of what was submitted in an application's transaction, a store may not hear;
    /// then the application can ring once that is committed.
    fn intake_wake(&self) -> &Wake;
}

/// Names a submission. It is never given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubmissionNo(pub i64);

impl fmt::Display for SubmissionNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An event that was handed over.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Which one.
    pub number: SubmissionNo,
    /// The event's scope.
    pub scope: Scope,
    /// The event's id.
    pub id: EventId,
    /// The event; `None` if it cannot be read.
    pub event: Option<Event>,
}

/// A submission to take in.
#[derive(Debug, Clone)]
pub struct TakeIn {
    /// Which one.
    pub number: SubmissionNo,
    /// Its event, with the deliveries that are to be made of it; `None` to set it aside, since they cannot be made.
    pub event: Option<NewEvent>,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakenIn {
    /// Its event is enqueued. Its deliveries, in the order given.
    Fresh(Vec<DeliveryId>),
    /// Its event had been enqueued before.
    Duplicate,
    /// It is kept, and not given out any more.
    SetAside(SetAside),
    /// It was taken in, or set aside, by somebody else.
    Gone,
}

/// Why a submission was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetAside {
    /// Its id belongs to an event of that scope that differs.
    Conflict,
    /// Its event cannot be read, or the profile of a webhook cannot send it, or panicked over it.
    Unusable,
}

impl SetAside {
    /// Every reason there is.
    pub const ALL: [Self; 2] = [Self::Conflict, Self::Unusable];

    /// The reason that this is the word for.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// The word for it in tables and logs: `conflict`, `unusable`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Unusable => "unusable",
        }
    }
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "another event has its id",
            Self::Unusable => "it cannot be used",
        })
    }
}

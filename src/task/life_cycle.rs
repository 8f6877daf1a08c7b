use std::fmt::Debug;

use chrono::{DateTime, Utc};
use thiserror::Error;

/// What may follow what, as a table.
///
/// A status is reported by someone else, over a network that loses, repeats and reorders. So a report is
/// never refused for having skipped steps, and never trusted to undo an end.
///
/// # Contract
///
/// `STEPS` holds each documented step, none of them out of a terminal status. The failures need not be in it:
/// a failure may follow any status that is not terminal.
///
/// ```
/// use ringback::task::{LifeCycle, Step};
///
/// #[derive(Debug, Clone, PartialEq, Eq)]
/// enum Light { Red, Green, Broken }
///
/// impl LifeCycle for Light {
///     const STEPS: &'static [(Self, Self)] = &[(Light::Red, Light::Green), (Light::Green, Light::Red)];
///
///     fn is_terminal(&self) -> bool {
///         *self == Light::Broken
///     }
///
///     fn is_failure(&self) -> bool {
///         *self == Light::Broken
///     }
///
///     fn is_listed(&self) -> bool {
///         true
///     }
/// }
///
/// assert_eq!(Light::Red.step_to(&Light::Broken), Step::Documented);
/// assert!(!Light::Broken.may_become(&Light::Red));
/// ```
pub trait LifeCycle: Debug + Clone + Eq + 'static {
    /// The documented steps, each from one status to the next.
    const STEPS: &'static [(Self, Self)];

    /// Whether nothing follows.
    fn is_terminal(&self) -> bool;

    /// Whether this is an end that may be reached from any status that is not terminal.
    fn is_failure(&self) -> bool;

    /// Whether the documents list this status.
    fn is_listed(&self) -> bool;

    /// The status that this one is another spelling of; itself, unless there are several.
    fn canonical(&self) -> Self {
        self.clone()
    }

    /// What it means that `next` is reported after this status.
    fn step_to(&self, next: &Self) -> Step {
        let (from, to) = (self.canonical(), next.canonical());
        if from == to {
            Step::Repeated
        } else if from.is_terminal() {
            Step::Irregular(Irregularity::LeavesTerminal)
        } else if !from.is_listed() || !to.is_listed() {
            Step::Unlisted
        } else if to.is_failure() || Self::STEPS.contains(&(from.clone(), to.clone())) {
            Step::Documented
        } else if leads_to(Self::STEPS, &from, &to) {
            Step::Skipping
        } else {
            Step::Irregular(Irregularity::OffPath)
        }
    }

    /// Whether `next` follows this status, directly or with steps between: the rule for who moves a task
    /// along, rather than hears of it.
    fn may_become(&self, next: &Self) -> bool {
        matches!(self.step_to(next), Step::Documented | Step::Skipping)
    }

    /// Whether somebody who waits for `awaited` still can, seen from this status.
    ///
    /// ```
    /// use ringback::task::{LifeCycle, Outlook, TaskStatus};
    ///
    /// assert_eq!(TaskStatus::Queued.outlook(&TaskStatus::Running), Outlook::Ahead);
    /// assert_eq!(TaskStatus::Succeeded.outlook(&TaskStatus::Running), Outlook::Passed);
    /// assert_eq!(TaskStatus::Failed.outlook(&TaskStatus::Succeeded), Outlook::Missed);
    /// ```
    fn outlook(&self, awaited: &Self) -> Outlook {
        match self.step_to(awaited) {
            Step::Repeated => Outlook::Reached,
            // What nobody has listed can lead anywhere.
            Step::Documented | Step::Skipping | Step::Unlisted => Outlook::Ahead,
            Step::Irregular(_) if !self.is_failure() && awaited.may_become(self) => Outlook::Passed,
            Step::Irregular(_) => Outlook::Missed,
        }
    }

    /// Moves to `next`.
    ///
    /// # Errors
    ///
    /// [`IllegalStep`] unless [`LifeCycle::may_become`] allows it.
    fn advance(&self, next: Self) -> Result<Self, IllegalStep<Self>> {
        if self.may_become(&next) {
            Ok(next)
        } else {
            Err(IllegalStep {
                from: self.clone(),
                to: next,
            })
        }
    }
}

/// Whether a path of steps leads from one status to another.
fn leads_to<S: LifeCycle>(steps: &[(S, S)], from: &S, to: &S) -> bool {
    let mut reached = vec![from];
    let mut next = 0;
    while let Some(&status) = reached.get(next) {
        if status == to {
            return true;
        }
        for (_, after) in steps.iter().filter(|(before, _)| before == status) {
            if !reached.contains(&after) {
                reached.push(after);
            }
        }
        next += 1;
    }
    false
}

/// What a newly reported status is, seen from the one known so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The same status again.
    Repeated,
    /// A step of the table, or a failure.
    Documented,
    /// Several steps of the table at once: reports in between were lost, or are still to come.
    Skipping,
    /// From or to a status that the documents do not list, so nothing can be said against it.
    Unlisted,
    /// Against the documents. It is reported, and changes nothing.
    Irregular(Irregularity),
}

/// What can be expected of a status that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// It is the present one.
    Reached,
    /// The present one comes after it: the report of it was lost, or is still to come. It is not said of failures,
    /// which may come after anything.
    Passed,
    /// It may still come.
    Ahead,
    /// It cannot come any more.
    Missed,
}

/// In what way a step is against the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Irregularity {
    /// Something follows a terminal status.
    #[error("a terminal status was left")]
    LeavesTerminal,
    /// The status goes back, or over to another branch.
    #[error("no documented path leads there")]
    OffPath,
}

/// A step that the life cycle has no place for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{from:?} may not become {to:?}")]
pub struct IllegalStep<S: Debug> {
    /// The status as it is.
    pub from: S,
    /// The status asked for.
    pub to: S,
}

/// The status of one thing as far as reports tell, in whatever order they come.
///
/// ```
/// use chrono::{TimeDelta, Utc, DateTime};
/// use ringback::task::{Irregularity, Observation, Progress, Step, TaskStatus};
///
/// let start = DateTime::<Utc>::UNIX_EPOCH;
/// let at = |seconds| Some(start + TimeDelta::seconds(seconds));
/// let mut task = Progress::new(TaskStatus::Queued, at(0));
///
/// assert_eq!(task.observe(TaskStatus::Succeeded, at(20)), Observation::Taken(Step::Skipping));
/// assert_eq!(task.observe(TaskStatus::Running, at(10)), Observation::Stale);
/// assert_eq!(
///     task.observe(TaskStatus::Running, at(30)),
///     Observation::Irregular(Irregularity::LeavesTerminal),
/// );
/// assert_eq!(task.status(), &TaskStatus::Succeeded);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress<S> {
    status: S,
    at: Option<DateTime<Utc>>,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// It is the status now.
    Taken(Step),
    /// It is older than the one known, and changed nothing.
    Stale,
    /// It contradicts the one known, and changed nothing.
    Irregular(Irregularity),
}

impl<S: LifeCycle> Progress<S> {
    /// The first report, and when what it reports happened, if that is known.
    pub fn new(status: S, at: Option<DateTime<Utc>>) -> Self {
        Self { status, at }
    }

    /// The status, as last taken.
    pub fn status(&self) -> &S {
        &self.status
    }

    /// When that happened, if any report said so.
    pub fn at(&self) -> Option<DateTime<Utc>> {
        self.at
    }

    /// Takes a report, if it is neither older than the last nor against the documents. Where either has no
    /// time, the steps alone decide.
    pub fn observe(&mut self, status: S, at: Option<DateTime<Utc>>) -> Observation {
        if at.zip(self.at).is_some_and(|(new, known)| new < known) {
            return Observation::Stale;
        }
        match self.status.step_to(&status) {
            Step::Irregular(why) => Observation::Irregular(why),
            step => {
                self.status = status;
                self.at = at.or(self.at);
                Observation::Taken(step)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskStatus;

    #[test]
    fn loops_in_a_table_end() {
        let steps = [
            (TaskStatus::Queued, TaskStatus::Running),
            (TaskStatus::Running, TaskStatus::Queued),
        ];
        assert!(!leads_to(&steps, &TaskStatus::Queued, &TaskStatus::Failed));
        assert!(leads_to(&steps, &TaskStatus::Running, &TaskStatus::Queued));
    }

    #[test]
    fn a_report_without_a_time_keeps_the_time_known() {
        let known = Some(DateTime::<Utc>::UNIX_EPOCH);
        let mut task = Progress::new(TaskStatus::Queued, known);
        assert_eq!(
            task.observe(TaskStatus::Running, None),
            Observation::Taken(Step::Documented)
        );
        assert_eq!(task.at(), known);
    }
}

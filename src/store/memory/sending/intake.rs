//! Submissions.

use std::collections::BTreeMap;
use std::ops::Bound;

use chrono::{DateTime, Utc};

use super::book::Book;
use crate::delivery::Event;
use crate::store::{Enqueued, SetAside, Submission, SubmissionNo, TakeIn, TakenIn};

#[derive(Default)]
pub(super) struct Intake {
    waiting: BTreeMap<SubmissionNo, Event>,
    set_aside: BTreeMap<SubmissionNo, (Event, SetAside)>,
    last: i64,
}

impl Intake {
    pub(super) fn submit(&mut self, event: Event) {
        self.last += 1;
        self.waiting.insert(SubmissionNo(self.last), event);
    }

    pub(super) fn submissions(&self, after: Option<SubmissionNo>, max: usize) -> Vec<Submission> {
        let following = self.waiting.range(behind(after)).take(max);
        following
            .map(|(number, event)| submission(*number, event))
            .collect()
    }

    pub(super) fn take_in(&mut self, taking: TakeIn, book: &mut Book, now: DateTime<Utc>) -> TakenIn {
        let Some(submitted) = self.waiting.remove(&taking.number) else {
            return TakenIn::Gone;
        };
        let why = match taking.event.map(|event| book.enqueue(event.into(), now)) {
            Some(Enqueued::Fresh(deliveries)) => return TakenIn::Fresh(deliveries),
            Some(Enqueued::Duplicate(_)) => return TakenIn::Duplicate,
            Some(Enqueued::Conflict) => SetAside::Conflict,
            None => SetAside::Unusable,
        };
        self.set_aside.insert(taking.number, (submitted, why));
        TakenIn::SetAside(why)
    }

    pub(super) fn set_aside(&self, after: Option<SubmissionNo>, max: usize) -> Vec<(Submission, SetAside)> {
        let following = self.set_aside.range(behind(after)).take(max);
        following
            .map(|(number, (event, why))| (submission(*number, event), *why))
            .collect()
    }

    pub(super) fn discard(&mut self, number: SubmissionNo) -> bool {
        self.set_aside.remove(&number).is_some()
    }
}

fn behind(after: Option<SubmissionNo>) -> (Bound<SubmissionNo>, Bound<SubmissionNo>) {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    (start, Bound::Unbounded)
}

fn submission(number: SubmissionNo, event: &Event) -> Submission {
    Submission {
        number,
        scope: event.scope().clone(),
        id: event.id().clone(),
        event: Some(event.clone()),
    }
}

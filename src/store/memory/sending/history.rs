//! What was attempted, and how well that went.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::book::Book;
use super::row::Row;
use crate::delivery::{
    Attempt, AttemptReport, Health, HistoryEntry, HistoryPage, HistoryQuery, State, Walked, minute_of,
    recorded_at,
};
use crate::id::{DeliveryId, WebhookId};

/// How many attempts are looked at for one page.
const LOOKS: usize = 10_000;

/// An attempt's position in the order in which they were recorded.
pub(super) type Seq = i64;

/// Which attempts of a delivery are kept, in order. It is seldom more than one, which takes nothing from the heap.
#[derive(Default)]
pub(super) struct Kept {
    first: Option<Seq>,
    more: Vec<Seq>,
}

impl Kept {
    fn push(&mut self, seq: Seq) {
        match self.first {
            None => self.first = Some(seq),
            Some(_) => self.more.push(seq),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Seq> {
        self.first.iter().chain(&self.more)
    }

    pub(super) fn remove(&mut self, seq: Seq) {
        self.more.retain(|kept| *kept != seq);
        if self.first == Some(seq) {
            self.first = (!self.more.is_empty()).then(|| self.more.remove(0));
        }
    }

    pub(super) fn pop(&mut self) -> Option<Seq> {
        self.more.pop().or_else(|| self.first.take())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

#[derive(Default)]
pub(super) struct Log {
    pub(super) records: BTreeMap<Seq, Record>,
    last: Seq,
    last_recorded: Option<DateTime<Utc>>,
    /// By minute and webhook.
    pub(super) figures: BTreeMap<(i64, WebhookId), Health>,
}

pub(super) struct Record {
    attempt: Attempt,
    pub(super) recorded_at: DateTime<Utc>,
    accepted: bool,
    retry_at: Option<DateTime<Utc>>,
}

impl Book {
    /// Counts an attempt of a delivery that has come to the state to which it led, and keeps it.
    pub(super) fn record(&mut self, id: DeliveryId, report: AttemptReport, now: DateTime<Utc>) {
        let (Some(row), log) = (self.rows.get_mut(&id), &mut self.log) else {
            return;
        };
        row.attempts = row.attempts.saturating_add(1);
        row.attempted = row.attempted.saturating_add(1);
        let recorded_at = recorded_at(now, log.last_recorded);
        log.last += 1;
        log.last_recorded = Some(recorded_at);
        row.history.push(log.last);
        let accepted = row.state == State::Delivered;
        if let Some(webhook) = row.served_webhook() {
            let mut health = Health::default();
            health.count(report.outcome, report.duration, accepted);
            if health.attempts > 0 {
                let figures = log.figures.entry((minute_of(recorded_at), webhook.clone()));
                figures.or_default().add(&health);
            }
        }
        let record = Record {
            attempt: Attempt {
                delivery: id,
                number: row.attempted,
                report,
            },
            recorded_at,
            accepted,
            retry_at: (!row.state.is_final()).then_some(row.due),
        };
        log.records.insert(log.last, record);
    }

    pub(super) fn attempts(&self, id: DeliveryId) -> Vec<Attempt> {
        let history = self.rows.get(&id).into_iter().flat_map(|row| row.history.iter());
        history
            .filter_map(|seq| self.log.records.get(seq))
            .map(|record| record.attempt.clone())
            .collect()
    }

    pub(super) fn history(&self, query: &HistoryQuery) -> HistoryPage {
        let walk = query.walk(self.log.last);
        if walk.ascends {
            let beyond = self.log.records.range(walk.from.saturating_add(1)..);
            let all = Walked {
                to: self.log.last,
                has_more: false,
            };
            let (entries, walked) = self.page(query, beyond, |seq| seq, all);
            query.page_of(walk, entries, walked)
        } else {
            let below = self.log.records.range(..=walk.from).rev();
            let all = Walked {
                to: 0,
                has_more: false,
            };
            let (entries, walked) = self.page(query, below, |seq| seq - 1, all);
            query.page_of(walk, entries, walked)
        }
    }

    /// Goes through records until the page is full or enough have been looked at. `beyond` is the place beyond one that
    /// was looked at, `all` says where it ends if none is left.
    fn page<'r>(
        &self,
        query: &HistoryQuery,
        records: impl Iterator<Item = (&'r Seq, &'r Record)>,
        beyond: impl Fn(Seq) -> Seq,
        all: Walked,
    ) -> (Vec<HistoryEntry>, Walked) {
        let mut entries = Vec::new();
        for (looked, (seq, record)) in (1..).zip(records) {
            let row = self.rows.get(&record.attempt.delivery);
            entries.extend(
                row.filter(|row| record.passes(query, row))
                    .map(|row| record.show(query, row)),
            );
            if entries.len() == query.page_length() || looked == LOOKS {
                let walked = Walked {
                    to: beyond(*seq),
                    has_more: true,
                };
                return (entries, walked);
            }
        }
        (entries, all)
    }

    pub(super) fn health(&self, webhook: &WebhookId, since: DateTime<Utc>, now: DateTime<Utc>) -> Health {
        let mut health = Health::default();
        let minutes = minute_of(since)..=minute_of(now);
        for ((minute, whose), figures) in &self.log.figures {
            if minutes.contains(minute) && whose == webhook {
                health.add(figures);
            }
        }
        health
    }
}

impl Record {
    pub(super) fn delivery(&self) -> DeliveryId {
        self.attempt.delivery
    }

    fn passes(&self, query: &HistoryQuery, row: &Row) -> bool {
        query
            .webhook
            .as_ref()
            .is_none_or(|webhook| row.webhook() == Some(webhook))
            && query
                .scope
                .as_ref()
                .is_none_or(|scope| scope == row.event.scope())
            && query.kind.as_ref().is_none_or(|kind| kind == row.event.kind())
            && query
                .outcome
                .is_none_or(|class| class.contains(self.attempt.report.outcome))
            && query.delivery.is_none_or(|id| id == self.attempt.delivery)
            && query.covers(self.recorded_at)
    }

    fn show(&self, query: &HistoryQuery, row: &Row) -> HistoryEntry {
        HistoryEntry {
            attempt: self.attempt.clone(),
            recorded_at: self.recorded_at,
            accepted: self.accepted,
            retry_at: self.retry_at,
            scope: row.event.scope().clone(),
            event: row.event.id().clone(),
            kind: row.event.kind().clone(),
            subject: row.event.subject().cloned(),
            target: row.target(),
            body: row.kept_body().filter(|_| query.bodies),
        }
    }
}

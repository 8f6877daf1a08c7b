//! Updates, and the notifications that tell of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Book;
use crate::delivery::Event;
use crate::id::{Scope, Subject};
use crate::store::Update;
use crate::testing::simulation::violation::Invariant;

/// What is known of the updates of each user.
#[derive(Default)]
pub(super) struct Updates(BTreeMap<(Scope, Subject), Counts>);

#[derive(Default)]
struct Counts {
    /// Taken in by the store, whether its answer was heard or not.
    recorded: u64,
    /// Recorded as far as the application knows.
    acknowledged: u64,
    /// In notifications.
    told: u64,
}

/// What a notification says, as these worlds write it.
#[derive(Deserialize)]
struct Notification {
    users: Vec<(String, u64)>,
}

impl Book {
    pub(in super::super) fn updates_recorded(&mut self, updates: &[Update]) {
        for update in updates {
            self.log(|| format!("record an update of {}/{}", update.scope, update.subject));
            self.counts(&update.scope, &update.subject).recorded += 1;
        }
    }

    /// The application was told that updates of these users are recorded.
    pub(in super::super) fn updates_acknowledged(&mut self, scope: &Scope, subjects: &[Subject]) {
        for subject in subjects {
            let counts = self.counts(scope, subject);
            counts.acknowledged += 1;
            if counts.acknowledged > counts.recorded {
                self.breach(Invariant::UpdateLost, || {
                    format!("an update of {scope}/{subject} is acknowledged, and not recorded")
                });
            }
        }
    }

    /// A notification is enqueued, of at most so many users.
    pub(in super::super) fn users_told(&mut self, event: &Event, most: usize) {
        let Ok(notification) = serde_json::from_slice::<Notification>(event.body()) else {
            return self.breach(Invariant::UpdateLost, || {
                format!("the notification {} tells nothing", event.id())
            });
        };
        let size = notification.users.len();
        if size > most {
            self.breach(Invariant::DigestOversized, || {
                format!("the notification {} has {size} users", event.id())
            });
        }
        for (user, updates) in notification.users {
            self.user_told(event.scope(), Subject::from(user), updates);
        }
    }

    fn user_told(&mut self, scope: &Scope, user: Subject, updates: u64) {
        let Some(counts) = self.updates.0.get_mut(&(scope.clone(), user.clone())) else {
            return self.breach(Invariant::ScopeLeaked, || {
                format!("{scope} is told of {user}, of whom it had no update")
            });
        };
        counts.told += updates;
        if counts.told > counts.recorded {
            let (told, recorded) = (counts.told, counts.recorded);
            self.breach(Invariant::UpdateRepeated, || {
                format!("{told} updates of {scope}/{user} are told of, and {recorded} were recorded")
            });
        }
    }

    /// Whether each update is in a notification.
    pub(in super::super) fn is_all_told(&self) -> bool {
        self.updates
            .0
            .values()
            .all(|counts| counts.told >= counts.recorded)
    }

    /// Judges what was told when no more is going to be.
    pub(in super::super) fn reckon_updates(&mut self) {
        let untold = |counts: &Counts| counts.told < counts.recorded;
        let untold: Vec<_> = self
            .updates
            .0
            .iter()
            .filter(|(_, counts)| untold(counts))
            .map(|((scope, user), counts)| (scope.clone(), user.clone(), counts.recorded - counts.told))
            .collect();
        for (scope, user, updates) in untold {
            self.breach(Invariant::UpdateLost, || {
                format!("{updates} updates of {scope}/{user} are in no notification")
            });
        }
    }

    fn counts(&mut self, scope: &Scope, subject: &Subject) -> &mut Counts {
        self.updates
            .0
            .entry((scope.clone(), subject.clone()))
            .or_default()
    }
}

//! What an engine keeps, and a receiver does not.

mod book;
mod claims;
mod digests;
mod events;
mod history;
mod holds;
mod inspect;
mod intake;
mod lanes;
mod purge;
mod registrations;
mod row;
mod settlements;
mod tasks;
mod traits;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use self::book::Book;
use self::digests::Digests;
use self::intake::Intake;
use self::tasks::Tasks;
use crate::id::AuthId;
use crate::store::{AuthRecord, Wake};

/// Everything but the keys of what was received.
#[derive(Clone)]
pub(super) struct Sending {
    state: Arc<Mutex<State>>,
    wake: Wake,
    intake_wake: Wake,
    task_wake: Wake,
}

#[derive(Default)]
struct State {
    book: Book,
    auths: BTreeMap<AuthId, Arc<AuthRecord>>,
    digests: Digests,
    intake: Intake,
    tasks: Tasks,
}

impl Sending {
    pub(super) fn keeping(finals: usize) -> Self {
        let state = State {
            book: Book::keeping(finals),
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            wake: Wake::default(),
            intake_wake: Wake::default(),
            task_wake: Wake::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        super::locked(&self.state)
    }
}

//! Where those in a simulated world leave word for whoever runs it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::executor::TaskNo;
use super::ledger::ActorNo;
use crate::testing::ManualTime;

/// What is to be done to the world.
#[derive(Debug)]
pub(super) enum Command {
    /// A new worker comes into this place.
    Start(usize),
    /// The worker in this place is told to stop.
    Stop(usize),
    /// This worker is dropped.
    Kill(ActorNo),
    /// This task goes on.
    Thaw(TaskNo),
    /// The wall clock is set this many milliseconds off the true time.
    SetClock(i64),
    /// Another of those who act for the application has done all it had to do.
    Done,
}

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) time: ManualTime,
    /// From when on nothing goes wrong any more, by what has passed.
    calm_from: Duration,
    commands: Mutex<VecDeque<Command>>,
}

impl Desk {
    pub(super) fn new(time: ManualTime, calm_from: Duration) -> Self {
        Self {
            time,
            calm_from,
            commands: Mutex::default(),
        }
    }

    pub(super) fn is_calm(&self) -> bool {
        self.time.passed() >= self.calm_from
    }

    pub(super) fn calm_from(&self) -> Duration {
        self.calm_from
    }

    pub(super) fn post(&self, command: Command) {
        self.commands().push_back(command);
    }

    pub(super) fn take(&self) -> Option<Command> {
        self.commands().pop_front()
    }

    fn commands(&self) -> MutexGuard<'_, VecDeque<Command>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

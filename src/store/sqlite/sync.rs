//! Waiting for the disk, while the store goes on.
//!
//! A commit is in the log once SQLite has written it there; whether the disk holds it, is another matter. SQLite would wait
//! for that within the commit, and nothing else would be done meanwhile. So it is told not to, and a thread of its own has
//! the disk write the log out and then answers whoever waits, while the store's thread carries out the next calls.
//!
//! Answers that wait are given in the order in which calls were carried out, so what is acknowledged or read does not change
//! back if the power fails. Claims do not wait: what they hand out may be undone with the commit that put it there, and then
//! whoever enqueued it has heard nothing of it.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle, ThreadId};

use super::core::Call;
use super::fault::Fault;

/// The write-ahead log, for nothing but having it written out.
pub(super) struct LogFile(File);

impl LogFile {
    /// The log of a file that is open: it is there for as long as that is.
    pub(super) fn open(database: &Path) -> Result<Self, Fault> {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        let file = OpenOptions::new().read(true).write(true).open(path);
        file.map(Self).map_err(|_| Fault::NoLog)
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn of(file: File) -> Self {
        Self(file)
    }

    fn write_out(&self) -> Result<(), Fault> {
        self.0.sync_data().map_err(Fault::log)
    }
}

/// Calls that were carried out, and wait to be answered.
pub(super) struct Done {
    pub(super) calls: Vec<Box<dyn Call>>,
    /// Whether something was committed for them that the disk must hold before they hear of it.
    pub(super) promises: bool,
}

impl Done {
    /// Answers them, once the disk holds what they hear of. Whether it does.
    pub(super) fn answer(self, log: Option<&LogFile>) -> bool {
        let written = match log.filter(|_| self.promises) {
            Some(log) => log.write_out(),
            None => Ok(()),
        };
        self.answer_with(&written);
        written.is_ok()
    }

    /// Answers those that need not wait for the disk.
    fn answer_some(self) -> Self {
        let (later, now): (Vec<_>, Vec<_>) = self
            .calls
            .into_iter()
            .partition(|call| call.access().waits_for_disk());
        now.into_iter().for_each(|call| call.answer());
        Self { calls: later, ..self }
    }

    fn answer_with(self, written: &Result<(), Fault>) {
        for mut call in self.calls {
            if let Err(fault) = written {
                call.fail(fault.clone());
            }
            call.answer();
        }
    }
}

/// The thread that waits for the disk. When this is dropped, what waits is answered first.
pub(super) struct Syncer {
    waiting: Option<Sender<Done>>,
    shared: Arc<Shared>,
    handle: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// How many there are that were not answered yet.
    unanswered: AtomicUsize,
    has_failed: AtomicBool,
}

impl Syncer {
    pub(super) fn start(log: LogFile) -> Result<Self, Fault> {
        let shared = Arc::new(Shared::default());
        let (waiting, done) = mpsc::channel();
        let handle = thread::Builder::new()
            .name("ringback-sqlite-sync".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || serve(&log, &done, &shared)
            })
            .map_err(|_| Fault::NoThread)?;
        Ok(Self {
            waiting: Some(waiting),
            shared,
            handle: Some(handle),
        })
    }

    /// Answers calls; those that wait for the disk, after all that were given here before. Where there is nothing to wait
    /// for, at once.
    pub(super) fn answer(&self, done: Done) {
        let done = done.answer_some();
        if done.calls.is_empty() {
            return;
        }
        if !done.promises && self.shared.unanswered.load(Ordering::Acquire) == 0 {
            done.answer(None);
            return;
        }
        self.shared.unanswered.fetch_add(1, Ordering::AcqRel);
        // Without the thread, it is dropped, and those who wait hear that nobody knows.
        let _ = self.waiting.as_ref().map(|waiting| waiting.send(done));
    }

    /// Whether the disk has failed to write the log. What it lacks then comes before all that is committed later, so nothing
    /// more can be promised.
    pub(super) fn has_failed(&self) -> bool {
        self.shared.has_failed.load(Ordering::Acquire)
    }

    pub(super) fn thread(&self) -> Option<ThreadId> {
        self.handle.as_ref().map(|handle| handle.thread().id())
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.waiting = None;
        if let Some(handle) = self.handle.take() {
            let _ = handle.join(); // a panic there has been printed by the panic hook already
        }
    }
}

/// While the disk writes, more gathers, and the next time is for all of it. Once it has failed it is not asked again: it would
/// say that it has written what it has, and what was lost before that would be missing all the same.
fn serve(log: &LogFile, done: &Receiver<Done>, shared: &Shared) {
    let mut written = Ok(());
    while let Ok(first) = done.recv() {
        let all: Vec<_> = std::iter::once(first).chain(done.try_iter()).collect();
        if written.is_ok() && all.iter().any(|done| done.promises) {
            written = log.write_out();
        }
        if written.is_err() {
            shared.has_failed.store(true, Ordering::Release);
        }
        let count = all.len();
        for done in all {
            done.answer_with(&written);
        }
        shared.unanswered.fetch_sub(count, Ordering::AcqRel);
    }
}

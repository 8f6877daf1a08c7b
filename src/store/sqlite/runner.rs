//! Where calls are carried out: on a thread of the store's own, or wherever they are made.

use std::fmt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};

use futures_channel::oneshot;

use super::core::{Call, Core, refuse};
use super::fault::Fault;
use super::sync::{LogFile, Syncer};

/// How many calls share a commit at most, so that the first of them does not wait long for the last.
const GROUP: usize = 128;

pub(super) enum Runner {
    Thread(Thread),
    Inline(Mutex<Option<Box<Inline>>>),
}

pub(super) struct Inline {
    core: Core,
    log: Option<LogFile>,
}

/// The thread has its core until the last sender is gone or someone closes it.
pub(super) struct Thread {
    calls: Option<Sender<Message>>,
    handle: Option<JoinHandle<()>>,
    syncer: Option<ThreadId>,
}

enum Message {
    Call(Box<dyn Call>),
    Close(oneshot::Sender<()>),
}

impl Runner {
    /// Answers once the disk has written that log out, if there is one.
    pub(super) fn thread(core: Core, log: Option<LogFile>) -> Result<Self, Fault> {
        let (calls, waiting) = mpsc::channel();
        let syncer = log.map(Syncer::start).transpose()?;
        let syncer_thread = syncer.as_ref().and_then(Syncer::thread);
        let handle = thread::Builder::new()
            .name("ringback-sqlite".to_owned())
            .spawn(move || serve(core, syncer, waiting))
            .map_err(|_| Fault::NoThread)?;
        Ok(Self::Thread(Thread {
            calls: Some(calls),
            handle: Some(handle),
            syncer: syncer_thread,
        }))
    }

    /// As [`thread`](Self::thread), without one.
    pub(super) fn inline(core: Core, log: Option<LogFile>) -> Self {
        Self::Inline(Mutex::new(Some(Box::new(Inline { core, log }))))
    }

    /// Has a call carried out. If there is nobody left to do it, it is answered at once.
    pub(super) fn submit(&self, call: Box<dyn Call>) {
        match self {
            Self::Thread(thread) => {
                if let Err(Message::Call(call)) = thread.send(Message::Call(call)) {
                    refuse(call);
                }
            }
            // Should a call have panicked, its transaction is rolled back before the next begins.
            Self::Inline(inline) => {
                let mut place = inline.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(inline) = &mut *place else {
                    return refuse(call);
                };
                if !inline.core.carry_out(vec![call]).answer(inline.log.as_ref()) {
                    *place = None; // as with the thread: nothing more can be promised
                }
            }
        }
    }

    /// Closes the file, after every call that was submitted before.
    pub(super) async fn close(&self) {
        match self {
            Self::Thread(thread) => {
                let (reply, closed) = oneshot::channel();
                if thread.send(Message::Close(reply)).is_ok() {
                    let _ = closed.await; // an error says that it was closed already
                }
            }
            Self::Inline(inline) => drop(inline.lock().unwrap_or_else(PoisonError::into_inner).take()),
        }
    }
}

impl Thread {
    fn send(&self, message: Message) -> Result<(), Message> {
        match &self.calls {
            Some(calls) => calls.send(message).map_err(|unsent| unsent.0),
            None => Err(message),
        }
    }
}

impl Drop for Thread {
    /// Waits until what was submitted is carried out and the file is closed.
    fn drop(&mut self) {
        self.calls = None;
        let current = thread::current().id();
        if let Some(handle) = self.handle.take()
            // The last one to hold the store may be a task that an answer from one of these very threads has finished.
            && ![Some(handle.thread().id()), self.syncer].contains(&Some(current))
        {
            let _ = handle.join(); // a panic there has been printed by the panic hook already
        }
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread(_) => "Thread",
            Self::Inline(_) => "Inline",
        })
    }
}

/// While one commit is under way, calls gather for the next.
fn serve(mut core: Core, syncer: Option<Syncer>, waiting: Receiver<Message>) {
    while let Ok(first) = waiting.recv() {
        let is_over = syncer.as_ref().is_some_and(Syncer::has_failed);
        let mut group = Vec::new();
        let mut close = None;
        for message in std::iter::once(first).chain(waiting.try_iter()).take(GROUP) {
            match message {
                Message::Call(call) => group.push(call),
                Message::Close(reply) => {
                    close = Some(reply);
                    break;
                }
            }
        }
        if is_over {
            group.into_iter().for_each(refuse);
        } else {
            let done = core.carry_out(group);
            match &syncer {
                Some(syncer) => syncer.answer(done),
                None => {
                    done.answer(None);
                }
            }
        }
        if let Some(reply) = close {
            drop((syncer, core));
            for message in waiting.try_iter() {
                if let Message::Call(call) = message {
                    refuse(call);
                }
            }
            let _ = reply.send(());
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use futures_util::FutureExt;

    use super::*;
    use crate::store::sqlite::core::advance;
    use crate::store::{DeliveryStore, SqliteStore, StoreErrorKind};

    async fn panics(store: &SqliteStore) -> StoreErrorKind {
        let call = store.writes(|core| -> Result<(), Fault> {
            advance(&core.conn, "number", 1000)?;
            panic!("on purpose");
        });
        call.await.unwrap_err().kind()
    }

    #[tokio::test]
    async fn a_panic_in_the_thread_leaves_nobody_hanging() {
        let store = SqliteStore::open_in_memory().unwrap();
        assert_eq!(panics(&store).await, StoreErrorKind::Unknown);
        drop(store);
    }

    #[test]
    fn a_panic_inline_undoes_its_call() {
        let store = SqliteStore::builder().inline().open_in_memory().unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| panics(&store).now_or_never())).is_err());
        assert_eq!(store.reserve_numbers(1).now_or_never().unwrap().unwrap(), 1);
    }

    #[tokio::test]
    async fn a_call_that_fails_undoes_only_itself() {
        let store = SqliteStore::open_in_memory().unwrap();
        // Holds the thread up until the three have gathered.
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let holding = store.reads(move |_| {
            let _ = held.lock().unwrap().recv();
            Ok(())
        });
        let failing = store.writes(|core| -> Result<i64, Fault> {
            advance(&core.conn, "number", 1000)?;
            Err(Fault::Unreadable("on purpose"))
        });
        let (_, first, failed, last, ()) = tokio::join!(
            holding,
            store.reserve_numbers(1),
            failing,
            store.reserve_numbers(1),
            async { drop(release) }
        );
        assert_eq!((first.unwrap(), last.unwrap()), (1, 2));
        assert_eq!(failed.unwrap_err().kind(), StoreErrorKind::Corrupt);
    }

    /// Linux has nothing to write out for a device, and says so with an error.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_log_that_cannot_be_written_out_closes_the_store() {
        use crate::store::EncryptionKeys;
        use crate::store::sqlite::connection::{Settings, open_in_memory};

        for builder in [SqliteStore::builder(), SqliteStore::builder().inline()] {
            let log = LogFile::of(std::fs::File::open("/dev/null").unwrap());
            let conn = open_in_memory(Settings::default()).unwrap();
            let keys = EncryptionKeys::dangerous_plaintext();
            let store = builder.store(conn, None, Some(log), keys).unwrap();
            let now = chrono::DateTime::UNIX_EPOCH;
            assert_eq!(store.next_due(now).await.unwrap(), None, "it waits for nothing");
            let promised = store.reserve_numbers(1).await.unwrap_err();
            assert_eq!(promised.kind(), StoreErrorKind::Unknown);
            let later = store.reserve_numbers(1).await.unwrap_err();
            assert_eq!(later.kind(), StoreErrorKind::Closed);
        }
    }
}

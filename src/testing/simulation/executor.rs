//! Runs tasks in one thread, in an order that depends on nothing but what they do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::LocalBoxFuture;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskNo(u64);

/// Tasks are polled in the order in which they were woken. One that is frozen keeps its place in the world but is
/// not polled, whatever wakes it.
#[derive(Default)]
pub(super) struct Executor {
    tasks: BTreeMap<TaskNo, Task>,
    frozen: BTreeSet<TaskNo>,
    woken: Arc<Woken>,
    spawned: u64,
}

struct Task {
    future: LocalBoxFuture<'static, ()>,
    waker: Waker,
}

#[derive(Default)]
struct Woken(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    order: VecDeque<TaskNo>,
    queued: BTreeSet<TaskNo>,
}

impl Executor {
    pub(super) fn spawn(&mut self, future: LocalBoxFuture<'static, ()>) -> TaskNo {
        self.spawned += 1;
        let no = TaskNo(self.spawned);
        let waker = Waker::from(Arc::new(TaskWaker {
            no,
            woken: Arc::clone(&self.woken),
        }));
        self.tasks.insert(no, Task { future, waker });
        self.woken.push(no);
        no
    }

    /// The task to poll next; `None` if nobody can go on without time passing.
    pub(super) fn next(&mut self) -> Option<TaskNo> {
        loop {
            let no = self.woken.pop()?;
            // A frozen one is woken again when it thaws.
            if self.tasks.contains_key(&no) && !self.frozen.contains(&no) {
                return Some(no);
            }
        }
    }

    /// Polls a task. Whether it has ended.
    pub(super) fn poll(&mut self, no: TaskNo) -> bool {
        let Some(task) = self.tasks.get_mut(&no) else {
            return true;
        };
        let ended = task.future.as_mut().poll(&mut Context::from_waker(&task.waker)) == Poll::Ready(());
        if ended {
            self.drop_task(no);
        }
        ended
    }

    /// Drops a task wherever it stands.
    pub(super) fn drop_task(&mut self, no: TaskNo) {
        self.tasks.remove(&no);
        self.frozen.remove(&no);
    }

    pub(super) fn freeze(&mut self, no: TaskNo) {
        self.frozen.insert(no);
    }

    pub(super) fn thaw(&mut self, no: TaskNo) {
        if self.frozen.remove(&no) {
            self.woken.push(no);
        }
    }
}

impl Woken {
    fn push(&self, no: TaskNo) {
        let mut queue = self.queue();
        if queue.queued.insert(no) {
            queue.order.push_back(no);
        }
    }

    fn pop(&self) -> Option<TaskNo> {
        let mut queue = self.queue();
        let no = queue.order.pop_front()?;
        queue.queued.remove(&no);
        Some(no)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct TaskWaker {
    no: TaskNo,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.woken.push(self.no);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::store;

    #[test]
    fn tasks_go_on_in_the_order_they_were_woken_and_frozen_ones_after_they_thaw() {
        let mut executor = Executor::default();
        let bell = store::Wake::default();
        let [first, second, third] = [(); 3].map(|()| executor.spawn(bell.listen().boxed_local()));
        for no in [first, second, third] {
            assert_eq!(executor.next(), Some(no));
            assert!(!executor.poll(no));
        }
        assert_eq!(executor.next(), None);
        executor.freeze(first);
        bell.ring();
        assert_eq!(executor.next(), Some(second));
        assert!(executor.poll(second));
        executor.drop_task(third);
        assert_eq!(executor.next(), None);
        executor.thaw(first);
        assert_eq!(executor.next(), Some(first));
        assert!(executor.poll(first));
    }
}

//! Tasks.

use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use proptest::prelude::*;
use ringback::id::{Fence, TaskId};
use ringback::store::{Keep, NewTask, Store, TaskEnd, TaskPause, TaskSettlement};
use ringback::task::TaskProgress;
use ringback::url::WebhookUrl;

use super::{Answer, Caller, Learnt, new_event, pick, shown, skew, skewed};

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create(u8),
    Claim { max: usize, lease_ms: u64 },
    Renew(usize, i64),
    Report(usize, i64, u8),
    Pause(usize, i64, Option<i64>),
    Finish(usize, i64, bool),
    Cancel(usize),
    Purge(usize),
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let due = proptest::option::of(-50i64..300);
    prop_oneof![
        2 => (0u8..6).prop_map(Op::Create),
        2 => (0usize..4, 1u64..500).prop_map(|(max, lease_ms)| Op::Claim { max, lease_ms }),
        1 => (any::<usize>(), skew()).prop_map(|(at, skew)| Op::Renew(at, skew)),
        1 => (any::<usize>(), skew(), 0u8..5).prop_map(|(at, skew, done)| Op::Report(at, skew, done)),
        1 => (any::<usize>(), skew(), due).prop_map(|(at, skew, due)| Op::Pause(at, skew, due)),
        1 => (any::<usize>(), skew(), any::<bool>()).prop_map(|(at, skew, ok)| Op::Finish(at, skew, ok)),
        1 => any::<usize>().prop_map(Op::Cancel),
        1 => (0usize..4).prop_map(Op::Purge),
    ]
}

impl Caller {
    pub(super) async fn call_tasks(&self, store: &dyn Store, op: &Op) -> Answer {
        let now = self.now;
        let text = match op {
            Op::Create(id) => shown(store.create_task(self.task(*id), now).await),
            Op::Claim { max, lease_ms } => {
                let claimed = store.claim_tasks(self.claim(*max, *lease_ms)).await.unwrap();
                return Answer {
                    text: format!("{claimed:?}"),
                    learnt: Learnt::Tasks(
                        claimed
                            .into_iter()
                            .map(|task| (task.task.id, task.fence))
                            .collect(),
                    ),
                };
            }
            Op::Purge(max) => shown(store.purge_tasks(*max, now).await),
            Op::Renew(at, ..)
            | Op::Report(at, ..)
            | Op::Pause(at, ..)
            | Op::Finish(at, ..)
            | Op::Cancel(at) => match pick(&self.tasks, *at) {
                Some((id, fence)) => self.call_task(store, op, id, fence).await,
                None => String::new(),
            },
        };
        text.into()
    }

    /// A call about a task that was claimed, perhaps long ago.
    async fn call_task(&self, store: &dyn Store, op: &Op, id: TaskId, fence: Fence) -> String {
        let now = self.now;
        match op {
            Op::Create(_) | Op::Claim { .. } | Op::Purge(_) => String::new(),
            Op::Renew(_, skew) => {
                let lease = Duration::from_millis(90);
                shown(store.renew_task(&id, skewed(fence, *skew), lease, now).await)
            }
            Op::Report(_, skew, done) => {
                let progress = TaskProgress::of(u64::from(*done), 4).with_message("m");
                shown(store.report_task(&id, skewed(fence, *skew), progress, now).await)
            }
            Op::Pause(_, skew, due) => {
                let pause = due.map_or(TaskPause::Handover, |ms| {
                    TaskPause::Retry(now + TimeDelta::milliseconds(ms))
                });
                shown(store.pause_task(&id, skewed(fence, *skew), pause, now).await)
            }
            Op::Finish(at, skew, ok) => {
                let end = if *ok {
                    TaskEnd::Succeeded(Bytes::from_static(b"out"))
                } else {
                    failed()
                };
                let settlement = self.end(id, Some(skewed(fence, *skew)), end, *at);
                shown(store.finish_task(settlement, now).await)
            }
            Op::Cancel(at) => shown(store.finish_task(self.end(id, None, failed(), *at), now).await),
        }
    }

    fn task(&self, id: u8) -> NewTask {
        let callback = || WebhookUrl::parse("https://cb.example/?a=b").unwrap();
        NewTask {
            id: format!("t{id}").into(),
            credentials_id: "c".into(),
            request_uri: "/r".into(),
            input: Bytes::from_static(b"in"),
            results_uri: "/results".into(),
            webhook_uri: id.is_multiple_of(2).then(callback),
            deadline: self.now + TimeDelta::seconds(i64::from(id)),
        }
    }

    fn end(&self, id: TaskId, fence: Option<Fence>, end: TaskEnd, at: usize) -> TaskSettlement {
        let kept = |ms| self.now + TimeDelta::milliseconds(ms * (1 + (at % 3) as i64));
        TaskSettlement {
            id,
            fence,
            end,
            keep: Keep {
                results_until: kept(200),
                known_until: kept(500),
            },
            callback: Some(new_event(200 + (at % 20) as u8, 0, &[(4, false)])),
        }
    }
}

fn failed() -> TaskEnd {
    TaskEnd::Failed {
        error: "e".into(),
        description: "d".into(),
    }
}

/// Every task.
pub(super) async fn everything(store: &dyn Store) -> String {
    let mut text = String::new();
    for id in 0..6 {
        text += &shown(store.task(&format!("t{id}").into()).await);
    }
    text
}

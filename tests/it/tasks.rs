//! Asynchronous calls on the side that offers them, on both stores.

mod handlers;
mod interleavings;
mod killed;
mod office;

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use ringback::delivery::{Profiles, RenderError};
use ringback::engine::{AcceptError, Callbacks, Cancelled, Engine, NewCall, TaskError, TaskRunner};
use ringback::provider;
use ringback::store::{Inspect, MemoryStore, StoreErrorKind, TaskEnd};
use ringback::task::{TaskProgress, TaskStatus};
use ringback::testing::{Fault, ManualTime};
use ringback::transport::sender_fn;

use self::office::{End, Office, now};
use crate::stories::stage::On;

fn plain(on: On) -> Office {
    Office::new(on, |builder| builder)
}

fn failed(error: &str) -> Option<String> {
    Some(error.to_owned())
}

/// The error that a task ended with.
fn error(office: &Office, id: &ringback::id::TaskId) -> Option<String> {
    match office.record(id).ended?.end {
        TaskEnd::Failed { error, .. } => Some(error),
        TaskEnd::Succeeded(_) => None,
    }
}

#[test]
fn a_thousand_tasks_run_sixteen_at_a_time() {
    for on in On::ALL {
        let mut office = plain(on);
        office.hire();
        let ids: Vec<_> = (0..1_000)
            .map(|_| office.accept(NewCall::new("user-1", "/")))
            .collect();
        let mut order = Vec::new();
        loop {
            office.pass_seconds(1);
            let under_way = office.desk.under_way();
            if under_way.is_empty() {
                break;
            }
            assert_eq!(under_way.len(), 16.min(1_000 - order.len()));
            for id in under_way {
                office.desk.tell(&id, &End::Succeed("1"));
                order.push(id);
            }
        }
        assert_eq!(order, ids, "in the order in which they were accepted");
        assert_eq!(office.desk.most_at_once(), 16);
        for id in &ids {
            assert_eq!(office.record(id).status, TaskStatus::Succeeded);
        }
    }
}

#[test]
fn no_run_waits_for_the_store_to_say_when_more_is_due() {
    for on in On::ALL {
        let mut office = plain(on);
        office.plan(|method| match method {
            "next_task_due" => Fault::Delayed(Duration::from_secs(3_600)),
            _ => Fault::None,
        });
        office.hire();
        let ids: Vec<_> = (0..2)
            .map(|_| office.accept(NewCall::new("user-1", "/")))
            .collect();
        assert_eq!(office.desk.under_way(), ids);
    }
}

#[test]
fn what_may_pass_is_tried_again_until_the_schedule_ends() {
    for on in On::ALL {
        let mut office = plain(on);
        office.hire();
        let mended = office.accept_with_webhook();
        let hopeless = office.accept_with_webhook();
        for run in 1..=6 {
            assert_eq!(office.desk.runs_of(&hopeless), run);
            let last = if run == 3 {
                End::Succeed("[]")
            } else {
                End::FailForNow
            };
            office.desk.tell(&mended, &last);
            assert!(office.desk.tell(&hopeless, &End::FailForNow));
            office.settle();
            if run < 6 {
                assert_eq!(office.record(&hopeless).status, TaskStatus::Running);
                office.pass(Duration::from_millis(780 << (run - 1)));
                assert_eq!(office.desk.runs_of(&hopeless), run, "not before its time");
                office.pass(Duration::from_millis(450 << (run - 1)));
            }
        }
        assert_eq!(office.desk.runs_of(&mended), 3);
        assert_eq!(error(&office, &mended), None);
        assert_eq!(error(&office, &hopeless), failed("provider_error"));
        assert_eq!(office.callbacks(&hopeless), ["Failed"]);
        assert_eq!(office.callbacks(&mended), ["Succeeded"]);
    }
}

#[test]
fn errors_and_panics_end_a_task_at_once() {
    for on in On::ALL {
        let mut office = plain(on);
        office.hire();
        for (end, code) in [(End::Fail, "access_denied"), (End::Panic, TaskError::INTERNAL)] {
            let id = office.accept_with_webhook();
            office.pass_seconds(1);
            office.desk.tell(&id, &end);
            office.settle();
            assert_eq!(error(&office, &id), failed(code));
            assert_eq!(
                (office.desk.runs_of(&id), office.callbacks(&id)),
                (1, vec!["Failed"])
            );
        }
    }
}

#[test]
fn a_task_whose_runner_died_runs_again_still_running() {
    for on in On::ALL {
        let mut office = plain(on);
        office.hire();
        let id = office.accept_with_webhook();
        office.crash(0);
        office.hire();
        office.pass_seconds(59);
        assert_eq!(office.desk.runs_of(&id), 1, "the lease of the dead one holds");
        assert_eq!(office.record(&id).status, TaskStatus::Running);
        office.pass_seconds(2);
        assert_eq!(office.desk.runs_of(&id), 2);
        office.desk.tell(&id, &End::Succeed("[]"));
        office.settle();
        assert_eq!(office.callbacks(&id), ["Succeeded"]);
    }
}

#[test]
fn a_task_that_kills_its_process_comes_to_an_end() {
    for on in On::ALL {
        let mut office = Office::new(on, |builder| builder.interruptions(3));
        let id = office.accept_with_webhook();
        for run in 1..=4 {
            office.hire();
            assert_eq!(office.desk.runs_of(&id), run);
            office.crash(0);
            office.pass_seconds(60);
        }
        office.hire();
        assert_eq!(office.desk.runs_of(&id), 4, "it is not run a fifth time");
        assert_eq!(error(&office, &id), failed(TaskError::INTERNAL));
        assert_eq!(office.callbacks(&id), ["Failed"]);
    }
}

#[test]
fn leases_are_renewed_and_a_lost_one_ends_the_work() {
    for on in On::ALL {
        let mut office = plain(on);
        office.hire();
        let id = office.accept_with_webhook();
        office.pass_seconds(600);
        assert_eq!(office.desk.runs_of(&id), 1, "nobody else took it");

        // Cut off from the store for so long that another takes it over.
        office.plan(|method| match method {
            "renew_task" => Fault::Refused(StoreErrorKind::Unavailable),
            _ => Fault::None,
        });
        office.hire();
        office.pass_seconds(61);
        assert_eq!(
            office.desk.under_way(),
            [id.clone(), id.clone()],
            "both think that it is theirs"
        );
        office.plan(|_| Fault::None);
        office.pass_seconds(1);
        assert_eq!(office.desk.under_way().len(), 1, "the first has found out");
        office.desk.tell(&id, &End::Succeed("[]"));
        office.settle();
        assert_eq!(office.callbacks(&id), ["Succeeded"]);
    }
}

#[test]
fn a_task_ends_when_its_time_is_over_wherever_it_stands() {
    for on in On::ALL {
        let mut office = Office::new(on, |builder| builder.concurrency(1));
        let limited = |seconds| {
            NewCall::new("user-1", "/")
                .with_webhook_uri(office::WEBHOOK)
                .with_time_limit(Duration::from_secs(seconds))
        };
        let late = office.accept(limited(10));
        office.pass_seconds(11);
        office.hire();
        assert_eq!(office.desk.runs_of(&late), 0, "it is too late to begin");
        let running = office.accept(limited(10));
        office.pass_seconds(9);
        assert_eq!(office.desk.under_way(), std::slice::from_ref(&running));
        office.pass_seconds(1);
        assert!(office.desk.under_way().is_empty(), "the work was dropped");
        let failing = office.accept(limited(10));
        office.pass_seconds(1);
        office.desk.tell(&failing, &End::FailForNow);
        office.pass_seconds(3);
        office.desk.tell(&failing, &End::FailForNow);
        office.pass_seconds(3);
        office.desk.tell(&failing, &End::FailForNow);
        office.settle();
        // The next retry would come too late, so its own error says more than a time-out.
        assert_eq!(error(&office, &failing), failed("provider_error"));
        for id in [&late, &running] {
            assert_eq!(error(&office, id), failed(TaskError::TIMEOUT));
            assert_eq!(office.callbacks(id), ["Failed"]);
        }
    }
}

#[test]
fn a_task_can_be_cancelled_queued_running_or_waiting_for_a_retry() {
    for on in On::ALL {
        let mut office = Office::new(on, |builder| builder.concurrency(2));
        office.hire_here();
        let [running, waiting, queued] = [(); 3].map(|()| office.accept_with_webhook());
        office.pass_seconds(1);
        office.desk.tell(&waiting, &End::FailForNow);
        office.settle();
        office.plan(|method| match method {
            // Nothing more is begun, so that each stays where it is.
            "claim_tasks" => Fault::Refused(StoreErrorKind::Unavailable),
            _ => Fault::None,
        });
        for id in [&running, &waiting, &queued] {
            assert_eq!(now(office.runner.cancel(id)).unwrap(), Cancelled::Done);
            assert_eq!(now(office.runner.cancel(id)).unwrap(), Cancelled::TooLate);
        }
        office.settle();
        assert!(
            !office.desk.under_way().contains(&running),
            "the work is dropped at once"
        );
        office.plan(|_| Fault::None);
        office.pass_seconds(3_600);
        for id in [&running, &waiting, &queued] {
            assert_eq!(error(&office, id), failed(TaskError::CANCELLED));
            assert_eq!(office.callbacks(id), ["Failed"]);
        }
        assert_eq!(
            now(office.runner.cancel(&"nobody".into())).unwrap(),
            Cancelled::Unknown
        );
    }
}

#[test]
fn another_process_notices_a_cancellation_when_it_renews() {
    for on in On::ALL {
        let mut office = plain(on);
        office.hire();
        let id = office.accept_with_webhook();
        assert_eq!(now(office.runner.cancel(&id)).unwrap(), Cancelled::Done);
        office.settle();
        assert_eq!(office.desk.under_way(), std::slice::from_ref(&id));
        office.desk.report(&id, TaskProgress::of(1, 2));
        office.settle();
        assert!(
            office.desk.under_way().is_empty(),
            "a report tells it sooner than the lease does"
        );
        let id = office.accept_with_webhook();
        now(office.runner.cancel(&id)).unwrap();
        office.pass_seconds(30);
        assert!(office.desk.under_way().is_empty());
    }
}

#[test]
fn the_latest_progress_is_stored_a_few_times_a_second() {
    for on in On::ALL {
        let mut office = plain(on);
        office.hire();
        let id = office.accept_with_webhook();
        office.calls();
        for done in 0..1_000 {
            office.desk.report(&id, TaskProgress::of(done, 1_000));
            if done % 100 == 0 {
                office.pass(Duration::from_millis(100));
            }
        }
        office.pass_seconds(1);
        let stored = office.calls()["report_task"];
        assert!((4..=6).contains(&stored), "{stored} for a second of reports");
        assert_eq!(office.record(&id).progress, Some(TaskProgress::of(999, 1_000)));
    }
}

#[test]
fn who_stops_in_good_order_gives_back_what_it_cannot_finish() {
    for on in On::ALL {
        let mut office = plain(on);
        office.hire();
        let [quick, slow] = [(); 2].map(|()| office.accept_with_webhook());
        office.pass_seconds(1);
        office.stop(0);
        office.pass_seconds(10);
        office.desk.tell(&quick, &End::Succeed("1"));
        office.settle();
        assert_eq!(office.callbacks(&quick), ["Succeeded"], "within the grace period");
        let third = office.accept_with_webhook();
        office.pass_seconds(21);
        assert_eq!(
            (office.processes(), office.desk.runs_of(&third)),
            (0, 0),
            "it takes no more"
        );
        office.hire();
        assert_eq!(office.desk.runs_of(&slow), 2, "at once");
        let claimed = office.record(&slow);
        assert_eq!(claimed.status, TaskStatus::Running);
    }
}

#[test]
fn a_store_that_fails_or_loses_its_answers_is_waited_for() {
    for on in On::ALL {
        for fault in [Fault::Refused(StoreErrorKind::Unavailable), Fault::ReplyLost] {
            let mut office = plain(on);
            office.hire();
            let id = office.accept_with_webhook();
            let mut left = 3;
            office.plan(move |method| match method {
                "finish_task" if left > 0 => {
                    left -= 1;
                    fault
                }
                _ => Fault::None,
            });
            office.desk.tell(&id, &End::Succeed("[]"));
            office.pass_seconds(2);
            assert_eq!(office.record(&id).status, TaskStatus::Succeeded);
            assert_eq!(office.callbacks(&id), ["Succeeded"]);
            assert!(office.desk.under_way().is_empty());
        }
    }
}

#[test]
fn results_that_are_too_large_fail_the_task() {
    let mut office = Office::new(On::Memory, |builder| builder.largest_results(3));
    office.hire();
    let id = office.accept_with_webhook();
    office.desk.tell(&id, &End::Succeed("1234"));
    office.settle();
    assert_eq!(error(&office, &id), failed(TaskError::INTERNAL));
}

#[test]
fn a_task_is_kept_as_long_as_it_is_said() {
    for on in On::ALL {
        let mut office = Office::new(on, |builder| {
            builder
                .keep_results(Duration::from_secs(100))
                .keep_records(Duration::from_secs(50))
        });
        office.hire();
        let id = office.accept_with_webhook();
        office.desk.tell(&id, &End::Succeed("[]"));
        office.settle();
        let keep = office.record(&id).ended.unwrap().keep;
        assert_eq!(keep.results_until, office.now() + TimeDelta::seconds(100));
        assert_eq!(keep.known_until, office.now() + TimeDelta::seconds(150));
    }
}

/// Whoever calls hears of it, and where a process that should know the profile does not, nothing goes out as it is.
#[test]
fn a_callback_that_cannot_be_rendered_is_not_sent() {
    let (store, time) = (MemoryStore::new(), ManualTime::new(DateTime::UNIX_EPOCH));
    let runner = |profiles, callbacks: &str| {
        let sender = sender_fn(|_| async { Ok(http::Response::default()) });
        let engine = Engine::builder(store.clone(), sender, time.clone());
        let engine = engine.profiles(profiles).build();
        let callbacks = Callbacks::new(callbacks);
        TaskRunner::builder(
            &engine,
            office::Desk::default(),
            "https://service.example/",
            callbacks,
        )
        .build()
    };
    let call = || NewCall::new("user-1", "/reports");
    let with_webhook = || call().with_webhook_uri(office::WEBHOOK);
    let yodlee = runner(provider::profiles(), "yodlee");
    let refused = now(yodlee.accept(with_webhook()));
    assert!(
        matches!(refused, Err(AcceptError::Render(RenderError::NotAnObject))),
        "{refused:?}"
    );
    now(yodlee.accept(call())).unwrap();

    let task = now(runner(provider::profiles(), "truv").accept(with_webhook())).unwrap();
    let lacking = runner(Profiles::none(), "truv");
    assert_eq!(now(lacking.cancel(&task.task_id)).unwrap(), Cancelled::Done);
    let ended = now(lacking.task(&task.task_id)).unwrap().unwrap();
    assert_eq!(ended.status, TaskStatus::Failed);
    let event = format!("{}/Failed", task.task_id).as_str().into();
    assert_eq!(now(store.deliveries_of(&"tasks".into(), &event)).unwrap(), []);
}

#[test]
fn upkeep_takes_away_what_has_been_kept_long_enough() {
    for on in On::ALL {
        let mut office = Office::new(on, |builder| {
            builder
                .concurrency(250)
                .keep_results(Duration::from_secs(100))
                .keep_records(Duration::from_secs(100))
        });
        office.hire();
        let ids: Vec<_> = (0..250)
            .map(|_| office.accept(NewCall::new("user-1", "/")))
            .collect();
        for id in &ids {
            office.pass(Duration::from_millis(1));
            office.desk.tell(id, &End::Succeed("[]"));
        }
        office.settle();
        office.crash(0);
        office.pass_seconds(99);
        office.keep_up();
        assert!(ids.iter().all(|id| !office.record(id).ended.unwrap().is_purged));
        office.pass_seconds(1);
        office.keep_up();
        assert!(ids.iter().all(|id| office.record(id).ended.unwrap().is_purged));
        office.pass_seconds(100);
        office.keep_up();
        for id in &ids {
            assert_eq!(now(office.store.task(id)).unwrap(), None);
        }
    }
}

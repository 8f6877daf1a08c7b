//! Every life cycle against its table: documented paths, skipped steps, failures, and ends that stay ends.

use chrono::{DateTime, TimeDelta, Utc};
use ringback::provider::{powens, truv};
use ringback::task::{Irregularity, LifeCycle, Observation, Progress, Step, TaskStatus};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

fn statuses<S: LifeCycle + for<'a> From<&'a str>>(path: &str) -> Vec<S> {
    path.split(" > ").map(S::from).collect()
}

/// Checks a life cycle by its documented paths (each from a first status to an end) and its list of ends.
fn check<S: LifeCycle + for<'a> From<&'a str>>(
    known: &[S],
    paths: &[&str],
    ends: &[&str],
    failures: &[&str],
) {
    let ends: Vec<S> = ends.iter().map(|text| S::from(text)).collect();
    for status in known {
        assert_eq!(status.is_terminal(), ends.contains(status), "{status:?}");
        assert!(status.is_listed());
    }
    for path in paths {
        let path: Vec<S> = statuses(path);
        documented_path_is_taken(&path);
        steps_may_be_skipped(&path);
    }
    for status in known.iter().filter(|status| !status.is_terminal()) {
        for failure in failures.iter().map(|text| S::from(text)) {
            assert_eq!(
                status.step_to(&failure),
                Step::Documented,
                "{status:?} to {failure:?}"
            );
        }
        unlisted_statuses_are_taken(status);
    }
    for end in &ends {
        for status in known
            .iter()
            .chain([&S::from("something new")])
            .filter(|status| *status != end)
        {
            an_end_is_not_left(end, status);
        }
    }
    for (from, _) in S::STEPS {
        assert!(
            !from.is_terminal(),
            "{from:?} is terminal, and has a step out of it"
        );
    }
}

fn documented_path_is_taken<S: LifeCycle>(path: &[S]) {
    let mut progress = Progress::new(path[0].clone(), Some(at(0)));
    for (seconds, status) in (1..).zip(&path[1..]) {
        assert_eq!(
            progress.observe(status.clone(), Some(at(seconds))),
            Observation::Taken(Step::Documented),
            "{path:?}"
        );
        assert_eq!(
            progress.observe(status.clone(), Some(at(seconds))),
            Observation::Taken(Step::Repeated)
        );
    }
    assert!(progress.status().is_terminal());
}

fn steps_may_be_skipped<S: LifeCycle>(path: &[S]) {
    for (index, from) in path.iter().enumerate() {
        for to in &path[index + 1..] {
            assert!(from.may_become(to), "{from:?} to {to:?}");
            assert_eq!(from.advance(to.clone()), Ok(to.clone()));
            assert!(!to.may_become(from), "{to:?} back to {from:?}");
            let why = if to.is_terminal() {
                Irregularity::LeavesTerminal
            } else {
                Irregularity::OffPath
            };
            assert_eq!(to.step_to(from), Step::Irregular(why));
        }
    }
}

fn unlisted_statuses_are_taken<S: LifeCycle + for<'a> From<&'a str>>(status: &S) {
    let unlisted = S::from("something new");
    assert_eq!(status.step_to(&unlisted), Step::Unlisted);
    assert_eq!(unlisted.step_to(status), Step::Unlisted);
}

fn an_end_is_not_left<S: LifeCycle>(end: &S, status: &S) {
    let mut progress = Progress::new(end.clone(), Some(at(10)));
    let before = progress.clone();
    for time in [Some(at(20)), Some(at(10)), None] {
        let observed = progress.observe(status.clone(), time);
        assert_eq!(
            observed,
            Observation::Irregular(Irregularity::LeavesTerminal),
            "{end:?} to {status:?}"
        );
    }
    assert_eq!(progress.observe(status.clone(), Some(at(5))), Observation::Stale);
    assert_eq!(progress, before);
    let refused = end.advance(status.clone()).unwrap_err();
    assert_eq!((&refused.from, &refused.to), (end, status));
}

#[test]
fn asynchronous_calls() {
    check(
        TaskStatus::KNOWN,
        &["Queued > Running > Succeeded", "Queued > Running > Failed"],
        &["Succeeded", "Failed"],
        &["Failed"],
    );
}

#[test]
fn truv_tasks() {
    let errors = [
        "login_error",
        "mfa_error",
        "config_error",
        "account_locked",
        "unable_to_reset",
        "no_data",
        "unavailable",
        "error",
        "not_supported",
    ];
    let ends: Vec<_> = errors.iter().copied().chain(["done"]).collect();
    check(
        truv::TaskStatus::KNOWN,
        &[
            "new > login > mfa > parse > full_parse > done",
            "new > login > parse > full_parse > done",
            "new > login > base_parse > full_parse > done",
            "new > login > mfa > base_parse > full_parse > done",
            "new > login > mfa > switch_deposit > done",
            "new > login > switch_deposit > done",
            "new > login > login_error",
            "new > login > mfa > mfa_error",
            "new > login > mfa > parse > error",
        ],
        &ends,
        &errors,
    );
    use truv::TaskStatus::{BaseParse, Parse, SwitchDeposit};
    assert_eq!(Parse.step_to(&BaseParse), Step::Repeated);
    assert_eq!(BaseParse.as_str(), "base_parse");
    assert_eq!(
        Parse.step_to(&SwitchDeposit),
        Step::Irregular(Irregularity::OffPath)
    );
}

#[test]
fn truv_orders() {
    let failures = ["error", "canceled", "expired", "skipped", "no_data"];
    let ends: Vec<_> = failures.iter().copied().chain(["completed"]).collect();
    check(
        truv::OrderStatus::KNOWN,
        &[
            "pending > sent > completed",
            "pending > sent > expired",
            "pending > canceled",
            "pending > sent > skipped",
        ],
        &ends,
        &failures,
    );
}

#[test]
fn powens_payments() {
    check(
        powens::PaymentState::KNOWN,
        &[
            "created > validating > pending > done",
            "created > validating > pending > accepted",
            "created > validating > pending > partial",
            "created > rejected",
            "created > validating > rejected",
            "created > validating > pending > expired",
        ],
        &["rejected", "done", "accepted", "expired", "partial"],
        &["rejected", "expired"],
    );
}

#[test]
fn truv_events_are_ordered_as_instants() {
    let event = |updated: &str, created: &str, status: &str| {
        let body = format!(
            r#"{{"webhook_id":"w","event_type":"task-status-updated","status":"{status}"{updated}{created}}}"#,
        );
        truv::Event::parse(body.as_bytes()).unwrap()
    };
    let mut task = Progress::new(truv::TaskStatus::New, None);
    let mut feed = |event: &truv::Event| {
        let truv::Event::TaskStatusUpdated(change) = event else {
            panic!()
        };
        task.observe(change.status.value().unwrap().clone(), event.happened_at())
    };
    // 08:15 in UTC both times, written in ways that sort the other way round as text.
    let parse = event(r#","updated_at":"2026-03-09T08:15:41.120391+00:00""#, "", "parse");
    let done = event(
        r#","updated_at":"2026-03-09T10:15:42.5+02:00""#,
        r#","event_created_at":"2020-01-01T00:00:00Z""#,
        "done",
    );
    let late = event(
        "",
        r#","event_created_at":"2026-03-09T08:15:42.499999Z""#,
        "full_parse",
    );
    let newer = event(
        r#","updated_at":null"#,
        r#","event_created_at":"2026-03-09T08:15:43Z""#,
        "login",
    );
    assert_eq!(feed(&parse), Observation::Taken(Step::Skipping));
    assert_eq!(feed(&done), Observation::Taken(Step::Skipping));
    assert_eq!(feed(&late), Observation::Stale);
    assert_eq!(feed(&newer), Observation::Irregular(Irregularity::LeavesTerminal));
    assert_eq!(task.status(), &truv::TaskStatus::Done);
}

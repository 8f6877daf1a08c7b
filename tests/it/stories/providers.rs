//! Deliveries that fail, by each provider's schedule.

use std::time::Duration;

use http::{Request, StatusCode};
use ringback::delivery::{Attempt, DeadReason, Outcome, Profile, State};
use ringback::provider::{self, ProviderProfile};
use ringback::retry::{Decision, Progress, Schedule};
use ringback::testing::Reply;
use ringback::transport::SendErrorKind;

use super::stage::{On, Stage, at, event, minutes, seconds};

const BODY: &str = r#"{"event":{"info":"REFRESH"}}"#;

fn unavailable() -> Reply {
    Reply::status(StatusCode::SERVICE_UNAVAILABLE)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One delivery by that profile, to a receiver that does as the script says, until so long after the beginning.
fn tell(
    on: On,
    profile: &str,
    mut script: impl FnMut(Duration) -> Reply + Send + 'static,
    until: Duration,
) -> (Vec<Duration>, State) {
    let mut stage = Stage::new(on, move |_, now| script(now));
    stage.register("w", profile);
    let id = stage.enqueue(event("e", BODY));
    stage.run_until(until);
    (stage.sent_at(), stage.delivery(id).state)
}

fn what_failed_in_yodlees_outage_of_21_minutes_is_delivered_at_minute_40() {
    for on in On::ALL {
        let outage = |now| match now < minutes(21) {
            true => Reply::error(SendErrorKind::Connect),
            false => Reply::status(StatusCode::OK),
        };
        let (sent, state) = tell(on, "yodlee", outage, minutes(3_000));
        assert_eq!(sent, [0, 10, 20, 40].map(minutes));
        assert_eq!(state, State::Delivered);
    }
}

fn yodlee_discards_at_minute_1280_what_is_never_accepted() {
    let marks = [0, 10, 20, 40, 80, 160, 320, 640, 1280].map(minutes);
    for on in On::ALL {
        let (sent, state) = tell(on, "yodlee", |_| unavailable(), minutes(1280));
        assert_eq!(sent, marks);
        assert_eq!(
            state,
            State::Dead(DeadReason::Exhausted),
            "at minute 1280, not later"
        );
    }
}

fn yodlees_marks_count_from_when_the_first_failure_was_known() {
    let deadline = seconds(15);
    let expected: Vec<_> = [10, 20, 40, 80, 160, 320, 640, 1280]
        .map(|mark| minutes(mark) + deadline)
        .into();
    for on in On::ALL {
        let (sent, state) = tell(on, "yodlee", |_| Reply::hang(), minutes(1281));
        assert_eq!((sent[0], &sent[1..]), (Duration::ZERO, expected.as_slice()));
        assert_eq!(state, State::Dead(DeadReason::Exhausted));
    }
}

fn truelayer_gives_up_after_the_sixth_retry() {
    let ranges = [
        (100, 300),
        (400, 900),
        (7_500, 12_500),
        (22_500, 37_500),
        (67_500, 112_500),
        (202_500, 337_500),
    ];
    for on in On::ALL {
        let (sent, state) = tell(on, "truelayer", |_| unavailable(), minutes(3_000));
        assert_eq!(sent.len(), 7);
        let waits: Vec<_> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (wait, (least, most)) in waits.iter().zip(ranges) {
            assert!((millis(least)..=millis(most)).contains(wait), "{waits:?}");
        }
        assert!(waits.is_sorted_by(|earlier, later| earlier < later), "{waits:?}");
        assert_eq!(state, State::Dead(DeadReason::Exhausted));
    }
}

fn truv_gives_up_after_the_third_retry() {
    for on in On::ALL {
        let (sent, state) = tell(on, "truv", |_| unavailable(), seconds(90));
        assert_eq!(sent, [0, 30, 60, 90].map(seconds));
        assert_eq!(state, State::Dead(DeadReason::Exhausted));

        // One that never answers has 10 seconds, and 30 pass from there.
        let (sent, state) = tell(on, "truv", |_| Reply::hang(), seconds(130));
        assert_eq!(sent, [0, 40, 80, 120].map(seconds));
        assert_eq!(state, State::Dead(DeadReason::Exhausted));
    }
}

fn standard_webhooks_gives_up_after_the_ninth_retry_or_when_the_receiver_is_gone() {
    let listed = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].map(seconds);
    for on in On::ALL {
        let (sent, state) = tell(on, "standard_webhooks", |_| unavailable(), minutes(6_000));
        let waits: Vec<_> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waits.len(), listed.len());
        for (wait, listed) in waits.iter().zip(listed) {
            assert!((listed..=listed * 11 / 10).contains(wait), "{waits:?}");
        }
        assert_eq!(state, State::Dead(DeadReason::Exhausted));

        let gone = |now| match now < seconds(1) {
            true => unavailable(),
            false => Reply::status(StatusCode::GONE),
        };
        let (sent, state) = tell(on, "standard_webhooks", gone, minutes(6_000));
        assert_eq!(sent.len(), 2);
        assert_eq!(state, State::Dead(DeadReason::Gone));
    }
}

/// Whatever crashes, each attempt follows the one before as the schedule says, and nothing is sent but in an attempt
/// that history shows.
fn crashes_change_no_schedule() {
    let mut interrupted = 0;
    for on in On::ALL {
        for seed in 0..25 {
            for profile in [
                provider::yodlee(),
                provider::truelayer(),
                provider::truv(),
                provider::standard_webhooks(),
            ] {
                interrupted += tell_crashing(on, seed, &profile);
            }
        }
    }
    assert!(interrupted > 100, "{interrupted}");
}

/// How many attempts the crashes cost.
fn tell_crashing(on: On, seed: u64, profile: &ProviderProfile) -> usize {
    let script = |_: &Request<_>, _| unavailable().after(seconds(2));
    let mut stage = Stage::new(on, script).crashing(seed);
    stage.register("w", profile.name().as_str());
    let id = stage.enqueue(event("e", BODY));
    stage.run_until(minutes(8_000));

    let context = format!("{} on {on:?}, seed {seed}", profile.name());
    let attempts = stage.attempts(id);
    assert_eq!(
        stage.delivery(id).state,
        State::Dead(DeadReason::Exhausted),
        "{context}"
    );
    follows(profile.schedule(), &attempts, &context);
    for sent in stage.sent_at() {
        let shown = attempts
            .iter()
            .any(|attempt| attempt.report.started_at == at(sent));
        assert!(shown, "{context}: sent at {sent:?}: {attempts:?}");
    }
    let is_interrupted = |attempt: &&Attempt| attempt.report.outcome == Outcome::Interrupted;
    attempts.iter().filter(is_interrupted).count()
}

fn follows(schedule: &Schedule, attempts: &[Attempt], context: &str) {
    let first_failure = attempts[0].report.finished_at();
    let after = |attempt: &Attempt, random| {
        schedule.decide(&Progress {
            attempts: attempt.number,
            first_failure,
            now: attempt.report.finished_at(),
            retry_after: None,
            random,
        })
    };
    for pair in attempts.windows(2) {
        let (Decision::RetryAt(earliest), Decision::RetryAt(latest)) =
            (after(&pair[0], 0), after(&pair[0], u64::MAX))
        else {
            panic!("{context}: tried again after the end: {attempts:?}")
        };
        let started_at = pair[1].report.started_at;
        assert!(
            (earliest..=latest).contains(&started_at),
            "{context}: {attempts:?}"
        );
    }
    let last = attempts.last().unwrap();
    assert_eq!(after(last, 0), Decision::GiveUp, "{context}: {attempts:?}");
}

/// The outage of 21 minutes under crashes: delivered at the first mark after it whose attempt no crash cost.
fn crashes_delay_yodlees_delivery_to_the_next_mark_at_most() {
    let marks = [10, 20, 40, 80, 160, 320, 640, 1280].map(minutes);
    let mut on_time = 0;
    for (on, seed) in On::ALL
        .into_iter()
        .flat_map(|on| (0..25).map(move |seed| (on, seed)))
    {
        let script = |_: &Request<_>, now| match now < minutes(21) {
            true => unavailable().after(seconds(2)),
            false => Reply::status(StatusCode::OK).after(seconds(2)),
        };
        let mut stage = Stage::new(on, script).crashing(seed);
        stage.register("w", "yodlee");
        let id = stage.enqueue(event("e", BODY));
        stage.run_until(minutes(3_000));

        let attempts = stage.attempts(id);
        let first_failure = stage.delivery(id).first_failure.unwrap();
        let due = attempts.iter().skip(1).zip(marks).map(|(_, mark)| mark);
        let started = attempts[1..]
            .iter()
            .map(|a| ringback::time::elapsed(first_failure, a.report.started_at));
        assert!(due.eq(started), "{on:?}, seed {seed}: {attempts:?}");
        let delivered = stage.delivery(id).state == State::Delivered;
        let unlucky = attempts
            .iter()
            .filter(|a| a.report.outcome == Outcome::Interrupted)
            .count();
        assert!(delivered || unlucky > 5, "{on:?}, seed {seed}: {attempts:?}");
        on_time += usize::from(delivered && attempts.len() == 4);
    }
    assert!(on_time > 10, "{on_time}");
}

stories! {
    what_failed_in_yodlees_outage_of_21_minutes_is_delivered_at_minute_40,
    yodlee_discards_at_minute_1280_what_is_never_accepted,
    yodlees_marks_count_from_when_the_first_failure_was_known,
    truelayer_gives_up_after_the_sixth_retry,
    truv_gives_up_after_the_third_retry,
    standard_webhooks_gives_up_after_the_ninth_retry_or_when_the_receiver_is_gone,
    crashes_change_no_schedule,
    crashes_delay_yodlees_delivery_to_the_next_mark_at_most,
}

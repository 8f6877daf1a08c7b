//! Looking through what was attempted, and adding up how it went.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;

use super::scene::*;
use super::{Store, Violation, ensure, equal};
use crate::delivery::{
    Attempt, Cursor, Direction, Event, Health, HistoryEntry, HistoryPage, HistoryQuery, Limits, Outcome,
    OutcomeClass, PagePosition, SendFailure, Target, Webhook,
};
use crate::id::{DeliveryId, WebhookId};
use crate::store::{Claimed, NewDelivery, Next, Settlement};

const ONCE: &str = "pages that follow each other show each attempt once, in the order that was asked for";

fn oldest_first() -> HistoryQuery {
    HistoryQuery {
        direction: Direction::OldestFirst,
        ..HistoryQuery::default()
    }
}

/// Goes on until there is no more.
async fn read_on(
    store: &dyn Store,
    mut query: HistoryQuery,
    position: impl Fn(&HistoryPage) -> PagePosition,
) -> Checked<(Vec<HistoryEntry>, HistoryPage)> {
    let mut entries = Vec::new();
    for _ in 0..10_000 {
        let page = store.history(query.clone()).await?;
        ensure(
            "a page has no more entries than its limit",
            page.entries.len() <= query.page_length(),
            || format!("{} of {}", page.entries.len(), query.limit),
        )?;
        let is_last = !page.has_more;
        query.page = position(&page);
        match query.page {
            PagePosition::Before(_) => drop(entries.splice(0..0, page.entries.iter().cloned())),
            _ => entries.extend(page.entries.iter().cloned()),
        }
        if is_last {
            return Ok((entries, page));
        }
    }
    Err(Violation::new("history comes to an end", "10,000 pages"))
}

/// Everything that passes, in the order that was asked for.
pub(super) async fn all(store: &dyn Store, query: HistoryQuery) -> Checked<Vec<HistoryEntry>> {
    let (entries, _) = read_on(store, query, |page| PagePosition::After(page.after)).await?;
    Ok(entries)
}

fn requests(entries: &[HistoryEntry]) -> Vec<String> {
    let id = |entry: &HistoryEntry| entry.attempt.request_id().to_string();
    entries.iter().map(id).collect()
}

/// The attempts of these deliveries as they were recorded one after the other: each was attempted `times` times.
fn rounds(ids: &[DeliveryId], times: u32) -> Vec<String> {
    let round = |number| ids.iter().map(move |id| format!("{id}-{number}"));
    (1..=times).flat_map(round).collect()
}

/// Fails each of these, in their order, again and again, a second apart.
async fn fail_in_turn(store: &dyn Store, ids: &[DeliveryId], times: u32) -> Checked {
    for round in 0..i64::from(times) {
        let now = at(round);
        let mut claimed = claim(store, ids.len(), now).await?;
        claimed.sort_by_key(|claimed| claimed.id);
        equal(
            "what is due can be claimed",
            super::scene::ids(&claimed),
            ids.to_vec(),
        )?;
        for claimed in &claimed {
            fail(store, claimed, 1, now).await?;
        }
    }
    Ok(())
}

/// Page by page, in both directions and back again, each attempt is shown once.
pub async fn pages_show_each_attempt_once(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    let ids = enqueue(store, "a", 0..3, at(0)).await?;
    fail_in_turn(store, &ids, 4).await?;
    let expected = rounds(&ids, 4);
    for direction in [Direction::OldestFirst, Direction::NewestFirst] {
        let mut expected = expected.clone();
        if direction == Direction::NewestFirst {
            expected.reverse();
        }
        for limit in [1, 2, 5, 12, 100, usize::MAX] {
            let query = HistoryQuery {
                direction,
                limit,
                ..HistoryQuery::default()
            };
            let forth = read_on(store, query.clone(), |page| PagePosition::After(page.after)).await?;
            equal(ONCE, requests(&forth.0), expected.clone())?;
            let back = HistoryQuery {
                page: PagePosition::Before(forth.1.after),
                ..query
            };
            let (back, _) = read_on(store, back, |page| PagePosition::Before(page.before)).await?;
            equal(ONCE, requests(&back), expected.clone())?;
        }
    }
    let none = store
        .history(HistoryQuery {
            limit: 0,
            ..HistoryQuery::default()
        })
        .await?;
    equal(
        "a page has at least one entry, if there is any",
        none.entries.len(),
        1,
    )
}

/// What is recorded while someone pages through comes after all that was shown.
pub async fn what_is_recorded_meanwhile_comes_after(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    let ids = enqueue(store, "a", 0..2, at(0)).await?;
    fail_in_turn(store, &ids, 2).await?;

    let newest = HistoryQuery {
        limit: 1,
        ..HistoryQuery::default()
    };
    let first = store.history(newest.clone()).await?;
    let (_, last) = read_on(store, oldest_first(), |page| PagePosition::After(page.after)).await?;
    let claimed = claim(store, 2, at(5)).await?;
    deliver_all(store, &claimed, at(5)).await?;
    let mut late: Vec<_> = claimed
        .iter()
        .map(|claimed| format!("{}-3", claimed.id))
        .collect();

    let later = HistoryQuery {
        page: PagePosition::After(last.after),
        ..oldest_first()
    };
    equal(
        "what comes later comes after the last page",
        requests(&all(store, later).await?),
        late.clone(),
    )?;
    let older = HistoryQuery {
        page: PagePosition::After(first.after),
        ..newest.clone()
    };
    let mut expected = rounds(&ids, 2);
    expected.reverse();
    equal(
        "what comes later does not disturb who pages back",
        requests(&all(store, older).await?),
        expected.split_off(1),
    )?;
    late.reverse();
    let newer = HistoryQuery {
        page: PagePosition::Before(first.before),
        limit: 10,
        ..newest
    };
    equal(
        "what comes later lies before the page that was the first",
        requests(&store.history(newer).await?.entries),
        late,
    )
}

/// Whatever a cursor says that comes from outside, it leads to a page of what is there.
pub async fn a_cursor_from_outside_is_harmless(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    let ids = enqueue(store, "a", 0..2, at(0)).await?;
    fail_in_turn(store, &ids, 1).await?;
    for position in [i64::MIN, -1, 0, 1, i64::MAX] {
        let cursor = Cursor::at(position);
        for page in [PagePosition::After(cursor), PagePosition::Before(cursor)] {
            for direction in [Direction::OldestFirst, Direction::NewestFirst] {
                let query = HistoryQuery {
                    page,
                    direction,
                    ..HistoryQuery::default()
                };
                let page = store.history(query).await?;
                ensure("a page shows what is there", page.entries.len() <= 2, || {
                    format!("{page:?}")
                })?;
            }
        }
    }
    Ok(())
}

/// An entry has all that is known of the attempt; the body only where it is asked for.
pub async fn an_entry_tells_what_was_attempted(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    let event = Event::builder("scope", "e", "kind")
        .subject("user")
        .json(b"{}".as_slice())
        .build();
    let event =
        event.map_err(|error| Violation::new("the checks' own events are whole", error.to_string()))?;
    let own = NewDelivery {
        body: Some(Bytes::from_static(b"own")),
        ..to_webhook("a")
    };
    let to_call = to(call("https://b.example/hook?secret", Limits::default()));
    let ids = enqueue_event(store, new(event, vec![own, to_call]), at(0)).await?;
    let targets = [
        Target::Webhook("a".into()),
        call("https://b.example/hook?secret", Limits::default()),
    ];
    let bodies = [b"own".as_slice(), b"{}"];
    let mut claimed = claim(store, 2, at(1)).await?;
    claimed.sort_by_key(|claimed| claimed.id);
    let [retried, accepted] = claimed.as_slice() else {
        return Err(Violation::new(
            "what is due can be claimed",
            format!("{claimed:?}"),
        ));
    };
    fail(store, retried, 60, at(2)).await?;
    deliver(store, accepted, at(3)).await?;

    for with_bodies in [true, false] {
        let query = HistoryQuery {
            bodies: with_bodies,
            ..oldest_first()
        };
        let mut expected = Vec::new();
        for (at_place, outcome, recorded_at) in [(0, ERROR, at(2)), (1, OK, at(3))] {
            expected.push(HistoryEntry {
                attempt: Attempt {
                    delivery: ids[at_place],
                    number: 1,
                    report: attempt(outcome, recorded_at),
                },
                recorded_at,
                accepted: outcome == OK,
                retry_at: (outcome == ERROR).then(|| at(62)),
                scope: "scope".into(),
                event: "e".into(),
                kind: "kind".into(),
                subject: Some("user".into()),
                target: targets[at_place].clone(),
                body: with_bodies.then(|| Bytes::from_static(bodies[at_place])),
            });
        }
        equal(
            "an entry tells what was attempted",
            all(store, query).await?,
            expected,
        )?;
    }
    claim(store, 1, at(62)).await?;
    claims_nothing(store, "a lease keeps others away", at(63)).await?;
    claim_one(store, at(200)).await?;
    let interrupted = HistoryQuery {
        outcome: Some(OutcomeClass::Exactly(Outcome::Interrupted)),
        ..HistoryQuery::default()
    };
    let entry = only(all(store, interrupted).await?)?;
    equal(
        "an interruption is in history when it is noticed",
        (
            entry.attempt.number,
            entry.recorded_at,
            entry.retry_at,
            entry.accepted,
        ),
        (2, at(200), Some(at(200)), false),
    )
}

/// Webhooks `a` and `b` of scope `scope`, `c` of scope `other`, and a call; events of two types; four outcomes.
async fn mix(store: &dyn Store) -> Checked {
    for (id, scope) in [("a", "scope"), ("b", "scope"), ("c", "other")] {
        let webhook = Webhook {
            scope: scope.into(),
            ..webhook(id)
        };
        store.save_webhook(webhook, at(0)).await?;
    }
    let outcomes = [
        OK,
        ERROR,
        Outcome::Answered(StatusCode::NOT_FOUND),
        Outcome::Failed(SendFailure::Connect),
    ];
    let targets = [
        ("scope", Target::Webhook("a".into())),
        ("scope", Target::Webhook("b".into())),
        ("other", Target::Webhook("c".into())),
        ("other", call("https://d.example/hook", in_flight(1_000))),
    ];
    let mut number = 0;
    for (scope, target) in targets {
        for kind in ["paid", "refunded"] {
            for outcome in outcomes {
                let now = at(number * 60);
                let event = Event::builder(scope, number.to_string(), kind).build();
                let event = event
                    .map_err(|error| Violation::new("the checks' own events are whole", error.to_string()))?;
                enqueue_event(store, new(event, vec![to(target.clone())]), now).await?;
                let claimed = claim_one(store, now).await?;
                let next = if outcome == OK {
                    Next::Delivered
                } else {
                    Next::Exhausted
                };
                settle_held(store, settlement(&claimed, outcome, next, now), now).await?;
                number += 1;
            }
        }
    }
    Ok(())
}

/// Each filter, and any number of them together, leaves what passes, all of it, in order.
pub async fn filters_leave_what_passes(store: &dyn Store) -> Result<(), Violation> {
    mix(store).await?;
    let everything = all(store, oldest_first()).await?;
    equal("history holds every attempt", everything.len(), 32)?;
    let webhooks = [None, Some("a"), Some("c"), Some("unknown")];
    let scopes = [None, Some("scope"), Some("other"), Some("unknown")];
    let kinds = [None, Some("paid"), Some("unknown")];
    let outcomes = [
        None,
        Some(OutcomeClass::status(StatusCode::OK)),
        Some(OutcomeClass::Exactly(Outcome::Failed(SendFailure::Connect))),
        Some(OutcomeClass::Exactly(Outcome::TimedOut)),
        Some(OutcomeClass::Hundred(4)),
        Some(OutcomeClass::Unanswered),
        Some(OutcomeClass::Failed),
    ];
    let times = [
        (None, None),
        (Some(at(300)), None),
        (Some(at(300)), Some(at(1_200))),
        (None, Some(at(301))),
    ];
    for webhook in webhooks {
        for scope in scopes {
            for kind in kinds {
                for outcome in outcomes {
                    for (since, until) in times {
                        let query = HistoryQuery {
                            webhook: webhook.map(WebhookId::from),
                            scope: scope.map(Into::into),
                            kind: kind.map(Into::into),
                            outcome,
                            since,
                            until,
                            limit: 5,
                            ..oldest_first()
                        };
                        passes(store, query, &everything).await?;
                    }
                }
            }
        }
    }
    for entry in &everything {
        let query = HistoryQuery {
            delivery: Some(entry.attempt.delivery),
            ..oldest_first()
        };
        passes(store, query.clone(), &everything).await?;
        let query = HistoryQuery {
            scope: Some("other".into()),
            until: Some(at(1_200)),
            ..query
        };
        passes(store, query, &everything).await?;
    }
    Ok(())
}

async fn passes(store: &dyn Store, query: HistoryQuery, everything: &[HistoryEntry]) -> Checked {
    let expected = everything.iter().filter(|entry| {
        query
            .webhook
            .as_ref()
            .is_none_or(|webhook| entry.target.webhook() == Some(webhook))
            && query.scope.as_ref().is_none_or(|scope| *scope == entry.scope)
            && query.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
            && query
                .outcome
                .is_none_or(|class| class.contains(entry.attempt.report.outcome))
            && query.delivery.is_none_or(|id| id == entry.attempt.delivery)
            && query.covers(entry.recorded_at)
    });
    let mut expected: Vec<_> = expected.cloned().collect();
    let seen = all(store, query.clone()).await?;
    ensure("a filter leaves what passes", seen == expected, || {
        format!(
            "{:?} where {:?} were due, of {query:?}",
            requests(&seen),
            requests(&expected)
        )
    })?;
    let query = HistoryQuery {
        direction: Direction::NewestFirst,
        ..query
    };
    expected.reverse();
    let seen = all(store, query.clone()).await?;
    ensure("a filter leaves what passes", seen == expected, || {
        format!(
            "{:?} where {:?} were due, of {query:?}",
            requests(&seen),
            requests(&expected)
        )
    })
}

/// Instants in history do not go back for clocks that differ a little; for one that was set back they do, and the order
/// stays that in which attempts were recorded.
pub async fn history_goes_back_only_with_the_clock(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    let ids = enqueue(store, "a", 0..5, at(0)).await?;
    let mut claimed = claim(store, 5, at(0)).await?;
    claimed.sort_by_key(|claimed| claimed.id);
    let given = [at(100), at(95), at(90), at(50), at(51)];
    let recorded = [at(100), at(100), at(100), at(50), at(51)];
    for (claimed, now) in claimed.iter().zip(given) {
        deliver(store, claimed, now).await?;
    }
    let entries = all(store, oldest_first()).await?;
    equal(
        "history goes back only where a clock was set back",
        entries.iter().map(|entry| entry.recorded_at).collect::<Vec<_>>(),
        recorded.to_vec(),
    )?;
    equal(
        "the order is that in which attempts were recorded",
        entries
            .iter()
            .map(|entry| entry.attempt.delivery)
            .collect::<Vec<_>>(),
        ids,
    )?;
    let since = HistoryQuery {
        since: Some(at(60)),
        ..oldest_first()
    };
    equal("a filter leaves what passes", all(store, since).await?.len(), 3)
}

/// Health counts the attempts of one webhook, by the minutes in which they were recorded, but those that were interrupted.
pub async fn health_adds_up(store: &dyn Store) -> Result<(), Violation> {
    const CLAUSE: &str = "health is added up by the minute";
    for id in ["a", "b"] {
        store.save_webhook(webhook(id), at(0)).await?;
    }
    let (a, b) = (WebhookId::from("a"), WebhookId::from("b"));
    // The beginning is on a whole minute.
    for (number, now, outcome) in [
        (0, at(10), OK),
        (1, at(50), ERROR),
        (2, at(60), OK),
        (3, at(185), Outcome::TimedOut),
    ] {
        enqueue(store, "a", number..number + 1, now).await?;
        let claimed = claim_one(store, now).await?;
        let next = if outcome == OK {
            Next::Delivered
        } else {
            Next::Exhausted
        };
        settle_held(store, settlement(&claimed, outcome, next, now), now).await?;
    }
    enqueue_one(store, "b", at(190)).await?;
    claim_one(store, at(190)).await?;
    let again = claim_one(store, at(260)).await?;
    deliver(store, &again, at(260)).await?;
    let figures = |attempts, accepted| Health {
        attempts,
        accepted,
        sending_time: Duration::from_secs(attempts),
    };
    for (webhook, since, now, expected) in [
        (&a, at(0), at(400), figures(4, 2)),
        (&a, at(0), at(59), figures(2, 1)),
        (&a, at(59), at(60), figures(3, 2)),
        (&a, at(60), at(179), figures(1, 1)),
        (&a, at(239), at(400), figures(1, 0)),
        (&a, at(240), at(400), figures(0, 0)),
        (&a, at(400), at(0), figures(0, 0)),
        (
            &a,
            DateTime::<Utc>::MIN_UTC,
            DateTime::<Utc>::MAX_UTC,
            figures(4, 2),
        ),
        (&b, at(0), at(400), figures(1, 1)),
        (&"unknown".into(), at(0), at(400), figures(0, 0)),
    ] {
        equal(CLAUSE, store.health(webhook, since, now).await?, expected)?;
    }
    Ok(())
}

/// A settlement without an attempt is in neither history nor health.
pub async fn what_was_not_attempted_is_not_there(store: &dyn Store) -> Result<(), Violation> {
    store.save_webhook(webhook("a"), at(0)).await?;
    enqueue_one(store, "a", at(0)).await?;
    let claimed: Claimed = claim_one(store, at(0)).await?;
    let settlement = Settlement {
        attempt: None,
        ..settlement(&claimed, OK, Next::Retry(at(30)), at(0))
    };
    settle_held(store, settlement, at(0)).await?;
    let health = store
        .health(&"a".into(), at(0) - TimeDelta::hours(1), at(0))
        .await?;
    equal(
        "without an attempt nothing counts",
        (all(store, oldest_first()).await?.len(), health.attempts),
        (0, 0),
    )
}

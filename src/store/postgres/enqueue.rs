//! Taking in events with their deliveries.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::contents::NewContents;
use super::database::Database;
use super::events::NewEvents;
use super::fault::Fault;
use super::holds::{BUSY, SHARE_BY_SUBJECT};
use super::lane_rows::{Changes, LaneNo, NewLanes};
use super::lanes::{FRONTS, FRONTS_BY_KEY, LOCK_BY_KEY, Lanes};
use super::sealer::Sealer;
use super::transaction::{Columns, Query, Transaction, query};
use crate::delivery::{DeadReason, Event, Fingerprint, LaneKey, LaneRules, State, Target};
use crate::id::{DeliveryId, WebhookId};
use crate::store::codec::{floor, state_words, whole};
use crate::store::holds::moved_with;
use crate::store::waiting::HoldNo;
use crate::store::{Enqueued, NewDelivery, NewEvent};

/// Whose lanes are known by now, so that nobody changes them before the commit.
const SCOPES: &str = "SELECT id, scope FROM ringback.webhooks WHERE id = ANY($1::text[])";

/// The deliveries of events that are there already.
const KNOWN: &str = "
    SELECT e.scope, e.event_id, e.fingerprint,
        ARRAY(SELECT d.id FROM ringback.deliveries d WHERE d.event = e.id ORDER BY d.id) AS deliveries
    FROM unnest($1::text[], $2::text[]) AS k (scope, event_id)
    JOIN ringback.events e ON e.scope = k.scope AND e.event_id = k.event_id";

/// Their ids rise in the order given. They are drawn with the lanes locked: so within a lane, what has the lower id is
/// never committed later.
const INSERT: &str = "
    INSERT INTO ringback.deliveries (event, lane, state, reason, rank, due, created_at, own, webhook, test, held_by,
        ended_at, purgeable)
    SELECT event, lane, state, reason, rank, due, due, own, webhook, test, held_by,
        CASE WHEN state = 'dead' THEN due END, CASE WHEN state = 'dead' THEN 2 END
    FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[],
            $8::text[], $9::boolean[], $10::bigint[])
        WITH ORDINALITY AS n (event, lane, state, reason, rank, due, own, webhook, test, held_by, place)
    ORDER BY place RETURNING id";

/// In place of an id that is drawn later: greater than all that wait in the lane.
const YET_TO_COME: DeliveryId = DeliveryId(i64::MAX);

/// An event to take in, with what can be worked out before there is a connection.
pub(super) struct Prepared {
    pub(super) event: Arc<Event>,
    pub(super) fingerprint: Fingerprint,
    deliveries: Vec<NewDelivery>,
    now: DateTime<Utc>,
}

/// What tells events apart: scope and id.
pub(super) type EventKey<'a> = (&'a str, &'a str);

impl Prepared {
    pub(super) fn new(new: NewEvent, now: DateTime<Utc>) -> Self {
        Self {
            fingerprint: new.event.fingerprint(),
            event: new.event,
            deliveries: new.deliveries,
            now: whole(now),
        }
    }

    pub(super) fn key(&self) -> EventKey<'_> {
        (self.event.scope().as_str(), self.event.id().as_str())
    }

    /// When it is enqueued, if that is without deliveries.
    pub(super) fn bare_since(&self) -> Option<i64> {
        self.deliveries.is_empty().then(|| floor(self.now))
    }

    /// The lanes of calls among its deliveries, with their rules.
    fn calls(&self) -> impl Iterator<Item = (LaneKey, LaneRules)> {
        self.deliveries
            .iter()
            .filter_map(|delivery| match &delivery.target {
                Target::Call(call) => Some((delivery.target.lane(), call.into())),
                Target::Webhook(_) | Target::Test(_) => None,
            })
    }
}

/// What became of events.
pub(super) struct TakenIn {
    pub(super) answers: Vec<Enqueued>,
    /// Whether a lane has come to have work.
    pub(super) sooner: bool,
}

impl Database {
    /// Takes in events and commits. The answers, and whether there is work to do.
    pub(super) async fn enqueue(
        &self,
        events: &[Prepared],
        now: DateTime<Utc>,
    ) -> Result<(Vec<Enqueued>, bool), Fault> {
        let mut tx = self.transaction().await?.planned_once();
        let taking = Taking::start(&mut tx, events).await?;
        let mut queries = taking.writes();
        queries.push(query(BUSY, &[]));
        let mut rows = tx.commit_all(queries).await?;
        let is_busy = rows.pop().is_some_and(|busy| !busy.is_empty());
        let TakenIn { answers, sooner } = taking.end(&rows)?;
        let moved = is_busy && self.move_more(events, now).await;
        Ok((answers, sooner | moved))
    }

    /// Moves some of what holds keep back, if there is anything, after events have been taken in. Whether there is work to do.
    pub(super) async fn move_behind(&self, events: &[Prepared], now: DateTime<Utc>) -> bool {
        let busy = self.once(BUSY, &[]).await;
        busy.is_ok_and(|busy| !busy.is_empty()) && self.move_more(events, now).await
    }

    /// Moves more than can have been added with these events. Where that fails, the next call does it.
    async fn move_more(&self, events: &[Prepared], now: DateTime<Utc>) -> bool {
        let enqueued = events.iter().map(|new| new.deliveries.len()).sum();
        self.move_held(moved_with(enqueued), now).await.unwrap_or(true)
    }
}

/// Takes in events, in a transaction that goes on.
pub(super) async fn take_in(tx: &mut Transaction<'_>, events: &[Prepared]) -> Result<TakenIn, Fault> {
    let taking = Taking::start(tx, events).await?;
    let rows = tx.run_all(taking.writes()).await?;
    taking.end(&rows)
}

/// Events that are being taken in: what they need is locked and worked out, and is written last, so that whoever waits for
/// a lane waits as short as can be.
struct Taking<'e> {
    events: &'e [Prepared],
    /// Where the first of each key is; of copies in one batch, it is the event.
    first: HashMap<EventKey<'e>, usize>,
    /// The rows of events that were not there.
    fresh: HashMap<EventKey<'e>, i64>,
    known: HashMap<EventKey<'e>, Known>,
    deliveries: NewDeliveries<'e>,
    /// Those of the deliveries, where they had to be written before the rest.
    ids: Option<Vec<i64>>,
    contents: NewContents<'e>,
    changes: Changes,
    sooner: bool,
}

/// An event that was there already.
struct Known {
    fingerprint: Fingerprint,
    deliveries: Vec<DeliveryId>,
}

impl<'e> Taking<'e> {
    /// First the events: should another transaction be about to take in the same ones, it is waited for before any lane is
    /// locked.
    async fn start(tx: &mut Transaction<'_>, events: &'e [Prepared]) -> Result<Self, Fault> {
        let mut first: HashMap<EventKey<'_>, usize> = HashMap::new();
        for (at, new) in events.iter().enumerate() {
            first.entry(new.key()).or_insert(at);
        }
        let firsts = events.iter().enumerate();
        let firsts: Vec<_> = firsts
            .filter(|(at, new)| first.get(&new.key()) == Some(at))
            .map(|(_, new)| new)
            .collect();
        let sealer = tx.sealer();
        let now = firsts.iter().map(|new| new.now).max().unwrap_or_default();
        let columns = NewEvents::of(&sealer, &firsts)?;
        let wanted = Wanted::of(&firsts);
        let subjects = firsts
            .iter()
            .filter_map(|new| Some((new.key().0, new.event.subject()?.as_str())));
        let (held_scopes, held_names): (Vec<_>, Vec<_>) = subjects.unzip();
        let [inserted, held, _, locked, fronts, scopes] = tx
            .run([
                columns.insert(),
                query(SHARE_BY_SUBJECT, &[&held_scopes, &held_names]),
                wanted.new.insert(),
                query(LOCK_BY_KEY, &[&wanted.keys]),
                query(FRONTS_BY_KEY, &[&wanted.keys]),
                query(SCOPES, &[&wanted.webhooks]),
            ])
            .await?;
        let mut lanes = Lanes::new(now);
        lanes.add(&locked)?;
        lanes.note_fronts(&fronts)?;
        let scopes: HashMap<&str, &str> = scopes
            .iter()
            .map(|row| Ok((row.read("id")?, row.read("scope")?)))
            .collect::<Result<_, Fault>>()?;
        let held: HashMap<EventKey<'_>, HoldNo> = held
            .iter()
            .map(|row| Ok(((row.read("scope")?, row.read("name")?), row.read("id")?)))
            .collect::<Result<_, Fault>>()?;
        let inserted: HashMap<EventKey<'_>, i64> = inserted
            .iter()
            .map(|row| Ok(((row.read("scope")?, row.read("event_id")?), row.read("id")?)))
            .collect::<Result<_, Fault>>()?;
        let fresh: HashMap<EventKey<'e>, i64> = firsts
            .iter()
            .filter_map(|new| Some((new.key(), *inserted.get(&new.key())?)))
            .collect();

        // A lane goes by the call that came into it last.
        let mut calls = HashMap::new();
        for new in firsts.iter().filter(|new| fresh.contains_key(&new.key())) {
            calls.extend(new.calls());
        }
        for (key, rules) in calls {
            if let Some(no) = lanes.find(&key) {
                lanes.change(tx, no, rules).await?;
            }
        }
        let mut deliveries = NewDeliveries::default();
        for new in &firsts {
            let Some(event) = fresh.get(&new.key()) else {
                continue;
            };
            for delivery in &new.deliveries {
                let is_for_it = match delivery.target.webhook() {
                    Some(id) => scopes.get(id.as_str()) == Some(&new.event.scope().as_str()),
                    None => true,
                };
                let lane = lanes.find(&delivery.target.lane()).filter(|_| is_for_it);
                let subject = new.event.subject().map(|subject| (new.key().0, subject.as_str()));
                let hold = subject.and_then(|subject| held.get(&subject)).copied();
                deliveries.push(*event, delivery, lane, hold, new.now, &mut lanes)?;
            }
        }
        let keys = firsts.iter().map(|new| new.key());
        let known = Known::read_all(tx, keys.filter(|key| !fresh.contains_key(key)).collect()).await?;
        lanes.place_known();
        let unplaced = lanes.unplaced();
        let mut ids = None;
        if !unplaced.is_empty() || deliveries.any_has_its_own() {
            let [inserted, fronts] = tx.run([deliveries.insert(), query(FRONTS, &[&unplaced])]).await?;
            lanes.place_by(tx, &fronts).await?;
            ids = Some(read_ids(&inserted)?);
        }
        let contents = NewContents::of(
            &sealer,
            ids.as_deref().unwrap_or_default(),
            &deliveries.deliveries,
        )?;
        let (changes, sooner) = lanes.changes()?;
        Ok(Self {
            events,
            first,
            fresh,
            known,
            deliveries,
            ids,
            contents,
            changes,
            sooner,
        })
    }

    /// What is still to be written. [`end`](Self::end) wants what the server answers.
    fn writes(&self) -> Vec<Query<'_>> {
        vec![
            match self.ids {
                None => self.deliveries.insert(),
                Some(_) => self.contents.insert(),
            },
            self.changes.write(),
        ]
    }

    fn end(self, rows: &[Vec<Row>]) -> Result<TakenIn, Fault> {
        let ids = match self.ids {
            None => read_ids(rows.first().map_or(&[], Vec::as_slice))?,
            Some(ids) => ids,
        };
        let mut ids = ids.into_iter().map(DeliveryId);
        let mut fresh: HashMap<EventKey<'_>, Vec<DeliveryId>> = HashMap::new();
        let mut answers = Vec::with_capacity(self.events.len());
        for (at, new) in self.events.iter().enumerate() {
            let key = new.key();
            let is_first = self.first.get(&key) == Some(&at);
            answers.push(if is_first && self.fresh.contains_key(&key) {
                let deliveries: Vec<_> = ids.by_ref().take(new.deliveries.len()).collect();
                fresh.insert(key, deliveries.clone());
                Enqueued::Fresh(deliveries)
            } else {
                let (fingerprint, deliveries) = match (self.known.get(&key), fresh.get(&key)) {
                    (Some(known), _) => (known.fingerprint, &known.deliveries),
                    (None, Some(deliveries)) => {
                        let first = self.first.get(&key).and_then(|first| self.events.get(*first));
                        let first = first.ok_or(Fault::Unreadable("event_id"))?;
                        (first.fingerprint, deliveries)
                    }
                    (None, None) => return Err(Fault::Unreadable("event_id")),
                };
                match fingerprint == new.fingerprint {
                    true => Enqueued::Duplicate(deliveries.clone()),
                    false => Enqueued::Conflict,
                }
            });
        }
        Ok(TakenIn {
            answers,
            sooner: self.sooner,
        })
    }
}

impl Known {
    async fn read_all<'e>(
        tx: &mut Transaction<'_>,
        keys: Vec<EventKey<'e>>,
    ) -> Result<HashMap<EventKey<'e>, Self>, Fault> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let (scopes, ids): (Vec<_>, Vec<_>) = keys.iter().copied().unzip();
        let rows = tx.query(KNOWN, &[&scopes, &ids]).await?;
        let rows: HashMap<EventKey<'_>, &Row> = rows
            .iter()
            .map(|row| Ok(((row.read("scope")?, row.read("event_id")?), row)))
            .collect::<Result<_, Fault>>()?;
        let sealer = tx.sealer();
        let known = keys.into_iter().filter_map(|key| Some((key, *rows.get(&key)?)));
        known
            .map(|(key, row)| Ok((key, Self::read(&sealer, row)?)))
            .collect()
    }

    fn read(sealer: &Sealer, row: &Row) -> Result<Self, Fault> {
        let deliveries = row.read::<Vec<i64>>("deliveries")?.into_iter().map(DeliveryId);
        Ok(Self {
            deliveries: deliveries.collect(),
            fingerprint: super::events::read_fingerprint(sealer, row)?,
        })
    }
}

fn read_ids(rows: &[Row]) -> Result<Vec<i64>, Fault> {
    rows.iter().map(|row| row.read("id")).collect()
}

/// What new deliveries want of lanes.
struct Wanted {
    /// Those of calls, which are made if need be, and those in which webhooks are tried out, if there is such a webhook.
    new: NewLanes,
    /// The names of all, and of those of webhooks that are tried out.
    keys: Vec<String>,
    webhooks: Vec<String>,
}

impl Wanted {
    fn of(events: &[&Prepared]) -> Self {
        let mut wanted = Self {
            new: NewLanes::default(),
            keys: Vec::new(),
            webhooks: Vec::new(),
        };
        let mut known = HashSet::new();
        for target in events
            .iter()
            .flat_map(|new| &new.deliveries)
            .map(|delivery| &delivery.target)
        {
            let key = target.lane();
            wanted.keys.push(key.as_str().to_owned());
            if let Some(webhook) = target.webhook() {
                wanted.webhooks.push(webhook.to_string());
            }
            let is_first = known.insert(key.clone());
            match target {
                Target::Call(call) if is_first => wanted.new.push(&key, &call.into()),
                Target::Test(webhook) => {
                    wanted.keys.push(LaneKey::webhook(webhook).as_str().to_owned());
                    if is_first {
                        wanted.new.push_test(webhook);
                    }
                }
                Target::Call(_) | Target::Webhook(_) => {}
            }
        }
        for names in [&mut wanted.keys, &mut wanted.webhooks] {
            names.sort_unstable();
            names.dedup();
        }
        wanted
    }
}

/// Deliveries, column by column.
#[derive(Default)]
struct NewDeliveries<'a> {
    deliveries: Vec<&'a NewDelivery>,
    event: Vec<i64>,
    lane: Vec<Option<LaneNo>>,
    state: Vec<&'static str>,
    reason: Vec<Option<&'static str>>,
    rank: Vec<i64>,
    due: Vec<i64>,
    own: Vec<bool>,
    webhook: Vec<Option<&'a str>>,
    test: Vec<bool>,
    held_by: Vec<Option<HoldNo>>,
}

impl<'a> NewDeliveries<'a> {
    fn push(
        &mut self,
        event: i64,
        new: &'a NewDelivery,
        lane: Option<LaneNo>,
        of_subject: Option<HoldNo>,
        now: DateTime<Utc>,
        lanes: &mut Lanes,
    ) -> Result<(), Fault> {
        let due = floor(now);
        let hold = match lane {
            Some(lane) => lanes.look(lane)?.hold.map(|(hold, _)| hold).or(of_subject),
            None => None,
        };
        let (state, rank) = match lane {
            Some(_) if hold.is_some() => (State::Held, due),
            Some(lane) => {
                let waits = lanes.get(lane)?.waits_until(due);
                lanes.join(lane, YET_TO_COME, waits);
                (State::Pending, waits.rank)
            }
            None => (State::Dead(DeadReason::WebhookDeleted), due),
        };
        let (word, reason) = state_words(state);
        self.deliveries.push(new);
        self.event.push(event);
        self.lane.push(lane);
        self.held_by.push(hold);
        self.state.push(word);
        self.reason.push(reason);
        self.rank.push(rank);
        self.due.push(due);
        self.own
            .push(new.body.is_some() || matches!(new.target, Target::Call(_)));
        self.webhook.push(new.target.webhook().map(WebhookId::as_str));
        self.test.push(new.target.is_test());
        Ok(())
    }

    /// Whether any has contents of its own, which are written with its id.
    fn any_has_its_own(&self) -> bool {
        self.own.contains(&true)
    }

    fn insert(&self) -> Query<'_> {
        query(
            INSERT,
            &[
                &self.event,
                &self.lane,
                &self.state,
                &self.reason,
                &self.rank,
                &self.due,
                &self.own,
                &self.webhook,
                &self.test,
                &self.held_by,
            ],
        )
    }
}

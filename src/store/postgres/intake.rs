//! Submissions.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::PostgresStore;
use super::database::Database;
use super::enqueue::{Prepared, take_in};
use super::fault::Fault;
use super::sealer::Sealer;
use super::transaction::{Columns, query};
use crate::delivery::Event;
use crate::id::Subject;
use crate::store::codec::{EventParts, header_lines, limit};
use crate::store::encryption::{KeyId, Vault};
use crate::store::{Enqueued, SetAside, StoreError, StoreErrorKind, Submission, SubmissionNo, TakenIn};

const HEADERS: &str = "intake.headers";
const BODY: &str = "intake.body";

/// A number for each submission, since that is a part of what its encryption is bound to, and the key to encrypt with.
const NUMBERS: &str = "
    SELECT nextval('ringback.submission_numbers') AS number,
        (SELECT k.id FROM ringback.encryption_keys k ORDER BY k.number DESC LIMIT 1) AS key
    FROM generate_series(1, $1::bigint)";

const INSERT: &str = "
    INSERT INTO ringback.intake (number, scope, event_id, kind, subject, media_type, headers, body)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::bytea[])";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT number, scope, event_id, kind, subject, media_type, headers, body, plain_body, set_aside
             FROM ringback.intake ",
            $rest
        )
    };
}

const WAITING: &str = select!("WHERE set_aside IS NULL AND number > $1 ORDER BY number LIMIT $2");
const SET_ASIDE: &str = select!("WHERE set_aside IS NOT NULL AND number > $1 ORDER BY number LIMIT $2");

/// Of two that take in the same, one waits for the other, and then finds it gone.
const LOCK: &str = "
    SELECT number FROM ringback.intake WHERE number = ANY($1::bigint[]) AND set_aside IS NULL ORDER BY number FOR UPDATE";

const REMOVE: &str = "DELETE FROM ringback.intake WHERE number = ANY($1::bigint[])";

const PUT_ASIDE: &str = "
    UPDATE ringback.intake i SET set_aside = n.set_aside
    FROM unnest($1::bigint[], $2::text[]) AS n (number, set_aside) WHERE i.number = n.number";

const DISCARD: &str =
    "DELETE FROM ringback.intake WHERE number = $1 AND set_aside IS NOT NULL RETURNING number";

impl PostgresStore {
    /// Submits events in a transaction of the caller's own in the same database: they will be sent if, and only if, that
    /// commits. Workers hear of it with the commit. See [`IntakeStore`](crate::store::IntakeStore), and for other clients the
    /// SQL function in the [module's documentation](crate::store::postgres).
    ///
    /// The connection is the application's: of a pool of its own, or of the one that the store was made
    /// [over](crate::store::postgres::PostgresStoreBuilder::over). It takes two round trips, and no lock that anybody waits for. What
    /// its role must be granted is in the [module's documentation](crate::store::postgres).
    ///
    /// # Errors
    ///
    /// If the connection fails, is to another database, or the schema is encrypted under a key that this store was not given.
    /// As after any error, nothing but a rollback can be done with the transaction then.
    ///
    /// ```no_run
    /// use ringback::delivery::Event;
    /// use ringback::store::PostgresStore;
    ///
    /// # async fn place(store: PostgresStore, mut client: tokio_postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let order = "A-17";
    /// let event = Event::builder("tenant-7", format!("{order}/placed"), "order.placed").json("{}").build()?;
    /// let transaction = client.transaction().await?;
    /// transaction.execute("INSERT INTO orders VALUES ($1)", &[&order]).await?;
    /// store.submit_in(&transaction, &[event]).await?;
    /// transaction.commit().await?; // from here on, and not before, it is on its way
    /// # Ok(())
    /// # }
    /// ```
    pub async fn submit_in(
        &self,
        transaction: &tokio_postgres::Transaction<'_>,
        events: &[Event],
    ) -> Result<(), StoreError> {
        if self.is_too_new.load(Ordering::Relaxed) {
            return Err(StoreError::new(StoreErrorKind::TooNew));
        }
        Ok(self.database.submit_in(transaction, events).await?)
    }
}

impl Database {
    pub(super) async fn submit(&self, events: &[Event]) -> Result<(), Fault> {
        let mut client = self.pool.get().await?;
        let client: &mut Client = &mut client;
        let transaction = client.transaction().await?;
        self.submit_in(&transaction, events).await?;
        transaction.commit().await.map_err(Fault::of_commit)
    }

    async fn submit_in(
        &self,
        transaction: &tokio_postgres::Transaction<'_>,
        events: &[Event],
    ) -> Result<(), Fault> {
        if events.is_empty() {
            return Ok(());
        }
        let drawn = transaction
            .query_typed(
                &self.schema.qualify(NUMBERS),
                &[(&limit(events.len()), Type::INT8)],
            )
            .await?;
        let key = drawn.first().ok_or(Fault::Unreadable("encryption_keys.id"))?;
        let key = KeyId::from_bytes(key.read("key")?).ok_or(Fault::Unreadable("encryption_keys.id"))?;
        let mut vault = Vault::new(self.sealer().0.keys().clone());
        if !vault.switch_to(key) {
            return Err(Fault::WrongKey(key));
        }
        let sealer = Sealer(Arc::new(vault));
        let mut numbers: Vec<i64> = drawn
            .iter()
            .map(|row| row.read("number"))
            .collect::<Result<_, _>>()?;
        numbers.sort_unstable();
        let (mut headers, mut bodies) = (Vec::new(), Vec::new());
        for (number, event) in numbers.iter().zip(events) {
            let identity = number.to_be_bytes();
            let lines = header_lines(event.headers()).map(|lines| sealer.seal(HEADERS, &[&identity], &lines));
            headers.push(lines.transpose()?);
            bodies.push(sealer.seal(BODY, &[&identity], event.body())?);
        }
        let text = |of: fn(&Event) -> &str| events.iter().map(of).collect::<Vec<_>>();
        let scopes = text(|event| event.scope().as_str());
        let ids = text(|event| event.id().as_str());
        let kinds = text(|event| event.kind().as_str());
        let subjects: Vec<_> = events
            .iter()
            .map(|event| event.subject().map(Subject::as_str))
            .collect();
        let media_types: Vec<_> = events.iter().map(|event| event.media_type().as_bytes()).collect();
        transaction
            .query_typed(
                &self.schema.qualify(INSERT),
                &[
                    (&numbers, Type::INT8_ARRAY),
                    (&scopes, Type::TEXT_ARRAY),
                    (&ids, Type::TEXT_ARRAY),
                    (&kinds, Type::TEXT_ARRAY),
                    (&subjects, Type::TEXT_ARRAY),
                    (&media_types, Type::BYTEA_ARRAY),
                    (&headers, Type::BYTEA_ARRAY),
                    (&bodies, Type::BYTEA_ARRAY),
                ],
            )
            .await?;
        Ok(())
    }

    pub(super) async fn submissions(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<Submission>, Fault> {
        let rows = self.once(WAITING, &[&start(after), &limit(max)]).await?;
        let sealer = self.sealer();
        rows.iter().map(|row| read(&sealer, row)).collect()
    }

    /// The answers, and whether there is work to do.
    pub(super) async fn take_in_submissions(
        &self,
        taking: Vec<(SubmissionNo, Option<Prepared>)>,
        now: DateTime<Utc>,
    ) -> Result<(Vec<TakenIn>, bool), Fault> {
        let numbers: Vec<i64> = taking.iter().map(|(number, _)| number.0).collect();
        let mut tx = self.transaction().await?.planned_once();
        let there = tx.query(LOCK, &[&numbers]).await?;
        let mut there: HashSet<i64> = there
            .iter()
            .map(|row| row.read("number"))
            .collect::<Result<_, _>>()?;
        let (mut answers, mut events, mut enqueuing) = (Vec::new(), Vec::new(), Vec::new());
        for (number, event) in taking {
            answers.push(match (there.remove(&number.0), event) {
                (false, _) => TakenIn::Gone,
                (true, None) => TakenIn::SetAside(SetAside::Unusable),
                (true, Some(event)) => {
                    events.push(event);
                    enqueuing.push(answers.len());
                    TakenIn::Duplicate
                }
            });
        }
        let taken_in = take_in(&mut tx, &events).await?;
        for (at, enqueued) in enqueuing.into_iter().zip(taken_in.answers) {
            let answer = match enqueued {
                Enqueued::Fresh(deliveries) => TakenIn::Fresh(deliveries),
                Enqueued::Duplicate(_) => TakenIn::Duplicate,
                Enqueued::Conflict => TakenIn::SetAside(SetAside::Conflict),
            };
            answers.splice(at..=at, [answer]);
        }
        let (mut over, mut aside, mut why) = (Vec::new(), Vec::new(), Vec::new());
        for (number, answer) in numbers.iter().zip(&answers) {
            match answer {
                TakenIn::Fresh(_) | TakenIn::Duplicate => over.push(*number),
                TakenIn::SetAside(reason) => {
                    aside.push(*number);
                    why.push(reason.as_str());
                }
                TakenIn::Gone => {}
            }
        }
        tx.commit_with([query(REMOVE, &[&over]), query(PUT_ASIDE, &[&aside, &why])])
            .await?;
        let sooner = taken_in.sooner | self.move_behind(&events, now).await;
        Ok((answers, sooner))
    }

    pub(super) async fn set_aside(
        &self,
        after: Option<SubmissionNo>,
        max: usize,
    ) -> Result<Vec<(Submission, SetAside)>, Fault> {
        let rows = self.once(SET_ASIDE, &[&start(after), &limit(max)]).await?;
        let sealer = self.sealer();
        let set_aside = rows.iter().map(|row| {
            let why = SetAside::named(row.read("set_aside")?).ok_or(Fault::Unreadable("set_aside"))?;
            Ok((read(&sealer, row)?, why))
        });
        set_aside.collect()
    }

    pub(super) async fn discard(&self, number: SubmissionNo) -> Result<bool, Fault> {
        let discarded = self.once(DISCARD, &[&number.0]).await?;
        Ok(!discarded.is_empty())
    }
}

/// What numbers are greater than from after that one on.
fn start(after: Option<SubmissionNo>) -> i64 {
    after.map_or(i64::MIN, |after| after.0)
}

fn read(sealer: &Sealer, row: &Row) -> Result<Submission, Fault> {
    Ok(Submission {
        number: SubmissionNo(row.read("number")?),
        scope: row.read::<&str>("scope")?.into(),
        id: row.read::<&str>("event_id")?.into(),
        event: read_event(sealer, row).ok(),
    })
}

fn read_event(sealer: &Sealer, row: &Row) -> Result<Event, Fault> {
    let identity = row.read::<i64>("number")?.to_be_bytes();
    let lines = row.read::<Option<&[u8]>>("headers")?.unwrap_or_default();
    let parts = EventParts {
        scope: row.read("scope")?,
        id: row.read("event_id")?,
        kind: row.read("kind")?,
        subject: row.read("subject")?,
        media_type: row.read("media_type")?,
        header_lines: sealer.open(HEADERS, &[&identity], lines)?,
        body: match row.read::<Option<&[u8]>>("plain_body")? {
            Some(plain) => plain.to_vec(),
            None => sealer.open(BODY, &[&identity], row.read("body")?)?,
        },
    };
    Ok(parts.event()?)
}

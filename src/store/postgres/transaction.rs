//! A transaction: statements sent together, so that a batch costs as few round trips as it has steps.

use std::borrow::Cow;

use deadpool_postgres::Object;
use futures_util::future::{join_all, join3};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

use super::database::Database;
use super::fault::Fault;
use super::sealer::Sealer;

/// The error of a transaction that would encrypt with a key that another process has replaced.
const KEY_CHANGED: &str = "RB001";

/// After how many milliseconds without a statement the server undoes a transaction and closes its connection. Between two
/// of ours lie microseconds, so whoever lets it pass is frozen or gone.
const STANDSTILL: u32 = 10_000;

/// A plan that outlives the time when the tables were small goes by indexes only if that is what it was made to do: a join
/// that reads one side whole is cheapest where there is next to nothing.
const PLANNED_ONCE: &str = "SET LOCAL plan_cache_mode = force_generic_plan;
             SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;";

/// A statement with its parameters. Its tables are written as in the schema `ringback`.
pub(super) struct Query<'a> {
    sql: Cow<'static, str>,
    parameters: Vec<&'a (dyn ToSql + Sync)>,
}

pub(super) fn query<'a>(sql: &'static str, parameters: &[&'a (dyn ToSql + Sync)]) -> Query<'a> {
    Query {
        sql: Cow::Borrowed(sql),
        parameters: parameters.to_vec(),
    }
}

impl<'a> Query<'a> {
    /// A statement that is put together.
    pub(super) fn of(sql: String, parameters: &[&'a (dyn ToSql + Sync)]) -> Self {
        Self {
            sql: Cow::Owned(sql),
            parameters: parameters.to_vec(),
        }
    }
}

/// A transaction on a connection of the pool's. It begins together with the first statements, and ends with
/// [`commit`](Self::commit), [`commit_with`](Self::commit_with) or [`roll_back`](Self::roll_back). Dropped before that, it
/// takes its connection out of the pool and closes it, so that the server undoes it.
pub(super) struct Transaction<'a> {
    database: &'a Database,
    sealer: Sealer,
    client: Option<Object>,
    has_begun: bool,
    is_planned_once: bool,
}

impl<'a> Transaction<'a> {
    pub(super) async fn open(database: &'a Database, sealer: Sealer) -> Result<Self, Fault> {
        Ok(Self {
            client: Some(database.pool.get().await?),
            database,
            sealer,
            has_begun: false,
            is_planned_once: false,
        })
    }

    /// Has each statement planned once for a connection, whatever its parameters. The server would rather plan anew each
    /// time for arrays, whose length it takes to matter, and that takes longer than what is planned. For statements whose
    /// one plan is good for all parameters.
    pub(super) fn planned_once(mut self) -> Self {
        self.is_planned_once = true;
        self
    }

    pub(super) fn database(&self) -> &'a Database {
        self.database
    }

    /// What encrypts and decrypts in this transaction.
    pub(super) fn sealer(&self) -> Sealer {
        self.sealer.clone()
    }

    /// Runs a statement.
    pub(super) async fn query(
        &mut self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let [rows] = self.run([query(sql, parameters)]).await?;
        Ok(rows)
    }

    /// Runs statements one after another, all sent at once.
    pub(super) async fn run<const N: usize>(
        &mut self,
        queries: [Query<'_>; N],
    ) -> Result<[Vec<Row>; N], Fault> {
        let mut rows = self.send(queries.into(), false).await?.into_iter();
        Ok(std::array::from_fn(|_| rows.next().unwrap_or_default()))
    }

    /// As [`run`](Self::run), as many as there are.
    pub(super) async fn run_all(&mut self, queries: Vec<Query<'_>>) -> Result<Vec<Vec<Row>>, Fault> {
        self.send(queries, false).await
    }

    /// Runs statements and commits, all sent at once.
    pub(super) async fn commit_with<const N: usize>(
        self,
        queries: [Query<'_>; N],
    ) -> Result<[Vec<Row>; N], Fault> {
        let mut rows = self.commit_all(queries.into()).await?.into_iter();
        Ok(std::array::from_fn(|_| rows.next().unwrap_or_default()))
    }

    /// As [`commit_with`](Self::commit_with), as many as there are.
    pub(super) async fn commit_all(mut self, queries: Vec<Query<'_>>) -> Result<Vec<Vec<Row>>, Fault> {
        let rows = self.send(queries, true).await?;
        self.has_begun = false;
        Ok(rows)
    }

    pub(super) async fn commit(self) -> Result<(), Fault> {
        self.commit_with([]).await.map(|[]| ())
    }

    /// Ends it without effect.
    pub(super) async fn roll_back(mut self) -> Result<(), Fault> {
        if let (true, Some(client)) = (self.has_begun, &self.client) {
            client.batch_execute("ROLLBACK").await?;
            self.has_begun = false;
        }
        Ok(())
    }

    /// Whatever the defaults of the role or the database are: statements see what was committed when they begin, which is
    /// what locks are taken for. Should this process stand still, the server does not keep others waiting for what it has
    /// locked. Statements are planned for tables that are large, since a plan may outlive the time when they were empty. The
    /// key that encrypts stays the same until the commit.
    fn begin(&self) -> String {
        let (schema, key) = (self.database.schema.name(), self.sealer.0.current().to_bytes());
        let key = u64::from_be_bytes(key);
        let plans = if self.is_planned_once { PLANNED_ONCE } else { "" };
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
             SET LOCAL idle_in_transaction_session_timeout = {STANDSTILL};
             SET LOCAL enable_seqscan = off; SET LOCAL jit = off; {plans}
             LOCK TABLE \"{schema}\".encryption_keys IN ROW SHARE MODE;
             SELECT \"{schema}\".require_key('\\x{key:016x}')"
        )
    }

    async fn send(&mut self, queries: Vec<Query<'_>>, commits: bool) -> Result<Vec<Vec<Row>>, Fault> {
        let Some(client) = &self.client else {
            return Ok(Vec::new()); // nothing takes it but the drop
        };
        let mut statements = Vec::with_capacity(queries.len());
        for query in &queries {
            let sql = match &query.sql {
                Cow::Borrowed(sql) => self.database.schema.qualify(sql),
                Cow::Owned(sql) => Cow::Owned(self.database.schema.qualify_text(sql)),
            };
            statements.push(client.prepare_cached(&sql).await?);
        }
        if client.is_closed() {
            return Err(Fault::Lost);
        }
        let begin = (!self.has_begun).then(|| self.begin());
        self.has_begun = true;
        // Each is sent when it is first polled, and they are polled in this order.
        let begin = async {
            match begin {
                Some(begin) => client.batch_execute(&begin).await,
                None => Ok(()),
            }
        };
        let sent = statements
            .iter()
            .zip(&queries)
            .map(|(statement, query)| client.query(statement, &query.parameters));
        let commit = async {
            match commits {
                true => client.batch_execute("COMMIT").await,
                false => Ok(()),
            }
        };
        let (begun, answers, committed) = join3(begin, join_all(sent), commit).await;
        // The first that went wrong is the reason why what follows it did.
        let fault = if commits { Fault::of_commit } else { Fault::from };
        if let Err(error) = begun {
            if error.code().is_some_and(|code| code.code() == KEY_CHANGED) {
                // On the connection at hand, since others of the pool may be waited for by all who are here.
                client.batch_execute("ROLLBACK").await?;
                self.has_begun = false;
                self.database.look_at_keys(client).await?;
                return Err(Fault::KeyChanged);
            }
            return Err(fault(error));
        }
        let rows = answers.into_iter().collect::<Result<_, _>>().map_err(fault)?;
        committed.map_err(fault)?;
        Ok(rows)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.has_begun
            && let Some(client) = self.client.take()
        {
            drop(Object::take(client));
        }
    }
}

/// Reads a column by its name.
pub(super) trait Columns {
    fn read<'a, T: FromSql<'a>>(&'a self, column: &'static str) -> Result<T, Fault>;

    /// A number that is never negative, in a type that cannot be.
    fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, Fault> {
        T::try_from(self.read::<i64>(column)?).map_err(|_| Fault::Unreadable(column))
    }
}

impl Columns for Row {
    fn read<'a, T: FromSql<'a>>(&'a self, column: &'static str) -> Result<T, Fault> {
        self.try_get(column).map_err(|_| Fault::Unreadable(column))
    }
}

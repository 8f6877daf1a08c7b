//! The schema that a store's tables are in: its name, its versions, and who can work with which.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Client;

use super::fault::Fault;

/// A version of the tables: how to come to it from the one before, and the oldest version whose code can go on working
/// meanwhile. What is released is never changed, only added to.
struct Version {
    script: &'static str,
    readable_by: i64,
}

const VERSIONS: &[Version] = &[Version {
    script: include_str!("schema_1.sql"),
    readable_by: 1,
}];

/// The schema that statements are written for.
const WRITTEN: &str = "ringback.";

/// The advisory lock under which versions change: "ringback" in ASCII.
const LOCK: i64 = 0x7269_6e67_6261_636b;

/// The name of a schema: lower-case letters, digits and underscores, neither a digit nor `pg_` in front, at most 63 of them.
/// So it reads the same with and without quotes.
///
/// ```
/// use ringback::store::postgres::SchemaName;
///
/// assert_eq!(SchemaName::default().as_str(), "ringback");
/// assert!("tenant_7".parse::<SchemaName>().is_ok());
/// assert!("Robert'); DROP TABLE".parse::<SchemaName>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SchemaName(String);

impl SchemaName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SchemaName {
    /// `ringback`.
    fn default() -> Self {
        Self("ringback".to_owned())
    }
}

impl FromStr for SchemaName {
    type Err = SchemaNameError;

    fn from_str(text: &str) -> Result<Self, SchemaNameError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let starts_well = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        match starts_well && text.len() <= 63 && text.bytes().all(is_plain) && !text.starts_with("pg_") {
            true => Ok(Self(text.to_owned())),
            false => Err(SchemaNameError),
        }
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no [`SchemaName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a schema's name is lower-case letters, digits and underscores, neither a digit nor `pg_` in front, at most 63 of them"
)]
pub struct SchemaNameError;

/// A schema, and the statements as they read in it.
pub(super) struct Schema {
    name: SchemaName,
    /// The name as SQL has it, with the dot.
    prefix: String,
    qualified: Mutex<HashMap<&'static str, Arc<str>>>,
}

impl Schema {
    pub(super) fn new(name: SchemaName) -> Self {
        Self {
            prefix: format!("\"{name}\"."),
            name,
            qualified: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &SchemaName {
        &self.name
    }

    /// A statement that was written for the schema `ringback`, as it reads in this one.
    pub(super) fn qualify(&self, sql: &'static str) -> Cow<'static, str> {
        if self.name.as_str() == "ringback" {
            return Cow::Borrowed(sql);
        }
        let mut qualified = self.qualified.lock().unwrap_or_else(PoisonError::into_inner);
        let known = qualified
            .entry(sql)
            .or_insert_with(|| sql.replace(WRITTEN, &self.prefix).into());
        Cow::Owned(known.to_string())
    }

    /// The same, for a text that is not asked for again and again.
    pub(super) fn qualify_text(&self, sql: &str) -> String {
        sql.replace(WRITTEN, &self.prefix)
    }

    /// Brings the tables up to date, or makes them. Any number of processes may do so at once.
    pub(super) async fn migrate(&self, client: &Client) -> Result<(), Fault> {
        while self.version(client).await? < current() {
            // Whatever the role's timeouts are: a large table takes its time, and so may another process before this one.
            let begin = format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 0;
                 SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({LOCK})"
            );
            client.batch_execute(&begin).await?;
            let migrated = self.migrate_once(client).await;
            let end = if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" };
            let ended = client.batch_execute(end).await;
            migrated?;
            ended?;
        }
        Ok(())
    }

    /// Takes the next step, unless another process has taken it meanwhile.
    async fn migrate_once(&self, client: &Client) -> Result<(), Fault> {
        let done = self.version(client).await?;
        let next = usize::try_from(done).ok().and_then(|done| VERSIONS.get(done));
        let Some(Version { script, readable_by }) = next else {
            return Ok(());
        };
        // Making a schema that is there takes a right that using it does not.
        let select = "SELECT FROM pg_namespace WHERE nspname = $1";
        if client.query_opt(select, &[&self.name.as_str()]).await?.is_none() {
            client
                .batch_execute(&format!("CREATE SCHEMA \"{}\"", self.name))
                .await?;
        }
        client.batch_execute(&self.qualify(script)).await?;
        let update = self.qualify("UPDATE ringback.meta SET version = $1, readable_by = $2");
        client.execute(&*update, &[&(done + 1), readable_by]).await?;
        Ok(())
    }

    /// How many steps the schema has had, if it is one of ours or empty.
    pub(super) async fn version(&self, client: &Client) -> Result<i64, Fault> {
        let select = "SELECT
                EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname = $1 AND c.relname = 'meta'),
                EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1)";
        let row = client.query_one(select, &[&self.name.as_str()]).await?;
        match (row.try_get(0)?, row.try_get(1)?) {
            (true, _) => {}
            (false, true) => return Err(Fault::Foreign),
            (false, false) => return Ok(0),
        }
        let select = self.qualify("SELECT version, readable_by FROM ringback.meta");
        let row = client.query_one(&*select, &[]).await?;
        let (version, readable_by): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        match readable_by <= current() {
            true => Ok(version),
            false => Err(Fault::TooNew(version)),
        }
    }
}

fn current() -> i64 {
    i64::try_from(VERSIONS.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_read_as_if_written_for_their_schema() {
        let sql = "SELECT nextval('ringback.turns') FROM ringback.lanes";
        let own = Schema::new(SchemaName::default());
        assert_eq!(own.qualify(sql), sql);
        let other = Schema::new("tenant_7".parse().unwrap());
        let expected = "SELECT nextval('\"tenant_7\".turns') FROM \"tenant_7\".lanes";
        assert_eq!(other.qualify(sql), expected);
        assert_eq!(other.qualify(sql), expected, "remembered");
    }

    #[test]
    fn names_need_no_quotes() {
        for name in ["ringback", "a", "_x1", &"z".repeat(63)] {
            assert_eq!(name.parse::<SchemaName>().unwrap().as_str(), name);
        }
        for name in [
            "",
            "1a",
            "A",
            "a b",
            "a\"b",
            "a.b",
            "é",
            "pg_toast",
            &"z".repeat(64),
        ] {
            assert!(name.parse::<SchemaName>().is_err(), "{name}");
        }
    }
}

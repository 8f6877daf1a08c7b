//! The time as the server has it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};
use tokio_postgres::Client;

use super::fault::Fault;
use crate::store::codec::instant;
use crate::time::{Clock, after};

/// The server's clock, as a worker's own: what the server's showed when it was last asked, and how much time has passed
/// since. The store asks when it is made and every minute after that.
///
/// Workers that take their `now` from it agree with each other to within the time of a round trip, however the clocks of
/// their machines are set.
///
/// ```no_run
/// use ringback::time::Clock;
/// # fn with(store: ringback::store::PostgresStore) {
/// let now = store.clock().now();
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ServerClock(Arc<Mutex<Reading>>);

#[derive(Debug, Clone, Copy)]
struct Reading {
    server: DateTime<Utc>,
    taken: Instant,
}

impl ServerClock {
    /// Asks for the first time.
    pub(super) async fn read(client: &Client) -> Result<Self, Fault> {
        Ok(Self(Arc::new(Mutex::new(Reading::take(client).await?))))
    }

    /// Asks again.
    pub(super) async fn read_again(&self, client: &Client) -> Result<(), Fault> {
        let reading = Reading::take(client).await?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reading;
        Ok(())
    }
}

impl Clock for ServerClock {
    fn now(&self) -> DateTime<Utc> {
        let reading = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        after(reading.server, reading.taken.elapsed())
    }
}

impl Reading {
    /// The answer is taken to have been true half-way between question and answer.
    async fn take(client: &Client) -> Result<Self, Fault> {
        let asked = Instant::now();
        let select = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let row = client.query_one(select, &[]).await?;
        let taken = asked + asked.elapsed() / 2;
        let server = instant(row.try_get(0)?, "clock_timestamp")?;
        Ok(Self { server, taken })
    }
}

//! What a delivery has of its own: bytes in place of the event's, a URL in place of a webhook.

use bytes::Bytes;
use rusqlite::Connection;

use super::fault::Fault;
use crate::delivery::Call;
use crate::delivery::Target;
use crate::store::NewDelivery;

#[derive(Default)]
pub(super) struct Contents {
    pub(super) body: Option<Bytes>,
    pub(super) call: Option<Call>,
}

/// Writes down what a delivery has of its own. Whether there was anything.
pub(super) fn insert(conn: &Connection, id: i64, new: &NewDelivery) -> Result<bool, Fault> {
    let call = match &new.target {
        Target::Call(call) => Some(serde_json::to_string(call).map_err(|_| Fault::Unreadable("call"))?),
        Target::Webhook(_) => None,
    };
    if call.is_none() && new.body.is_none() {
        return Ok(false);
    }
    conn.prepare_cached("INSERT INTO contents (delivery, body, call) VALUES (?1, ?2, ?3)")?
        .execute((id, new.body.as_deref(), call))?;
    Ok(true)
}

/// Reads it back; nothing, if the delivery's row says that there is nothing.
pub(super) fn read(conn: &Connection, id: i64, own: bool) -> Result<Contents, Fault> {
    if !own {
        return Ok(Contents::default());
    }
    let (body, call): (Option<Vec<u8>>, Option<String>) = conn
        .prepare_cached("SELECT body, call FROM contents WHERE delivery = ?1")?
        .query_one([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let call = call.map(|call| serde_json::from_str(&call)).transpose();
    Ok(Contents {
        body: body.map(Bytes::from),
        call: call.map_err(|_| Fault::Unreadable("call"))?,
    })
}

//! What a delivery has of its own: bytes in place of the event's, a URL in place of a webhook.

use super::database::Database;
use super::fault::Fault;
use crate::delivery::Call;
use crate::delivery::Target;
use crate::store::NewDelivery;
use bytes::Bytes;

const BODY: &str = "contents.body";
const CALL: &str = "contents.call";

#[derive(Default)]
pub(super) struct Contents {
    pub(super) body: Option<Bytes>,
    pub(super) call: Option<Call>,
}

/// Writes down what a delivery has of its own. Whether there was anything.
pub(super) fn insert(conn: &Database, id: i64, new: &NewDelivery) -> Result<bool, Fault> {
    let call = match &new.target {
        Target::Call(call) => Some(serde_json::to_vec(call).map_err(|_| Fault::Unreadable(CALL))?),
        Target::Webhook(_) | Target::Test(_) => None,
    };
    if call.is_none() && new.body.is_none() {
        return Ok(false);
    }
    let row = id.to_be_bytes();
    let body = new.body.as_ref().map(|body| conn.seal(BODY, &[&row], body));
    let call = call.map(|call| conn.seal(CALL, &[&row], &call));
    conn.prepare_cached("INSERT INTO contents (delivery, body, call) VALUES (?1, ?2, ?3)")?
        .execute((id, body.transpose()?, call.transpose()?))?;
    Ok(true)
}

/// Reads it back; nothing, if the delivery's row says that there is nothing.
pub(super) fn read(conn: &Database, id: i64, own: bool) -> Result<Contents, Fault> {
    if !own {
        return Ok(Contents::default());
    }
    let (body, call): (Option<Vec<u8>>, Option<Vec<u8>>) = conn
        .prepare_cached("SELECT body, call FROM contents WHERE delivery = ?1")?
        .query_one([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let row = id.to_be_bytes();
    let body = body.map(|body| conn.open(BODY, &[&row], &body)).transpose()?;
    let call = call.map(|call| {
        let call = conn.open(CALL, &[&row], &call)?;
        serde_json::from_slice(&call).map_err(|_| Fault::Unreadable(CALL))
    });
    Ok(Contents {
        body: body.map(Bytes::from),
        call: call.transpose()?,
    })
}

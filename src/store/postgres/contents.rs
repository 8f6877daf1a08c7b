//! What a delivery has of its own: bytes in place of the event's, a URL in place of a webhook.

use bytes::Bytes;
use tokio_postgres::Row;

use super::fault::Fault;
use super::sealer::Sealer;
use super::transaction::{Columns, Query, query};
use crate::delivery::{Call, Target};
use crate::id::AuthId;
use crate::store::NewDelivery;

const INSERT: &str = "
    INSERT INTO ringback.contents (delivery, body, call, auth)
    SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::text[])";

const BODY: &str = "contents.body";
const CALL: &str = "contents.call";

/// What new deliveries have of their own, column by column.
#[derive(Default)]
pub(super) struct NewContents<'a> {
    delivery: Vec<i64>,
    body: Vec<Option<Vec<u8>>>,
    call: Vec<Option<Vec<u8>>>,
    auth: Vec<Option<&'a str>>,
}

impl<'a> NewContents<'a> {
    pub(super) fn of(sealer: &Sealer, ids: &[i64], deliveries: &[&'a NewDelivery]) -> Result<Self, Fault> {
        let mut contents = Self::default();
        for (id, new) in ids.iter().zip(deliveries) {
            let call = match &new.target {
                Target::Call(call) => Some(call),
                Target::Webhook(_) | Target::Test(_) => None,
            };
            if call.is_none() && new.body.is_none() {
                continue;
            }
            let row = id.to_be_bytes();
            contents.delivery.push(*id);
            let body = new.body.as_ref().map(|body| sealer.seal(BODY, &[&row], body));
            contents.body.push(body.transpose()?);
            let json = call.map(serde_json::to_vec).transpose();
            let json = json.map_err(|_| Fault::Unreadable(CALL))?;
            let json = json.map(|json| sealer.seal(CALL, &[&row], &json));
            contents.call.push(json.transpose()?);
            contents
                .auth
                .push(call.and_then(|call| call.auth.as_ref()).map(AuthId::as_str));
        }
        Ok(contents)
    }

    pub(super) fn insert(&self) -> Query<'_> {
        query(INSERT, &[&self.delivery, &self.body, &self.call, &self.auth])
    }
}

/// What a delivery has of its own, if it has.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) body: Option<Bytes>,
    pub(super) call: Option<Call>,
}

/// Reads it from a row of a delivery that has the columns `body` and `call`, which may be empty.
pub(super) fn read(sealer: &Sealer, row: &Row) -> Result<Contents, Fault> {
    let id = row.read::<i64>("id")?.to_be_bytes();
    let body = row.read::<Option<&[u8]>>("body")?;
    let body = body.map(|body| sealer.open(BODY, &[&id], body)).transpose()?;
    let call = row.read::<Option<&[u8]>>("call")?.map(|call| {
        let call = sealer.open(CALL, &[&id], call)?;
        serde_json::from_slice(&call).map_err(|_| Fault::Unreadable(CALL))
    });
    Ok(Contents {
        body: body.map(Bytes::from),
        call: call.transpose()?,
    })
}

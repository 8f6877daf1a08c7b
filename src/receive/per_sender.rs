//! Many senders on one route.

use std::error::Error;
use std::fmt::{self, Debug};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::request::Parts;

use super::{Admission, Arrival, Gate, GateError};
use crate::signature::Refusal;

/// A gate that finds out by the head of each request whose message it claims to be, and asks the gate of that sender:
/// for many tenants on one route, each with keys of its own.
///
/// The closure is given the head of the request (path, query, headers, extensions), and its future answers with the
/// sender's name, which becomes [`Admission::sender`], and the sender's gate. `None` says that there is no such
/// sender; a sender that is not known and a signature that is wrong are answered alike. An error says that nobody
/// knows at present: the sender hears 503 and tries again. It must not show a secret.
///
/// It is asked for every message, before anything is proved. So it should be cheap, or remember; and where how long it
/// takes depends on whether there is such a sender, anyone can find out who there is.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Arc;
///
/// use http::request::Parts;
/// use ringback::receive::{Receiver, TruvEvents, per_sender};
/// use ringback::signature::{HmacKey, MaxAge, TruvSignature, Verifier};
/// use ringback::store::MemoryStore;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = Arc::new(HashMap::from([("acme".to_owned(), HmacKey::new("acme's access secret")?)]));
///
/// // /hooks/truv/acme, and so on.
/// let gate = per_sender(move |head: &Parts| {
///     let tenant = head.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
///     let keys = Arc::clone(&keys);
///     async move {
///         let key = keys.get(&tenant).cloned(); // an application would ask its database, with `?`
///         let verifier = key.map(|key| Verifier::new(TruvSignature, [key], MaxAge::unlimited()));
///         Ok(verifier.map(|verifier| (tenant, verifier)))
///     }
/// });
/// let receiver = Receiver::new("truv", TruvEvents, gate).seen(MemoryStore::new());
/// # Ok(())
/// # }
/// ```
pub fn per_sender<F, Fut, G>(find: F) -> impl Gate
where
    F: Fn(&Parts) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<(String, G)>, Box<dyn Error + Send + Sync>>> + Send,
    G: Gate,
{
    PerSender(find)
}

struct PerSender<F>(F);

#[async_trait]
impl<F, Fut, G> Gate for PerSender<F>
where
    F: Fn(&Parts) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<(String, G)>, Box<dyn Error + Send + Sync>>> + Send,
    G: Gate,
{
    async fn admit(&self, arrival: &Arrival<'_>, now: DateTime<Utc>) -> Result<Admission, GateError> {
        let found = (self.0)(arrival.head).await.map_err(GateError::unavailable)?;
        let (name, gate) = found.ok_or(Refusal::UnknownKey)?;
        let admission = gate.admit(arrival, now).await?;
        // Where a sender's own gate tells several apart, both names count. Neither has a form that would leave room
        // for a separator.
        let sender = match admission.sender {
            Some(inner) => serde_json::to_string(&(&name, &inner)).unwrap_or(name),
            None => name,
        };
        Ok(Admission {
            sender: Some(sender),
            ..admission
        })
    }
}

impl<F> Debug for PerSender<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerSender(..)")
    }
}

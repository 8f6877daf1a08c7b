//! Standard Webhooks, `v1` and `v1a`.

use ringback::signature::{
    Ed25519SigningKey, Ed25519VerifyingKey, HmacKey, MaxAge, Message, Signer, SigningKey, StandardWebhooks,
    Verifier, VerifyingKey,
};
use serde::Deserialize;

use crate::{Answer, Outcome};

#[derive(Deserialize)]
pub(crate) struct Exchange {
    /// `whsec_` for either, `whsk_` to sign, `whpk_` to verify; the newest first.
    keys: Vec<String>,
    message: crate::Message,
}

pub(crate) fn sign(exchange: &Exchange) -> Outcome<Answer> {
    let mut keys = exchange.keys.iter().map(|text| signing_key(text));
    let newest = keys.next().ok_or("no key")??;
    let signer = keys.try_fold(Signer::new(StandardWebhooks, newest), |signer, key| {
        Outcome::Ok(signer.also(key?))
    })?;
    let mut request = exchange.message.request()?;
    signer.sign_request(&mut request, exchange.message.instant()?)?;
    Answer::headers_of(&request)
}

pub(crate) fn verify(exchange: &Exchange) -> Outcome<Answer> {
    let keys = exchange.keys.iter().map(|text| verifying_key(text));
    let keys = keys.collect::<Outcome<Vec<_>>>()?;
    let verifier = Verifier::new(StandardWebhooks, keys, MaxAge::minutes(5));
    let request = exchange.message.request()?;
    let verified = verifier.verify(&Message::from(&request), exchange.message.instant()?);
    Ok(Answer::verdict(verified))
}

fn signing_key(text: &str) -> Outcome<SigningKey> {
    Ok(if text.starts_with("whsk_") {
        Ed25519SigningKey::from_whsk(text)?.into()
    } else {
        HmacKey::from_whsec(text)?.into()
    })
}

fn verifying_key(text: &str) -> Outcome<VerifyingKey> {
    Ok(if text.starts_with("whpk_") {
        Ed25519VerifyingKey::from_whpk(text)?.into()
    } else {
        HmacKey::from_whsec(text)?.into()
    })
}

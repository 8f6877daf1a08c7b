//! `Tl-Signature`.

use http::HeaderName;
use ringback::provider::truelayer::{KeySet, TlSigner, TlSigningKey, TlVerifier};
use ringback::signature::{MaxAge, Message};
use serde::Deserialize;

use crate::{Answer, Outcome};

#[derive(Deserialize)]
pub(crate) struct Signing {
    kid: String,
    /// The private key.
    pem: String,
    /// The names of the headers to sign, in this order.
    covering: Vec<String>,
    jku: Option<String>,
    message: crate::Message,
}

#[derive(Deserialize)]
pub(crate) struct Verifying {
    keys: Keys,
    requiring: Vec<String>,
    message: crate::Message,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Keys {
    /// The name and the PEM of a public key.
    Pem(String, String),
    /// The JSON of a set.
    Jwks(String),
}

pub(crate) fn sign(signing: &Signing) -> Outcome<Answer> {
    let key = TlSigningKey::from_pem(&*signing.kid, &signing.pem)?;
    let mut signer = TlSigner::new(key).covering(&signing.covering)?;
    if let Some(jku) = &signing.jku {
        signer = signer.published_at(jku.as_str());
    }
    let mut request = signing.message.request()?;
    signer.sign_request(&mut request, signing.message.instant()?)?;
    Answer::headers_of(&request)
}

pub(crate) fn verify(verifying: &Verifying) -> Outcome<Answer> {
    let keys = match &verifying.keys {
        Keys::Pem(kid, pem) => KeySet::from_pem(&**kid, pem)?,
        Keys::Jwks(json) => KeySet::parse(json.as_bytes())?,
    };
    let names = verifying.requiring.iter().map(HeaderName::try_from);
    let verifier =
        TlVerifier::new(keys, MaxAge::unlimited()).requiring(names.collect::<Result<Vec<_>, _>>()?);
    let request = verifying.message.request()?;
    let verified = verifier.verify(&Message::from(&request), verifying.message.instant()?);
    Ok(Answer::verdict(verified))
}

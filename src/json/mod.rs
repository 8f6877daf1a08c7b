//! JSON that keeps what it was given.
//!
//! Payloads of other systems drift: fields come, change their type, and go. The types here read what the
//! documents describe, keep whatever else arrives, and write back what was read:
//!
//! * [`Maybe`] keeps *absent*, `null`, a value, and a value of a type nobody announced apart;
//! * [`UnknownFields`] holds the fields a struct has no name for, as raw text, in the order they came;
//! * [`Decimal`] is a number as it was written, so `1.0000000000` stays `1.0000000000`;
//! * [`OpaqueId`] is another system's id, number or string, and [`Timestamp`] a date-time as it was written;
//! * [`OneOrMany`], [`TextOrObject`] and [`Flag`] read the shapes that providers mix.
//!
//! All of them are for `serde_json` only: raw text can pass through no other format.
//!
//! # Duplicate names
//!
//! An object that names a field twice is not read into its type, since two readers of such a body may see two
//! different values, which has been used to slip data past the one that checks. At the top that is an error
//! ([`PayloadErrorKind::Shape`]); further in, the object is kept raw, as [`Maybe::Unexpected`].
//!
//! # Depth and size
//!
//! serde_json's limit of 128 levels holds for everything that is read into types. Raw values are scanned
//! without recursion, so nesting costs memory in proportion to the body and never the stack. Each level of
//! objects scans its text once more, and the payload types are at most seven levels deep.
//!
//! ```
//! use ringback::json::{self, RawJson};
//! use ringback::provider::powens::Currency;
//!
//! let currency: Currency = json::parse(br#"{"id":"EUR","precision":2,"rate":1.0000000000}"#)?;
//! assert_eq!(currency.id.value().map(String::as_str), Some("EUR"));
//! assert_eq!(currency.unknown.value("rate").map(RawJson::as_str), Some("1.0000000000"));
//! assert_eq!(json::unfamiliar(&currency), ["/rate"]);
//! # Ok::<(), json::PayloadError>(())
//! ```

mod decimal;
mod error;
mod fields;
mod id;
mod maybe;
mod mixed;
mod names;
mod object;
mod raw;
mod splice;
mod survey;
mod text;
mod timestamp;

pub use decimal::{Decimal, NotANumber};
pub use error::{PayloadError, PayloadErrorKind};
pub(crate) use fields::{Fields, FieldsError, FromFields, ObjectWriter};
pub use id::OpaqueId;
pub use maybe::Maybe;
pub use mixed::{Flag, OneOrMany, TextOrObject};
pub(crate) use names::wire_enum;
pub(crate) use object::wire_object;
pub use raw::{RawJson, UnknownFields};
pub(crate) use splice::{ObjectText, quoted};
pub use survey::{Survey, Surveyor, unfamiliar};
pub use text::{SecretText, UrlText};
pub use timestamp::Timestamp;

use serde::de::DeserializeOwned;

/// Reads a JSON body into a payload type.
///
/// # Errors
///
/// [`PayloadError`] if the body is not JSON, or not of the payload's shape. An authentic body that fails here
/// is still the sender's word: hand its bytes on rather than refuse it.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, PayloadError> {
    serde_json::from_slice(body).map_err(|error| PayloadError::from_serde(&error))
}

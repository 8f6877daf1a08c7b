use super::Currency;
use crate::json::{Decimal, Maybe, OpaqueId, TextOrObject, Timestamp, UrlText, wire_object};

wire_object! {
    /// A contract with a provider that issues documents \[PS\]. The body of `SUBSCRIPTION_SYNCED`, and a part of
    /// `CONNECTION_SYNCED`.
    pub struct Subscription {
        /// The subscription's id.
        id: Maybe<OpaqueId>,
        /// The connection's id.
        id_connection: Maybe<OpaqueId>,
        /// The user's id.
        id_user: Maybe<OpaqueId>,
        /// The id of the source it comes from.
        id_source: Maybe<OpaqueId>,
        /// Its number at the provider.
        number: Maybe<String>,
        /// Its name.
        label: Maybe<String>,
        /// Who subscribed.
        subscriber: Maybe<String>,
        /// Until when it is valid.
        validity: Maybe<Timestamp>,
        /// When it is renewed.
        renewdate: Maybe<Timestamp>,
        /// When it last synchronised.
        last_update: Maybe<Timestamp>,
        /// When it was found to be gone.
        deleted: Maybe<Timestamp>,
        /// When it was disabled; `null` if it is enabled.
        disabled: Maybe<Timestamp>,
        /// Why it did not synchronise.
        error: Maybe<String>,
        /// New documents.
        documents: Maybe<Vec<Document>>,
        /// What identifies the webhook's body; only at its top level.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

wire_object! {
    /// A document, such as an invoice \[P21\].
    pub struct Document {
        /// The document's id.
        id: Maybe<OpaqueId>,
        /// The id of its type.
        id_type: Maybe<OpaqueId>,
        /// The id of its category.
        id_category: Maybe<OpaqueId>,
        /// The user's id.
        id_user: Maybe<OpaqueId>,
        /// The subscription's id.
        id_subscription: Maybe<OpaqueId>,
        /// The file's id.
        id_file: Maybe<OpaqueId>,
        /// The id of a small picture of it.
        id_thumbnail: Maybe<OpaqueId>,
        /// Its name.
        name: Maybe<String>,
        /// Its type, such as `bill`.
        kind: Maybe<String> = "type",
        /// When it was first seen.
        timestamp: Maybe<Timestamp>,
        /// Its date.
        date: Maybe<Timestamp>,
        /// When it is due.
        duedate: Maybe<Timestamp>,
        /// The amount with tax.
        total_amount: Maybe<Decimal>,
        /// The amount without tax.
        untaxed_amount: Maybe<Decimal>,
        /// The tax.
        vat: Maybe<Decimal>,
        /// Whether it is a credit.
        income: Maybe<bool>,
        /// Whether it cannot be changed.
        readonly: Maybe<bool>,
        /// Its number at the provider.
        number: Maybe<String>,
        /// Who issued it.
        issuer: Maybe<String>,
        /// When it last changed.
        last_update: Maybe<Timestamp>,
        /// Whether there is a file at the provider.
        has_file_on_website: Maybe<bool>,
        /// Where to fetch it.
        url: Maybe<UrlText>,
        /// The currency.
        currency: Maybe<TextOrObject<String, Currency>>,
    }
}

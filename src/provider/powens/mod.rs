//! Powens (formerly Budget Insight): webhooks about users, bank connections, accounts, documents, payments.
//!
//! # The protocol on one page
//!
//! **What it sends.** One POST per event to the URL registered for that event. The body is JSON unless the
//! configuration `autosync.cfonb` turns `ACCOUNT_FOUND`, `CONNECTION_SYNCED` and `USER_SYNCED` into CFONB; it
//! may be gzip, and the first synchronisation of a connection carries several megabytes \[PW\]. **No body
//! names its event**: which one it is follows from the URL it came to, so the [`EventName`] is an input of
//! [`Event::parse`]. Every body has an integer `id_webhook_data` that identifies it \[PW\], and may have
//! further keys that the customer configured (`add_to_data`, \[P21\]); those stay in `unknown`. Events of a
//! temporary user are held until the user is permanent \[PW\].
//!
//! **How it proves itself.** One of: the user's own permanent token as `Authorization: Bearer` (the default;
//! not for payments, which have no user); `BI-Signature` and `BI-Signature-Date`, an HMAC-SHA256 over method,
//! path, date and body; or an access token that Powens obtains from the customer's OAuth 2.0 server \[PW\].
//!
//! **When it tries again.** Success is any 2xx. The first send is immediate; what failed waits for the
//! *flusher*, which runs regularly, stops for a webhook after 10 failures in a row or 2 timeouts, and goes on
//! at its next run. Nothing is ever given up \[PW\]. Oldest first and a stop after 10 failures in a row mean that ten
//! deliveries which their receiver never accepts, if they are the oldest, stop every run before it reaches the others:
//! a limit of the published rule, and not of this crate's making. A timeout can follow a success, so `id_webhook_data` is
//! to be de-duplicated on, and new data can overtake old.
//!
//! **What the documents leave open.** The flusher's period and the request timeout; whether a retry is dated
//! and signed anew; whether the HMAC covers the compressed bytes; the fields of `health_data` \[PW\]. The zone
//! of date-times: transactions' `datetime` and its like are documented as UTC \[SDK\], of the others one
//! integrator says Europe/Paris \[FO\]; they are kept as written, and an offset is assumed only by the caller.
//! Documents disagree whether an account's `type` is a string or an object, `bookmarked` a number or a
//! boolean, `account_ownerships` an object or an array, an instruction's `currency` a string or an object: all
//! are read. Money is written with up to ten decimals, so it is kept as text.
//!
//! # Sources
//!
//! * PW <https://docs.powens.com/documentation/integration-guides/webhooks>
//! * PU, PC <https://docs.powens.com/api-reference/user-connections/users>, `…/connections`
//! * PB <https://docs.powens.com/api-reference/products/data-aggregation/bank-accounts>; PO and PT its neighbours
//!   `account-ownerships` and `transactions-attachments`
//! * PS <https://docs.powens.com/api-reference/products/documents-aggregation/subscriptions>
//! * PP <https://docs.powens.com/api-reference/products/payments/payments>
//! * SDK <https://github.com/powenscompany/powens-sdks> (January 2025)
//! * P21 Budget Insight's OpenAPI document of 2020, <https://github.com/cashbee-team/budgea_client>
//! * FO <https://github.com/formancehq/payments>, a production integration
//!
//! ```
//! use bytes::Bytes;
//! use ringback::provider::powens::{ConnectionState, Event, EventName};
//!
//! let body = Bytes::from_static(br#"{"connection":{"id":6054,"state":"wrongpass"},"id_webhook_data":90313}"#);
//! let event = Event::parse(&EventName::ConnectionSynced, Some("application/json"), &body)?;
//! assert_eq!(event.id_webhook_data().unwrap().as_i64(), Some(90313));
//! let Event::ConnectionSynced(synced) = event else { unreachable!() };
//! let connection = synced.connection.into_value().unwrap();
//! assert_eq!(connection.failure(), Some(&ConnectionState::WrongPass));
//! # Ok::<(), ringback::json::PayloadError>(())
//! ```

mod account;
mod connection;
mod document;
mod event;
mod history;
mod payment;
mod profile;
mod registration;
mod transaction;
mod wealth;

pub use account::{
    AccountOwnership, AccountType, AccountTypeName, AccountUsage, BankAccount, Currency, Identification,
    Loan, OwnershipIdentity, OwnershipParty,
};
pub use connection::{
    Connection, ConnectionSource, ConnectionState, Connector, ConnectorCountry, ConnectorSource,
    ConnectorStability, CredentialsField, CredentialsFieldValue, User,
};
pub use document::{Document, Subscription};
pub use event::{
    AccountCategorized, AccountFound, AccountOwnershipsFound, AccountsFetched, ConnectionSynced, Event,
    EventName, NotJson, SubscriptionFound, TransactionAttachmentsFound, UnknownBody, UnknownEvent,
    UserSynced,
};
pub use payment::{Payment, PaymentAccount, PaymentInstruction, PaymentState};
pub use profile::powens;
pub use registration::{
    AuthConfig, AuthProvider, AuthProviderList, AuthProviderType, Webhook, WebhookData, WebhookList,
    WebhookLog, WebhookLogList, WebhookRequest,
};
pub use transaction::{Attachment, Counterparty, Recipient, Transaction, Transfer};
pub use wealth::{Investment, MarketOrder, Pocket};

use std::fmt;

use bytes::Bytes;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use super::{
    AccountOwnership, AccountType, AccountTypeName, Attachment, BankAccount, Connection, Payment,
    Subscription, Transaction, User,
};
use crate::json::{
    self, Maybe, OneOrMany, OpaqueId, PayloadError, Survey, Surveyor, TextOrObject, Timestamp, wire_enum,
    wire_object,
};
use crate::secret::Hidden;

macro_rules! events {
    ($($(#[$meta:meta])* $variant:ident($body:ident) = $name:literal,)+) => {
        wire_enum! {
            /// The name of an event \[PW\]. The list is the server's, so new ones must be expected.
            pub enum EventName {
                $($(#[$meta])* $variant = $name,)+
            }
        }

        /// A webhook of Powens, by its event.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Event {
            $($(#[$meta])* $variant(Box<$body>),)+
            /// A JSON body of an event that is not listed.
            Unknown(Box<UnknownEvent>),
            /// A body that is not JSON, as with `autosync.cfonb`.
            NotJson(NotJson),
        }

        impl Event {
            /// Reads a body. Which event it is must be known from elsewhere: the URL it came to, or the
            /// registration.
            ///
            /// A body is JSON if its media type says so, or if it has none and begins with `{`. Any other is
            /// passed through as [`Event::NotJson`].
            ///
            /// # Errors
            ///
            /// [`PayloadError`] if a JSON body is not JSON, or not an object.
            #[inline]
            pub fn parse(
                name: &EventName,
                media_type: Option<&str>,
                body: &Bytes,
            ) -> Result<Self, PayloadError> {
                if !is_json(media_type, body) {
                    return Ok(Self::NotJson(NotJson {
                        name: name.clone(),
                        media_type: media_type.map(str::to_owned),
                        body: body.clone(),
                    }));
                }
                Ok(match name {
                    $(EventName::$variant => Self::$variant(json::parse(body)?),)+
                    EventName::Other(_) => {
                        Self::Unknown(Box::new(UnknownEvent { name: name.clone(), body: json::parse(body)? }))
                    }
                })
            }

            /// Which event it is.
            #[inline]
            pub fn name(&self) -> EventName {
                match self {
                    $(Self::$variant(_) => EventName::$variant,)+
                    Self::Unknown(event) => event.name.clone(),
                    Self::NotJson(event) => event.name.clone(),
                }
            }

            /// What identifies the body, and is the same when it is sent again.
            #[inline]
            pub fn id_webhook_data(&self) -> Option<&OpaqueId> {
                match self {
                    $(Self::$variant(body) => body.id_webhook_data.value(),)+
                    Self::Unknown(event) => event.body.id_webhook_data.value(),
                    Self::NotJson(_) => None,
                }
            }
        }

        /// Writes the body back; a body that is not JSON is an error.
        impl Serialize for Event {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant(body) => body.serialize(serializer),)+
                    Self::Unknown(event) => event.body.serialize(serializer),
                    Self::NotJson(_) => Err(S::Error::custom("the body is not JSON")),
                }
            }
        }

        impl Survey for Event {
            #[inline]
            fn survey(&self, surveyor: &mut Surveyor) {
                match self {
                    $(Self::$variant(body) => body.survey(surveyor),)+
                    Self::Unknown(event) => event.body.survey(surveyor),
                    Self::NotJson(_) => {}
                }
            }
        }
    };
}

events! {
    /// A user became permanent.
    UserCreated(User) = "USER_CREATED",
    /// A user was deleted.
    UserDeleted(User) = "USER_DELETED",
    /// Deprecated: several connections of a user synchronised.
    UserSynced(UserSynced) = "USER_SYNCED",
    /// A connection synchronised, or failed to: see [`Connection::failure`].
    ConnectionSynced(ConnectionSynced) = "CONNECTION_SYNCED",
    /// A connection was deleted.
    ConnectionDeleted(Connection) = "CONNECTION_DELETED",
    /// While synchronising: accounts are there, transactions not yet.
    AccountsFetched(AccountsFetched) = "ACCOUNTS_FETCHED",
    /// While synchronising: an account, with its new transactions.
    AccountSynced(BankAccount) = "ACCOUNT_SYNCED",
    /// While synchronising: transactions were categorised.
    AccountCategorized(AccountCategorized) = "ACCOUNT_CATEGORIZED",
    /// An account was disabled.
    AccountDisabled(BankAccount) = "ACCOUNT_DISABLED",
    /// An account was enabled.
    AccountEnabled(BankAccount) = "ACCOUNT_ENABLED",
    /// A new account was found; it is disabled until the user consents.
    AccountFound(AccountFound) = "ACCOUNT_FOUND",
    /// While synchronising: who owns accounts.
    AccountOwnershipsFound(AccountOwnershipsFound) = "ACCOUNT_OWNERSHIPS_FOUND",
    /// While synchronising: files that belong to a transaction.
    TransactionAttachmentsFound(TransactionAttachmentsFound) = "TRANSACTION_ATTACHMENTS_FOUND",
    /// A subscription synchronised, with its new documents.
    SubscriptionSynced(Subscription) = "SUBSCRIPTION_SYNCED",
    /// A new subscription was found.
    SubscriptionFound(SubscriptionFound) = "SUBSCRIPTION_FOUND",
    /// The state of a payment changed.
    PaymentStateUpdated(Payment) = "PAYMENT_STATE_UPDATED",
}

/// An event that is not listed.
#[derive(Debug, Clone, PartialEq)]
pub struct UnknownEvent {
    /// Its name, as the caller gave it.
    pub name: EventName,
    /// Its body.
    pub body: UnknownBody,
}

wire_object! {
    /// A body of which only the identification is known.
    pub struct UnknownBody {
        /// What identifies the webhook's body.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

/// A body that is not JSON. `Debug` shows its length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct NotJson {
    /// The event's name, as the caller gave it.
    pub name: EventName,
    /// The body's media type, if it was given.
    pub media_type: Option<String>,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotJson")
            .field("name", &self.name)
            .field("media_type", &self.media_type)
            .field("body", &Hidden(&self.body))
            .finish()
    }
}

pub(super) fn is_json(media_type: Option<&str>, body: &[u8]) -> bool {
    match media_type {
        Some(media_type) => {
            let essence = media_type
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase();
            essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
        }
        None => body.trim_ascii_start().first() == Some(&b'{'),
    }
}

wire_object! {
    /// The body of `CONNECTION_SYNCED` \[PC\].
    pub struct ConnectionSynced {
        /// The user.
        user: Maybe<User>,
        /// The connection, with what was synchronised.
        connection: Maybe<Connection>,
        /// What identifies the body.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

wire_object! {
    /// The body of `ACCOUNTS_FETCHED` \[PB\].
    pub struct AccountsFetched {
        /// The user.
        user: Maybe<User>,
        /// The connection, with its accounts, which have no transactions yet.
        connection: Maybe<Connection>,
        /// What identifies the body.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

wire_object! {
    /// The body of `USER_SYNCED` \[PU\].
    pub struct UserSynced {
        /// The user.
        user: Maybe<User>,
        /// The connections, with what was synchronised.
        connections: Maybe<Vec<Connection>>,
        /// What identifies the body.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

wire_object! {
    /// The body of `ACCOUNT_CATEGORIZED` \[PB\].
    pub struct AccountCategorized {
        /// The transactions that were categorised.
        transactions: Maybe<Vec<Transaction>>,
        /// What identifies the body.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

wire_object! {
    /// The body of `ACCOUNT_FOUND` \[PB\].
    pub struct AccountFound {
        /// The account's id.
        id: Maybe<OpaqueId>,
        /// The user's id.
        id_user: Maybe<OpaqueId>,
        /// The connection's id.
        id_connection: Maybe<OpaqueId>,
        /// When it was found, and so disabled.
        disabled: Maybe<Timestamp>,
        /// Its type: here the documents say a name.
        kind: Maybe<TextOrObject<AccountTypeName, AccountType>> = "type",
        /// What identifies the body.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

wire_object! {
    /// The body of `ACCOUNT_OWNERSHIPS_FOUND` \[PO\].
    pub struct AccountOwnershipsFound {
        /// Who owns the account, or the accounts: the documents write it in the singular and name it in the
        /// plural.
        account_ownerships: Maybe<OneOrMany<AccountOwnership>>,
        /// What identifies the body.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

wire_object! {
    /// The body of `TRANSACTION_ATTACHMENTS_FOUND` \[PT\].
    pub struct TransactionAttachmentsFound {
        /// The connection's id.
        id_connection: Maybe<OpaqueId>,
        /// The account's id.
        id_account: Maybe<OpaqueId>,
        /// The transaction's id.
        id_transaction: Maybe<OpaqueId>,
        /// The files.
        attachments: Maybe<Vec<Attachment>>,
        /// What identifies the body.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

wire_object! {
    /// The body of `SUBSCRIPTION_FOUND` \[PS\].
    pub struct SubscriptionFound {
        /// The subscription's id.
        id: Maybe<OpaqueId>,
        /// The user's id.
        id_user: Maybe<OpaqueId>,
        /// The connection's id.
        id_connection: Maybe<OpaqueId>,
        /// What identifies the body.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

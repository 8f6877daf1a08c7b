use std::sync::LazyLock;

use super::{BankAccount, Subscription};
use crate::json::{Decimal, Flag, Maybe, OpaqueId, RawJson, TextOrObject, Timestamp, wire_enum, wire_object};

wire_object! {
    /// A user \[PU\]. The body of `USER_CREATED` and `USER_DELETED`.
    pub struct User {
        /// The user's id.
        id: Maybe<OpaqueId>,
        /// When the user was created.
        signin: Maybe<Timestamp>,
        /// The kind of user, such as `sharedAccess` \[P21\].
        platform: Maybe<String>,
        /// What identifies the webhook's body; only at its top level.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

wire_enum! {
    /// Why a connection, or a source of one, did not synchronise \[PC\]. `null` is success. New values must be
    /// expected.
    pub enum ConnectionState {
        /// Strong customer authentication is due.
        ScaRequired = "SCARequired",
        /// The user must go through the bank's own web page.
        WebauthRequired = "webauthRequired",
        /// More is asked of the user; `fields` says what.
        AdditionalInformationNeeded = "additionalInformationNeeded",
        /// The user must confirm in another app.
        Decoupled = "decoupled",
        /// The user's answer is being checked; passing.
        Validating = "validating",
        /// The user must act at the bank.
        ActionNeeded = "actionNeeded",
        /// The password has expired at the bank.
        PasswordExpired = "passwordExpired",
        /// The credentials are wrong; `fields` says which.
        WrongPass = "wrongpass",
        /// The bank limits requests.
        RateLimiting = "rateLimiting",
        /// The bank is not available.
        WebsiteUnavailable = "websiteUnavailable",
        /// An error at Powens.
        Bug = "bug",
        /// The bank's site or the account is not supported.
        NotSupported = "notSupported",
    }
}

impl ConnectionState {
    /// Whether this is another way of saying `null`: one integrator has seen an empty text and the text
    /// `null` for success \[FO\].
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Other(text) if text.is_empty() || text == "null")
    }
}

wire_object! {
    /// A user's connection to a bank or provider \[PC\]. The body of `CONNECTION_DELETED`; inside
    /// `CONNECTION_SYNCED` it has the parts that were synchronised.
    pub struct Connection {
        /// The connection's id.
        id: Maybe<OpaqueId>,
        /// The user's id.
        id_user: Maybe<OpaqueId>,
        /// The connector's id.
        id_connector: Maybe<OpaqueId>,
        /// Deprecated: the connector's id.
        id_provider: Maybe<OpaqueId>,
        /// Deprecated: the connector's id.
        id_bank: Maybe<OpaqueId>,
        /// Why the last synchronisation failed; `null` if it did not. See [`Connection::failure`].
        state: Maybe<ConnectionState>,
        /// Deprecated: the same as `state`.
        error: Maybe<ConnectionState>,
        /// The bank's own words about the failure.
        error_message: Maybe<String>,
        /// What the user is asked for.
        fields: Maybe<Vec<CredentialsField>>,
        /// When it last synchronised successfully.
        last_update: Maybe<Timestamp>,
        /// When it was created.
        created: Maybe<Timestamp>,
        /// Whether it is synchronised in the background.
        active: Maybe<bool>,
        /// When webhooks about it were last sent.
        last_push: Maybe<Timestamp>,
        /// When the user's consent ends.
        expire: Maybe<Timestamp>,
        /// The connector's UUID.
        connector_uuid: Maybe<String>,
        /// When it will synchronise next.
        next_try: Maybe<Timestamp>,
        /// The connector itself.
        connector: Maybe<Connector>,
        /// The channels it is fed through.
        sources: Maybe<Vec<ConnectionSource>>,
        /// The active bank accounts that were synchronised.
        accounts: Maybe<Vec<BankAccount>>,
        /// All bank accounts, disabled ones too \[SDK\].
        all_accounts: Maybe<Vec<BankAccount>>,
        /// The subscriptions that were synchronised.
        subscriptions: Maybe<Vec<Subscription>>,
        /// What identifies the webhook's body; only at its top level.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

impl Connection {
    /// Why the last synchronisation failed, if it did. `CONNECTION_SYNCED` is sent for failures too.
    ///
    /// Only `null` is success, so a state that is no text is a failure too: the one that the deprecated `error` tells, or
    /// [`ConnectionState::Other`].
    pub fn failure(&self) -> Option<&ConnectionState> {
        match &self.state {
            Maybe::Null => None,
            Maybe::Value(state) => Some(state).filter(|state| !state.is_success()),
            Maybe::Absent | Maybe::Unexpected(_) => {
                let told = self.error.value().filter(|error| !error.is_success());
                let is_unreadable = |state: &Maybe<_>| matches!(state, Maybe::Unexpected(_));
                let unreadable = is_unreadable(&self.state) || is_unreadable(&self.error);
                told.or_else(|| unreadable.then(|| &*UNREADABLE))
            }
        }
    }
}

/// A state that is no text.
static UNREADABLE: LazyLock<ConnectionState> = LazyLock::new(|| ConnectionState::from("unreadable"));

wire_object! {
    /// A channel that a connection is fed through \[PC\].
    pub struct ConnectionSource {
        /// The source's id.
        id: Maybe<OpaqueId>,
        /// The connection's id.
        id_connection: Maybe<OpaqueId>,
        /// The id of the connector's source.
        id_connector_source: Maybe<OpaqueId>,
        /// Its name, such as `openapi`, `directaccess` or `fallback`.
        name: Maybe<String>,
        /// When it last synchronised successfully.
        last_update: Maybe<Timestamp>,
        /// When it was disabled; `null` if it is not.
        disabled: Maybe<Timestamp>,
        /// When it was created.
        created: Maybe<Timestamp>,
        /// Why its last synchronisation failed; `null` if it did not.
        state: Maybe<ConnectionState>,
        /// When access to it ends.
        access_expire: Maybe<Timestamp>,
        /// When the user's consent ends.
        expire: Maybe<Timestamp>,
        /// When it will synchronise next.
        next_try: Maybe<Timestamp>,
    }
}

wire_object! {
    /// A bank or provider that can be connected to \[SDK, P21\].
    pub struct Connector {
        /// Deprecated: the connector's id; `uuid` identifies it.
        id: Maybe<OpaqueId>,
        /// The connector's UUID.
        uuid: Maybe<String>,
        /// Its name for people.
        name: Maybe<String>,
        /// Whether it is kept out of lists.
        hidden: Maybe<bool>,
        /// Whether its use is charged.
        charged: Maybe<bool>,
        /// Whether it is a beta.
        beta: Maybe<bool>,
        /// The bank's code, in France.
        code: Maybe<String>,
        /// A colour in hexadecimal.
        color: Maybe<String>,
        /// A short name.
        slug: Maybe<String>,
        /// What it can do: `bank`, `bankwealth`, `transfer`, `document`, `profile`, `contact`.
        capabilities: Maybe<Vec<String>>,
        /// `credentials` or `webauth`.
        auth_mechanism: Maybe<String>,
        /// The mechanisms to choose from.
        available_auth_mechanisms: Maybe<Vec<String>>,
        /// Whether it may be used only with the provider's leave.
        restricted: Maybe<bool>,
        /// The addresses of its web sites.
        urls: Maybe<Vec<String>>,
        /// Days between background synchronisations.
        sync_periodicity: Maybe<Decimal>,
        /// The older name of `sync_periodicity` \[P21\].
        sync_frequency: Maybe<Decimal>,
        /// How many months of history are fetched.
        months_to_fetch: Maybe<Decimal>,
        /// `credentials` or `webauth`, for transfers.
        transfer_mechanism: Maybe<String>,
        /// The company's number, in France.
        siret: Maybe<String>,
        /// How well it works at present.
        stability: Maybe<ConnectorStability>,
        /// The types of account it offers.
        account_types: Maybe<Vec<String>>,
        /// The usages of account it offers.
        account_usages: Maybe<Vec<String>>,
        /// The types of document it offers.
        documents_type: Maybe<RawJson>,
        /// Categories it is listed under.
        categories: Maybe<RawJson>,
        /// Products it serves.
        products: Maybe<Vec<String>>,
        /// Its channels.
        sources: Maybe<Vec<ConnectorSource>>,
        /// What it asks the user for.
        fields: Maybe<Vec<CredentialsField>>,
        /// The countries it serves.
        countries: Maybe<Vec<ConnectorCountry>>,
    }
}

wire_object! {
    /// How well a connector works.
    pub struct ConnectorStability {
        /// `stable`, `unstable` or `down`.
        status: Maybe<String>,
        /// When that was found.
        last_update: Maybe<Timestamp>,
    }
}

wire_object! {
    /// A channel of a connector \[SDK\].
    pub struct ConnectorSource {
        /// The source's id.
        id: Maybe<OpaqueId>,
        /// The connector's id.
        id_connector: Maybe<OpaqueId>,
        /// Its name, such as `openapi`, `directaccess` or `fallback`.
        name: Maybe<String>,
        /// `credentials` or `webauth`.
        auth_mechanism: Maybe<String>,
        /// When it was disabled; `null` if it is not.
        disabled: Maybe<Timestamp>,
        /// Its place among the sources.
        priority: Maybe<Decimal>,
    }
}

wire_object! {
    /// A country that a connector serves \[SDK\].
    pub struct ConnectorCountry {
        /// The ISO 3166-1 code.
        id: Maybe<String>,
        /// Its name for people.
        name: Maybe<String>,
    }
}

wire_object! {
    /// One thing that a user is asked for \[SDK, P21\].
    pub struct CredentialsField {
        /// Its id \[P21\].
        id: Maybe<OpaqueId>,
        /// The connector's id \[P21\].
        id_connector: Maybe<OpaqueId>,
        /// Its name in requests.
        name: Maybe<String>,
        /// `text`, `list`, `date`, `number` or `password`.
        kind: Maybe<String> = "type",
        /// The mechanisms it is for; a text in older bodies.
        auth_mechanisms: Maybe<RawJson>,
        /// Its name for people.
        label: Maybe<String>,
        /// More about it, for people.
        description: Maybe<String>,
        /// Whether it must be filled.
        required: Maybe<Flag>,
        /// What it must match.
        regex: Maybe<String>,
        /// What it holds already.
        value: Maybe<String>,
        /// Whether it is asked for each time \[P21\].
        ephemeral: Maybe<bool>,
        /// What there is to choose from.
        values: Maybe<Vec<TextOrObject<String, CredentialsFieldValue>>>,
    }
}

wire_object! {
    /// One of the values to choose from \[SDK\].
    pub struct CredentialsFieldValue {
        /// The value in requests.
        value: Maybe<String>,
        /// Its name for people.
        label: Maybe<String>,
    }
}

use crate::json::{Maybe, Timestamp, UrlText, wire_object};

wire_object! {
    /// A bank account, as the Data API v1 returns it: one of the results of `/data/v1/accounts`.
    pub struct Account {
        /// When it was read from the bank.
        update_timestamp: Maybe<Timestamp>,
        /// The account's id.
        account_id: Maybe<String>,
        /// What kind it is, such as `TRANSACTION`, `SAVINGS`, `BUSINESS_TRANSACTION`.
        account_type: Maybe<String>,
        /// Its name for people.
        display_name: Maybe<String>,
        /// The ISO 4217 code of its currency.
        currency: Maybe<String>,
        /// Its numbers.
        account_number: Maybe<AccountNumber>,
        /// The bank.
        provider: Maybe<AccountProvider>,
    }
}

wire_object! {
    /// The numbers of an account.
    pub struct AccountNumber {
        /// The IBAN.
        iban: Maybe<String>,
        /// The BBAN.
        bban: Maybe<String>,
        /// The account number.
        number: Maybe<String>,
        /// The sort code.
        sort_code: Maybe<String>,
        /// The routing number.
        routing_number: Maybe<String>,
        /// The BIC.
        swift_bic: Maybe<String>,
    }
}

wire_object! {
    /// The bank of an account.
    pub struct AccountProvider {
        /// The bank's id at TrueLayer.
        provider_id: Maybe<String>,
        /// Its name for people.
        display_name: Maybe<String>,
        /// Its logo.
        logo_uri: Maybe<UrlText>,
    }
}

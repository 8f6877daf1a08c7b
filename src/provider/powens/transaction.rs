use super::Currency;
use crate::json::{Decimal, Maybe, OpaqueId, RawJson, TextOrObject, Timestamp, UrlText, wire_object};

wire_object! {
    /// A bank transaction \[SDK, P21\].
    pub struct Transaction {
        /// The transaction's id.
        id: Maybe<OpaqueId>,
        /// The account's id.
        id_account: Maybe<OpaqueId>,
        /// Its id at the bank \[P21\].
        webid: Maybe<String>,
        /// The date it counts for, as the user may have changed it.
        application_date: Maybe<Timestamp>,
        /// The date of debit.
        date: Maybe<Timestamp>,
        /// The date and time of debit, in UTC.
        datetime: Maybe<Timestamp>,
        /// The amount.
        value: Maybe<Decimal>,
        /// The amount before commission.
        gross_value: Maybe<Decimal>,
        /// Its type, such as `card` or `transfer`.
        kind: Maybe<String> = "type",
        /// The older name of `type` \[P21\].
        nature: Maybe<String>,
        /// The bank's words.
        original_wording: Maybe<String>,
        /// The bank's words, simplified.
        simplified_wording: Maybe<String>,
        /// The bank's words, without what varies \[P21\].
        stemmed_wording: Maybe<String>,
        /// The words, as the user may have changed them.
        wording: Maybe<String>,
        /// Deprecated: the category's id.
        id_category: Maybe<OpaqueId>,
        /// How it was categorised \[P21\].
        state: Maybe<String>,
        /// When it was first seen.
        date_scraped: Maybe<Timestamp>,
        /// The date it was made.
        rdate: Maybe<Timestamp>,
        /// The date and time it was made, in UTC.
        rdatetime: Maybe<Timestamp>,
        /// The value date.
        vdate: Maybe<Timestamp>,
        /// The value date and time, in UTC.
        vdatetime: Maybe<Timestamp>,
        /// The date the bank booked it.
        bdate: Maybe<Timestamp>,
        /// The date and time the bank booked it, in UTC.
        bdatetime: Maybe<Timestamp>,
        /// Whether it is still to come.
        coming: Maybe<bool>,
        /// Whether it is counted.
        active: Maybe<bool>,
        /// The id of the cluster it belongs to.
        id_cluster: Maybe<OpaqueId>,
        /// The user's comment.
        comment: Maybe<String>,
        /// When it last changed.
        last_update: Maybe<Timestamp>,
        /// When the bank took it back; a receiver should delete it.
        deleted: Maybe<Timestamp>,
        /// The amount in the original currency.
        original_value: Maybe<Decimal>,
        /// The amount in the original currency before commission.
        original_gross_value: Maybe<Decimal>,
        /// The original currency.
        original_currency: Maybe<TextOrObject<String, Currency>>,
        /// The commission.
        commission: Maybe<Decimal>,
        /// The commission's currency.
        commission_currency: Maybe<TextOrObject<String, Currency>>,
        /// The country.
        country: Maybe<String>,
        /// The card's number, masked.
        card: Maybe<String>,
        /// The other side; a text in older bodies \[P21\].
        counterparty: Maybe<TextOrObject<String, Counterparty>>,
        /// What else the bank says.
        informations: Maybe<RawJson>,
    }
}

wire_object! {
    /// The other side of a transaction \[SDK\].
    pub struct Counterparty {
        /// Its name.
        label: Maybe<String>,
        /// `iban`, `bban` or `sort_code_account_number`.
        account_scheme_name: Maybe<String>,
        /// The account.
        account_identification: Maybe<String>,
        /// `creditor` or `debtor`.
        kind: Maybe<String> = "type",
    }
}

wire_object! {
    /// A file that belongs to a transaction \[PT\].
    pub struct Attachment {
        /// The attachment's id.
        id: Maybe<OpaqueId>,
        /// The file's name.
        name: Maybe<String>,
        /// What it is, for people.
        description: Maybe<String>,
        /// Its media type.
        mime_type: Maybe<String>,
        /// Its size in bytes.
        size: Maybe<i64>,
        /// The date it was made.
        created_date: Maybe<Timestamp>,
        /// The date and time it was made.
        created_datetime: Maybe<Timestamp>,
        /// When it last changed.
        last_update: Maybe<Timestamp>,
        /// Where to fetch it.
        url: Maybe<UrlText>,
    }
}

wire_object! {
    /// Deprecated: whom transfers can go to \[P21\].
    pub struct Recipient {
        /// The recipient's id.
        id: Maybe<OpaqueId>,
        /// The account's id.
        id_account: Maybe<OpaqueId>,
        /// The id of the user's account that it is.
        id_target_account: Maybe<OpaqueId>,
        /// Its name.
        label: Maybe<String>,
        /// The bank's name.
        bank_name: Maybe<String>,
        /// The IBAN.
        iban: Maybe<String>,
        /// Its id at the bank.
        webid: Maybe<String>,
        /// Its category, such as `Interne`.
        category: Maybe<String>,
        /// When it last changed.
        last_update: Maybe<Timestamp>,
        /// When it was last seen.
        time_scraped: Maybe<Timestamp>,
        /// When it was deleted.
        deleted: Maybe<Timestamp>,
        /// When it ends.
        expire: Maybe<Timestamp>,
        /// From when it can be used.
        enabled_at: Maybe<Timestamp>,
        /// Whether its addition was verified.
        add_verified: Maybe<bool>,
        /// The state of its addition.
        state: Maybe<String>,
        /// Why its addition failed.
        error: Maybe<String>,
        /// What the user is asked for.
        fields: Maybe<RawJson>,
        /// The currency.
        currency: Maybe<TextOrObject<String, Currency>>,
    }
}

wire_object! {
    /// Deprecated: a transfer made \[P21\].
    pub struct Transfer {
        /// The transfer's id.
        id: Maybe<OpaqueId>,
        /// The account's id.
        id_account: Maybe<OpaqueId>,
        /// The user's id.
        id_user: Maybe<OpaqueId>,
        /// The recipient's id.
        id_recipient: Maybe<OpaqueId>,
        /// The IBAN it comes from.
        account_iban: Maybe<String>,
        /// The IBAN it goes to.
        recipient_iban: Maybe<String>,
        /// When it is executed.
        exec_date: Maybe<Timestamp>,
        /// When it was entered.
        register_date: Maybe<Timestamp>,
        /// The amount.
        amount: Maybe<Decimal>,
        /// The fees.
        fees: Maybe<Decimal>,
        /// Its id at the bank.
        webid: Maybe<String>,
        /// Its state.
        state: Maybe<String>,
        /// Why it failed.
        error: Maybe<String>,
        /// Its words.
        label: Maybe<String>,
        /// What was on the account.
        account_balance: Maybe<Decimal>,
        /// The transaction's id.
        id_transaction: Maybe<OpaqueId>,
        /// The kind of the beneficiary.
        beneficiary_type: Maybe<String>,
        /// The beneficiary's number.
        beneficiary_number: Maybe<String>,
        /// The beneficiary's name.
        beneficiary_label: Maybe<String>,
        /// How it was validated.
        validate_mechanism: Maybe<String>,
        /// The currency.
        currency: Maybe<TextOrObject<String, Currency>>,
    }
}

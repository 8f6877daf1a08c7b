use super::{Investment, MarketOrder, Recipient, Transaction, Transfer};
use crate::json::{Decimal, Flag, Maybe, OpaqueId, TextOrObject, Timestamp, wire_enum, wire_object};

wire_object! {
    /// A bank account \[PB\]. The body of `ACCOUNT_SYNCED`, `ACCOUNT_ENABLED` and `ACCOUNT_DISABLED`, and a part
    /// of `CONNECTION_SYNCED`. Accounts are disabled until the user consents to their use.
    pub struct BankAccount {
        /// The account's id.
        id: Maybe<OpaqueId>,
        /// The connection's id.
        id_connection: Maybe<OpaqueId>,
        /// The user's id.
        id_user: Maybe<OpaqueId>,
        /// The id of the source it comes from.
        id_source: Maybe<OpaqueId>,
        /// The id of the account it belongs to, as a card to a current account.
        id_parent: Maybe<OpaqueId>,
        /// Its number at the bank.
        number: Maybe<String>,
        /// Its id at the bank \[P21\].
        webid: Maybe<String>,
        /// Its name at the bank.
        original_name: Maybe<String>,
        /// What is on it; `null` when it is disabled.
        balance: Maybe<Decimal>,
        /// What is still to come.
        coming: Maybe<Decimal>,
        /// Whether it is to be shown.
        display: Maybe<bool>,
        /// When it last synchronised.
        last_update: Maybe<Timestamp>,
        /// When it was found to be gone from the bank.
        deleted: Maybe<Timestamp>,
        /// When it was disabled; `null` if it is enabled.
        disabled: Maybe<Timestamp>,
        /// The IBAN.
        iban: Maybe<String>,
        /// Its currency.
        currency: Maybe<TextOrObject<String, Currency>>,
        /// Its type: the documents say both a name and an object.
        kind: Maybe<TextOrObject<AccountTypeName, AccountType>> = "type",
        /// The id of its type.
        id_type: Maybe<OpaqueId>,
        /// Whether it is bookmarked: a number in one document, a boolean in another.
        bookmarked: Maybe<Flag>,
        /// Its name, as the user may have changed it.
        name: Maybe<String>,
        /// Why it did not synchronise.
        error: Maybe<String>,
        /// Private or professional.
        usage: Maybe<AccountUsage>,
        /// Deprecated: `owner`, `co-owner` or `attorney`.
        ownership: Maybe<String>,
        /// The company it belongs to.
        company_name: Maybe<String>,
        /// About the loan, of a loan account.
        loan: Maybe<Loan>,
        /// What it is invested in.
        investments: Maybe<Vec<Investment>>,
        /// Orders at the stock exchange.
        market_orders: Maybe<Vec<MarketOrder>>,
        /// New transactions.
        transactions: Maybe<Vec<Transaction>>,
        /// Deprecated: whom transfers can go to.
        recipients: Maybe<Vec<Recipient>>,
        /// Deprecated: transfers made.
        transfers: Maybe<Vec<Transfer>>,
        /// What identifies the webhook's body; only at its top level.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

wire_enum! {
    /// The type of an account \[SDK\].
    pub enum AccountTypeName {
        /// Article 83 pension.
        Article83 = "article83",
        /// Capitalisation contract.
        Capitalisation = "capitalisation",
        /// Card.
        Card = "card",
        /// Current account.
        Checking = "checking",
        /// Crowd lending.
        Crowdlending = "crowdlending",
        /// Deposit.
        Deposit = "deposit",
        /// Joint account.
        Joint = "joint",
        /// Life insurance.
        LifeInsurance = "lifeinsurance",
        /// Loan.
        Loan = "loan",
        /// Madelin contract.
        Madelin = "madelin",
        /// Securities account.
        Market = "market",
        /// Plan d'épargne en actions.
        Pea = "pea",
        /// Plan d'épargne entreprise.
        Pee = "pee",
        /// Plan d'épargne retraite.
        Per = "per",
        /// Plan d'épargne pour la retraite collectif.
        Perco = "perco",
        /// Plan d'épargne retraite populaire.
        Perp = "perp",
        /// Real estate.
        RealEstate = "real_estate",
        /// Réserve spéciale de participation.
        Rsp = "rsp",
        /// Savings account.
        Savings = "savings",
        /// Not known.
        Unknown = "unknown",
    }
}

wire_object! {
    /// The type of an account as an object \[SDK, P21\].
    pub struct AccountType {
        /// The type's id.
        id: Maybe<OpaqueId>,
        /// Its technical name.
        name: Maybe<AccountTypeName>,
        /// The id of the type it is a kind of.
        id_parent: Maybe<OpaqueId>,
        /// Whether it is an investment.
        is_invest: Maybe<bool>,
        /// Its name for people.
        display_name: Maybe<String>,
        /// Its name for people, in the plural.
        display_name_p: Maybe<String>,
        /// A colour in hexadecimal \[P21\].
        color: Maybe<String>,
        /// Its id in the scraper \[P21\].
        weboob_type_id: Maybe<OpaqueId>,
    }
}

wire_enum! {
    /// What an account is used for.
    pub enum AccountUsage {
        /// Private.
        Private = "PRIV",
        /// Professional.
        Organization = "ORGA",
        /// An association \[SDK\].
        Association = "ASSO",
    }
}

wire_object! {
    /// A currency \[SDK, P21\].
    pub struct Currency {
        /// The ISO 4217 code.
        id: Maybe<String>,
        /// Its symbol.
        symbol: Maybe<String>,
        /// Whether the symbol stands before the amount.
        prefix: Maybe<bool>,
        /// Whether it is a crypto-currency.
        crypto: Maybe<bool>,
        /// How many decimals it has.
        precision: Maybe<i64>,
        /// Its market capitalisation.
        marketcap: Maybe<Decimal>,
        /// When that was found.
        datetime: Maybe<Timestamp>,
        /// Its name for people.
        name: Maybe<String>,
    }
}

wire_object! {
    /// About a loan account \[SDK\].
    pub struct Loan {
        /// The amount borrowed.
        total_amount: Maybe<Decimal>,
        /// What is still available, of a revolving credit.
        available_amount: Maybe<Decimal>,
        /// What is used, of a revolving credit.
        used_amount: Maybe<Decimal>,
        /// When it began.
        subscription_date: Maybe<Timestamp>,
        /// When it ends.
        maturity_date: Maybe<Timestamp>,
        /// The next payment.
        next_payment_amount: Maybe<Decimal>,
        /// When it is due.
        next_payment_date: Maybe<Timestamp>,
        /// The rate.
        rate: Maybe<Decimal>,
        /// Payments left.
        nb_payments_left: Maybe<i64>,
        /// Payments made.
        nb_payments_done: Maybe<i64>,
        /// Payments in all.
        nb_payments_total: Maybe<i64>,
        /// The last payment.
        last_payment_amount: Maybe<Decimal>,
        /// When it was made.
        last_payment_date: Maybe<Timestamp>,
        /// The account it is paid from.
        account_label: Maybe<String>,
        /// The insurance.
        insurance_label: Maybe<String>,
        /// Its length in months.
        duration: Maybe<i64>,
        /// Deprecated in some documents: when it began.
        start_date: Maybe<Timestamp>,
        /// How often it is paid.
        periodicity: Maybe<String>,
        /// `mortgage`, `consumercredit` or `revolvingcredit`.
        kind: Maybe<String> = "type",
    }
}

wire_object! {
    /// Who owns an account \[PO\].
    pub struct AccountOwnership {
        /// The account's id.
        id_account: Maybe<OpaqueId>,
        /// The connection's id.
        id_connection: Maybe<OpaqueId>,
        /// The user's id.
        id_user: Maybe<OpaqueId>,
        /// The id of the connector's source.
        id_connector_source: Maybe<OpaqueId>,
        /// The account's name.
        name: Maybe<String>,
        /// The bank's name.
        bank_name: Maybe<String>,
        /// Whether there are several holders.
        multiple_holders: Maybe<bool>,
        /// Which of the fields were worked out rather than read.
        calculated: Maybe<Vec<String>>,
        /// Private or professional.
        usage: Maybe<AccountUsage>,
        /// Who has to do with it.
        parties: Maybe<Vec<OwnershipParty>>,
        /// How it is identified.
        identifications: Maybe<Vec<Identification>>,
    }
}

wire_object! {
    /// Someone who has to do with an account \[PO\].
    pub struct OwnershipParty {
        /// In what role, such as `holder`.
        role: Maybe<String>,
        /// Who it is.
        identity: Maybe<OwnershipIdentity>,
    }
}

wire_object! {
    /// Who someone is \[PO\].
    pub struct OwnershipIdentity {
        /// Whether it is the user.
        is_user: Maybe<bool>,
        /// The full name.
        full_name: Maybe<String>,
    }
}

wire_object! {
    /// How an account is identified \[PO\].
    pub struct Identification {
        /// By what scheme, such as `iban`.
        scheme_name: Maybe<String>,
        /// The identification.
        identification: Maybe<String>,
    }
}

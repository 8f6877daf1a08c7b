use super::Currency;
use crate::json::{Decimal, Maybe, OpaqueId, RawJson, TextOrObject, Timestamp, wire_object};

wire_object! {
    /// Something an account is invested in \[P21\].
    pub struct Investment {
        /// The investment's id.
        id: Maybe<OpaqueId>,
        /// The account's id.
        id_account: Maybe<OpaqueId>,
        /// The id of its type.
        id_type: Maybe<OpaqueId>,
        /// The security's id.
        id_security: Maybe<OpaqueId>,
        /// Its name.
        label: Maybe<String>,
        /// Its code.
        code: Maybe<String>,
        /// What kind of code, such as `ISIN`.
        code_type: Maybe<String>,
        /// Its symbol at the stock exchange.
        stock_symbol: Maybe<String>,
        /// The stock exchange.
        stock_market: Maybe<String>,
        /// Where the data comes from.
        source: Maybe<String>,
        /// More about it, for people.
        description: Maybe<String>,
        /// How many.
        quantity: Maybe<Decimal>,
        /// The price of one when bought.
        unitprice: Maybe<Decimal>,
        /// The price of one now.
        unitvalue: Maybe<Decimal>,
        /// What all are worth.
        valuation: Maybe<Decimal>,
        /// The gain since bought.
        diff: Maybe<Decimal>,
        /// The gain since bought, as a part of one.
        diff_percent: Maybe<Decimal>,
        /// The gain since last seen.
        prev_diff: Maybe<Decimal>,
        /// The share of the portfolio, as a part of one.
        portfolio_share: Maybe<Decimal>,
        /// The date of the valuation.
        vdate: Maybe<Timestamp>,
        /// The date of the valuation before.
        prev_vdate: Maybe<Timestamp>,
        /// The original currency.
        original_currency: Maybe<TextOrObject<String, Currency>>,
        /// `valuation` in the original currency.
        original_valuation: Maybe<Decimal>,
        /// `unitvalue` in the original currency.
        original_unitvalue: Maybe<Decimal>,
        /// `unitprice` in the original currency.
        original_unitprice: Maybe<Decimal>,
        /// `diff` in the original currency.
        original_diff: Maybe<Decimal>,
        /// When it last changed.
        last_update: Maybe<Timestamp>,
        /// When it was found to be gone.
        deleted: Maybe<Timestamp>,
        /// Its type.
        kind: Maybe<RawJson> = "type",
        /// More about the security.
        details: Maybe<RawJson>,
        /// The parts of an employee's savings.
        pockets: Maybe<Vec<Pocket>>,
    }
}

wire_object! {
    /// A part of an employee's savings \[P21\].
    pub struct Pocket {
        /// The pocket's id.
        id: Maybe<OpaqueId>,
        /// The account's id.
        id_account: Maybe<OpaqueId>,
        /// The investment's id.
        id_investment: Maybe<OpaqueId>,
        /// Its name.
        label: Maybe<String>,
        /// What it is worth.
        value: Maybe<Decimal>,
        /// How many.
        quantity: Maybe<Decimal>,
        /// From when it can be used.
        availability_date: Maybe<Timestamp>,
        /// On what condition it can be used, such as `date` or `retirement`.
        condition: Maybe<String>,
        /// When it last changed.
        last_update: Maybe<Timestamp>,
        /// When it was found to be gone.
        deleted: Maybe<Timestamp>,
    }
}

wire_object! {
    /// An order at the stock exchange \[PB\]. The names are those of `MarketOrder` in woob, the library that
    /// Powens' scrapers grew from; they were not checked against Powens' own page.
    pub struct MarketOrder {
        /// The order's id.
        id: Maybe<OpaqueId>,
        /// The account's id.
        id_account: Maybe<OpaqueId>,
        /// Its number at the bank.
        number: Maybe<String>,
        /// Its name.
        label: Maybe<String>,
        /// The security's code.
        code: Maybe<String>,
        /// What kind of code, such as `ISIN`.
        code_type: Maybe<String>,
        /// The security's symbol at the stock exchange.
        stock_symbol: Maybe<String>,
        /// The stock exchange.
        stock_market: Maybe<String>,
        /// How many.
        quantity: Maybe<Decimal>,
        /// The amount of the order.
        amount: Maybe<Decimal>,
        /// The price of one, as executed.
        unitprice: Maybe<Decimal>,
        /// The price of one now.
        unitvalue: Maybe<Decimal>,
        /// The price asked for.
        ordervalue: Maybe<Decimal>,
        /// The currency.
        currency: Maybe<TextOrObject<String, Currency>>,
        /// The original currency.
        original_currency: Maybe<TextOrObject<String, Currency>>,
        /// Buy or sell.
        direction: Maybe<String>,
        /// Buy or sell, under another name.
        order_direction: Maybe<String>,
        /// Such as limit or market.
        order_type: Maybe<String>,
        /// How it is paid for.
        payment_method: Maybe<String>,
        /// When it was made.
        date: Maybe<Timestamp>,
        /// When it was executed.
        execution_date: Maybe<Timestamp>,
        /// Until when it stands.
        validity_date: Maybe<Timestamp>,
        /// Its state.
        state: Maybe<String>,
        /// When it last changed.
        last_update: Maybe<Timestamp>,
        /// When it was found to be gone.
        deleted: Maybe<Timestamp>,
    }
}

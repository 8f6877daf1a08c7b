use crate::json::{Maybe, Timestamp, UrlText, wire_object};

wire_object! {
    /// The body of `POST /data/v1/batch/transactions` \[TL4\], which asks for the transactions of all accounts
    /// and cards of a connection. The reply is [`Accepted`](super::Accepted). The endpoint is deprecated.
    pub struct BatchRequest {
        /// The first day, `YYYY-MM-DD`.
        from: Maybe<Timestamp>,
        /// The last day, `YYYY-MM-DD`.
        to: Maybe<Timestamp>,
        /// Whether to fetch pending transactions too.
        pending: Maybe<bool>,
        /// Whether to fetch balances too.
        balance: Maybe<bool>,
        /// Where to be rung back.
        webhook_uri: Maybe<UrlText>,
    }
}

use super::{Notification, ProviderAccount};
use crate::json::{Maybe, RawJson, Timestamp, UrlText, wire_object};
use crate::query;

wire_object! {
    /// The data of `DATA_UPDATES` \[YN, YO\]: whose data changed in a window of time.
    pub struct DataUpdates {
        /// The start of the window.
        from_date: Maybe<Timestamp> = "fromDate",
        /// The end of the window. Several notifications of one interval share both.
        to_date: Maybe<Timestamp> = "toDate",
        /// How many users there are.
        user_count: Maybe<i64> = "userCount",
        /// The users.
        user_data: Maybe<Vec<UserUpdate>> = "userData",
    }
}

wire_object! {
    /// A user whose data changed.
    pub struct UserUpdate {
        /// The user.
        user: Maybe<User>,
        /// Where to fetch the data.
        links: Maybe<Vec<Link>>,
    }
}

wire_object! {
    /// A user.
    pub struct User {
        /// The name the customer gave the user. It may hold `:`.
        login_name: Maybe<String> = "loginName",
    }
}

wire_object! {
    /// Where to fetch data. The `href` is not escaped: use [`DataUpdates::requests`].
    pub struct Link {
        /// `GET`.
        method_type: Maybe<String> = "methodType",
        /// `getUserData`.
        rel: Maybe<String>,
        /// The path and query, relative to the API.
        href: Maybe<UrlText>,
    }
}

impl DataUpdates {
    /// The calls that fetch the changed data, one for each user that is named. None if a date is missing.
    pub fn requests(&self) -> impl Iterator<Item = UserDataRequest> + '_ {
        let dates = self.from_date.value().zip(self.to_date.value());
        let names = self
            .user_data
            .items()
            .iter()
            .filter_map(|update| update.user.value()?.login_name.value());
        dates.into_iter().flat_map(move |(from_date, to_date)| {
            names.clone().map(move |login_name| UserDataRequest {
                from_date: from_date.clone(),
                to_date: to_date.clone(),
                login_name: login_name.clone(),
            })
        })
    }
}

/// A call of *Get User Data*: all three parameters are required, and the dates at most 60 minutes apart \[YO\].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDataRequest {
    /// The start of the window.
    pub from_date: Timestamp,
    /// The end of the window.
    pub to_date: Timestamp,
    /// The user.
    pub login_name: String,
}

impl UserDataRequest {
    /// The path and query, relative to the API, with all that needs it escaped. It is built from its parts: a
    /// link in a notification, which nobody has signed, does not decide where a call goes.
    pub fn href(&self) -> String {
        let mut query = String::new();
        query::append(&mut query, "fromDate", self.from_date.as_str());
        query::append(&mut query, "toDate", self.to_date.as_str());
        query::append(&mut query, "loginName", &self.login_name);
        format!("dataExtracts/userData?{query}")
    }
}

wire_object! {
    /// The reply to `GET /dataExtracts/events` \[YP\].
    pub struct EventsReply {
        /// As in a notification, without an id.
        event: Maybe<Notification<DataUpdates>>,
    }
}

wire_object! {
    /// The reply to `GET /dataExtracts/userData` \[YO\]. Further pages are named in the `Link` header.
    pub struct UserDataReply {
        /// The users' data.
        user_data: Maybe<Vec<UserDataExtract>> = "userData",
    }
}

wire_object! {
    /// What changed of a user's data \[YO\]. Accounts, transactions and holdings have some hundred fields between
    /// them, and are left as they came.
    pub struct UserDataExtract {
        /// The user.
        user: Maybe<User>,
        /// How many transactions there are, on all pages.
        total_transactions_count: Maybe<i64> = "totalTransactionsCount",
        /// The accounts.
        account: Maybe<Vec<RawJson>>,
        /// The transactions, at most 500 a page.
        transaction: Maybe<Vec<RawJson>>,
        /// The holdings.
        holding: Maybe<Vec<RawJson>>,
        /// The provider accounts.
        provider_account: Maybe<Vec<ProviderAccount>> = "providerAccount",
    }
}

use super::EventName;
use crate::json::{Maybe, OneOrMany, UrlText, wire_enum, wire_object};

wire_object! {
    /// The body of `POST` and `PUT /configs/notifications/events/{eventName}` \[YO\]: 201 and 204, both empty.
    /// The URL is called at once, and must answer.
    pub struct SubscribeRequest {
        required {
            /// Where to send.
            event: SubscriptionTarget,
        }
        optional {}
    }
}

wire_object! {
    /// Where to send.
    pub struct SubscriptionTarget {
        required {
            /// The URL, on the default port.
            callback_url: UrlText = "callbackUrl",
        }
        optional {}
    }
}

wire_object! {
    /// The reply to `GET /configs/notifications/events` \[YO\].
    pub struct SubscriptionList {
        /// The subscriptions.
        event: Maybe<OneOrMany<Subscription>>,
    }
}

wire_object! {
    /// A subscription: one URL for an event name.
    pub struct Subscription {
        /// The event.
        name: Maybe<EventName>,
        /// Where it is sent.
        callback_url: Maybe<UrlText> = "callbackUrl",
    }
}

wire_object! {
    /// The body of an error \[YO\].
    pub struct ErrorReply {
        /// What kind of error it is.
        error_code: Maybe<ErrorCode> = "errorCode",
        /// More about it, for people.
        error_message: Maybe<String> = "errorMessage",
        /// What to name when asking Yodlee about it.
        reference_code: Maybe<String> = "referenceCode",
    }
}

wire_enum! {
    /// What kind of error it is \[YO\].
    pub enum ErrorCode {
        /// A value is not valid: the callback URL, the event name, the login name or a date.
        InvalidValue = "Y800",
        /// A value is missing.
        RequiredValue = "Y803",
        /// There are no data updates for this customer.
        DataUpdatesNotSupported = "Y821",
        /// The service is not supported.
        ServiceNotSupported = "Y901",
    }
}

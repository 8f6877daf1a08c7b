use super::{Event, EventType, TaskStatus};
use crate::json::{Maybe, OneOrMany, SecretText, Timestamp, UrlText, wire_enum, wire_object};

wire_enum! {
    /// The environment that a webhook is for.
    pub enum EnvType {
        /// Sandbox.
        Sandbox = "sandbox",
        /// Development.
        Dev = "dev",
        /// Production.
        Prod = "prod",
    }
}

wire_object! {
    /// What registers a webhook, or changes one, with `PATCH` and only what is to change \[TV4, TV6\].
    pub struct WebhookEndpointRequest {
        /// Its name, of at most 128 characters. Required to register.
        name: Maybe<String>,
        /// Where to send, of at most 2048 characters. Required to register.
        webhook_url: Maybe<UrlText>,
        /// The types of event to send. What none means is not documented.
        events: Maybe<OneOrMany<EventType>>,
        /// The environment. Required to register.
        env_type: Maybe<EnvType>,
        /// Whether to send: `true` takes up again what Truv had disabled.
        enabled: Maybe<bool>,
    }
}

wire_object! {
    /// A registered webhook \[TV1\].
    pub struct WebhookEndpoint {
        /// Its id: 32 characters in one document, a UUID in another.
        id: Maybe<String>,
        /// Its name.
        name: Maybe<String>,
        /// Where events are sent.
        webhook_url: Maybe<UrlText>,
        /// The types of event that are sent: a string in the table, an array in the example.
        events: Maybe<OneOrMany<EventType>>,
        /// The environment.
        env_type: Maybe<EnvType>,
        /// Whether events are sent: Truv disables an endpoint that goes on failing. Older bodies do not say.
        enabled: Maybe<bool>,
        /// When it was made.
        created_at: Maybe<Timestamp>,
        /// When it last changed.
        updated_at: Maybe<Timestamp>,
    }
}

wire_object! {
    /// The registered webhooks: the reply to `GET /v1/webhooks/`.
    pub struct WebhookEndpointList {
        /// How many there are, where it is said.
        count: Maybe<i64>,
        /// Where the next page is.
        next: Maybe<UrlText>,
        /// Where the page before is.
        previous: Maybe<UrlText>,
        /// The webhooks.
        results: Maybe<Vec<WebhookEndpoint>>,
    }
}

wire_object! {
    /// A page of the history of deliveries, of the last 30 days: the reply to `GET /v1/webhook-requests/`
    /// \[TV1, TV10\].
    pub struct WebhookRequestPage {
        /// Where the next page is; `null` on the last.
        next: Maybe<UrlText>,
        /// Where the page before is; `null` on the first.
        previous: Maybe<UrlText>,
        /// The attempts.
        results: Maybe<Vec<WebhookRequestRecord>>,
    }
}

wire_object! {
    /// An attempt to deliver \[TV1\].
    pub struct WebhookRequestRecord {
        /// The documents do not say whether this is the endpoint or the delivery, and print neither the type
        /// nor the id of the payload within. The payload's own are the ones to go by.
        webhook_id: Maybe<String>,
        /// The type of the event.
        event_type: Maybe<EventType>,
        /// When the event was made.
        event_created_at: Maybe<Timestamp>,
        /// The status of the answer; presumably none after a timeout.
        status_code: Maybe<u16>,
        /// What went wrong.
        error_message: Maybe<String>,
        /// What was sent.
        webhook_payload: Maybe<Event>,
        /// Where it was sent.
        webhook_url: Maybe<UrlText>,
    }
}

wire_object! {
    /// A task: the reply to `GET /v1/tasks/{id}/` \[TV18\].
    pub struct Task {
        /// The task's id.
        id: Maybe<String>,
        /// How far it has come.
        status: Maybe<TaskStatus>,
        /// What was asked for.
        product_type: Maybe<String>,
        /// The provider it reads from.
        provider: Maybe<TaskProvider>,
        /// When it was made.
        created_at: Maybe<Timestamp>,
        /// When it last changed.
        updated_at: Maybe<Timestamp>,
        /// The link between the user and the provider.
        link_id: Maybe<String>,
        /// The user.
        user_id: Maybe<String>,
        /// What went wrong, for people.
        error_message: Maybe<String>,
        /// What the customer attached.
        tracking_info: Maybe<String>,
        /// The token of the user's interface.
        bridge_token: Maybe<SecretText>,
        /// Where the data comes from.
        data_source: Maybe<String>,
        /// Whether the documents look tampered with.
        is_suspicious: Maybe<bool>,
        /// The order it belongs to.
        order_id: Maybe<String>,
    }
}

wire_object! {
    /// The provider that a task reads from \[TV18\].
    pub struct TaskProvider {
        /// Its id.
        id: Maybe<String>,
        /// Its name.
        name: Maybe<String>,
        /// Its logo.
        logo_url: Maybe<UrlText>,
    }
}

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{OrderStatus, TaskStatus};
use crate::json::{self, Maybe, PayloadError, RawJson, Survey, Surveyor, Timestamp, wire_enum, wire_object};

macro_rules! events {
    ($($(#[$meta:meta])* $variant:ident($body:ident) = $name:literal,)+) => {
        wire_enum! {
            /// The type of an event. The list has grown, so new ones must be expected.
            pub enum EventType {
                $($(#[$meta])* $variant = $name,)+
            }
        }

        /// A webhook of Truv, by its type.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Event {
            $($(#[$meta])* $variant(Box<$body>),)+
            /// An event of a type that is not listed.
            Unknown(Box<UnknownEvent>),
        }

        impl Event {
            /// Reads a body.
            ///
            /// # Errors
            ///
            /// [`PayloadError`] if it is not a JSON object with the texts `webhook_id` and `event_type`.
            #[inline]
            pub fn parse(body: &[u8]) -> Result<Self, PayloadError> {
                let which: Which = json::parse(body)?;
                Ok(match which.event_type {
                    $(EventType::$variant => Self::$variant(json::parse(body)?),)+
                    EventType::Other(_) => Self::Unknown(json::parse(body)?),
                })
            }

            /// The type of the event.
            #[inline]
            pub fn event_type(&self) -> &EventType {
                match self {
                    $(Self::$variant(event) => &event.event_type,)+
                    Self::Unknown(event) => &event.event_type,
                }
            }

            /// What identifies the delivery, and is the same when it is sent again.
            #[inline]
            pub fn webhook_id(&self) -> &str {
                match self {
                    $(Self::$variant(event) => &event.webhook_id,)+
                    Self::Unknown(event) => &event.webhook_id,
                }
            }

            /// When it happened, to order events by: `updated_at`, else `event_created_at`, where it has a zone.
            #[inline]
            pub fn happened_at(&self) -> Option<DateTime<Utc>> {
                let (updated_at, event_created_at) = match self {
                    $(Self::$variant(event) => (&event.updated_at, &event.event_created_at),)+
                    Self::Unknown(event) => (&event.updated_at, &event.event_created_at),
                };
                [updated_at, event_created_at].into_iter().find_map(|at| at.value()?.instant())
            }
        }

        /// As [`Event::parse`].
        impl<'de> Deserialize<'de> for Event {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let body = RawJson::deserialize(deserializer)?;
                Self::parse(body.as_str().as_bytes()).map_err(D::Error::custom)
            }
        }

        /// Writes the body back.
        impl Serialize for Event {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant(event) => event.serialize(serializer),)+
                    Self::Unknown(event) => event.serialize(serializer),
                }
            }
        }

        impl Survey for Event {
            #[inline]
            fn survey(&self, surveyor: &mut Surveyor) {
                match self {
                    $(Self::$variant(event) => event.survey(surveyor),)+
                    Self::Unknown(event) => event.survey(surveyor),
                }
            }
        }
    };
}

events! {
    /// The status of a task changed.
    TaskStatusUpdated(TaskChange) = "task-status-updated",
    /// An order was made; its status is `pending`.
    OrderCreated(OrderChange) = "order-created",
    /// The status of an order, or of its part for one employer or account, changed.
    OrderStatusUpdated(OrderChange) = "order-status-updated",
    /// A task that refreshes an order failed; the status is the refresh's.
    OrderRefreshFailed(OrderChange) = "order-refresh-failed",
    /// An order is final: nothing more is collected or refreshed.
    OrderFinalized(OrderChange) = "order-finalized",
    /// The applicant certified the order.
    CertificationCompleted(OrderChange) = "certification-completed",
    /// A link was connected.
    LinkConnected(LinkChange) = "link-connected",
    /// The connection of a link failed in a refresh.
    LinkDisconnected(LinkChange) = "link-disconnected",
    /// The personal data and credentials of a link were removed.
    LinkDeleted(LinkChange) = "link-deleted",
    /// An employment was found.
    EmploymentCreated(ObjectChange) = "employment-created",
    /// An employment changed in a refresh.
    EmploymentUpdated(ObjectChange) = "employment-updated",
    /// A profile was found.
    ProfileCreated(ObjectChange) = "profile-created",
    /// A profile changed in a refresh.
    ProfileUpdated(ObjectChange) = "profile-updated",
    /// Statements were found.
    StatementsCreated(CountChange) = "statements-created",
    /// The number of statements changed in a refresh.
    StatementsUpdated(CountChange) = "statements-updated",
    /// Shifts were found.
    ShiftsCreated(CountChange) = "shifts-created",
    /// The number of shifts changed in a refresh.
    ShiftsUpdated(CountChange) = "shifts-updated",
    /// Bank accounts were found.
    BankAccountsCreated(CountChange) = "bank-accounts-created",
    /// The number of bank accounts changed in a refresh.
    BankAccountsUpdated(CountChange) = "bank-accounts-updated",
}

/// What says which event it is, read before the rest.
#[derive(Deserialize)]
struct Which {
    event_type: EventType,
}

/// A payload with the fields that every type has in one generation of the pages or another, and its own.
macro_rules! event_object {
    ($(#[$meta:meta])* $name:ident { $($own:tt)* }) => {
        wire_object! {
            $(#[$meta])*
            pub struct $name {
                required {
                    /// What identifies the delivery, and is the same when it is sent again.
                    webhook_id: String,
                    /// What happened.
                    event_type: EventType,
                }
                optional {
                    /// When the event was made.
                    event_created_at: Maybe<Timestamp>,
                    /// When the thing it is about changed: to order events by, where it is there.
                    updated_at: Maybe<Timestamp>,
                    /// The user.
                    user_id: Maybe<String>,
                    /// The link between the user and the provider.
                    link_id: Maybe<String>,
                    /// The template of the user's interface.
                    template_id: Maybe<String>,
                    /// What was asked for: `income`, `employment`, `deposit_switch`, `pll`, `insurance`,
                    /// `transactions`, `assets`.
                    product: Maybe<String>,
                    /// Where the data comes from: `payroll`, `docs`, `insurance`, `financial_accounts`, `tax`.
                    data_source: Maybe<String>,
                    /// What the customer attached; for orders, the `employer_id`.
                    tracking_info: Maybe<String>,
                    $($own)*
                }
            }
        }
    };
}

event_object! {
    /// The status of a task changed \[TV11\].
    TaskChange {
        /// The task.
        task_id: Maybe<String>,
        /// How far it has come.
        status: Maybe<TaskStatus>,
    }
}

event_object! {
    /// Something happened to an order \[TV12\]. `order-finalized` and `certification-completed` have no status.
    OrderChange {
        /// The order.
        order_id: Maybe<String>,
        /// The customer's own number of the order.
        order_number: Maybe<String>,
        /// The employer, of a part of the order.
        employer_id: Maybe<String>,
        /// How far it has come.
        status: Maybe<OrderStatus>,
    }
}

event_object! {
    /// Something happened to a link \[TV14\].
    LinkChange {}
}

event_object! {
    /// An employment or a profile was found or changed \[TV15, TV16\].
    ObjectChange {
        /// The task that found it.
        task_id: Maybe<String>,
        /// The employment or profile.
        object_id: Maybe<String>,
    }
}

event_object! {
    /// Things that belong to an employment were found, or became more or fewer \[TV17\].
    CountChange {
        /// The task that found them.
        task_id: Maybe<String>,
        /// The employment.
        employment_id: Maybe<String>,
        /// How many there are now.
        objects_count: Maybe<i64>,
    }
}

event_object! {
    /// An event of a type that is not listed.
    UnknownEvent {}
}

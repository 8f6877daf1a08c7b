use serde::{Serialize, Serializer};

use crate::json::{
    self, Decimal, Maybe, PayloadError, RawJson, Survey, Surveyor, Timestamp, wire_enum, wire_object,
};

/// A webhook that carries `Tl-Signature`: two generations of envelope, told apart by what names the type.
///
/// ```
/// use ringback::provider::truelayer::{EventType, SignedEvent};
///
/// let event = SignedEvent::parse(br#"{"type":"payment_executed","event_version":1,"event_id":"6b42f3eb"}"#)?;
/// assert_eq!(event.event_id(), Some("6b42f3eb"));
/// assert!(matches!(event, SignedEvent::Payment(event) if event.kind == EventType::PaymentExecuted));
/// # Ok::<(), ringback::json::PayloadError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SignedEvent {
    /// Payments v3 (`type`); also Data API v3, whose keys are not public, as far as it is built the same.
    Payment(Box<PaymentEvent>),
    /// PayDirect and payments v2 (`event_type`).
    Direct(Box<DirectEvent>),
}

impl SignedEvent {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if it is not a JSON object with `type` or `event_type`.
    #[inline]
    pub fn parse(body: &[u8]) -> Result<Self, PayloadError> {
        json::parse(body)
            .map(Self::Payment)
            .or_else(|error| json::parse(body).map(Self::Direct).map_err(|_| error))
    }

    /// The event's own id, if it has one: what to tell repeats by.
    pub fn event_id(&self) -> Option<&str> {
        match self {
            Self::Payment(event) => event.event_id.value(),
            Self::Direct(event) => event.event_id.value(),
        }
        .map(String::as_str)
    }
}

/// Writes the body back.
impl Serialize for SignedEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Payment(event) => event.serialize(serializer),
            Self::Direct(event) => event.serialize(serializer),
        }
    }
}

impl Survey for SignedEvent {
    fn survey(&self, surveyor: &mut Surveyor) {
        match self {
            Self::Payment(event) => event.survey(surveyor),
            Self::Direct(event) => event.survey(surveyor),
        }
    }
}

wire_enum! {
    /// The type of an event of payments v3 \[TL12\].
    pub enum EventType {
        /// The user authorised a payment.
        PaymentAuthorized = "payment_authorized",
        /// A payment was submitted to the bank.
        PaymentExecuted = "payment_executed",
        /// A payment failed.
        PaymentFailed = "payment_failed",
        /// A payment can be credited, at the merchant's risk.
        PaymentCreditable = "payment_creditable",
        /// A payment reached the merchant's account.
        PaymentSettled = "payment_settled",
        /// A payment is late in reaching the merchant's account.
        PaymentSettlementStalled = "payment_settlement_stalled",
        /// A payment from elsewhere reached the merchant's account.
        ExternalPaymentReceived = "external_payment_received",
        /// A mandate was authorised.
        MandateAuthorized = "mandate_authorized",
        /// A mandate failed.
        MandateFailed = "mandate_failed",
        /// A mandate was revoked.
        MandateRevoked = "mandate_revoked",
        /// A payment was made through a payment link.
        PaymentLinkPaymentCreated = "payment_link_payment_created",
        /// A payment link was disabled.
        PaymentLinkDisabled = "payment_link_disabled",
        /// A payout was executed.
        PayoutExecuted = "payout_executed",
        /// A payout failed.
        PayoutFailed = "payout_failed",
        /// A refund was executed.
        RefundExecuted = "refund_executed",
        /// A refund failed.
        RefundFailed = "refund_failed",
    }
}

wire_object! {
    /// An event of payments v3 \[TL12\]: an envelope, the ids of what it is about, when it happened, and for
    /// some types more, of which the deeper parts are left as they came.
    pub struct PaymentEvent {
        required {
            /// What happened.
            kind: EventType = "type",
        }
        optional {
            /// The version of the event's form.
            event_version: Maybe<Decimal>,
            /// The event's id: the same when it is sent again.
            event_id: Maybe<String>,
            /// The payment.
            payment_id: Maybe<String>,
            /// The payment link.
            payment_link_id: Maybe<String>,
            /// The mandate.
            mandate_id: Maybe<String>,
            /// The payout.
            payout_id: Maybe<String>,
            /// The refund.
            refund_id: Maybe<String>,
            /// The transaction on the merchant's account.
            transaction_id: Maybe<String>,
            /// The merchant's account.
            merchant_account_id: Maybe<String>,
            /// When it was made.
            created_at: Maybe<Timestamp>,
            /// When it was authorised.
            authorized_at: Maybe<Timestamp>,
            /// When it was executed.
            executed_at: Maybe<Timestamp>,
            /// When it could be credited.
            creditable_at: Maybe<Timestamp>,
            /// When it was settled.
            settled_at: Maybe<Timestamp>,
            /// When its settlement stalled.
            settlement_stalled_at: Maybe<Timestamp>,
            /// When it failed.
            failed_at: Maybe<Timestamp>,
            /// When it was revoked.
            revoked_at: Maybe<Timestamp>,
            /// When it was disabled.
            disabled_at: Maybe<Timestamp>,
            /// At what stage it failed, such as `authorizing`.
            failure_stage: Maybe<String>,
            /// Why it failed, such as `provider_rejected`.
            failure_reason: Maybe<String>,
            /// Who revoked the mandate.
            revocation_source: Maybe<String>,
            /// Why the payment link was disabled.
            disabled_reason: Maybe<String>,
            /// The account the money comes from.
            payment_source: Maybe<PaymentSource>,
            /// How it is paid.
            payment_method: Maybe<PaymentMethod>,
            /// How likely it is to settle.
            settlement_risk: Maybe<SettlementRisk>,
            /// Whom a payout goes to.
            beneficiary: Maybe<RawJson>,
            /// Whom a payment from elsewhere comes from.
            remitter: Maybe<RawJson>,
            /// The payment scheme that was used.
            scheme_id: Maybe<String>,
            /// The amount, in the currency's smallest unit.
            amount_in_minor: Maybe<Decimal>,
            /// The ISO 4217 code of the currency.
            currency: Maybe<String>,
            /// The words of a payment from elsewhere.
            reference: Maybe<String>,
            /// What the merchant attached.
            metadata: Maybe<RawJson>,
        }
    }
}

wire_object! {
    /// How a payment is made.
    pub struct PaymentMethod {
        /// `bank_transfer` or `mandate`.
        kind: Maybe<String> = "type",
        /// The bank, of a transfer.
        provider_id: Maybe<String>,
        /// The payment scheme, of a transfer.
        scheme_id: Maybe<String>,
        /// The mandate.
        mandate_id: Maybe<String>,
    }
}

wire_object! {
    /// How likely a payment is to settle.
    pub struct SettlementRisk {
        /// `low_risk` or `high_risk`.
        category: Maybe<String>,
    }
}

wire_object! {
    /// The account the money comes from.
    pub struct PaymentSource {
        /// Its id.
        id: Maybe<String>,
        /// The user's id.
        user_id: Maybe<String>,
        /// The user's name.
        user_name: Maybe<String>,
        /// The account's numbers.
        account_identifiers: Maybe<Vec<AccountIdentifier>>,
        /// Whose account it is.
        account_holder_name: Maybe<String>,
    }
}

wire_object! {
    /// A number of an account.
    pub struct AccountIdentifier {
        /// What kind: `sort_code_account_number`, `iban`, `bban` or `nrb`.
        kind: Maybe<String> = "type",
        /// The sort code.
        sort_code: Maybe<String>,
        /// The account number.
        account_number: Maybe<String>,
        /// The IBAN.
        iban: Maybe<String>,
        /// The BBAN.
        bban: Maybe<String>,
        /// The NRB.
        nrb: Maybe<String>,
    }
}

wire_object! {
    /// An event of PayDirect or payments v2 \[TL13, TL14\]: an envelope and its contents.
    pub struct DirectEvent {
        required {
            /// What happened.
            event_type: String,
        }
        optional {
            /// The version of the contents' form.
            event_schema_version: Maybe<Decimal>,
            /// The event's id: the same when it is sent again.
            event_id: Maybe<String>,
            /// When it happened.
            event_timestamp: Maybe<Timestamp>,
            /// The contents.
            event_body: Maybe<RawJson>,
        }
    }
}

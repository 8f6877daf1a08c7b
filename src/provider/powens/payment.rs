use super::Currency;
use crate::json::{
    Decimal, Maybe, OpaqueId, RawJson, TextOrObject, Timestamp, UrlText, wire_enum, wire_object,
};
use crate::task::LifeCycle;

wire_object! {
    /// A payment, or a bulk of them \[PP\]. The body of `PAYMENT_STATE_UPDATED`.
    pub struct Payment {
        /// The payment's id.
        id: Maybe<OpaqueId>,
        /// How far it has come.
        state: Maybe<PaymentState>,
        /// `cancelling` while a cancellation is under way.
        state_detail: Maybe<String>,
        /// What is to be done next: `redirect`, `decoupled`, `additionalInformationNeeded`, `confirm`,
        /// `psuValidation`, or nothing.
        action: Maybe<String>,
        /// Why it failed.
        error_code: Maybe<String>,
        /// More about that, for people.
        error_description: Maybe<String>,
        /// What the user is asked for, by name.
        fields: Maybe<RawJson>,
        /// Where the user validates it.
        validate_uri: Maybe<UrlText>,
        /// Deprecated: the connector's id.
        id_connector: Maybe<OpaqueId>,
        /// The connector's UUID.
        connector_uuid: Maybe<String>,
        /// How it is validated: `credentials` or `webauth`.
        validate_mechanism: Maybe<String>,
        /// When it was made.
        register_date: Maybe<Timestamp>,
        /// When it was validated.
        validate_date: Maybe<Timestamp>,
        /// Deprecated: where the user goes afterwards.
        client_redirect_uri: Maybe<UrlText>,
        /// What the customer had passed along.
        client_state: Maybe<String>,
        /// Who pays.
        payer: Maybe<PaymentAccount>,
        /// What is paid to whom.
        instructions: Maybe<Vec<PaymentInstruction>>,
        /// Who the payer is.
        payer_identity: Maybe<RawJson>,
        /// Who operates the payment.
        operator_identity: Maybe<RawJson>,
        /// What identifies the webhook's body; only at its top level.
        id_webhook_data: Maybe<OpaqueId>,
    }
}

wire_object! {
    /// One transfer of a payment \[PP\].
    pub struct PaymentInstruction {
        /// The instruction's id.
        id: Maybe<OpaqueId>,
        /// The end-to-end identifier.
        reference_id: Maybe<String>,
        /// `first_open_day`, `deferred`, `instant` or `periodic`.
        execution_date_type: Maybe<String>,
        /// The words the beneficiary sees.
        label: Maybe<String>,
        /// The amount.
        amount: Maybe<Decimal>,
        /// The currency: a string in the table, an object in the example.
        currency: Maybe<TextOrObject<String, Currency>>,
        /// Deprecated: the date of execution.
        exec_date: Maybe<Timestamp>,
        /// The date of execution.
        execution_date: Maybe<Timestamp>,
        /// How often, of a standing order.
        execution_frequency: Maybe<String>,
        /// Whom it goes to.
        beneficiary: Maybe<PaymentAccount>,
        /// Who the beneficiary is.
        beneficiary_identity: Maybe<RawJson>,
        /// How far it has come.
        state: Maybe<PaymentState>,
        /// Why it failed.
        error_code: Maybe<String>,
        /// More about that, for people.
        error_description: Maybe<String>,
    }
}

wire_object! {
    /// An account that pays or is paid \[PP\].
    pub struct PaymentAccount {
        /// The account's id among payments.
        id: Maybe<OpaqueId>,
        /// The id of the user's account that it is.
        id_account: Maybe<OpaqueId>,
        /// Its holder's name.
        label: Maybe<String>,
        /// By what scheme it is identified, such as `iban`.
        scheme_name: Maybe<String>,
        /// Its identification.
        identification: Maybe<String>,
        /// Its bank.
        issuer: Maybe<String>,
        /// When it was disabled.
        disabled_date: Maybe<Timestamp>,
        /// By what scheme the merchant is identified.
        merchant_scheme_name: Maybe<String>,
        /// The merchant's identification.
        merchant_identification: Maybe<String>,
        /// The BIC.
        bic: Maybe<String>,
    }
}

wire_enum! {
    /// How far a payment has come \[PP\]. New values must be expected.
    pub enum PaymentState {
        /// Made, and not yet validated.
        Created = "created",
        /// The user is validating it.
        Validating = "validating",
        /// Validated, and with the bank.
        Pending = "pending",
        /// Refused. Final.
        Rejected = "rejected",
        /// Executed. Final.
        Done = "done",
        /// Accepted by the bank, which says no more. Final.
        Accepted = "accepted",
        /// Not validated in time. Final.
        Expired = "expired",
        /// Executed in part, of a bulk. Final.
        Partial = "partial",
    }
}

/// The edges are those that the payments page prints: final states never change.
impl LifeCycle for PaymentState {
    const STEPS: &'static [(Self, Self)] = &[
        (Self::Created, Self::Validating),
        (Self::Validating, Self::Pending),
        (Self::Pending, Self::Done),
        (Self::Pending, Self::Accepted),
        (Self::Pending, Self::Partial),
        (Self::Created, Self::Rejected),
        (Self::Validating, Self::Rejected),
        (Self::Pending, Self::Rejected),
        (Self::Created, Self::Expired),
        (Self::Validating, Self::Expired),
        (Self::Pending, Self::Expired),
    ];

    fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Rejected | Self::Done | Self::Accepted | Self::Expired | Self::Partial
        )
    }

    fn is_failure(&self) -> bool {
        matches!(self, Self::Rejected | Self::Expired)
    }

    fn is_listed(&self) -> bool {
        self.is_known()
    }
}

use serde::{Deserialize, Serialize, Serializer};

use super::{DataUpdates, ProviderAccount};
use crate::json::{
    self, Maybe, OneOrMany, OpaqueId, PayloadError, RawJson, Survey, Surveyor, Timestamp, wire_enum,
    wire_object,
};

wire_enum! {
    /// The name of an event, as subscribed to. The documents' lists differ, so others must be expected.
    pub enum EventName {
        /// A provider account was refreshed, or is being.
        Refresh = "REFRESH",
        /// Users' data changed.
        DataUpdates = "DATA_UPDATES",
        /// The automatic refresh of accounts was switched on or off.
        AutoRefreshUpdates = "AUTO_REFRESH_UPDATES",
        /// Latest balances that were asked for are there.
        LatestBalanceUpdates = "LATEST_BALANCE_UPDATES",
        /// A verification by deposits went on.
        CdvStatusUpdates = "CDV_STATUS_UPDATES",
        /// Something happened to a consent, in open banking.
        OpenBankingConsent = "OB_CONSENT",
        /// A credit report is there.
        CreditMatrixReportUpdates = "CREDIT_MATRIX_REPORT_UPDATES",
        /// The older name of [`EventName::CreditMatrixReportUpdates`].
        CreditAcceleratorReportUpdates = "CREDIT_ACCELERATOR_REPORT_UPDATES",
    }
}

impl EventName {
    /// The event that an `info` belongs to: what stands before its first dot. `LATEST_BALANCE.COMPLETED` is the
    /// other name of the balance event.
    pub fn of_info(info: &str) -> Self {
        match info.split('.').next().unwrap_or_default() {
            "LATEST_BALANCE" => Self::LatestBalanceUpdates,
            name => Self::from(name),
        }
    }
}

wire_object! {
    /// The body of every notification.
    pub struct Envelope<T> {
        required {
            /// The notification.
            event: Notification<T>,
        }
        optional {}
    }
}

wire_object! {
    /// A notification.
    pub struct Notification<T> {
        required {
            /// Which event it is, and after a dot of which kind: `REFRESH.PROCESS_COMPLETED`.
            info: String,
        }
        optional {
            /// What happened: an object, or an array of such. See [`Notification::data`].
            data: Maybe<OneOrMany<T>>,
            /// The user it is about.
            login_name: Maybe<String> = "loginName",
            /// What identifies it, in three formats.
            notification_id: Maybe<String> = "notificationId",
            /// When it was sent.
            notification_time: Maybe<Timestamp> = "notificationTime",
        }
    }
}

impl<T> Notification<T> {
    /// What happened, whether one object came or an array.
    pub fn data(&self) -> &[T] {
        self.data.value().map_or(&[], OneOrMany::as_slice)
    }

    /// What stands after the dot in `info`, such as `PROCESS_COMPLETED`.
    pub fn kind(&self) -> Option<&str> {
        self.info.split_once('.').map(|(_, kind)| kind)
    }
}

macro_rules! events {
    ($($(#[$meta:meta])* $variant:ident($data:ident) = $name:ident,)+) => {
        /// A notification of Yodlee, by its event.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Event {
            $($(#[$meta])* $variant(Box<Envelope<$data>>),)+
            /// An event that is not listed, or whose fields are not public.
            Unknown(Box<Envelope<RawJson>>),
        }

        impl Event {
            /// Reads a body, by its `info`.
            ///
            /// # Errors
            ///
            /// [`PayloadError`] if it is not a JSON object with an `event` that has an `info`.
            #[inline]
            pub fn parse(body: &[u8]) -> Result<Self, PayloadError> {
                let which: Which = json::parse(body)?;
                Ok(match EventName::of_info(&which.event.info) {
                    $(EventName::$name => Self::$variant(json::parse(body)?),)+
                    _ => Self::Unknown(json::parse(body)?),
                })
            }

            /// The event it is of.
            #[inline]
            pub fn name(&self) -> EventName {
                EventName::of_info(match self {
                    $(Self::$variant(envelope) => &envelope.event.info,)+
                    Self::Unknown(envelope) => &envelope.event.info,
                })
            }

            /// What identifies the notification, where it has that.
            #[inline]
            pub fn notification_id(&self) -> Option<&str> {
                match self {
                    $(Self::$variant(envelope) => &envelope.event.notification_id,)+
                    Self::Unknown(envelope) => &envelope.event.notification_id,
                }
                .value()
                .map(String::as_str)
            }
        }

        /// Writes the body back.
        impl Serialize for Event {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant(envelope) => envelope.serialize(serializer),)+
                    Self::Unknown(envelope) => envelope.serialize(serializer),
                }
            }
        }

        impl Survey for Event {
            #[inline]
            fn survey(&self, surveyor: &mut Surveyor) {
                match self {
                    $(Self::$variant(envelope) => envelope.survey(surveyor),)+
                    Self::Unknown(envelope) => envelope.survey(surveyor),
                }
            }
        }
    };
}

/// What says which event it is, read before the rest.
#[derive(Deserialize)]
struct Which {
    event: Info,
}

#[derive(Deserialize)]
struct Info {
    info: String,
}

events! {
    /// A provider account was refreshed, or is being: `PROCESS_COMPLETED`, and others of unknown name.
    Refresh(RefreshData) = Refresh,
    /// Users' data changed, and is to be fetched.
    DataUpdates(DataUpdates) = DataUpdates,
    /// The automatic refresh of accounts was switched on or off.
    AutoRefreshUpdates(AutoRefreshUpdate) = AutoRefreshUpdates,
    /// Latest balances that were asked for are there.
    LatestBalanceUpdates(LatestBalances) = LatestBalanceUpdates,
    /// A verification by deposits went on.
    CdvStatusUpdates(CdvStatus) = CdvStatusUpdates,
}

wire_object! {
    /// The data of `REFRESH` \[YR\].
    pub struct RefreshData {
        /// The provider accounts.
        provider_account: Maybe<Vec<ProviderAccount>> = "providerAccount",
    }
}

wire_object! {
    /// An item of `AUTO_REFRESH_UPDATES` \[YA\].
    pub struct AutoRefreshUpdate {
        /// What it is now.
        auto_refresh: Maybe<AutoRefresh> = "autoRefresh",
        /// The accounts it holds for.
        account_ids: Maybe<Vec<OpaqueId>> = "accountIds",
        /// The user.
        login_name: Maybe<String> = "loginName",
        /// The provider account.
        provider_account_id: Maybe<OpaqueId> = "providerAccountId",
    }
}

wire_object! {
    /// Whether accounts are refreshed automatically \[YO\].
    pub struct AutoRefresh {
        /// Whether they are.
        status: Maybe<AutoRefreshStatus>,
        /// Why.
        additional_status: Maybe<AutoRefreshReason> = "additionalStatus",
        /// Since when.
        as_of_date: Maybe<Timestamp> = "asOfDate",
    }
}

wire_enum! {
    /// Whether accounts are refreshed automatically \[YO\].
    pub enum AutoRefreshStatus {
        /// They are.
        Enabled = "ENABLED",
        /// They are not.
        Disabled = "DISABLED",
    }
}

wire_enum! {
    /// Why accounts are refreshed automatically, or not \[YO\].
    pub enum AutoRefreshReason {
        /// The next refresh is due.
        Scheduled = "SCHEDULED",
        /// An error that will pass.
        TempError = "TEMP_ERROR",
        /// The site blocks Yodlee.
        SiteBlocking = "SITE_BLOCKING",
        /// The site is not supported.
        SiteNotSupported = "SITE_NOT_SUPPORTED",
        /// The site asks for a second factor each time.
        RealTimeMfaRequired = "REAL_TIME_MFA_REQUIRED",
        /// The user must act.
        UserActionRequired = "USER_ACTION_REQUIRED",
        /// The user was unsubscribed.
        Unsubscribed = "UNSUBSCRIBED",
        /// The user keeps the account by hand.
        ManualAccount = "MANUAL_ACCOUNT",
    }
}

wire_object! {
    /// The data of `LATEST_BALANCE_UPDATES` \[YB\].
    pub struct LatestBalances {
        /// The provider account.
        provider_account_id: Maybe<OpaqueId> = "providerAccountId",
        /// How it went for each account.
        latest_balance_event: Maybe<Vec<LatestBalance>> = "latestBalanceEvent",
    }
}

wire_object! {
    /// How fetching the latest balance of an account went \[YB\].
    pub struct LatestBalance {
        /// The account.
        account_id: Maybe<OpaqueId> = "accountId",
        /// How it went.
        status: Maybe<OutcomeStatus>,
    }
}

wire_enum! {
    /// How something went.
    pub enum OutcomeStatus {
        /// Well.
        Success = "SUCCESS",
        /// Not.
        Failed = "FAILED",
    }
}

wire_object! {
    /// The data of `CDV_STATUS_UPDATES` \[YV\].
    pub struct CdvStatus {
        /// The provider account.
        provider_account_id: Maybe<OpaqueId> = "providerAccountId",
        /// The account.
        account_id: Maybe<OpaqueId> = "accountId",
        /// The verification.
        verification_id: Maybe<OpaqueId> = "verificationId",
        /// How far it has come.
        verification_status: Maybe<VerificationStatus> = "verificationStatus",
        /// Why it failed.
        reason: Maybe<VerificationReason>,
        /// `MATCHING` or `CHALLENGE_DEPOSIT` \[YO\].
        verification_type: Maybe<String> = "verificationType",
        /// When it was started \[YO\].
        verification_date: Maybe<Timestamp> = "verificationDate",
        /// More about how far it has come \[YO\].
        additional_message: Maybe<String> = "additionalMessage",
        /// How many more times the user may try \[YO\].
        remaining_attempts: Maybe<i64> = "remainingAttempts",
    }
}

wire_enum! {
    /// How far a verification by deposits has come \[YV\].
    pub enum VerificationStatus {
        /// Started.
        Initiated = "INITIATED",
        /// The deposits are made.
        Deposited = "DEPOSITED",
        /// The account is verified.
        Success = "SUCCESS",
        /// It is not.
        Failed = "FAILED",
    }
}

wire_enum! {
    /// Why a verification failed \[YV\].
    pub enum VerificationReason {
        /// There is no data.
        DataNotAvailable = "DATA_NOT_AVAILABLE",
        /// The holder is someone else.
        AccountHolderMismatch = "ACCOUNT_HOLDER_MISMATCH",
        /// Neither the account number nor the transfer code is known.
        NumberAndTransferCodeNotAvailable = "FULL_ACCOUNT_NUMBER_AND_BANK_TRANSFER_CODE_NOT_AVAILABLE",
        /// The account number is not known.
        NumberNotAvailable = "FULL_ACCOUNT_NUMBER_NOT_AVAILABLE",
        /// The transfer code is not known.
        TransferCodeNotAvailable = "BANK_TRANSFER_CODE_NOT_AVAILABLE",
        /// It was not completed in time.
        Expired = "EXPIRED",
        /// The amounts are wrong.
        DataMismatch = "DATA_MISMATCH",
        /// The deposits could not be made.
        InstructionGenerationError = "INSTRUCTION_GENERATION_ERROR",
    }
}

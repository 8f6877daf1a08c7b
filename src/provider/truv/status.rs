use crate::json::wire_enum;
use crate::task::LifeCycle;

wire_enum! {
    /// How far a task has come \[TV22\].
    pub enum TaskStatus {
        /// Made, and waiting.
        New = "new",
        /// Logging in to the provider.
        Login = "login",
        /// Doing a second factor.
        Mfa = "mfa",
        /// Collecting identity, employment and pay stubs.
        Parse = "parse",
        /// The older name of [`TaskStatus::Parse`], which it counts as; kept so that it is written back as it
        /// came.
        BaseParse = "base_parse",
        /// The first data is there; what takes longer is being collected.
        FullParse = "full_parse",
        /// Changing the direct deposit.
        SwitchDeposit = "switch_deposit",
        /// Done. Terminal.
        Done = "done",
        /// Wrong credentials. Terminal.
        LoginError = "login_error",
        /// The second factor was not completed. Terminal.
        MfaError = "mfa_error",
        /// A failure of configuration or of processing a document. Terminal.
        ConfigError = "config_error",
        /// The account is locked at the provider. Terminal.
        AccountLocked = "account_locked",
        /// The credentials could not be reset. Terminal.
        UnableToReset = "unable_to_reset",
        /// Connected, but nothing was returned. Terminal.
        NoData = "no_data",
        /// The provider is not available for now. Terminal, and worth a new task later.
        Unavailable = "unavailable",
        /// Any other failure. Terminal.
        Error = "error",
        /// The provider is not supported. Terminal.
        NotSupported = "not_supported",
    }
}

/// `new → login → [mfa] → parse → full_parse → done`, or with `switch_deposit` in place of the two parses; an
/// error at any point \[TV22\].
impl LifeCycle for TaskStatus {
    const STEPS: &'static [(Self, Self)] = &[
        (Self::New, Self::Login),
        (Self::Login, Self::Mfa),
        (Self::Login, Self::Parse),
        (Self::Login, Self::SwitchDeposit),
        (Self::Mfa, Self::Parse),
        (Self::Mfa, Self::SwitchDeposit),
        (Self::Parse, Self::FullParse),
        (Self::FullParse, Self::Done),
        (Self::SwitchDeposit, Self::Done),
    ];

    fn is_terminal(&self) -> bool {
        *self == Self::Done || self.is_failure()
    }

    fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::LoginError
                | Self::MfaError
                | Self::ConfigError
                | Self::AccountLocked
                | Self::UnableToReset
                | Self::NoData
                | Self::Unavailable
                | Self::Error
                | Self::NotSupported
        )
    }

    fn is_listed(&self) -> bool {
        self.is_known()
    }

    fn canonical(&self) -> Self {
        match self {
            Self::BaseParse => Self::Parse,
            status => status.clone(),
        }
    }
}

wire_enum! {
    /// How far an order, or the part of it for one employer or account, has come \[TV28\].
    pub enum OrderStatus {
        /// Made, and being processed.
        Pending = "pending",
        /// The message to the applicant was sent.
        Sent = "sent",
        /// The applicant connected, and data is available. Terminal.
        Completed = "completed",
        /// The message could not be delivered, or the verification failed. Terminal.
        Error = "error",
        /// Cancelled by hand. Terminal.
        Canceled = "canceled",
        /// Not completed in time. Terminal.
        Expired = "expired",
        /// The applicant opened it, and did not complete it. Terminal.
        Skipped = "skipped",
        /// Connected, but too little was returned. Terminal.
        NoData = "no_data",
    }
}

/// `pending → sent →` an end. A refresh may follow `completed`; its failure is reported as
/// `order-refresh-failed`, whose status is the refresh's, not the order's.
impl LifeCycle for OrderStatus {
    const STEPS: &'static [(Self, Self)] = &[(Self::Pending, Self::Sent), (Self::Sent, Self::Completed)];

    fn is_terminal(&self) -> bool {
        *self == Self::Completed || self.is_failure()
    }

    fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Error | Self::Canceled | Self::Expired | Self::Skipped | Self::NoData
        )
    }

    fn is_listed(&self) -> bool {
        self.is_known()
    }
}

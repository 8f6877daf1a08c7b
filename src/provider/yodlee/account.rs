use crate::json::{Maybe, OpaqueId, Timestamp, wire_enum, wire_object};

wire_object! {
    /// A user's account with a provider, under which the bank accounts are \[YO\].
    pub struct ProviderAccount {
        /// The provider account's id.
        id: Maybe<OpaqueId>,
        /// The provider's id.
        provider_id: Maybe<OpaqueId> = "providerId",
        /// Whether the user keeps it by hand.
        is_manual: Maybe<bool> = "isManual",
        /// When it was made.
        created_date: Maybe<Timestamp> = "createdDate",
        /// Who added it.
        aggregation_source: Maybe<AggregationSource> = "aggregationSource",
        /// How its last refresh went.
        status: Maybe<ProviderAccountStatus>,
        /// The request that this belongs to.
        request_id: Maybe<String> = "requestId",
        /// How each part of its data was refreshed.
        dataset: Maybe<Vec<Dataset>>,
        /// When it last changed.
        last_updated: Maybe<Timestamp> = "lastUpdated",
        /// Whether it was deleted; in extracts of data.
        is_deleted: Maybe<bool> = "isDeleted",
        /// `OAUTH`, `CREDENTIALS` or `MFA_CREDENTIALS`.
        auth_type: Maybe<String> = "authType",
        /// `IN_PROGRESS`, `TO_BE_MIGRATED`, `COMPLETED` or `MIGRATED`.
        oauth_migration_status: Maybe<String> = "oauthMigrationStatus",
        /// The provider account it was migrated to.
        destination_provider_account_id: Maybe<OpaqueId> = "destinationProviderAccountId",
        /// The provider accounts it was migrated from.
        source_provider_account_ids: Maybe<Vec<OpaqueId>> = "sourceProviderAccountIds",
        /// The user's consent to it.
        consent_id: Maybe<OpaqueId> = "consentId",
    }
}

wire_object! {
    /// How a part of a provider account's data was refreshed \[YO\].
    pub struct Dataset {
        /// Which part.
        name: Maybe<DatasetName>,
        /// How it went.
        additional_status: Maybe<AdditionalStatus> = "additionalStatus",
        /// The provider's own code for that.
        additional_status_error_code: Maybe<String> = "additionalStatusErrorCode",
        /// Whether it can be refreshed now.
        update_eligibility: Maybe<UpdateEligibility> = "updateEligibility",
        /// When it was last refreshed.
        last_updated: Maybe<Timestamp> = "lastUpdated",
        /// When it was last tried.
        last_update_attempt: Maybe<Timestamp> = "lastUpdateAttempt",
        /// When it will be tried next.
        next_update_scheduled: Maybe<Timestamp> = "nextUpdateScheduled",
    }
}

wire_enum! {
    /// Who added a provider account \[YO\].
    pub enum AggregationSource {
        /// The customer or Yodlee.
        System = "SYSTEM",
        /// The user.
        User = "USER",
    }
}

wire_enum! {
    /// How the last refresh of a provider account went \[YO\].
    pub enum ProviderAccountStatus {
        /// Logging in.
        LoginInProgress = "LOGIN_IN_PROGRESS",
        /// Waiting for the user.
        UserInputRequired = "USER_INPUT_REQUIRED",
        /// Under way.
        InProgress = "IN_PROGRESS",
        /// Some data was refreshed.
        PartialSuccess = "PARTIAL_SUCCESS",
        /// All data was refreshed.
        Success = "SUCCESS",
        /// No data was refreshed.
        Failed = "FAILED",
        /// Being migrated.
        MigrationInProgress = "MIGRATION_IN_PROGRESS",
        /// The data could not be read.
        DataRetrievalFailed = "DATA_RETRIEVAL_FAILED",
    }
}

wire_enum! {
    /// Whether data can be refreshed now \[YO\].
    pub enum UpdateEligibility {
        /// It can.
        AllowUpdate = "ALLOW_UPDATE",
        /// It can, with new credentials.
        AllowUpdateWithCredentials = "ALLOW_UPDATE_WITH_CREDENTIALS",
        /// It cannot.
        DisallowUpdate = "DISALLOW_UPDATE",
    }
}

wire_enum! {
    /// A part of a provider account's data \[YO\].
    pub enum DatasetName {
        /// Accounts, balances, transactions, holdings.
        BasicAggregation = "BASIC_AGG_DATA",
        /// Further details.
        AdvanceAggregation = "ADVANCE_AGG_DATA",
        /// Holders and account numbers.
        AccountProfile = "ACCT_PROFILE",
        /// Documents.
        Document = "DOCUMENT",
    }
}

wire_enum! {
    /// How the refresh of a part of the data went \[YO\].
    pub enum AdditionalStatus {
        /// Logging in.
        LoginInProgress = "LOGIN_IN_PROGRESS",
        /// Reading the data.
        DataRetrievalInProgress = "DATA_RETRIEVAL_IN_PROGRESS",
        /// The accounts are there, their details not yet.
        AccountSummaryReceived = "ACCT_SUMMARY_RECEIVED",
        /// All data there is was read.
        AvailableDataRetrieved = "AVAILABLE_DATA_RETRIEVED",
        /// Some data was read.
        PartialDataRetrieved = "PARTIAL_DATA_RETRIEVED",
        /// The data could not be read.
        DataRetrievalFailed = "DATA_RETRIEVAL_FAILED",
        /// There is no such data.
        DataNotAvailable = "DATA_NOT_AVAILABLE",
        /// The account is locked at the site.
        AccountLocked = "ACCOUNT_LOCKED",
        /// The site asks for more authentication.
        AdditionalAuthenticationRequired = "ADDL_AUTHENTICATION_REQUIRED",
        /// The site's support is being made.
        BetaSiteInDevelopment = "BETA_SITE_DEV_IN_PROGRESS",
        /// The credentials must be changed at the site.
        CredentialsUpdateNeeded = "CREDENTIALS_UPDATE_NEEDED",
        /// The credentials are wrong.
        IncorrectCredentials = "INCORRECT_CREDENTIALS",
        /// The value of the property is not available.
        PropertyValueNotAvailable = "PROPERTY_VALUE_NOT_AVAILABLE",
        /// What the user added is wrong.
        InvalidAdditionalInfo = "INVALID_ADDL_INFO_PROVIDED",
        /// The site took too long.
        RequestTimeOut = "REQUEST_TIME_OUT",
        /// The site blocks Yodlee.
        SiteBlocking = "SITE_BLOCKING_ERROR",
        /// The site behaved unexpectedly.
        UnexpectedSiteError = "UNEXPECTED_SITE_ERROR",
        /// The site is not supported.
        SiteNotSupported = "SITE_NOT_SUPPORTED",
        /// The site is down.
        SiteUnavailable = "SITE_UNAVAILABLE",
        /// An error at Yodlee.
        TechError = "TECH_ERROR",
        /// The user must act at the site.
        UserActionNeededAtSite = "USER_ACTION_NEEDED_AT_SITE",
        /// The user is logged in elsewhere.
        SiteSessionInvalidated = "SITE_SESSION_INVALIDATED",
        /// The site's authentication has changed.
        NewAuthenticationRequired = "NEW_AUTHENTICATION_REQUIRED",
        /// The site has no such data.
        DatasetNotSupported = "DATASET_NOT_SUPPORTED",
        /// The user must enrol for the data.
        EnrollmentRequired = "ENROLLMENT_REQUIRED_FOR_DATASET",
        /// The user must consent.
        ConsentRequired = "CONSENT_REQUIRED",
        /// The consent has ended.
        ConsentExpired = "CONSENT_EXPIRED",
        /// The consent was revoked.
        ConsentRevoked = "CONSENT_REVOKED",
        /// The site's token is wrong.
        IncorrectOauthToken = "INCORRECT_OAUTH_TOKEN",
        /// Being migrated.
        MigrationInProgress = "MIGRATION_IN_PROGRESS",
    }
}

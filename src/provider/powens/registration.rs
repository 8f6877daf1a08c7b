use crate::json::{
    Maybe, OneOrMany, OpaqueId, RawJson, SecretText, Timestamp, UrlText, wire_enum, wire_object,
};

wire_object! {
    /// A webhook: the registration of a URL for an event \[P21, PW\].
    pub struct Webhook {
        /// The webhook's id.
        id: Maybe<OpaqueId>,
        /// When it was made.
        created: Maybe<Timestamp>,
        /// When it last changed.
        updated: Maybe<Timestamp>,
        /// When it was deleted; `null` if it is in use.
        deleted: Maybe<Timestamp>,
        /// The id of the customer's service.
        id_service: Maybe<OpaqueId>,
        /// The user it is for; `null` for all.
        id_user: Maybe<OpaqueId>,
        /// The event's id.
        id_event: Maybe<OpaqueId>,
        /// The event's name, where it is given.
        event: Maybe<super::EventName>,
        /// The id of its auth provider; `null` for the user's token.
        id_auth: Maybe<OpaqueId>,
        /// Where its data is sent.
        url: Maybe<UrlText>,
        /// Further keys to put into each body, as JSON in a text.
        add_to_data: Maybe<RawJson>,
        /// Further restrictions.
        params: Maybe<RawJson>,
        /// How long sending takes on average, and how often it succeeds. The names within are not published.
        health_data: Maybe<RawJson>,
        /// Said when one of the two is critical. Its form is not published.
        warning: Maybe<RawJson>,
    }
}

wire_object! {
    /// What makes or changes a webhook \[P21\].
    pub struct WebhookRequest {
        /// The user it is for.
        id_user: Maybe<OpaqueId>,
        /// The id of the customer's service.
        id_service: Maybe<OpaqueId>,
        /// The auth provider's id or name.
        id_auth: Maybe<OpaqueId>,
        /// Where its data is to be sent.
        url: Maybe<UrlText>,
        /// The event.
        event: Maybe<super::EventName>,
        /// Objects of `type`, `key` and `value`.
        params: Maybe<OneOrMany<RawJson>>,
        /// A date to delete it, `null` to use it again.
        deleted: Maybe<Timestamp>,
    }
}

wire_object! {
    /// The reply to `GET /webhooks` \[P21\].
    pub struct WebhookList {
        /// The webhooks.
        webhooks: Maybe<Vec<Webhook>>,
        /// How many there are.
        total: Maybe<i64>,
    }
}

wire_object! {
    /// One body to be sent \[P21\].
    pub struct WebhookData {
        /// Its id: the `id_webhook_data` of the body.
        id: Maybe<OpaqueId>,
        /// The webhook's id.
        id_webhook: Maybe<OpaqueId>,
        /// The id of the customer's service.
        id_service: Maybe<OpaqueId>,
        /// The user's id.
        id_user: Maybe<OpaqueId>,
        /// The id of what it is about.
        id_resource: Maybe<OpaqueId>,
        /// The body.
        data: Maybe<RawJson>,
        /// The body's media type.
        mimetype: Maybe<String>,
        /// When it was made.
        created: Maybe<Timestamp>,
        /// When it was accepted; not before.
        success: Maybe<Timestamp>,
    }
}

wire_object! {
    /// One attempt to send \[P21\].
    pub struct WebhookLog {
        /// The attempt's id.
        id: Maybe<OpaqueId>,
        /// What was sent.
        id_webhook_data: Maybe<OpaqueId>,
        /// The id of the customer's service.
        id_service: Maybe<OpaqueId>,
        /// The user's id.
        id_user: Maybe<OpaqueId>,
        /// When it was sent.
        timestamp: Maybe<Timestamp>,
        /// When the answer came.
        response_date: Maybe<Timestamp>,
        /// The answer's status.
        response_code: Maybe<i64>,
        /// After a failure: not again before this.
        next_try: Maybe<Timestamp>,
    }
}

wire_object! {
    /// The reply to `GET /webhooks/{id}/logs` \[P21\].
    pub struct WebhookLogList {
        /// The attempts.
        webhooklogs: Maybe<Vec<WebhookLog>>,
        /// How many there are.
        total: Maybe<i64>,
    }
}

wire_enum! {
    /// How an auth provider proves deliveries \[PW\].
    pub enum AuthProviderType {
        /// `BI-Signature`.
        HmacSignature = "hmac_signature",
        /// An access token of the customer's OAuth 2.0 server.
        Oauth = "oauth",
    }
}

wire_object! {
    /// An auth provider, asked for or answered: how deliveries to the webhooks that use it prove themselves
    /// \[PW\].
    ///
    /// A service that sends as Powens does answers `POST /webhooks/auth` with a key that it makes, keeps, and shows this
    /// once:
    ///
    /// ```
    /// use ringback::auth::HmacScheme;
    /// use ringback::engine::Dispatcher;
    /// use ringback::json::{self, Maybe};
    /// use ringback::provider::powens::{AuthConfig, AuthProvider, AuthProviderType};
    ///
    /// async fn create_auth(dispatcher: &Dispatcher, body: &[u8]) -> Result<AuthProvider, Box<dyn std::error::Error>> {
    ///     let asked: AuthProvider = json::parse(body)?;
    ///     if asked.kind.value() != Some(&AuthProviderType::HmacSignature) {
    ///         return Err("only HMAC here".into());
    ///     }
    ///     let name = asked.name.value().ok_or("an auth provider needs a name")?;
    ///     let key = dispatcher.generate_auth(name.as_str(), name, HmacScheme::BiSignature).await?;
    ///     let config = AuthConfig { secret_key: Maybe::Value(key.expose().into()), ..AuthConfig::default() };
    ///     Ok(AuthProvider { id: Maybe::Value(name.as_str().into()), config: Maybe::Value(config), ..asked })
    /// }
    /// # use ringback::engine::{Engine, TokioTimer};
    /// # let sender = ringback::transport::sender_fn(|_| async { Ok(http::Response::default()) });
    /// # let dispatcher = Engine::builder(ringback::store::MemoryStore::new(), sender, TokioTimer).build().dispatcher();
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let answer = create_auth(&dispatcher, br#"{"type":"hmac_signature","name":"shop"}"#).await?;
    /// assert!(answer.config.value().is_some_and(|config| config.secret_key.value().is_some()));
    /// assert!(create_auth(&dispatcher, br#"{"type":"hmac_signature","name":"shop"}"#).await.is_err(), "names are unique");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub struct AuthProvider {
        /// Its id; not in the request.
        id: Maybe<OpaqueId>,
        /// What kind it is.
        kind: Maybe<AuthProviderType> = "type",
        /// Its name, which is unique.
        name: Maybe<String>,
        /// Its settings: all of them in the OAuth request, the key in the HMAC reply, and nowhere else.
        config: Maybe<AuthConfig>,
    }
}

wire_object! {
    /// The settings of an auth provider \[PW\].
    pub struct AuthConfig {
        /// The key of `BI-Signature`. It is shown once.
        secret_key: Maybe<SecretText>,
        /// The whole URL of the token endpoint.
        url: Maybe<UrlText>,
        /// The client's id.
        client_id: Maybe<String>,
        /// The client's secret.
        client_secret: Maybe<SecretText>,
        /// `client_credentials`.
        grant_type: Maybe<String>,
        /// The certificate to present, as PEM.
        public_cert: Maybe<String>,
        /// The certificate's key, as PEM.
        private_cert: Maybe<SecretText>,
    }
}

wire_object! {
    /// The reply to `GET /webhooks/auth` \[P21\].
    pub struct AuthProviderList {
        /// The auth providers.
        authproviders: Maybe<Vec<AuthProvider>>,
        /// How many there are.
        total: Maybe<i64>,
    }
}

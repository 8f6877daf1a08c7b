//! What the parts of an engine share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Dispatcher, Listener, Timer, Upkeep, Worker};
use crate::auth::{AuthError, AuthErrorKind, AuthProvider, AuthTools};
use crate::delivery::{Digest, HealthLimits, Profile, Profiles, Retention};
use crate::id::{AuthId, EventType, HolderName};
use crate::observe::Figures;
use crate::store::{AuthRecord, Store};
use crate::system::{Entropy, SystemEntropy};
use crate::transport::{Guard, HttpSender, ResponseLimits};

/// How many providers made from stored records are kept. When there are more, all are dropped and made anew as they are
/// needed, and tokens are had anew with them: so many that no more than a few processes ever come to it.
const MOST_STORED_AUTHS: usize = 65_536;

/// The parts, put together once. Cloning it is cheap and shares everything.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Parts>);

/// What [`Dispatcher`], [`Worker`] and `TaskRunner` work with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) store: Arc<dyn Store>,
    pub(super) sender: Arc<dyn HttpSender>,
    pub(super) timer: Arc<dyn Timer>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) profiles: Profiles,
    pub(super) digests: BTreeMap<EventType, Digest>,
    pub(super) guard: Guard,
    pub(super) holder: HolderName,
    pub(super) in_flight: usize,
    pub(super) limits: ResponseLimits,
    pub(super) auth_deadline: Duration,
    pub(super) longest_deadline: Duration,
    pub(super) lease_margin: Duration,
    pub(super) grace: Duration,
    pub(super) poll_interval: Duration,
    pub(super) listeners: Vec<Arc<dyn Listener>>,
    pub(super) health_limits: HealthLimits,
    pub(super) watch_interval: Duration,
    pub(super) retention: Retention,
    pub(super) figures: Figures,
    own_auths: BTreeMap<AuthId, Arc<dyn AuthProvider>>,
    stored_auths: Mutex<HashMap<AuthId, MadeFromRecord>>,
}

/// A provider, and the record it was made from.
type MadeFromRecord = (Arc<AuthRecord>, Arc<dyn AuthProvider>);

impl Engine {
    /// Starts an engine on these three; everything else has a default.
    pub fn builder(store: impl Store, sender: impl HttpSender, timer: impl Timer) -> EngineBuilder {
        EngineBuilder {
            parts: Parts {
                store: Arc::new(store),
                sender: Arc::new(sender),
                timer: Arc::new(timer),
                entropy: Arc::new(SystemEntropy),
                profiles: Profiles::none(),
                digests: BTreeMap::new(),
                guard: Guard::default(),
                holder: HolderName::from(format!("process {}", std::process::id())),
                in_flight: 512,
                limits: ResponseLimits::default(),
                auth_deadline: Duration::from_secs(10),
                longest_deadline: Duration::from_secs(30),
                lease_margin: Duration::from_secs(15),
                grace: Duration::from_secs(30),
                poll_interval: Duration::from_secs(1),
                listeners: Vec::new(),
                health_limits: HealthLimits::default(),
                watch_interval: Duration::from_secs(60),
                retention: Retention::default(),
                figures: Figures::default(),
                own_auths: BTreeMap::new(),
                stored_auths: Mutex::default(),
            },
        }
    }

    /// Registers webhooks and takes events in.
    pub fn dispatcher(&self) -> Dispatcher {
        Dispatcher::new(Arc::clone(&self.0))
    }

    /// Sends what was enqueued.
    pub fn worker(&self) -> Worker {
        Worker::new(Arc::clone(&self.0))
    }

    /// Does what has to be done now and then. Run one beside the workers.
    pub fn upkeep(&self) -> Upkeep {
        Upkeep::new(Arc::clone(&self.0))
    }

    pub(super) fn parts(&self) -> &Arc<Parts> {
        &self.0
    }
}

/// Puts an [`Engine`] together.
#[derive(Debug)]
#[must_use = "an engine comes of it with `build`"]
pub struct EngineBuilder {
    parts: Parts,
}

impl EngineBuilder {
    /// Makes a profile known. Registrations name one. Default: none is known.
    pub fn profile(mut self, profile: impl Profile) -> Self {
        self.parts.profiles = self.parts.profiles.with(profile);
        self
    }

    /// Makes all of these profiles known, such as the published ones
    /// ([`provider::profiles`](crate::provider::profiles)).
    pub fn profiles(mut self, profiles: Profiles) -> Self {
        self.parts.profiles = self.parts.profiles.and(profiles);
        self
    }

    /// Makes a digest known, such as Yodlee's
    /// ([`yodlee::data_updates`](crate::provider::yodlee::data_updates)): its updates can be
    /// [recorded](Dispatcher::record_updates), and an [`Upkeep`] sends its notifications. One whose name is empty stays
    /// unknown, since no event can be of that type.
    pub fn digest(mut self, digest: Digest) -> Self {
        if !digest.name().as_str().is_empty() {
            self.parts.digests.insert(digest.name().clone(), digest);
        }
        self
    }

    /// Where requests may go. Default: https and public addresses only.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.parts.guard = guard;
        self
    }

    /// An authentication of one's own, for registrations that name it. It goes before a record of that id in the
    /// store.
    pub fn auth(mut self, id: impl Into<AuthId>, provider: impl AuthProvider) -> Self {
        self.parts.own_auths.insert(id.into(), Arc::new(provider));
        self
    }

    /// Tells this listener, too, of what happens. Default: nobody is told.
    pub fn listener(mut self, listener: impl Listener) -> Self {
        self.parts.listeners.push(Arc::new(listener));
        self
    }

    /// How often the upkeep looks for webhooks that fail or fare badly, at least a second apart. Default 60 seconds.
    pub fn watch_interval(mut self, interval: Duration) -> Self {
        self.parts.watch_interval = interval.max(Duration::from_secs(1));
        self
    }

    /// When listeners are warned of a webhook's health. Default: see [`HealthLimits`].
    pub fn health_limits(mut self, limits: HealthLimits) -> Self {
        self.parts.health_limits = limits;
        self
    }

    /// Where randomness comes from. Default: the operating system.
    pub fn entropy(mut self, entropy: impl Entropy) -> Self {
        self.parts.entropy = Arc::new(entropy);
        self
    }

    /// How this process is called in the store's tables. Default: `process` and its number.
    pub fn holder(mut self, name: impl Into<HolderName>) -> Self {
        self.parts.holder = name.into();
        self
    }

    /// How many requests a worker has in flight at once, at least 1. Default 512: with the 8 places a webhook has by
    /// default, some sixty receivers can hang at once before the others have to wait for places.
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.parts.in_flight = requests.max(1);
        self
    }

    /// How much of a response is read; a larger one is a failed attempt, whatever its status. Default: see
    /// [`ResponseLimits`].
    pub fn response_limits(mut self, limits: ResponseLimits) -> Self {
        self.parts.limits = limits;
        self
    }

    /// How long an authentication may take. Default 10 seconds.
    pub fn auth_deadline(mut self, deadline: Duration) -> Self {
        self.parts.auth_deadline = deadline;
        self
    }

    /// The longest deadline that any attempt may have: profiles that ask for more get this, registrations that do are
    /// refused.
    /// Leases are made to outlast it. Default 30 seconds.
    pub fn longest_deadline(mut self, deadline: Duration) -> Self {
        self.parts.longest_deadline = deadline;
        self
    }

    /// How much longer a lease is than the deadlines under it: the time that settling may take before another
    /// worker thinks this one dead. At least a tenth of a second: what the store takes longer than half of it to hand
    /// out is given back. Default 15 seconds.
    pub fn lease_margin(mut self, margin: Duration) -> Self {
        self.parts.lease_margin = margin.max(Duration::from_millis(100));
        self
    }

    /// How long a worker that is told to stop goes on with what is in flight. Default 30 seconds.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.parts.grace = grace;
        self
    }

    /// How often an idle worker looks for work that it was not told of: what another process enqueued in the same
    /// database. Default 1 second.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.parts.poll_interval = interval;
        self
    }

    /// How long what is over is kept, where an [`Upkeep`](super::Upkeep) runs; without one, nothing is removed. Default:
    /// 30 days, bodies of what was delivered 7 days.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.parts.retention = retention;
        self
    }

    /// The engine.
    pub fn build(mut self) -> Engine {
        self.parts.figures = Figures::of(self.parts.profiles.names());
        Engine(Arc::new(self.parts))
    }
}

impl Parts {
    /// Longer than everything that is done under it.
    pub(super) fn lease(&self) -> Duration {
        self.auth_deadline
            .saturating_add(self.longest_deadline)
            .saturating_add(self.lease_margin)
    }

    /// Whether the engine was built with an authentication of that id.
    pub(super) fn has_auth(&self, id: &AuthId) -> bool {
        self.own_auths.contains_key(id)
    }

    /// What providers made from stored records work with.
    pub(super) fn auth_tools(&self) -> AuthTools<'_> {
        AuthTools::new(&self.sender, &self.guard)
    }

    /// Lets go of what was made from a record that is not to be used any more.
    pub(super) fn forget_auth(&self, id: &AuthId) {
        let mut made = self.stored_auths.lock().unwrap_or_else(PoisonError::into_inner);
        made.remove(id);
    }

    /// What proves a delivery that names this authentication. Providers made from stored records are kept for as
    /// long as the record stays the same, so that what they cache (tokens, prepared keys) is.
    pub(super) fn auth_provider(
        &self,
        id: &AuthId,
        record: Option<&Arc<AuthRecord>>,
    ) -> Result<Arc<dyn AuthProvider>, AuthError> {
        if let Some(provider) = self.own_auths.get(id) {
            return Ok(Arc::clone(provider));
        }
        let record = record.ok_or_else(|| AuthError::new(AuthErrorKind::Misconfigured))?;
        let mut made = self.stored_auths.lock().unwrap_or_else(PoisonError::into_inner);
        match made.get(id) {
            Some((from, provider)) if Arc::ptr_eq(from, record) || from == record => Ok(Arc::clone(provider)),
            _ => {
                let provider = record.config.provider(&self.auth_tools())?;
                if made.len() >= MOST_STORED_AUTHS {
                    made.clear();
                }
                made.insert(id.clone(), (Arc::clone(record), Arc::clone(&provider)));
                Ok(provider)
            }
        }
    }
}

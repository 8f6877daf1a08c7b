//! The stage: an engine on manual time, receivers that follow a script, and a crew that can crash.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use http::Request;
use ringback::delivery::{Attempt, Event};
use ringback::engine::{Dispatcher, Engine, EngineBuilder, Registration};
use ringback::id::DeliveryId;
use ringback::provider;
use ringback::store::{DeliveryRecord, Store};
use ringback::testing::{ManualTime, Reply, ScriptedSender, SeededEntropy};
use ringback::time::{Clock, after, elapsed};

use super::backing::Backing;
pub(crate) use super::backing::On;

/// Where everybody's webhooks lead.
pub(crate) const URL: &str = "https://receiver.example/hook";

/// Whatever an engine runs in the background: by default one worker.
pub(crate) type Crew = Vec<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// An engine with everything around it. Time stands still but in [`run_for`](Self::run_for) and
/// [`run_until`](Self::run_until), where it goes from one wake to the next, so every run is the same.
///
/// The story begins in 2026, on the hour. `since_start` is how all instants are given.
pub(crate) struct Stage {
    pub(crate) time: ManualTime,
    receivers: Arc<ScriptedSender>,
    store: Backing,
    settings: Box<dyn Fn(EngineBuilder) -> EngineBuilder>,
    hire: Box<dyn Fn(&Engine) -> Crew>,
    engine: Engine,
    crew: Vec<Member>,
    started: u64,
    crashes: Option<SeededEntropy>,
}

/// A request as it came in.
#[derive(Clone)]
pub(crate) struct Sent {
    /// When, counted from the beginning of the story.
    pub(crate) at: Duration,
    pub(crate) request: Request<Bytes>,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.at, self.request.uri())
    }
}

impl Stage {
    /// An engine with all published profiles, whose receivers do as the script says: it gets each request and the time
    /// since the beginning. One worker runs.
    pub(crate) fn new(
        on: On,
        script: impl FnMut(&Request<Bytes>, Duration) -> Reply + Send + 'static,
    ) -> Self {
        Self::with(on, script, |builder| builder, worker)
    }

    /// The same, with an engine and a crew of one's own. Both are made anew after each crash.
    pub(crate) fn with(
        on: On,
        mut script: impl FnMut(&Request<Bytes>, Duration) -> Reply + Send + 'static,
        settings: impl Fn(EngineBuilder) -> EngineBuilder + 'static,
        hire: impl Fn(&Engine) -> Crew + 'static,
    ) -> Self {
        let time = ManualTime::new(start());
        let clock = time.clone();
        let script = move |request: &Request<Bytes>| script(request, elapsed(start(), clock.now()));
        let receivers = Arc::new(ScriptedSender::new(Arc::new(time.clone()), script));
        let store = Backing::open(on);
        let engine = engine(&store, &receivers, &time, &settings, 0);
        let mut stage = Self {
            time,
            receivers,
            store,
            settings: Box::new(settings),
            hire: Box::new(hire),
            engine,
            crew: Vec::new(),
            started: 0,
            crashes: None,
        };
        stage.start();
        stage
    }

    /// From now on the crew crashes now and then, most often with a request in flight, and others take over at once.
    /// When it does follows from the seed.
    pub(crate) fn crashing(mut self, seed: u64) -> Self {
        self.crashes = Some(SeededEntropy::new(seed));
        self
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn dispatcher(&self) -> Dispatcher {
        self.engine().dispatcher()
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.store.store()
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.time.now()
    }

    /// What a call to the engine or its store answers. On this stage every call answers at once.
    pub(crate) fn ask<T>(&self, call: impl Future<Output = T>) -> T {
        call.now_or_never().expect("a store on the stage answers at once")
    }

    /// Registers a webhook for everything in the scope `s`.
    pub(crate) fn register(&self, id: &str, profile: &str) {
        let registration = Registration::new("s", URL, profile).id(id);
        self.ask(self.dispatcher().register(registration)).unwrap();
    }

    /// Enqueues an event for one webhook, and says which delivery came of it.
    pub(crate) fn enqueue(&self, event: Event) -> DeliveryId {
        let receipt = self.ask(self.dispatcher().enqueue(event)).unwrap();
        assert_eq!(receipt.deliveries.len(), 1);
        receipt.deliveries[0]
    }

    pub(crate) fn delivery(&self, id: DeliveryId) -> DeliveryRecord {
        self.ask(self.dispatcher().delivery_record(id)).unwrap().unwrap()
    }

    pub(crate) fn attempts(&self, id: DeliveryId) -> Vec<Attempt> {
        self.ask(self.dispatcher().attempts(id)).unwrap()
    }

    /// All requests so far.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        let sent = self.receivers.received().into_iter().map(|received| Sent {
            at: elapsed(start(), received.at),
            request: received.request,
        });
        sent.collect()
    }

    /// When requests came in.
    pub(crate) fn sent_at(&self) -> Vec<Duration> {
        self.sent().into_iter().map(|sent| sent.at).collect()
    }

    /// How long the story has been going on.
    pub(crate) fn since_start(&self) -> Duration {
        elapsed(start(), self.time.now())
    }

    /// The crew dies where it stands: nothing is settled, nothing is handed back.
    pub(crate) fn crash(&mut self) {
        self.crew.clear();
    }

    /// A new process over the same store.
    pub(crate) fn start(&mut self) {
        self.started += 1;
        self.engine = engine(
            &self.store,
            &self.receivers,
            &self.time,
            &self.settings,
            self.started,
        );
        self.crew = (self.hire)(&self.engine).into_iter().map(Member::new).collect();
    }

    /// Lets that much time pass, and everybody do what is to be done in it.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.time.passed() + span;
        loop {
            self.rest();
            let left = end - self.time.passed();
            let step = self.time.next_wake().map(|wake| elapsed(self.time.now(), wake));
            let Some(step) = step.filter(|step| *step <= left) else {
                self.time.advance(left);
                break self.rest();
            };
            match self.crash_within(step) {
                None => self.time.advance(step),
                Some(part) => {
                    self.time.advance(part);
                    self.rest();
                    self.crash();
                    self.start();
                }
            }
        }
    }

    /// Goes on until that instant, counted from the beginning.
    pub(crate) fn run_until(&mut self, since_start: Duration) {
        self.run_for(
            since_start
                .checked_sub(self.since_start())
                .expect("a time to come"),
        );
    }

    /// Polls the crew until nobody can go on without time passing.
    pub(crate) fn rest(&mut self) {
        while self.crew.iter_mut().any(|member| member.go_on()) {}
        self.crew.retain(|member| !member.ended);
    }

    /// How much of this step passes before the crew crashes, if it does.
    fn crash_within(&self, step: Duration) -> Option<Duration> {
        let entropy = self.crashes.as_ref()?;
        let one_in = if self.receivers.in_flight() > 0 { 3 } else { 9 };
        let nanos = u64::try_from(step.as_nanos()).unwrap();
        (entropy.below(one_in) == 0).then(|| Duration::from_nanos(entropy.below(nanos)))
    }
}

/// One worker.
pub(crate) fn worker(engine: &Engine) -> Crew {
    let worker = engine.worker();
    vec![Box::pin(async move { worker.run().await.unwrap() })]
}

/// An event of the scope `s`.
pub(crate) fn event(id: &str, body: &'static str) -> Event {
    Event::builder("s", id, "t").json(body).build().unwrap()
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn minutes(minutes: u64) -> Duration {
    seconds(60 * minutes)
}

/// An instant, counted from the beginning of the story.
pub(crate) fn at(since_start: Duration) -> DateTime<Utc> {
    after(start(), since_start)
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

fn engine(
    store: &Backing,
    receivers: &Arc<ScriptedSender>,
    time: &ManualTime,
    settings: &dyn Fn(EngineBuilder) -> EngineBuilder,
    started: u64,
) -> Engine {
    let (receivers, time) = (Arc::clone(receivers), time.clone());
    let builder = store.engine(receivers, time);
    // Whatever becomes due is known to the store, so nobody need look by the clock.
    let builder = builder
        .profiles(provider::profiles())
        .entropy(SeededEntropy::new(started))
        .holder(format!("process {started}"))
        .poll_interval(minutes(24 * 60));
    settings(builder).build()
}

/// One of the crew, and whether it has something to do.
struct Member {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    woken: Arc<Woken>,
    waker: Waker,
    ended: bool,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Member {
    fn new(future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Self {
            future,
            waker: Waker::from(Arc::clone(&woken)),
            woken,
            ended: false,
        }
    }

    /// Whether it had something to do.
    fn go_on(&mut self) -> bool {
        let woken = !self.ended && self.woken.0.swap(false, Ordering::SeqCst);
        if woken {
            let mut cx = Context::from_waker(&self.waker);
            self.ended = self.future.as_mut().poll(&mut cx).is_ready();
        }
        woken
    }
}

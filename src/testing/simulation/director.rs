//! Runs a simulated world from its beginning to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;

use super::actors::{Actor, CALM_FROM, meddle};
use super::desk::{Command, Desk};
use super::executor::{Executor, TaskNo};
use super::faults::{FaultKind, Lots, Weather};
use super::layer::Layered;
use super::ledger::{ActorNo, Ledger};
use super::mutants::{Mutant, Surroundings};
use super::receivers::{Line, Receivers};
use super::recorder::{Recorder, read_back};
use super::violation::Invariant;
use super::world::{self, KEY, World};
use crate::delivery::PlainProfile;
use crate::engine::{Engine, Timer};
use crate::id::WebhookId;
use crate::store::{self, Store, StoreErrorKind};
use crate::testing::{Fault, FaultyStore, ManualTime, SeededEntropy};
use crate::time::{Clock, after};
use crate::transport::HttpSender;

/// How much simulated time everything may take to come to its end once it is calm: so much in any world, and so much
/// for each delivery. In strict order, on a receiver that never accepts, each takes the whole of its schedule.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
const PATIENCE_EACH: u64 = 150;

/// How many keep up at the same time, and get into each other's way.
const KEEPERS: usize = 2;

/// How long after it became calm every update must have been told: no clock is off by half of that.
const TOLD_BY: Duration = Duration::from_secs(3 * 60);

/// How many calls of one worker's store take no time at all.
const CALLS_AT_ONCE: u32 = 128;

/// How many steps everything may take: so many in any world, so many for each delivery, and so many in each second that
/// passes, since workers and others look by the clock while they wait. Worlds that come to their end take about a tenth,
/// and those that go round in circles have no time pass.
const STEPS: u64 = 20_000;
const STEPS_EACH: u64 = 100;
const STEPS_A_SECOND: u64 = 100;

/// 2026-01-01, a date like any other.
const START: Duration = Duration::from_secs(1_767_225_600);

/// One world and everyone in it.
pub(super) struct Director {
    seed: u64,
    deliveries: u64,
    time: ManualTime,
    desk: Arc<Desk>,
    pub(super) ledger: Arc<Ledger>,
    store: Arc<dyn Store>,
    mutant: Option<Mutant>,
    profiles: [PlainProfile; 3],
    receivers: Arc<Receivers>,
    weather: Weather,
    lots: Lots,
    executor: Executor,
    places: Vec<Option<Life>>,
    /// The places from here on are for those who keep up.
    workers: usize,
    lives: u64,
    /// Those who act for the application and are not done.
    acting: usize,
    is_ending: bool,
}

/// One life of a worker.
struct Life {
    actor: ActorNo,
    task: TaskNo,
    stop: store::Wake,
    /// Whether every call of its store was answered.
    in_peace: Arc<AtomicBool>,
}

impl Director {
    pub(super) fn new(
        seed: u64,
        deliveries: u64,
        store: Arc<dyn Store>,
        mutant: Option<Mutant>,
        traced: bool,
    ) -> Self {
        let time = ManualTime::new(after(DateTime::<Utc>::UNIX_EPOCH, START));
        let profiles = world::profiles().expect("the schedules are good");
        let ledger = Ledger::new(seed, time.clone(), world::all(&profiles), traced);
        let (lots, weather) = (Lots::new(seed, 3), Weather::of(seed));
        let dead_host = lots
            .chance(300)
            .then(|| format!("receiver-{}.example", lots.below(4)));
        let receivers = Receivers {
            lots: Lots::new(seed, 4),
            trouble: weather.receiver,
            poison: weather.poison,
            seed: seed ^ 5,
            dead_host,
        };
        let workers = 2 + lots.below(3) as usize;
        Self {
            seed,
            deliveries,
            desk: Arc::new(Desk::new(time.clone(), CALM_FROM)),
            time,
            ledger: Arc::new(ledger),
            store,
            mutant,
            profiles,
            receivers: Arc::new(receivers),
            weather,
            lots,
            executor: Executor::default(),
            places: (0..workers + KEEPERS).map(|_| None).collect(),
            workers,
            lives: 0,
            acting: 0,
            is_ending: false,
        }
    }

    /// Runs the world until all is final and all workers have stopped, or until that has taken too long.
    pub(super) fn run(&mut self) {
        self.set_up();
        let most_steps = STEPS + self.deliveries.saturating_mul(STEPS_EACH);
        let patience = PATIENCE + Duration::from_secs(self.deliveries.saturating_mul(PATIENCE_EACH));
        let mut steps: u64 = 0;
        while !self.is_over() {
            steps += 1;
            let stuck = !self.step();
            let is_late = self.time.passed() > self.desk.calm_from() + patience;
            let passed = self.time.passed().as_secs();
            if stuck || is_late || steps > most_steps + passed.saturating_mul(STEPS_A_SECOND) {
                self.ledger.book().breach(Invariant::NotTerminating, || {
                    format!("not all is final after {steps} steps and {passed} s")
                });
                break;
            }
            if self.ledger.book().has_seen_enough(self.mutant) {
                break;
            }
        }
        self.ledger.book().log(|| format!("over after {steps} steps"));
        self.reckon();
    }

    fn is_over(&mut self) -> bool {
        if !self.is_ending && self.acting == 0 && self.desk.is_calm() && self.has_settled() {
            self.is_ending = true;
            self.ledger.book().reckon_updates();
            for life in self.places.iter().flatten() {
                life.stop.ring();
            }
        }
        self.is_ending && self.places.iter().all(Option::is_none)
    }

    /// Whether everything has come to its end. What is not told by now never will be.
    fn has_settled(&self) -> bool {
        let book = self.ledger.book();
        let is_told = || book.is_all_told() || self.time.passed() > self.desk.calm_from() + TOLD_BY;
        book.is_all_final() && is_told()
    }

    /// Lets one task go on, or time pass. Whether there was either.
    fn step(&mut self) -> bool {
        let Some(task) = self.executor.next() else {
            return self.time.advance_to_next_wake();
        };
        if !self.strikes(task) && self.executor.poll(task) {
            self.has_ended(task);
        }
        while let Some(command) = self.desk.take() {
            self.obey(command);
        }
        true
    }

    /// Whether trouble befalls a task instead of its going on.
    fn strikes(&mut self, task: TaskNo) -> bool {
        let Some(place) = self.place_of(task) else {
            return false;
        };
        if self.desk.is_calm() {
            return false;
        }
        if self.lots.chance(self.weather.crash) {
            self.crash(place, FaultKind::WorkerCrashed);
            return true;
        }
        if self.lots.chance(self.weather.freeze) {
            self.freeze(place);
            return true;
        }
        false
    }

    fn place_of(&self, task: TaskNo) -> Option<usize> {
        self.places
            .iter()
            .position(|life| life.as_ref().is_some_and(|life| life.task == task))
    }

    fn crash(&mut self, place: usize, kind: FaultKind) {
        let Some(life) = self.places[place].take() else {
            return;
        };
        self.ledger
            .book()
            .fault(kind, || format!("worker {}", life.actor.0));
        self.executor.drop_task(life.task);
        let pause = self.lots.millis(100, 5_000);
        self.later(pause, Command::Start(place));
    }

    fn freeze(&mut self, place: usize) {
        let Some(life) = &self.places[place] else { return };
        let (task, actor) = (life.task, life.actor);
        let span = self.lots.millis(500, 25_000);
        {
            let mut book = self.ledger.book();
            book.fault(FaultKind::WorkerFrozen, || {
                format!("worker {} for {span:?}", actor.0)
            });
            book.worker_stands_still(actor);
        }
        self.executor.freeze(task);
        self.later(span, Command::Thaw(task));
    }

    fn has_ended(&mut self, task: TaskNo) {
        let Some(place) = self.place_of(task) else { return };
        let Some(life) = self.places[place].take() else {
            return;
        };
        let in_peace = life.in_peace.load(Ordering::Relaxed);
        self.ledger.book().worker_stopped(life.actor, in_peace);
        let pause = self.lots.millis(100, 8_000);
        self.later(pause, Command::Start(place));
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Start(place) if !self.is_ending => self.start(place),
            Command::Start(_) => {}
            Command::Stop(place) => {
                if let Some(life) = &self.places[place] {
                    self.ledger
                        .book()
                        .fault(FaultKind::WorkerStopped, || format!("worker {}", life.actor.0));
                    life.stop.ring();
                }
            }
            Command::Kill(actor) => {
                let is_it = |life: &Option<Life>| life.as_ref().is_some_and(|life| life.actor == actor);
                if let Some(place) = self.places.iter().position(is_it) {
                    self.crash(place, FaultKind::WorkerPoisoned);
                }
            }
            Command::Thaw(task) => {
                if let Some(Some(life)) = self.place_of(task).map(|place| &self.places[place]) {
                    let mut book = self.ledger.book();
                    book.log(|| format!("worker {} goes on", life.actor.0));
                    book.worker_stands_still(life.actor);
                }
                self.executor.thaw(task);
            }
            Command::SetClock(off) => self.set_clock(off),
            Command::Done => self.acting -= 1,
        }
    }

    fn set_clock(&mut self, off: i64) {
        let truth = after(DateTime::<Utc>::UNIX_EPOCH, START + self.time.passed());
        let off = TimeDelta::milliseconds(off);
        let then = truth.checked_add_signed(off).unwrap_or(truth);
        let kind = if then < self.time.now() {
            FaultKind::ClockBackward
        } else {
            FaultKind::ClockForward
        };
        self.time.set(then);
        let mut book = self.ledger.book();
        book.fault(kind, || format!("to {off} off"));
        book.clock_is_set();
    }

    fn later(&mut self, span: Duration, command: Command) {
        let desk = Arc::clone(&self.desk);
        let wait = async move {
            desk.time.sleep(span).await;
            desk.post(command);
        };
        self.executor.spawn(wait.boxed_local());
    }

    fn set_up(&mut self) {
        let quiet = self.engine(ActorNo::APPLICATION, None).dispatcher();
        let saved = quiet.save_auth(KEY, "key", world::key()).now_or_never();
        saved
            .expect("the store answers at once")
            .expect("the key is good");
        let world = World::of(self.seed);
        let mut webhooks: Vec<(WebhookId, _)> = Vec::new();
        for registration in world.registrations.clone() {
            let webhook = quiet.register(registration.clone()).now_or_never();
            let webhook = webhook.expect("the store answers at once").expect("it is good");
            webhooks.push((webhook.id, registration));
        }
        let trouble = Arc::new(AtomicBool::new(true));
        let actor = |stream| Actor {
            dispatcher: self.engine(ActorNo::APPLICATION, Some(&trouble)).dispatcher(),
            desk: Arc::clone(&self.desk),
            ledger: Arc::clone(&self.ledger),
            lots: Lots::new(self.seed, stream),
        };
        let deliveries = self.deliveries;
        let tasks = [
            actor(6).enqueues(world, deliveries).boxed_local(),
            actor(11)
                .holds(webhooks.iter().map(|(id, _)| id.clone()).collect())
                .boxed_local(),
            actor(7).manages(webhooks).boxed_local(),
            actor(8).replays().boxed_local(),
            actor(10).records().boxed_local(),
            actor(12).enables().boxed_local(),
            meddle(
                Arc::clone(&self.desk),
                Lots::new(self.seed, 9),
                self.places.len(),
                self.weather.stops,
                self.weather.jumps,
            )
            .boxed_local(),
        ];
        self.acting = tasks.len();
        for task in tasks {
            self.executor.spawn(task);
        }
        for place in 0..self.places.len() {
            self.start(place);
        }
    }

    fn start(&mut self, place: usize) {
        self.lives += 1;
        let actor = ActorNo(self.lives);
        let in_peace = Arc::new(AtomicBool::new(true));
        let engine = self.engine(actor, Some(&in_peace));
        let stop = store::Wake::default();
        let told = stop.listen();
        let is_worker = place < self.workers;
        let kind = if is_worker { "worker" } else { "upkeep" };
        self.ledger.book().log(|| format!("{kind} {} starts", actor.0));
        let life = async move {
            let ended = match is_worker {
                true => engine.worker().run_until(told).await,
                false => engine.upkeep().run_until(told).await,
            };
            drop(ended);
        };
        let task = self.executor.spawn(life.boxed_local());
        self.places[place] = Some(Life {
            actor,
            task,
            stop,
            in_peace,
        });
    }

    /// An engine for a worker, or for those who act; with a store that has its troubles, unless it is told of none.
    fn engine(&self, actor: ActorNo, in_peace: Option<&Arc<AtomicBool>>) -> Engine {
        let lots = Lots::new(self.seed, 100 + actor.0);
        // Now and then more than a worker lands at once.
        let in_flight = [1, 2, 3, 5, 24][lots.below(5) as usize];
        self.ledger.book().worker_starts(actor, in_flight);
        let recorder = Recorder {
            actor,
            ledger: Arc::clone(&self.ledger),
        };
        let recorded: Arc<dyn Store> = Arc::new(Layered {
            inner: Arc::clone(&self.store),
            hooks: recorder,
        });
        let entropy = SeededEntropy::new(lots.below(u64::MAX));
        let plan = self.plan(lots, in_peace.map(Arc::clone));
        let faulty = FaultyStore::new(recorded, Arc::new(self.time.clone()), plan);
        let line: Arc<dyn HttpSender> = Arc::new(Line {
            worker: actor,
            receivers: Arc::clone(&self.receivers),
            ledger: Arc::clone(&self.ledger),
            desk: Arc::clone(&self.desk),
        });
        let hooks = Surroundings::new(self.mutant);
        let line = hooks.line(line);
        let profiles = self.profiles.clone().map(|profile| hooks.profile(profile));
        let store = Layered {
            inner: Arc::new(faulty),
            hooks,
        };
        let engine = Engine::builder(store, line, self.time.clone())
            .holder(format!("worker {}", actor.0))
            .entropy(entropy)
            .in_flight(in_flight)
            .auth_deadline(world::AUTH_DEADLINE)
            .longest_deadline(world::LONGEST_DEADLINE)
            .lease_margin(world::LEASE_MARGIN)
            .grace(Duration::from_secs(2))
            .poll_interval(Duration::from_secs(5))
            .watch_interval(Duration::from_secs(1));
        profiles
            .into_iter()
            .fold(engine, |engine, profile| engine.profile(profile))
            .digest(world::digest().expect("the interval is good"))
            .build()
    }

    /// What befalls each call of a store.
    fn plan(
        &self,
        lots: Lots,
        in_peace: Option<Arc<AtomicBool>>,
    ) -> impl FnMut(&'static str) -> Fault + Send + 'static {
        let (weather, desk, ledger) = (self.weather, Arc::clone(&self.desk), Arc::clone(&self.ledger));
        let (mut instant, mut calls) = (Duration::ZERO, 0);
        move |method| {
            // No call is without end for free: whoever asks over and over again has to let time pass.
            calls = if instant == desk.time.passed() {
                calls + 1
            } else {
                0
            };
            instant = desk.time.passed();
            if calls % CALLS_AT_ONCE == CALLS_AT_ONCE - 1 {
                return Fault::Delayed(Duration::from_millis(1));
            }
            let Some(in_peace) = in_peace.as_ref().filter(|_| !desk.is_calm()) else {
                return Fault::None;
            };
            let note = |kind| ledger.book().fault(kind, || method.to_owned());
            if lots.chance(weather.refuse) {
                note(FaultKind::StoreRefused);
                in_peace.store(false, Ordering::Relaxed);
                Fault::Refused(StoreErrorKind::Unavailable)
            } else if lots.chance(weather.lose_reply) {
                note(FaultKind::ReplyLost);
                in_peace.store(false, Ordering::Relaxed);
                Fault::ReplyLost
            } else if lots.chance(weather.slow_store) {
                note(FaultKind::StoreSlow);
                let span = lots.millis(1, 1_000);
                if lots.chance(500) {
                    Fault::Delayed(span)
                } else {
                    Fault::AnsweredLate(span)
                }
            } else {
                Fault::None
            }
        }
    }

    fn reckon(&mut self) {
        let ids = self.ledger.book().all_deliveries();
        let found = read_back(&*self.store, ids).now_or_never();
        let found = found.expect("the store answers at once").unwrap_or_default();
        self.ledger.book().reckon(&found);
    }
}

//! The run: events in, deliveries out.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Response;
use ringback::auth::{AuthConfig, HmacAuth, HmacScheme};
use ringback::delivery::{Event, Limits, PlainProfile};
use ringback::engine::{Dispatcher, Engine, EngineBuilder, Notice, Registration, TokioTimer, listener_fn};
use ringback::retry::Schedule;
use ringback::store::{Store, StoreError};
use ringback::transport::{Guard, HyperSender, ReqwestSender, sender_fn};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::AnyError;
use super::receiver::Receiver;
use super::settings::{PATH, SECRET, SenderKind, Settings, check};

const SCOPE: &str = "throughput";

/// The calm stage offers 200 events a second.
const PACE: Duration = Duration::from_millis(5);

/// How many calls enqueue at once where much is waiting. Workers have no need to wait for what comes in there, and deliver
/// more than one call after another brings: what was measured would be the calls, while the backlog shrinks.
const CALLS_BESIDE_BACKLOG: usize = 2;

/// How much of the history that comes before the clock starts is under way at once.
const AHEAD_IN_HISTORY: usize = 8_192;

/// What came of it.
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) received: usize,
    pub(crate) acknowledged: usize,
    pub(crate) full_load: Option<Latency>,
    pub(crate) paced: Option<Latency>,
    pub(crate) cpu_s_per_1000: Option<f64>,
    pub(crate) peak_rss_mib: Option<f64>,
}

/// From the call that enqueues to the settlement that is committed.
#[derive(Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

pub(crate) async fn measure<S: Store + Clone>(store: S, settings: &Settings) -> Result<Measured, AnyError> {
    let paced = if settings.backlog == 0 { settings.paced } else { 0 };
    let events = settings.backlog + settings.deliveries + paced;
    let receiver = Receiver::start(events, check()?).await?;
    let desk = Arc::new(Desk::new(events, settings.ahead));
    let engine = engine(store.clone(), settings, &desk)?;
    let dispatcher = engine.dispatcher();
    register(&dispatcher, settings, &receiver).await?;
    if settings.history > 0 {
        make_history(store, settings).await?;
    }
    for first in (0..settings.backlog).step_by(settings.batch) {
        let last = (first + settings.batch).min(settings.backlog);
        dispatcher
            .enqueue_all(
                (first..last)
                    .map(|number| event(settings, number))
                    .collect::<Result<_, _>>()?,
            )
            .await?;
    }

    let end = settings.backlog + settings.deliveries;
    // As what the bare loop posts is: made in advance.
    let batches = (settings.backlog..end).step_by(settings.batch).map(|first| {
        let numbers = first..(first + settings.batch).min(end);
        let events = numbers.clone().map(|number| event(settings, number));
        Ok((numbers, events.collect::<Result<Vec<_>, _>>()?))
    });
    let batches: Vec<_> = batches.collect::<Result<_, AnyError>>()?;

    let workers = Workers::start(&engine, settings.workers);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let enqueueing = stream::iter(batches).map(|(numbers, events)| async {
        desk.ahead.acquire_many(events.len() as u32).await?.forget();
        numbers.for_each(|number| desk.note_start(number));
        dispatcher.enqueue_all(events).await?;
        Ok::<_, AnyError>(())
    });
    enqueueing
        .buffer_unordered(if settings.backlog > 0 {
            CALLS_BESIDE_BACKLOG
        } else {
            1
        })
        .try_collect::<()>()
        .await?;
    desk.until(settings.deliveries).await;
    let took = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds().zip(cpu).map(|(after, before)| after - before);
    let full_load = desk.latency(settings.backlog..end);

    let paced = match paced {
        0 => None,
        paced => {
            pace(&dispatcher, settings, &desk, paced).await?;
            desk.latency(settings.deliveries..settings.deliveries + paced)
        }
    };
    workers.stop().await?;
    let (received, acknowledged) = (receiver.verified(), desk.acknowledged());
    let all_came_once = received == receiver.distinct() && received == acknowledged;
    if !all_came_once || (settings.backlog == 0 && acknowledged != events) {
        let distinct = receiver.distinct();
        return Err(
            format!("{received} received, {distinct} of them distinct, {acknowledged} acknowledged").into(),
        );
    }
    Ok(Measured {
        per_second: settings.deliveries as f64 / took,
        received,
        acknowledged,
        full_load,
        paced,
        cpu_s_per_1000: cpu.map(|seconds| seconds * 1_000.0 / settings.deliveries as f64),
        peak_rss_mib: peak_rss_mib(),
    })
}

/// What is known of each delivery, by its event's number.
struct Desk {
    started: Instant,
    /// When each was enqueued, and when it was acknowledged, in nanoseconds; 0 as long as it was not.
    times: Box<[(AtomicU64, AtomicU64)]>,
    acknowledged: AtomicUsize,
    awaited: AtomicUsize,
    reached: Notify,
    /// How many more may be enqueued.
    ahead: Semaphore,
}

impl Desk {
    fn new(events: usize, ahead: usize) -> Self {
        Self {
            started: Instant::now(),
            times: std::iter::repeat_with(Default::default).take(events).collect(),
            acknowledged: AtomicUsize::new(0),
            awaited: AtomicUsize::new(usize::MAX),
            reached: Notify::new(),
            ahead: Semaphore::new(ahead),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn note_start(&self, number: usize) {
        self.times[number].0.store(self.now(), Ordering::Relaxed);
    }

    fn hear(&self, notice: &Notice) {
        let Notice::Delivered { delivery, .. } = notice else {
            return;
        };
        if let Some((_, end)) = delivery
            .event
            .as_str()
            .parse()
            .ok()
            .and_then(|number: usize| self.times.get(number))
        {
            end.store(self.now(), Ordering::Relaxed);
        }
        self.ahead.add_permits(1);
        let acknowledged = self.acknowledged.fetch_add(1, Ordering::SeqCst) + 1;
        if acknowledged >= self.awaited.load(Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until so many are acknowledged.
    async fn until(&self, count: usize) {
        self.awaited.store(count, Ordering::SeqCst);
        while self.acknowledged() < count {
            self.reached.notified().await;
        }
    }

    /// Of those that were acknowledged.
    fn latency(&self, numbers: std::ops::Range<usize>) -> Option<Latency> {
        let times = self.times[numbers].iter().map(|(start, end)| {
            let (start, end) = (start.load(Ordering::SeqCst), end.load(Ordering::SeqCst));
            end.checked_sub(start)
        });
        let mut spans: Vec<_> = times.flatten().collect();
        spans.sort_unstable();
        let at = |part: usize| spans.get((spans.len().saturating_sub(1)) * part / 100);
        let ms = |nanos: &u64| *nanos as f64 / 1e6;
        Some(Latency {
            p50_ms: at(50).map(ms)?,
            p99_ms: at(99).map(ms)?,
        })
    }
}

fn engine(store: impl Store, settings: &Settings, desk: &Arc<Desk>) -> Result<Engine, AnyError> {
    let guard = Guard::default().allow_http().allow_loopback();
    // A pool for all that may be in flight, as whoever sends this much to one host would have it.
    let connections = settings.in_flight * settings.workers;
    let builder = match settings.sender {
        SenderKind::Hyper => {
            let sender = HyperSender::builder()
                .guard(guard.clone())
                .max_idle_per_host(connections);
            Engine::builder(store, sender.build(), TokioTimer)
        }
        SenderKind::Reqwest => {
            let sender = ReqwestSender::builder()
                .guard(guard.clone())
                .client(move || reqwest::Client::builder().pool_max_idle_per_host(connections));
            Engine::builder(store, sender.build()?, TokioTimer)
        }
    };
    let desk = Arc::clone(desk);
    Ok(with_profile(builder)
        .guard(guard)
        .in_flight(settings.in_flight)
        .listener(listener_fn(move |notice| desk.hear(notice)))
        .build())
}

fn with_profile(builder: EngineBuilder) -> EngineBuilder {
    builder.profile(PlainProfile::new("plain", Schedule::standard_webhooks()))
}

async fn register(dispatcher: &Dispatcher, settings: &Settings, receiver: &Receiver) -> Result<(), AnyError> {
    let key = HmacAuth::new(HmacScheme::BiSignature, SECRET);
    dispatcher
        .save_auth("key", "the key of all", AuthConfig::Hmac(key))
        .await?;
    let all = u32::try_from(settings.in_flight * settings.workers)?;
    let limits = Limits {
        in_flight: NonZeroU32::new(all).unwrap_or(NonZeroU32::MIN),
        ..Limits::default()
    };
    for webhook in 0..settings.webhooks {
        let url = format!("http://{}{PATH}", receiver.address);
        let registration = Registration::new(SCOPE, url, "plain")
            .events([format!("type-{webhook}")])
            .auth("key")
            .limits(limits);
        dispatcher.register(registration).await?;
    }
    Ok(())
}

/// An event that one webhook wants.
fn event(settings: &Settings, number: usize) -> Result<Event, AnyError> {
    let kind = format!("type-{}", number % settings.webhooks);
    let event = Event::builder(SCOPE, number.to_string(), kind).json(settings.body(number));
    Ok(event.build()?)
}

/// The calm stage.
async fn pace(
    dispatcher: &Dispatcher,
    settings: &Settings,
    desk: &Arc<Desk>,
    paced: usize,
) -> Result<(), AnyError> {
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut enqueueing = Vec::with_capacity(paced);
    for number in settings.deliveries..settings.deliveries + paced {
        ticks.tick().await;
        let (dispatcher, desk, event) = (dispatcher.clone(), Arc::clone(desk), event(settings, number)?);
        // Apart, so that one that takes long does not hold the next one up.
        enqueueing.push(tokio::spawn(async move {
            desk.note_start(number);
            dispatcher.enqueue(event).await
        }));
    }
    for enqueueing in enqueueing {
        enqueueing.await??;
    }
    desk.until(settings.deliveries + paced).await;
    Ok(())
}

/// Attempts that were made before: to other webhooks, over a sender that answers at once.
async fn make_history(store: impl Store, settings: &Settings) -> Result<(), AnyError> {
    let nowhere = sender_fn(|_| async { Ok(Response::new(Bytes::new())) });
    let desk = Arc::new(Desk::new(0, AHEAD_IN_HISTORY));
    let listening = Arc::clone(&desk);
    let engine = with_profile(Engine::builder(store, nowhere, TokioTimer))
        .listener(listener_fn(move |notice| listening.hear(notice)))
        .build();
    let dispatcher = engine.dispatcher();
    let limits = Limits {
        in_flight: NonZeroU32::MAX,
        ..Limits::default()
    };
    for webhook in 0..settings.webhooks {
        let registration = Registration::new("history", "https://example.com/hook", "plain")
            .events([format!("type-{webhook}")])
            .limits(limits);
        dispatcher.register(registration).await?;
    }
    let workers = Workers::start(&engine, 1);
    const AT_ONCE: usize = 512;
    for first in (0..settings.history).step_by(AT_ONCE) {
        let last = (first + AT_ONCE).min(settings.history);
        let events = (first..last).map(|number| {
            let kind = format!("type-{}", number % settings.webhooks);
            Event::builder("history", number.to_string(), kind)
                .json("{}")
                .build()
        });
        desk.ahead.acquire_many((last - first) as u32).await?.forget();
        dispatcher.enqueue_all(events.collect::<Result<_, _>>()?).await?;
    }
    desk.until(settings.history).await;
    workers.stop().await
}

/// Workers, each a task of its own.
struct Workers {
    stop: watch::Sender<bool>,
    running: Vec<JoinHandle<Result<(), StoreError>>>,
}

impl Workers {
    fn start(engine: &Engine, count: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let start = || {
            let (worker, mut stopped) = (engine.worker(), stopped.clone());
            tokio::spawn(async move {
                let stop = async move {
                    let _ = stopped.wait_for(|stopped| *stopped).await;
                };
                worker.run_until(stop).await
            })
        };
        let running = std::iter::repeat_with(start).take(count).collect();
        Self { stop, running }
    }

    async fn stop(self) -> Result<(), AnyError> {
        self.stop.send_replace(true);
        for running in self.running {
            running.await??;
        }
        Ok(())
    }
}

/// The processor time of this process so far, receiver included; `None` where there is no `/proc`.
fn cpu_seconds() -> Option<f64> {
    /// What Linux counts in, whatever the machine.
    const TICKS_A_SECOND: f64 = 100.0;

    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_A_SECOND)
}

/// The most memory that this process has had, receiver included; `None` where there is no `/proc`.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<f64>()
        .ok()
        .map(|kib| kib / 1024.0)
}

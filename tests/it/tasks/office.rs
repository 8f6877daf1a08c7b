//! Runners under manual time, polled by hand, whose work does as it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use http::{Request, Response};
use ringback::delivery::PlainProfile;
use ringback::engine::{
    CallHandlers, Callbacks, CheckUnavailable, CredentialsCheck, Engine, NewCall, TaskContext, TaskError,
    TaskRunner, TaskRunnerBuilder, TaskWork,
};
use ringback::id::TaskId;
use ringback::retry::Schedule;
use ringback::secret::Secret;
use ringback::store::{MemoryStore, SqliteStore, Store, StoreError, TaskRecord, Wake as Bell};
use ringback::task::TaskProgress;
use ringback::testing::{Fault, FaultyStore, ManualTime, SeededEntropy};
use ringback::time::{Clock, after};
use ringback::transport::sender_fn;

use crate::stories::stage::On;

pub(super) const WEBHOOK: &str = "https://caller.example/rings?call=1";

/// A store, and processes over it that run tasks.
pub(super) struct Office {
    pub(super) time: ManualTime,
    pub(super) store: Arc<dyn Store>,
    pub(super) desk: Desk,
    calls: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    faults: Arc<Mutex<Plan>>,
    settings: fn(TaskRunnerBuilder) -> TaskRunnerBuilder,
    hired: u64,
    /// A runner apart from the processes, which accepts and answers.
    pub(super) runner: TaskRunner,
    processes: Vec<Process>,
}

type Plan = Box<dyn FnMut(&'static str) -> Fault + Send>;

struct Process {
    running: Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>,
    stop: Option<Bell>,
    woken: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Office {
    pub(super) fn new(on: On, settings: fn(TaskRunnerBuilder) -> TaskRunnerBuilder) -> Self {
        let time = ManualTime::new(DateTime::from_timestamp(1_772_000_000, 0).unwrap());
        let store: Arc<dyn Store> = match on {
            On::Memory => Arc::new(MemoryStore::new()),
            On::Sqlite => Arc::new(SqliteStore::builder().inline().open_in_memory().unwrap()),
        };
        let faults: Arc<Mutex<Plan>> = Arc::new(Mutex::new(Box::new(|_| Fault::None)));
        let calls = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let desk = Desk::default();
        let runner = process(&time, &store, &desk, &faults, &calls, settings, 0);
        Self {
            time,
            store,
            desk,
            calls,
            faults,
            settings,
            hired: 0,
            runner,
            processes: Vec::new(),
        }
    }

    /// What becomes of calls to the store from now on.
    pub(super) fn plan(&self, plan: impl FnMut(&'static str) -> Fault + Send + 'static) {
        *self.faults.lock().unwrap() = Box::new(plan);
    }

    /// How often a method of the store was called since this was last asked.
    pub(super) fn calls(&self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// Starts another process with a runner.
    pub(super) fn hire(&mut self) {
        self.hired += 1;
        let runner = process(
            &self.time,
            &self.store,
            &self.desk,
            &self.faults,
            &self.calls,
            self.settings,
            self.hired,
        );
        self.start(runner);
    }

    /// Starts the runner that accepts.
    pub(super) fn hire_here(&mut self) {
        self.start(self.runner.clone());
    }

    fn start(&mut self, runner: TaskRunner) {
        let bell = Bell::default();
        let stopped = bell.listen();
        self.processes.push(Process {
            running: Box::pin(async move { runner.run_until(stopped).await }),
            stop: Some(bell),
            woken: Arc::new(Flag(AtomicBool::new(true))),
        });
        self.settle();
    }

    pub(super) fn processes(&self) -> usize {
        self.processes.len()
    }

    /// Ends a process where it stands.
    pub(super) fn crash(&mut self, process: usize) {
        drop(self.processes.remove(process));
        self.settle();
    }

    /// Tells a process to stop in good order.
    pub(super) fn stop(&mut self, process: usize) {
        if let Some(stop) = self.processes[process].stop.take() {
            stop.ring();
        }
        self.settle();
    }

    /// Polls whoever was woken until nobody is.
    pub(super) fn settle(&mut self) {
        loop {
            let mut polled = false;
            self.processes.retain_mut(|process| {
                if !process.woken.0.swap(false, Ordering::SeqCst) {
                    return true;
                }
                polled = true;
                let waker = Waker::from(Arc::clone(&process.woken));
                let mut context = Context::from_waker(&waker);
                match process.running.as_mut().poll(&mut context) {
                    Poll::Pending => true,
                    Poll::Ready(ended) => {
                        ended.unwrap();
                        false
                    }
                }
            });
            if !polled {
                return;
            }
        }
    }

    /// Lets time pass, from one wake to the next.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = after(self.time.now(), span);
        self.settle();
        while self.time.next_wake().is_some_and(|wake| wake <= end) {
            self.time.advance_to_next_wake();
            self.settle();
        }
        self.time.advance((end - self.time.now()).to_std().unwrap());
        self.settle();
    }

    pub(super) fn pass_seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    pub(super) fn accept(&mut self, call: NewCall) -> TaskId {
        let accepted = now(self.runner.accept(call)).unwrap();
        self.settle();
        accepted.task_id
    }

    pub(super) fn accept_with_webhook(&mut self) -> TaskId {
        self.accept(NewCall::new("user-1", "/reports").with_webhook_uri(WEBHOOK))
    }

    pub(super) fn record(&self, id: &TaskId) -> TaskRecord {
        now(self.store.task(id)).unwrap().unwrap()
    }

    /// The statuses that were rung back with.
    pub(super) fn callbacks(&self, id: &TaskId) -> Vec<&'static str> {
        let rung = |status| {
            let event = format!("{id}/{status}").as_str().into();
            let deliveries = now(self.store.deliveries_of(&"tasks".into(), &event)).unwrap();
            vec![status; deliveries.len()]
        };
        ["Queued", "Running", "Succeeded", "Failed"]
            .into_iter()
            .flat_map(rung)
            .collect()
    }

    pub(super) fn handlers(&self) -> CallHandlers {
        CallHandlers::new(self.runner.clone(), Tokens)
    }

    /// What the owner, or whoever's token it is, is answered.
    pub(super) fn results(&self, id: &TaskId, token: &str) -> Response<Bytes> {
        let request = Request::get(format!("/results/{id}"))
            .header("authorization", format!("Bearer {token}"))
            .body(Bytes::new())
            .unwrap();
        now(self.handlers().results(request))
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.time.now()
    }

    /// Does what upkeep is due, in a process of its own.
    pub(super) fn keep_up(&self) {
        let store = FaultyStore::new(Arc::clone(&self.store), Arc::new(self.time.clone()), |_| {
            Fault::None
        });
        let sender = sender_fn(|_| async { Ok(Response::default()) });
        let upkeep = Engine::builder(store, sender, self.time.clone()).build().upkeep();
        let mut due = std::pin::pin!(upkeep.run_due());
        while due
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            assert!(self.time.advance_to_next_wake());
        }
    }
}

/// What completes at once, as calls to these stores do.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    std::pin::pin!(future)
        .now_or_never()
        .expect("nothing that is called by hand waits")
}

fn process(
    time: &ManualTime,
    store: &Arc<dyn Store>,
    desk: &Desk,
    faults: &Arc<Mutex<Plan>>,
    calls: &Arc<Mutex<BTreeMap<&'static str, usize>>>,
    settings: fn(TaskRunnerBuilder) -> TaskRunnerBuilder,
    number: u64,
) -> TaskRunner {
    let (faults, calls) = (Arc::clone(faults), Arc::clone(calls));
    let store = FaultyStore::new(Arc::clone(store), Arc::new(time.clone()), move |method| {
        *calls.lock().unwrap().entry(method).or_default() += 1;
        faults.lock().unwrap()(method)
    });
    let sender = sender_fn(|_| async { Ok(Response::default()) });
    let engine = Engine::builder(store, sender, time.clone())
        .profile(PlainProfile::new("callbacks", Schedule::truelayer()))
        .entropy(SeededEntropy::new(number))
        .build();
    let runner = TaskRunner::builder(
        &engine,
        desk.clone(),
        "https://service.example/results/",
        Callbacks::new("callbacks"),
    );
    settings(runner).build()
}

/// Every token but `wrong` belongs to the credentials of its name.
#[derive(Debug)]
pub(super) struct Tokens;

#[async_trait]
impl CredentialsCheck for Tokens {
    async fn credentials(&self, token: &Secret) -> Result<Option<String>, CheckUnavailable> {
        match token.expose_str() {
            Some("wrong") | None => Ok(None),
            Some("unavailable") => Err(CheckUnavailable),
            Some(token) => Ok(Some(token.to_owned())),
        }
    }
}

/// How a run is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Succeed(&'static str),
    Fail,
    FailForNow,
    Panic,
}

/// The work: each run waits until it is told how to end.
#[derive(Clone, Default)]
pub(super) struct Desk(Arc<Mutex<Runs>>);

#[derive(Default)]
struct Runs {
    next: u64,
    /// By their numbers, in the order of their beginnings.
    under_way: BTreeMap<u64, Run>,
    /// How often each task was run.
    begun: BTreeMap<TaskId, u32>,
    most_at_once: usize,
}

struct Run {
    context: TaskContext,
    told: Option<End>,
    waker: Option<Waker>,
}

impl Desk {
    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The tasks that are worked on, in the order in which that began.
    pub(super) fn under_way(&self) -> Vec<TaskId> {
        let runs = self.runs();
        runs.under_way
            .values()
            .map(|run| run.context.id.clone())
            .collect()
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.runs().most_at_once
    }

    pub(super) fn runs_of(&self, id: &TaskId) -> u32 {
        self.runs().begun.get(id).copied().unwrap_or_default()
    }

    /// Tells every run of a task how to end. Whether there was one.
    pub(super) fn tell(&self, id: &TaskId, order: &End) -> bool {
        let mut wakers = Vec::new();
        let mut found = false;
        for run in self.runs().under_way.values_mut() {
            if run.context.id == *id {
                found = true;
                run.told = Some(order.clone());
                wakers.extend(run.waker.take());
            }
        }
        wakers.into_iter().for_each(Waker::wake);
        found
    }

    /// Has the latest run of a task report progress.
    pub(super) fn report(&self, id: &TaskId, progress: TaskProgress) {
        let context = {
            let runs = self.runs();
            let mut of_task = runs.under_way.values().rev();
            of_task
                .find(|run| run.context.id == *id)
                .map(|run| run.context.clone())
        };
        context.unwrap().report(progress);
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

/// Takes a run off the desk, however it ends.
struct AtDesk<'a>(&'a Desk, u64);

impl Drop for AtDesk<'_> {
    fn drop(&mut self) {
        self.0.runs().under_way.remove(&self.1);
    }
}

#[async_trait]
impl TaskWork for Desk {
    async fn run(&self, task: &TaskContext) -> Result<Bytes, TaskError> {
        let number = {
            let mut runs = self.runs();
            runs.next += 1;
            let number = runs.next;
            let run = Run {
                context: task.clone(),
                told: None,
                waker: None,
            };
            runs.under_way.insert(number, run);
            *runs.begun.entry(task.id.clone()).or_default() += 1;
            runs.most_at_once = runs.most_at_once.max(runs.under_way.len());
            number
        };
        let at_desk = AtDesk(self, number);
        let order = poll_fn(|context| {
            let mut runs = self.runs();
            let run = runs.under_way.get_mut(&number).unwrap();
            match run.told.take() {
                Some(order) => Poll::Ready(order),
                None => {
                    run.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        drop(at_desk);
        match order {
            End::Succeed(results) => Ok(Bytes::from_static(results.as_bytes())),
            End::Fail => Err(TaskError::new("access_denied", "the bank said no")),
            End::FailForNow => Err(TaskError::retryable("provider_error", "the bank is away")),
            End::Panic => panic!("a bug in a user's work"),
        }
    }
}

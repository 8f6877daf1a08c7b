//! What ten thousand waiters cost. In a binary of its own, since it counts every byte that is allocated in the process.

use std::alloc::System;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use ringback::client::{CallClient, WaitBy};
use ringback::system::TokioTimer;
use ringback::task::AsyncParameters;
use ringback::transport::sender_fn;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WAITERS: usize = 10_000;
const MOST_BYTES: usize = 4 * 1024;

/// A service that accepts every call, never ends a task, and keeps nothing.
fn client() -> CallClient {
    let sender = sender_fn(|request: Request<Bytes>| async move {
        let is_start = AsyncParameters::of(request.uri()).is_ok_and(|asked| asked.is_async);
        let body = if is_start {
            r#"{"results_uri":"https://api.example.com/data/v1/results/478f3a4c-5182-4ad2-acb5-0c1c60670c0f","status":"Queued","task_id":"478f3a4c-5182-4ad2-acb5-0c1c60670c0f"}"#
        } else {
            r#"{"status":"Running"}"#
        };
        Ok(Response::new(Bytes::from_static(body.as_bytes())))
    });
    CallClient::builder(sender, TokioTimer)
        .webhook(Uri::from_static("https://app.example.com/rings"))
        .deadline(Duration::from_secs(3_600))
        .build()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[test]
fn ten_thousand_waiters_cost_no_thread_and_little_memory() {
    for by in [WaitBy::Webhook, WaitBy::Polling, WaitBy::Either] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let client = client();
            let threads_before = threads();
            let region = Region::new(ALLOCATOR);
            let mut waiters = Vec::with_capacity(WAITERS);
            for number in 0..WAITERS {
                let client = client.clone();
                waiters.push(tokio::spawn(async move {
                    let request =
                        Request::get(format!("https://api.example.com/data/v1/accounts?n={number}"))
                            .header("authorization", "Bearer a token of about the usual length, or so")
                            .body(Bytes::new())
                            .unwrap();
                    let pending = client.call(request).wait_by(by).start().await.unwrap();
                    pending.succeeded().await
                }));
            }
            while client.pending() < WAITERS {
                tokio::task::yield_now().await;
            }
            // Past the first polls.
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            let change = region.change();
            let bytes = change.bytes_allocated - change.bytes_deallocated;
            println!("{by:?}: {} bytes for each of {WAITERS} waiters", bytes / WAITERS);
            assert!(bytes / WAITERS <= MOST_BYTES, "{} bytes", bytes / WAITERS);
            assert_eq!(threads(), threads_before);
            for waiter in &waiters {
                waiter.abort();
            }
            for waiter in waiters {
                assert!(waiter.await.is_err());
            }
            assert_eq!(client.pending(), 0, "those who are given up are freed");
        });
    }
}

//! The routes of an asynchronous call in axum.

use ::axum::body::{Body, to_bytes};
use ::axum::extract::Request;
use ::axum::routing::{MethodRouter, any};
use bytes::Bytes;

use super::answers::Refused;
use super::handlers::CallHandlers;

impl CallHandlers {
    /// [`start`](Self::start) as a route of axum, for any method.
    ///
    /// ```
    /// use axum::Router;
    /// use ringback::engine::CallHandlers;
    ///
    /// fn router(handlers: &CallHandlers) -> Router {
    ///     Router::new()
    ///         .route("/reports", handlers.start_route())
    ///         .route("/results/{id}", handlers.results_route())
    /// }
    /// ```
    pub fn start_route<S: Clone + Send + Sync + 'static>(&self) -> MethodRouter<S> {
        let handlers = self.clone();
        any(move |request: Request| async move {
            match read(request, handlers.largest_request()).await {
                Ok(request) => handlers.start(request).await.map(Body::from),
                Err(refused) => refused.response().map(Body::from),
            }
        })
    }

    /// [`results`](Self::results) as a route of axum, whose path ends with the task's id.
    pub fn results_route<S: Clone + Send + Sync + 'static>(&self) -> MethodRouter<S> {
        let handlers = self.clone();
        any(move |request: Request| async move {
            // Nothing in the body is looked at.
            let (head, _) = request.into_parts();
            let request = Request::from_parts(head, Bytes::new());
            handlers.results(request).await.map(Body::from)
        })
    }
}

/// Reads a request whole, within the limit.
async fn read(request: Request, limit: usize) -> Result<http::Request<Bytes>, Refused> {
    let (head, body) = request.into_parts();
    match to_bytes(body, limit).await {
        Ok(body) => Ok(http::Request::from_parts(head, body)),
        // Too long, or cut short; of the latter nobody is there to be told.
        Err(_) => Err(Refused::TooLarge),
    }
}

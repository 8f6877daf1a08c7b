//! From a host's name to its addresses.

use std::fmt::Debug;
use std::io;
use std::net::IpAddr;

use async_trait::async_trait;

/// Resolves host names for the senders of this crate.
///
/// # Contract
///
/// Called once for each new connection, with a lower-case name that is never a literal address. All addresses
/// the name has are returned, in the order in which to try them; the [`Guard`](super::Guard) judges them all and
/// the sender dials one of these very addresses. Must not block its thread.
///
/// # Errors
///
/// Any I/O error, when the name has no address or cannot be looked up; an empty list means the same.
///
/// # Cancellation
///
/// Dropping the future abandons the look-up.
///
/// # Example
///
/// ```
/// use std::{collections::HashMap, io, net::IpAddr};
/// use ringback::transport::Resolve;
///
/// #[derive(Debug)]
/// struct Table(HashMap<String, IpAddr>);
///
/// #[async_trait::async_trait]
/// impl Resolve for Table {
///     async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
///         Ok(self.0.get(name).copied().into_iter().collect())
///     }
/// }
/// ```
#[async_trait]
pub trait Resolve: Debug + Send + Sync + 'static {
    /// All addresses of the name.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver (`getaddrinfo`), on tokio's threads for blocking work. Needs a tokio runtime.
///
/// A look-up that has begun cannot be stopped; one that is abandoned goes on on its thread until the system's own
/// time limit.
#[cfg(any(feature = "hyper", feature = "reqwest"))]
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[cfg(any(feature = "hyper", feature = "reqwest"))]
#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let any_port = 0;
        Ok(tokio::net::lookup_host((name, any_port))
            .await?
            .map(|address| address.ip())
            .collect())
    }
}

//! Which addresses messages may come from.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::request::Parts;

use super::Rejection;
use crate::transport::Network;

/// The other end of the connection that a request came over, for [`Receiver::only_from`](super::Receiver::only_from):
/// to be put into the request's extensions by whoever accepts connections. With the feature `axum`, axum's own
/// `ConnectInfo<SocketAddr>` will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// The addresses that messages may come from, for providers that publish theirs ([Truv](mod@crate::provider::truv)) or tell
/// their customers (Yodlee).
///
/// It adds to a [`Gate`](super::Gate) and does not replace one: whoever shares the provider's network, or can have
/// the provider send, comes from the same addresses.
///
/// # Behind a proxy
///
/// What is believed is the other end of the connection, and nothing else, unless that is one of the proxies named
/// [here](Self::behind). Each proxy adds to `X-Forwarded-For`, on the right, the address that it was asked from; what
/// stands further left is whatever the sender wrote, and anyone can write anything. So the header is read from the
/// right, past the trusted proxies, and the first address that is not one of them is the sender's. Name no network
/// as trusted that anyone but one's own proxies can connect from; and name all of them, or the innermost that was left
/// out is taken for the sender.
///
/// The header `Forwarded` (RFC 7239) is not read.
///
/// ```
/// use ringback::receive::Sources;
/// use ringback::transport::Network;
///
/// let provider: Network = "192.0.2.0/24".parse()?;
/// let load_balancers: Network = "10.1.0.0/16".parse()?;
/// let sources = Sources::new([provider]).behind([load_balancers]);
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("x-forwarded-for", "192.0.2.99, 198.51.100.7, 10.1.0.2".parse().unwrap());
/// let sender = sources.sender([10, 1, 0, 1].into(), &headers);
/// assert_eq!(sender, Some([198, 51, 100, 7].into())); // what was written on the left is not believed
/// assert!(!sources.allow([198, 51, 100, 7].into()));
/// # Ok::<(), ringback::transport::NetworkError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    allowed: Vec<Network>,
    proxies: Vec<Network>,
}

impl Sources {
    /// These networks, connecting directly. Without one, nobody is let in.
    pub fn new(allowed: impl IntoIterator<Item = Network>) -> Self {
        Self {
            allowed: allowed.into_iter().collect(),
            proxies: Vec::new(),
        }
    }

    /// Believes these proxies, and nobody else, about who asked them.
    #[must_use]
    pub fn behind(mut self, proxies: impl IntoIterator<Item = Network>) -> Self {
        self.proxies.extend(proxies);
        self
    }

    /// Whether messages may come from that address. An IPv4 address may be written as IPv6, as it is on sockets that
    /// take both.
    pub fn allow(&self, address: IpAddr) -> bool {
        contain(&self.allowed, address.to_canonical())
    }

    /// The address that a request was sent from, given the other end of its connection. `None` where a trusted proxy
    /// names something that is no address.
    pub fn sender(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let mut sender = peer.to_canonical();
        let mut hops = headers
            .get_all("x-forwarded-for")
            .iter()
            .rev()
            .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        while contain(&self.proxies, sender) {
            match hops.next() {
                Some(hop) => sender = address(hop)?.to_canonical(),
                None => break,
            }
        }
        Some(sender)
    }

    pub(super) fn check(&self, head: &Parts) -> Result<(), Rejection> {
        let peer = peer(head).ok_or(Rejection::UnknownAddress)?;
        match self.sender(peer.ip(), &head.headers) {
            Some(sender) if self.allow(sender) => Ok(()),
            _ => Err(Rejection::ForeignAddress),
        }
    }
}

fn peer(head: &Parts) -> Option<SocketAddr> {
    let said = head.extensions.get::<PeerAddress>().map(|peer| peer.0);
    #[cfg(feature = "axum")]
    let said = said.or_else(|| super::axum::peer(&head.extensions));
    said
}

fn contain(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// An address, with or without a port, as proxies write them.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare().or_else(with_port).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn sender(peer: &str, lines: &[&str]) -> Option<String> {
        let sources = Sources::new([]).behind(networks(&["10.0.0.0/8", "fd00::/16"]));
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        sources
            .sender(peer.parse().unwrap(), &headers)
            .map(|address| address.to_string())
    }

    #[test]
    fn the_right_most_hop_that_is_not_trusted_is_the_sender() {
        for (peer, lines, expected) in [
            // Connected directly: what the header says is the sender's own invention.
            ("192.0.2.1", &["10.0.0.1"][..], Some("192.0.2.1")),
            ("10.0.0.1", &["192.0.2.1"], Some("192.0.2.1")),
            ("10.0.0.1", &["192.0.2.9, 192.0.2.1"], Some("192.0.2.1")),
            (
                "10.0.0.1",
                &["192.0.2.9, 192.0.2.1,10.0.0.2 , 10.0.0.3"],
                Some("192.0.2.1"),
            ),
            // Several lines are one list.
            ("10.0.0.1", &["192.0.2.1", "10.0.0.2"], Some("192.0.2.1")),
            ("10.0.0.1", &["10.0.0.2", "192.0.2.1"], Some("192.0.2.1")),
            // A proxy itself, which has added nothing.
            ("10.0.0.1", &[], Some("10.0.0.1")),
            ("10.0.0.1", &["10.0.0.2"], Some("10.0.0.2")),
            // As proxies write addresses.
            ("10.0.0.1", &["192.0.2.1:4711"], Some("192.0.2.1")),
            ("10.0.0.1", &["[2001:db8::1]:4711"], Some("2001:db8::1")),
            ("10.0.0.1", &["[2001:db8::1]"], Some("2001:db8::1")),
            ("10.0.0.1", &["2001:db8::1"], Some("2001:db8::1")),
            // IPv4 on a socket that takes both.
            ("::ffff:10.0.0.1", &["::ffff:192.0.2.1"], Some("192.0.2.1")),
            // What cannot be read is not passed over.
            ("10.0.0.1", &["192.0.2.1, unknown"], None),
            ("10.0.0.1", &["192.0.2.1,"], None),
            ("10.0.0.1", &[""], None),
            ("10.0.0.1", &["192.0.2.1, unknown, 10.0.0.2"], None),
        ] {
            assert_eq!(sender(peer, lines).as_deref(), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn addresses_are_allowed_in_either_writing() {
        let sources = Sources::new(networks(&["192.0.2.0/24"]));
        assert!(sources.allow("192.0.2.1".parse().unwrap()));
        assert!(sources.allow("::ffff:192.0.2.1".parse().unwrap()));
        assert!(!sources.allow("192.0.3.1".parse().unwrap()));
        assert!(!Sources::new([]).allow("192.0.2.1".parse().unwrap()));
    }

    proptest! {
        /// Whatever a sender writes, what is believed is what a trusted proxy has added.
        #[test]
        fn nothing_that_a_sender_writes_is_believed(written in "[ -~]{0,40}") {
            let line = format!("{written}, 192.0.2.1, 10.0.0.2");
            let expected = Some("192.0.2.1".to_owned());
            prop_assert_eq!(sender("10.0.0.1", &[&line]), expected.clone());
            prop_assert_eq!(sender("192.0.2.1", &[&written]), expected);
        }
    }
}

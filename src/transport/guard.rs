//! Where a sender may go.
//!
//! A webhook's URL is chosen by someone else, and the request is made from inside one's own network: without a
//! guard, registering `http://169.254.169.254/` or a name that resolves to `10.0.0.5` turns the sender into a way
//! in (server-side request forgery).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use super::network::Network;
use crate::url::{Host, WebhookUrl};

/// The policy of where requests may go: by default `https` only, and public addresses only.
///
/// It is asked twice. [`check_url`](Self::check_url) judges a URL by itself, its scheme and its literal address or
/// name, at registration and before each sending, whatever the sender. [`check_resolved`](Self::check_resolved)
/// judges the addresses that a name resolved to, each time a connection is made; the senders of this crate dial
/// only what it has passed, so that a name which resolves differently the second time gains nothing.
///
/// What is public: every address but those in the IANA special-purpose registries for
/// [IPv4](https://www.iana.org/assignments/iana-ipv4-special-registry) and
/// [IPv6](https://www.iana.org/assignments/iana-ipv6-special-registry), multicast, and the address of
/// Azure's host, which is special without being registered. For IPv6 only `2000::/3` is public to begin with.
/// Addresses that embed an IPv4 one (mapped, compatible, NAT64, 6to4, Teredo) are all refused, since where they end
/// depends on the network. A network that translates from a prefix of its own, or routes public addresses to
/// private machines, cannot be known here.
///
/// ```
/// use ringback::transport::{Forbidden, Guard};
/// use ringback::url::WebhookUrl;
///
/// let metadata = WebhookUrl::parse("https://169.254.169.254/latest/meta-data/")?;
/// assert_eq!(Guard::default().check_url(&metadata), Err(Forbidden::Address { range: "link-local" }));
///
/// let inside = Guard::default().allow_http().allow_network("10.20.0.0/16".parse()?);
/// assert!(inside.check_url(&WebhookUrl::parse("http://10.20.1.1/hook")?).is_ok());
/// assert!(inside.check_url(&WebhookUrl::parse("http://10.21.1.1/hook")?).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Guard {
    http: bool,
    any_address: bool,
    networks: Vec<Network>,
    hosts: BTreeSet<String>,
}

/// Why a [`Guard`] refuses a destination.
///
/// Does not say which address a name resolved to: what is shown to whoever registered the webhook would tell them
/// about the network inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Forbidden {
    /// The scheme is `http`, which was not [allowed](Guard::allow_http).
    #[error("plain http is not allowed")]
    PlainHttp,
    /// The URI is not absolute, or its scheme is neither `http` nor `https`.
    #[error("the URL is not an http or https URL")]
    NotHttp,
    /// The host is not written canonically, so that others may read it as another one.
    #[error("the host is not written canonically")]
    Host,
    /// The name is that of a cloud provider's metadata service.
    #[error("the host is a metadata service")]
    MetadataService,
    /// The address, literal or resolved, is not public.
    #[error("the address is not public ({range})")]
    Address {
        /// What the address is for.
        range: &'static str,
    },
}

impl Guard {
    /// Lets requests go over plain `http` too.
    #[must_use]
    pub fn allow_http(mut self) -> Self {
        self.http = true;
        self
    }

    /// Lets requests go to these addresses although they are not public.
    #[must_use]
    pub fn allow_network(mut self, network: Network) -> Self {
        self.networks.push(network);
        self
    }

    /// Lets requests go to this machine: `127.0.0.0/8`, `::1` and names that mean them. For tests and examples.
    #[must_use]
    pub fn allow_loopback(self) -> Self {
        self.allow_network(LOOPBACK_V4).allow_network(LOOPBACK_V6)
    }

    /// Lets requests go to the host of this name, in any case, wherever it resolves to. Whoever controls what the
    /// name resolves to then controls where requests go.
    #[must_use]
    pub fn allow_host(mut self, name: impl AsRef<str>) -> Self {
        self.hosts.insert(name.as_ref().to_ascii_lowercase());
        self
    }

    /// Lets requests go to any address: private, loopback, link-local, and every other special range. Whoever can
    /// register a webhook can then reach everything this machine can reach. Metadata services stay refused by name.
    #[must_use]
    pub fn dangerous_allow_private(mut self) -> Self {
        self.any_address = true;
        self
    }

    /// Judges a webhook's URL by its scheme and its host, without resolving names.
    ///
    /// # Errors
    ///
    /// The reason for refusing it.
    pub fn check_url(&self, url: &WebhookUrl) -> Result<(), Forbidden> {
        self.check_uri(url.uri())
    }

    /// Judges any URI as [`check_url`](Self::check_url) does. For senders, on the very URI they are about to use.
    ///
    /// # Errors
    ///
    /// The reason for refusing it.
    pub fn check_uri(&self, uri: &Uri) -> Result<(), Forbidden> {
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if self.http => {}
            Some("http") => return Err(Forbidden::PlainHttp),
            _ => return Err(Forbidden::NotHttp),
        }
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        match Host::parse(&host).map_err(|_| Forbidden::Host)? {
            Host::V4(address) => self.check_addr(address.into()),
            Host::V6(address) => self.check_addr(address.into()),
            Host::Name(name) => self.check_name(name),
        }
    }

    /// Judges one address.
    ///
    /// # Errors
    ///
    /// [`Forbidden::Address`] if it is neither public nor allowed.
    pub fn check_addr(&self, address: IpAddr) -> Result<(), Forbidden> {
        if self.any_address || self.networks.iter().any(|network| network.contains(address)) {
            return Ok(());
        }
        match special_range(address) {
            Some(range) => Err(Forbidden::Address { range }),
            None => Ok(()),
        }
    }

    /// Judges what a name resolved to. One address that is refused refuses them all: a name with a public and a
    /// private address is a trick or a mistake, and which of them would be dialled is chance.
    ///
    /// # Errors
    ///
    /// The reason for refusing the name or the first address refused.
    pub fn check_resolved(
        &self,
        name: &str,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), Forbidden> {
        let name = name.to_ascii_lowercase();
        if self.hosts.contains(&name) {
            return Ok(());
        }
        self.check_name(&name)?;
        addresses
            .into_iter()
            .try_for_each(|address| self.check_addr(address))
    }

    fn check_name(&self, name: &str) -> Result<(), Forbidden> {
        if self.hosts.contains(name) {
            return Ok(());
        }
        if METADATA_SERVICES.contains(&name) {
            return Err(Forbidden::MetadataService);
        }
        if name == "localhost" || name.ends_with(".localhost") {
            // RFC 6761, section 6.3: these are loopback without being looked up.
            return self
                .check_addr(Ipv4Addr::LOCALHOST.into())
                .or_else(|_| self.check_addr(Ipv6Addr::LOCALHOST.into()));
        }
        Ok(())
    }
}

/// Names under which cloud machines find their credentials. They resolve to addresses that are refused anyway; the
/// names are refused too, at registration already, and where a resolver is made to say otherwise.
const METADATA_SERVICES: [&str; 8] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
    "api.metadata.cloud.ibm.com",
    "instance-data",
    "instance-data.ec2.internal",
];

const LOOPBACK_V4: Network = Network::v4(127, 0, 0, 0, 8);
const LOOPBACK_V6: Network = Network::v6(1, 128);
const GLOBAL_UNICAST_V6: Network = Network::v6(0x2000 << 112, 3);

/// What a special address is for; nothing for a public one.
fn special_range(address: IpAddr) -> Option<&'static str> {
    let listed = SPECIAL_RANGES
        .iter()
        .find(|(network, _)| network.contains(address));
    match listed {
        Some((_, purpose)) => Some(purpose),
        None if address.is_ipv6() && !GLOBAL_UNICAST_V6.contains(address) => Some("not global unicast"),
        None => None,
    }
}

/// Where ranges overlap the narrower comes first, so that an address is called by its narrowest purpose.
const SPECIAL_RANGES: &[(Network, &str)] = &[
    (Network::v4(0, 0, 0, 0, 8), "this network"),
    (Network::v4(10, 0, 0, 0, 8), "private use"),
    (Network::v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (LOOPBACK_V4, "loopback"),
    (Network::v4(168, 63, 129, 16, 32), "Azure host"),
    (Network::v4(169, 254, 0, 0, 16), "link-local"),
    (Network::v4(172, 16, 0, 0, 12), "private use"),
    (Network::v4(192, 0, 0, 0, 24), "protocol assignments"),
    (Network::v4(192, 0, 2, 0, 24), "documentation"),
    (Network::v4(192, 31, 196, 0, 24), "AS112"),
    (Network::v4(192, 52, 193, 0, 24), "automatic multicast tunneling"),
    (Network::v4(192, 88, 99, 0, 24), "6to4 relay"),
    (Network::v4(192, 168, 0, 0, 16), "private use"),
    (Network::v4(192, 175, 48, 0, 24), "AS112"),
    (Network::v4(198, 18, 0, 0, 15), "benchmarking"),
    (Network::v4(198, 51, 100, 0, 24), "documentation"),
    (Network::v4(203, 0, 113, 0, 24), "documentation"),
    (Network::v4(224, 0, 0, 0, 4), "multicast"),
    (Network::v4(255, 255, 255, 255, 32), "broadcast"),
    (Network::v4(240, 0, 0, 0, 4), "reserved"),
    (Network::v6(0, 128), "unspecified"),
    (LOOPBACK_V6, "loopback"),
    (Network::v6(0xffff << 32, 96), "IPv4-mapped"),
    (Network::v6(0, 96), "IPv4-compatible"),
    (Network::v6(0x64_ff9b << 96, 96), "NAT64"),
    (Network::v6(0x64_ff9b_0001 << 80, 48), "NAT64"),
    (Network::v6(0x100 << 112, 64), "discard"),
    (Network::v6(0x100_0000_0000_0001 << 64, 64), "dummy"),
    (Network::v6(0x2001 << 112, 32), "Teredo"),
    (Network::v6(0x2001_0002 << 96, 48), "benchmarking"),
    (Network::v6(0x2001_0010 << 96, 28), "ORCHID"),
    (Network::v6(0x2001_0020 << 96, 28), "ORCHID"),
    (Network::v6(0x2001 << 112, 23), "protocol assignments"),
    (Network::v6(0x2001_0db8 << 96, 32), "documentation"),
    (Network::v6(0x2002 << 112, 16), "6to4"),
    (Network::v6(0x2620_004f_8000 << 80, 48), "AS112"),
    (Network::v6(0x3fff << 112, 20), "documentation"),
    (Network::v6(0x5f00 << 112, 16), "segment routing"),
    (Network::v6(0xfc00 << 112, 7), "unique local"),
    (Network::v6(0xfe80 << 112, 10), "link-local"),
    (Network::v6(0xfec0 << 112, 10), "site-local"),
    (Network::v6(0xff00 << 112, 8), "multicast"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judge(address: &str) -> Result<(), Forbidden> {
        Guard::default().check_addr(address.parse().unwrap())
    }

    fn judge_url(guard: &Guard, url: &str) -> Result<(), Forbidden> {
        guard.check_url(&WebhookUrl::parse(url).unwrap())
    }

    #[test]
    fn every_special_range_is_refused_from_its_first_address_to_its_last() {
        for (first, last) in [
            ("0.0.0.0", "0.255.255.255"),
            ("10.0.0.0", "10.255.255.255"),
            ("100.64.0.0", "100.127.255.255"),
            ("127.0.0.0", "127.255.255.255"),
            ("168.63.129.16", "168.63.129.16"),
            ("169.254.0.0", "169.254.255.255"),
            ("172.16.0.0", "172.31.255.255"),
            ("192.0.0.0", "192.0.0.255"),
            ("192.0.2.0", "192.0.2.255"),
            ("192.31.196.0", "192.31.196.255"),
            ("192.52.193.0", "192.52.193.255"),
            ("192.88.99.0", "192.88.99.255"),
            ("192.168.0.0", "192.168.255.255"),
            ("192.175.48.0", "192.175.48.255"),
            ("198.18.0.0", "198.19.255.255"),
            ("198.51.100.0", "198.51.100.255"),
            ("203.0.113.0", "203.0.113.255"),
            ("224.0.0.0", "255.255.255.255"),
            ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            assert!(judge(first).is_err(), "{first}");
            assert!(judge(last).is_err(), "{last}");
            // The neighbours on both sides are public.
            for neighbour in neighbours(first.parse().unwrap(), last.parse().unwrap()) {
                assert_eq!(Guard::default().check_addr(neighbour), Ok(()), "{neighbour}");
            }
        }
    }

    fn neighbours(first: IpAddr, last: IpAddr) -> Vec<IpAddr> {
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let (before, after) = (first.to_bits().checked_sub(1), last.to_bits().checked_add(1));
                [before, after]
                    .into_iter()
                    .flatten()
                    .map(|bits| Ipv4Addr::from_bits(bits).into())
                    .collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let (before, after) = (first.to_bits().checked_sub(1), last.to_bits().checked_add(1));
                [before, after]
                    .into_iter()
                    .flatten()
                    .map(|bits| Ipv6Addr::from_bits(bits).into())
                    .collect()
            }
            _ => unreachable!("a range is of one family"),
        }
    }

    #[test]
    fn special_addresses_are_called_by_their_purpose() {
        for (address, range) in [
            ("127.0.0.1", "loopback"),
            ("169.254.169.254", "link-local"),
            ("100.100.100.200", "carrier-grade NAT"),
            ("255.255.255.255", "broadcast"),
            ("240.0.0.1", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::ffff:8.8.8.8", "IPv4-mapped"),
            ("::127.0.0.1", "IPv4-compatible"),
            ("64:ff9b::a00:1", "NAT64"),
            ("64:ff9b:1::a00:1", "NAT64"),
            ("2002:7f00:1::", "6to4"),
            ("2001:0:7f00:1::", "Teredo"),
            ("fd00:ec2::254", "unique local"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("5f00::1", "segment routing"),
            ("4000::1", "not global unicast"),
        ] {
            assert_eq!(judge(address), Err(Forbidden::Address { range }), "{address}");
        }
    }

    #[test]
    fn each_table_entry_is_a_network() {
        for (network, _) in SPECIAL_RANGES {
            assert_eq!(network.to_string().parse::<Network>().as_ref(), Ok(network));
        }
    }

    #[test]
    fn schemes_and_literals_are_judged_without_resolving() {
        let strict = Guard::default();
        assert_eq!(judge_url(&strict, "https://example.com/"), Ok(()));
        assert_eq!(judge_url(&strict, "https://[2606:4700::1]/"), Ok(()));
        assert_eq!(
            judge_url(&strict, "http://example.com/"),
            Err(Forbidden::PlainHttp)
        );
        assert_eq!(
            judge_url(&strict, "https://[::1]/"),
            Err(Forbidden::Address { range: "loopback" })
        );
        assert_eq!(
            strict.check_uri(&Uri::from_static("/hook")),
            Err(Forbidden::NotHttp)
        );
        assert_eq!(
            strict.check_uri(&Uri::from_static("ftp://example.com/")),
            Err(Forbidden::NotHttp)
        );
        for host in [
            "127.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.1.",
            "[::ffff:10.0.0.1]",
        ] {
            let uri: Uri = format!("https://{host}/").parse().unwrap();
            assert_eq!(strict.check_uri(&uri), Err(Forbidden::Host), "{host}");
        }
    }

    #[test]
    fn names_of_metadata_services_and_of_this_machine_are_refused() {
        let open = Guard::default().allow_http().dangerous_allow_private();
        for name in METADATA_SERVICES {
            let url = format!("http://{}/", name.to_ascii_uppercase());
            assert_eq!(judge_url(&open, &url), Err(Forbidden::MetadataService));
            assert_eq!(judge_url(&open.clone().allow_host(name), &url), Ok(()));
        }
        for url in ["https://localhost/", "https://a.localhost/"] {
            assert_eq!(
                judge_url(&Guard::default(), url),
                Err(Forbidden::Address { range: "loopback" })
            );
            assert_eq!(judge_url(&Guard::default().allow_loopback(), url), Ok(()));
        }
    }

    #[test]
    fn allowances_reach_as_far_as_they_say() {
        let public: IpAddr = [93, 184, 215, 14].into();
        let private: IpAddr = [10, 0, 0, 1].into();
        let refused = Err(Forbidden::Address { range: "private use" });

        let guard = Guard::default().allow_host("Inside.example");
        assert_eq!(guard.check_resolved("INSIDE.example", [private]), Ok(()));
        assert_eq!(guard.check_resolved("outside.example", [public]), Ok(()));
        assert_eq!(guard.check_resolved("outside.example", [private]), refused);
        assert_eq!(
            guard.check_resolved("outside.example", [public, private]),
            refused
        );
        assert_eq!(guard.check_addr(private), refused);

        let guard = Guard::default().allow_network(private.into());
        assert_eq!(guard.check_resolved("any.example", [public, private]), Ok(()));
        assert_eq!(guard.check_addr([10, 0, 0, 2].into()), refused);
        assert_eq!(
            Guard::default().dangerous_allow_private().check_addr(private),
            Ok(())
        );
    }

    proptest! {
        /// The standard library's own notions of special addresses, as a second opinion.
        #[test]
        fn nothing_the_standard_library_calls_special_is_public(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_unspecified();
            prop_assert!(!special || Guard::default().check_addr(address.into()).is_err());
            prop_assert!(Guard::default().check_addr(address.to_ipv6_mapped().into()).is_err());
            prop_assert!(Guard::default().check_addr(address.to_ipv6_compatible().into()).is_err());
        }

        #[test]
        fn only_global_unicast_is_public(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            let public = Guard::default().check_addr(address.into()).is_ok();
            prop_assert!(!public || bits >> 125 == 1);
        }
    }
}

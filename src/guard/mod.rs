//! Where a sender may go.
//!
//! A webhook's URL is chosen by someone else, and the request is made from inside one's own network: without a
//! guard, registering `http://169.254.169.254/` or a name that resolves to `10.0.0.5` turns the sender into a way
//! in (server-side request forgery).

mod network;
mod special;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use serde::{Deserialize, Serialize};

pub use self::network::{Network, NetworkError};
use self::special::{LOOPBACK_V4, LOOPBACK_V6, special_range};
use crate::url::{Host, WebhookUrl};

/// The policy of where requests may go: by default `https` only, and public addresses only.
///
/// It is asked twice. [`check_url`](Self::check_url) judges a URL by itself, its scheme and its literal address or
/// name, at registration and before each sending, whatever the sender. [`check_resolved`](Self::check_resolved)
/// judges the addresses that a name resolved to, each time a connection is made; the senders of this crate dial
/// only what it has passed, so that a name which resolves differently the second time gains nothing.
///
/// It is data: an engine has one for all its webhooks, and a webhook can have its own, which is
/// [registered](crate::delivery::Webhook::guard) and kept with it, and decides in place of the engine's and the sender's.
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
// What a newer version narrows it by must not be passed over by an older one.
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    http: bool,
    any_address: bool,
    networks: Vec<Network>,
    hosts: BTreeSet<String>,
    only_networks: Vec<Network>,
    only_hosts: BTreeSet<String>,
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
    /// The guard lets requests go to some [hosts](Guard::only_host) or [networks](Guard::only_network) only, and this is
    /// none of them.
    #[error("the destination is not one of those that are allowed")]
    NotListed,
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

    /// Lets requests go to no hosts but those that are named so: to this one, or, where the name begins with `*.`, to all
    /// below it. It allows nothing that would not be allowed otherwise. An address counts as the name it is written as.
    ///
    /// ```
    /// use ringback::transport::{Forbidden, Guard};
    /// use ringback::url::WebhookUrl;
    ///
    /// let guard = Guard::default().only_host("hooks.example.com").only_host("*.example.net");
    /// assert!(guard.check_url(&WebhookUrl::parse("https://hooks.example.com/in")?).is_ok());
    /// assert!(guard.check_url(&WebhookUrl::parse("https://eu.example.net/in")?).is_ok());
    /// let elsewhere = guard.check_url(&WebhookUrl::parse("https://example.net/in")?);
    /// assert_eq!(elsewhere, Err(Forbidden::NotListed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn only_host(mut self, name: impl AsRef<str>) -> Self {
        self.only_hosts.insert(name.as_ref().to_ascii_lowercase());
        self
    }

    /// Lets requests go to no addresses but those in networks that are named so. It allows nothing that would not be
    /// allowed otherwise: private ones must be [allowed](Self::allow_network) too.
    #[must_use]
    pub fn only_network(mut self, network: Network) -> Self {
        self.only_networks.push(network);
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
        let host = lower_case(uri.host().unwrap_or_default());
        self.check_listed(&host)?;
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
        self.check_network(address)?;
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
        let name = lower_case(name);
        self.check_listed(&name)?;
        self.check_name(&name)?;
        let is_trusted = self.hosts.contains(&*name);
        addresses.into_iter().try_for_each(|address| match is_trusted {
            true => self.check_network(address),
            false => self.check_addr(address),
        })
    }

    fn check_listed(&self, host: &str) -> Result<(), Forbidden> {
        let is_listed = self
            .only_hosts
            .iter()
            .any(|listed| match listed.strip_prefix("*.") {
                Some(parent) => host
                    .strip_suffix(parent)
                    .is_some_and(|below| below.len() > 1 && below.ends_with('.')),
                None => host == listed,
            });
        if self.only_hosts.is_empty() || is_listed {
            Ok(())
        } else {
            Err(Forbidden::NotListed)
        }
    }

    fn check_network(&self, address: IpAddr) -> Result<(), Forbidden> {
        let is_listed = self.only_networks.iter().any(|network| network.contains(address));
        if self.only_networks.is_empty() || is_listed {
            Ok(())
        } else {
            Err(Forbidden::NotListed)
        }
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

/// Names are nearly always in lower case already, and every request has one judged.
fn lower_case(name: &str) -> Cow<'_, str> {
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge_url(guard: &Guard, url: &str) -> Result<(), Forbidden> {
        guard.check_url(&WebhookUrl::parse(url).unwrap())
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

    #[test]
    fn what_is_narrowed_reaches_no_further() {
        let (listed, other) = (IpAddr::from([93, 184, 215, 14]), IpAddr::from([93, 184, 215, 15]));
        let guard = Guard::default().only_network(listed.into());
        assert_eq!(guard.check_resolved("a.example", [listed]), Ok(()));
        for refused in [[other, listed], [listed, other]] {
            assert_eq!(
                guard.check_resolved("a.example", refused),
                Err(Forbidden::NotListed)
            );
        }
        assert_eq!(
            judge_url(&guard, "https://93.184.215.15/"),
            Err(Forbidden::NotListed)
        );
        // A trusted name is no way around it, and a listed network is not thereby allowed.
        let trusting = guard.clone().allow_host("a.example");
        assert_eq!(
            trusting.check_resolved("a.example", [other]),
            Err(Forbidden::NotListed)
        );
        let private: IpAddr = [10, 0, 0, 1].into();
        let inside = Guard::default().only_network(private.into());
        assert_eq!(
            inside.check_addr(private),
            Err(Forbidden::Address { range: "private use" })
        );
        assert_eq!(inside.allow_network(private.into()).check_addr(private), Ok(()));

        let guard = Guard::default().only_host("A.example").only_host("*.b.example");
        for (host, verdict) in [
            ("a.example", Ok(())),
            ("A.Example", Ok(())),
            ("x.b.example", Ok(())),
            ("x.y.b.example", Ok(())),
            ("b.example", Err(Forbidden::NotListed)),
            ("xb.example", Err(Forbidden::NotListed)),
            ("x.a.example", Err(Forbidden::NotListed)),
            ("a.example.evil.example", Err(Forbidden::NotListed)),
            ("93.184.215.14", Err(Forbidden::NotListed)),
        ] {
            assert_eq!(judge_url(&guard, &format!("https://{host}/")), verdict, "{host}");
            assert_eq!(guard.check_resolved(host, [listed]), verdict, "{host}");
        }
    }

    #[test]
    fn a_guard_is_kept_as_it_is_and_what_is_not_known_of_it_is_refused() {
        let guard = Guard::default()
            .allow_http()
            .allow_loopback()
            .allow_host("a.example")
            .only_host("*.example")
            .only_network("10.0.0.0/8".parse().unwrap());
        let json = serde_json::to_string(&guard).unwrap();
        assert_eq!(serde_json::from_str::<Guard>(&json).unwrap(), guard);
        assert_eq!(serde_json::from_str::<Guard>("{}").unwrap(), Guard::default());
        assert!(serde_json::from_str::<Guard>(r#"{"only_ports":[443]}"#).is_err());
    }
}

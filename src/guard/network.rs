//! Ranges of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A range of IP addresses: those that agree with a base address in their first bits.
///
/// Written `10.0.0.0/8` or `fd00:1::/32`; an address alone is a range of one. IPv4 and IPv6 are kept apart: no IPv4
/// range contains an IPv6 address that embeds an IPv4 one.
///
/// ```
/// use ringback::transport::Network;
///
/// let network: Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains([10, 1, 2, 3].into()));
/// assert!(!network.contains([11, 0, 0, 0].into()));
/// # Ok::<(), ringback::transport::NetworkError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// Why a text is not a [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The part before the slash is not an address.
    #[error("the network's base is not an IP address")]
    Address,
    /// The part after the slash is not a number, or is more than the address has bits.
    #[error("the network's prefix length is not a number within the address's bits")]
    Prefix,
    /// The base has bits set beyond the prefix, so that it is unclear which range is meant.
    #[error("the network's base has bits set beyond its prefix")]
    HostBits,
}

impl Network {
    /// The range of all addresses whose first `prefix` bits are those of `base`.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Prefix`] and [`NetworkError::HostBits`].
    pub fn new(base: IpAddr, prefix: u8) -> Result<Self, NetworkError> {
        if prefix > width(base) {
            return Err(NetworkError::Prefix);
        }
        if bits(base).unbounded_shl(prefix.into()) != 0 {
            return Err(NetworkError::HostBits);
        }
        Ok(Self { base, prefix })
    }

    /// Whether the address lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.base.is_ipv4() == address.is_ipv4()
            && (bits(self.base) ^ bits(address)).leading_zeros() >= self.prefix.into()
    }

    /// A range known to be right, for tables.
    pub(super) const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        Self {
            base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            prefix,
        }
    }

    /// A range known to be right, for tables.
    pub(super) const fn v6(base: u128, prefix: u8) -> Self {
        Self {
            base: IpAddr::V6(Ipv6Addr::from_bits(base)),
            prefix,
        }
    }
}

/// The address's bits, at the upper end.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self {
            base: address,
            prefix: width(address),
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => (base, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| NetworkError::Address)?;
        match prefix {
            None => Ok(base.into()),
            Some(prefix) => Self::new(base, prefix.parse().map_err(|_| NetworkError::Prefix)?),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_refused() {
        for text in [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.2.3/32",
            "::/0",
            "fd00:1::/32",
            "::1/128",
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("::1".parse::<Network>(), "::1/128".parse());
        for (text, why) in [
            ("", NetworkError::Address),
            ("10/8", NetworkError::Address),
            ("10.0.0.0/", NetworkError::Prefix),
            ("10.0.0.0/33", NetworkError::Prefix),
            ("::/129", NetworkError::Prefix),
            ("::/-1", NetworkError::Prefix),
            ("10.0.0.1/8", NetworkError::HostBits),
            ("fd00::1/127", NetworkError::HostBits),
        ] {
            assert_eq!(text.parse::<Network>(), Err(why), "{text}");
        }
    }

    #[test]
    fn the_families_are_kept_apart() {
        let everything_v4: Network = "0.0.0.0/0".parse().unwrap();
        let everything_v6: Network = "::/0".parse().unwrap();
        assert!(!everything_v4.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!everything_v6.contains("10.0.0.1".parse().unwrap()));
        assert!(everything_v6.contains("::ffff:10.0.0.1".parse().unwrap()));
    }
}

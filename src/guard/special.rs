//! Addresses that are not public.

use std::net::IpAddr;

use super::network::Network;

pub(super) const LOOPBACK_V4: Network = Network::v4(127, 0, 0, 0, 8);
pub(super) const LOOPBACK_V6: Network = Network::v6(1, 128);
const GLOBAL_UNICAST_V6: Network = Network::v6(0x2000 << 112, 3);

/// What a special address is for; nothing for a public one.
pub(super) fn special_range(address: IpAddr) -> Option<&'static str> {
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
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::guard::{Forbidden, Guard};

    fn judge(address: &str) -> Result<(), Forbidden> {
        Guard::default().check_addr(address.parse().unwrap())
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

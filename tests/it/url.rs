//! What a `WebhookUrl` accepts, http and reqwest read alike.

use proptest::prelude::*;
use ringback::url::{Host, WebhookUrl};

/// reqwest follows the WHATWG rules, as browsers do.
fn read_alike(url: &WebhookUrl) -> Result<(), TestCaseError> {
    let other = reqwest::Url::parse(url.expose());
    if url.uri().host().unwrap().contains("xn--") && other.is_err() {
        return Ok(()); // not valid Punycode: refused over there, but not read as another host
    }
    let other = other.map_err(|error| TestCaseError::fail(format!("{error}: {}", url.expose())))?;
    prop_assert_eq!(other.as_str(), url.expose());
    prop_assert_eq!(url.uri().to_string(), url.expose());
    prop_assert_eq!(Some(other.path()), Some(url.uri().path()));
    prop_assert_eq!(other.query(), url.uri().query());
    prop_assert_eq!(other.host_str(), url.uri().host());
    prop_assert_eq!(other.port_or_known_default(), Some(url.port()));
    let host = match url.host() {
        Host::Name(name) => name.to_owned(),
        Host::V4(address) => address.to_string(),
        Host::V6(address) => format!("[{address}]"),
    };
    prop_assert_eq!(other.host_str(), Some(host.as_str()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_path_and_query_accepted(rest in r"[ -~]{0,12}|(/|\.|%2[eE]|[a-c?'%&=;@:\[\]!$()*+,_~-]){0,24}") {
        if let Ok(url) = WebhookUrl::parse(&format!("https://example.com/{rest}")) {
            read_alike(&url)?;
        }
    }

    #[test]
    fn any_host_accepted(host in r"[ -~]{1,12}|([0-9]{1,4}|0x[0-9a-f]{0,3}|[a-zA-Z_-]{1,4}|xn--[a-z0-9]{0,5}|\.|:){1,8}") {
        for url in [format!("http://{host}/"), format!("https://{host}"), format!("https://{host}?q")] {
            if let Ok(url) = WebhookUrl::parse(&url) {
                read_alike(&url)?;
            }
        }
    }

    #[test]
    fn any_address_accepted(v4: u32, groups in proptest::array::uniform8(prop_oneof![Just(0u16), any::<u16>()])) {
        let v4 = std::net::Ipv4Addr::from(v4);
        read_alike(&WebhookUrl::parse(&format!("http://{v4}:80/")).unwrap())?;
        let v6 = std::net::Ipv6Addr::from(groups);
        if let Ok(url) = WebhookUrl::parse(&format!("http://[{v6}]:8080/")) {
            read_alike(&url)?;
        } else {
            prop_assert!(v6.to_ipv4().is_some(), "{v6}");
        }
    }

    #[test]
    fn anything_at_all_is_read_without_panic(text in any::<String>(), near in r"https?://\PC{0,40}") {
        for text in [text, near] {
            if let Ok(url) = WebhookUrl::parse(&text) {
                read_alike(&url)?;
                prop_assert_eq!(&WebhookUrl::parse(url.expose()).unwrap(), &url);
            }
        }
    }
}

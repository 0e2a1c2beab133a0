//! Query string hash: the part of a request that a Connect token covers.
//!
//! `hex(sha256(METHOD & PATH & QUERY))`, the query with sorted parameters and normalised values.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use url::form_urlencoded;

/// Path prefix of the product; not part of the hash.
pub const CONTEXT_PATH: &str = "/wiki";
/// Name of the query parameter that carries the token; not part of the hash.
const TOKEN: &str = "jwt";
/// All but the unreserved characters. **Source:** RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Sort order of the parameters. The reference libraries disagree on names that need encoding and
/// on values outside the Basic Multilingual Plane; both orders cover the same content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    /// npm: decoded names and values, by UTF-16 unit.
    Npm,
    /// `PyPI`: encoded names, decoded values by code point.
    Pypi,
}

/// Returns the hash of a request to `path` with the raw query `query`, as our own tokens carry it.
#[must_use]
pub fn hash(method: &str, path: &str, query: &str) -> String {
    digest(&canonical(method, path, query, Order::Npm))
}

/// Whether `claimed` is the hash of this request according to either reference library.
#[must_use]
pub fn covers(claimed: &str, method: &str, path: &str, query: &str) -> bool {
    let path = without_context(path);
    [Order::Npm, Order::Pypi]
        .iter()
        .any(|order| digest(&canonical(method, path, query, *order)) == claimed)
}

fn without_context(path: &str) -> &str {
    let rest = path.strip_prefix(CONTEXT_PATH);
    rest.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path)
}

fn digest(canonical: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(canonical))
}

/// Canonical text of the request, which is hashed.
fn canonical(method: &str, path: &str, query: &str, order: Order) -> String {
    let path = path.strip_suffix('/').unwrap_or(path).replace('&', "%26");
    let path = if path.is_empty() { "/" } else { &path };
    format!("{}&{path}&{}", method.to_ascii_uppercase(), parameters(query, order))
}

fn parameters(query: &str, order: Order) -> String {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
        if name != TOKEN {
            by_name.entry(name).or_default().push(value);
        }
    }
    let mut groups: Vec<_> = by_name.into_iter().collect();
    match order {
        Order::Npm => groups.sort_by_cached_key(|(name, _)| units(name)),
        Order::Pypi => groups.sort_by_cached_key(|(name, _)| encode(name)),
    }
    let pair = |(name, mut values): (String, Vec<String>)| {
        match order {
            Order::Npm => values.sort_by_cached_key(|value| units(value)),
            Order::Pypi => values.sort(),
        }
        let values: Vec<String> = values.iter().map(|value| encode(value)).collect();
        format!("{}={}", encode(&name), values.join(","))
    };
    groups.into_iter().map(pair).collect::<Vec<_>>().join("&")
}

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// Percent-encodes all but the unreserved characters. **Source:** RFC 3986, section 2.3.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const VECTORS: &str = include_str!("../../tests/cases/registration/qsh-vectors.json");

    fn vectors() -> Vec<Value> {
        let document: Value = serde_json::from_str(VECTORS).unwrap();
        document["vectors"].as_array().unwrap().clone()
    }

    fn split(vector: &Value) -> (String, String, String) {
        let url = vector["url"].as_str().unwrap();
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let path = if vector["baseUrl"].is_null() { path } else { without_context(path) };
        (vector["method"].as_str().unwrap().into(), path.into(), query.into())
    }

    #[test]
    fn all_but_unreserved_characters_are_percent_encoded() {
        for byte in 0..=127_u8 {
            let text = char::from(byte).to_string();
            let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            let expected = if is_unreserved { text.clone() } else { format!("%{byte:02X}") };
            assert_eq!(encode(&text), expected);
        }
        assert_eq!(encode("é\u{1F600}"), "%C3%A9%F0%9F%98%80");
    }

    #[test]
    fn hashes_as_the_reference_libraries_do() {
        for vector in vectors() {
            let (method, path, query) = split(&vector);
            let canonical = canonical(&method, &path, &query, Order::Npm);
            assert_eq!(canonical, vector["canonical"], "{}", vector["url"]);
            assert_eq!(hash(&method, &path, &query), vector["qsh"], "{}", vector["url"]);
        }
    }

    #[test]
    fn accepts_the_order_of_either_library() {
        let mut variants = 0;
        for vector in vectors() {
            let (method, path, query) = split(&vector);
            for variant in vector["variants"].as_array().into_iter().flatten() {
                let claimed = variant["qsh"].as_str().unwrap();
                assert!(covers(claimed, &method, &path, &query), "{}", vector["url"]);
                variants += 1;
            }
        }
        assert_eq!(variants, 3);
    }

    #[test]
    fn product_path_is_not_covered_and_a_longer_word_is() {
        let claimed = hash("GET", "/rest/x", "");
        assert!(covers(&claimed, "GET", "/wiki/rest/x", ""));
        assert!(covers(&hash("GET", "/wikipedia", ""), "GET", "/wikipedia", ""));
        assert!(!covers(&claimed, "GET", "/rest/y", ""));
        assert!(!covers(&claimed, "POST", "/rest/x", ""));
    }
}

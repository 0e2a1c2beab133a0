//! The page that a visitor wanted before the login.

use super::super::operator_api::encoded;

/// Longest address that is kept, in bytes.
const BYTES_MAX: usize = 2_000;
/// The page of the login.
pub(super) const LOGIN: &str = "/login";

/// Returns an address of this console as it is, and `/` instead of any other: a link to the login must not lead to
/// another host.
pub(super) fn own_page(wanted: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    let is_own = wanted.len() <= BYTES_MAX
        && wanted.starts_with('/')
        && !wanted.starts_with("//")
        && wanted.bytes().all(is_plain)
        && !["/login", "/logout"].iter().any(|page| wanted.starts_with(page));
    if is_own { wanted } else { "/" }
}

/// Returns the address of the login that leads to a page.
pub(super) fn login_for(wanted: &str) -> String {
    match own_page(wanted) {
        "/" => LOGIN.to_owned(),
        page => format!("{LOGIN}?next={}", encoded(page)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_leads_to_pages_of_this_host_only() {
        for own in ["/", "/subscriptions?q=a%20b&state=paused", "/events/1"] {
            assert_eq!(own_page(own), own);
        }
        for other in [
            "",
            "subscriptions",
            "//evil.example/",
            "/\\evil.example",
            "https://evil.example/",
            "/a\r\nLocation: x",
            "/\tx",
            "/é",
            "/login?next=/",
            "/logout",
        ] {
            assert_eq!(own_page(other), "/", "{other:?}");
        }
        assert_eq!(own_page(&format!("/{}", "x".repeat(BYTES_MAX))), "/");
        assert_eq!(login_for("/a?b=c"), "/login?next=%2Fa%3Fb%3Dc");
        assert_eq!(login_for("//x"), "/login");
    }
}

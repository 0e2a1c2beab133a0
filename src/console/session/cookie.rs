//! Cookies of the console.

use axum::http::{HeaderMap, HeaderValue, header};

/// Most characters of a value that is read.
const VALUE_CHARS_MAX: usize = 256;

/// A cookie by its name, and whether browsers send it over TLS only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cookie {
    name: &'static str,
    is_secure: bool,
}

impl Cookie {
    /// Has the session.
    pub(super) fn session(is_secure: bool) -> Self {
        Self { name: "switchyard_session", is_secure }
    }

    /// Has what the form of the login carries.
    pub(super) fn login(is_secure: bool) -> Self {
        Self { name: "switchyard_login", is_secure }
    }

    /// Has the secret of a login at a provider.
    pub(super) fn oidc(is_secure: bool) -> Self {
        Self { name: "switchyard_oidc", is_secure }
    }

    /// Returns its name: a browser accepts `__Host-` from this host only, over TLS only.
    fn full_name(self) -> String {
        let prefix = if self.is_secure { "__Host-" } else { "" };
        format!("{prefix}{}", self.name)
    }

    /// Returns its value; none if there are several, one of which another host of the domain may have set.
    pub(super) fn read(self, headers: &HeaderMap) -> Option<&str> {
        let name = self.full_name();
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let all =
            lines.flat_map(|line| line.split(';')).filter_map(|one| one.trim().split_once('='));
        let mut found = all.filter(|(of, _)| *of == name).map(|(_, value)| value);
        let value = found.next().filter(|value| value.len() <= VALUE_CHARS_MAX)?;
        found.next().is_none().then_some(value)
    }

    /// Returns the header that sets it for some seconds; 0 removes it. The value has no characters that need quotes.
    pub(super) fn set(self, value: &str, life_s: u64) -> Option<HeaderValue> {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let name = self.full_name();
        let text =
            format!("{name}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cookie: Cookie, lines: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        cookie.read(&headers).map(str::to_owned)
    }

    #[test]
    fn cookie_is_read_by_its_whole_name_and_once() {
        let plain = Cookie::session(false);
        assert_eq!(read(plain, &["a=b; switchyard_session=x.y"]).as_deref(), Some("x.y"));
        assert_eq!(read(plain, &["a=b", "switchyard_session=x"]).as_deref(), Some("x"));
        assert_eq!(read(plain, &["__Host-switchyard_session=x"]), None);
        assert_eq!(read(plain, &["switchyard_session=x; switchyard_session=y"]), None);
        assert_eq!(read(plain, &["switchyard_session=x", "switchyard_session=x"]), None);
        assert_eq!(read(plain, &[]), None);
        let secure = Cookie::session(true);
        assert_eq!(
            read(secure, &["switchyard_session=x; __Host-switchyard_session=y"]).as_deref(),
            Some("y")
        );
    }

    #[test]
    fn cookie_is_for_this_host_and_not_for_scripts() {
        let text = |cookie: Cookie| cookie.set("v", 60).unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            text(Cookie::session(true)),
            "__Host-switchyard_session=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            text(Cookie::login(false)),
            "switchyard_login=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
        assert_eq!(Cookie::session(false).set("a\nb", 1), None);
    }
}

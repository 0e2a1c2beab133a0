//! Tokens of Connect webhooks (`Authorization: JWT ..`), and which part of one is wrong.

use super::request::{Headers, Wrong, wrong};
use crate::delivery::hub_signature;
use crate::domain::Secret;
use crate::jwt::{ConnectToken, TokenError, qsh};

/// The header of the token.
pub(super) const AUTHORIZATION: &str = "authorization";
/// The header of the signature of the body.
const HUB_SIGNATURE: &str = "x-hub-signature";
/// The claim of the request.
const QSH: &str = "qsh";

/// The request that a token must cover.
pub(super) struct Request<'r> {
    pub(super) method: &'r str,
    /// Its path below the base address of the app, as sent.
    pub(super) path: &'r str,
    /// Its path as sent.
    pub(super) whole_path: &'r str,
    /// Its query as sent, without the question mark.
    pub(super) query: &'r str,
}

/// Returns the token of `Authorization: JWT ..`; none if the header is missing or of another kind.
pub(super) fn token<'h>(headers: &Headers<'h>) -> Option<&'h str> {
    let (kind, token) = headers.find(AUTHORIZATION)?.split_once(' ')?;
    kind.eq_ignore_ascii_case("JWT").then(|| token.trim())
}

/// Checks a token at `now_s`, or at the time of its issue if its age does not matter, and the signature of the body if
/// there is one.
pub(super) fn check(
    secret: &Secret,
    headers: &Headers<'_>,
    (token, request): (&str, &Request<'_>),
    body: Option<&[u8]>,
    now_s: Option<i64>,
) -> Result<(), Wrong> {
    let token = ConnectToken::parse(token).map_err(malformed)?;
    if !token.is_signed_with(secret) {
        let message =
            format!("it is not signed with this secret; its issuer is `{}`", token.issuer());
        let help = "the secret is the `sharedSecret` of the last `installed` callback of this client key, as it is, \
            without `whsec_`; a reinstallation replaces it";
        return Err(wrong(AUTHORIZATION, message, help));
    }
    let now_s = now_s.unwrap_or(token.issued_s());
    token
        .check(now_s, request.method, request.path, request.query)
        .map_err(|error| refused(&token, error, request, now_s))?;
    let Some(body) = body else { return Ok(()) };
    // The token does not cover the body.
    let given = headers.required(HUB_SIGNATURE)?;
    if hub_signature(secret, body).is_ok_and(|signature| signature == given) {
        return Ok(());
    }
    let help = "check the bytes as they were received, before they are parsed and written again";
    Err(wrong(HUB_SIGNATURE, "the token is valid, and this is not the body that was sent", help))
}

fn malformed(error: TokenError) -> Wrong {
    let (message, help) = match error {
        TokenError::Algorithm => {
            ("its algorithm is not HS256", "a token of another algorithm is never accepted")
        }
        TokenError::HeaderParameter => (
            "its header has a parameter that names a key or an extension",
            "such a token is never accepted",
        ),
        TokenError::Claims => (
            "it lacks a claim, or one has another type",
            "a token of a Connect webhook has `iss`, `iat`, `exp` and `qsh`; one of an OAuth 2.0 app has no `qsh`",
        ),
        _ => (
            "it is no token of three parts in base64url",
            "the header is `Authorization: JWT <token>`",
        ),
    };
    wrong(AUTHORIZATION, message, help)
}

fn refused(
    token: &ConnectToken<'_>,
    error: TokenError,
    request: &Request<'_>,
    now_s: i64,
) -> Wrong {
    let clock = "check the clock of this machine, or give --any-age for a recorded request";
    match error {
        TokenError::Expired => {
            let ago_s = now_s.saturating_sub(token.accepted_until_s());
            wrong(
                AUTHORIZATION,
                format!("the signature fits, and the token expired {ago_s} s ago"),
                clock,
            )
        }
        TokenError::Early => {
            let in_s = token.issued_s().saturating_sub(now_s);
            wrong(
                AUTHORIZATION,
                format!("the signature fits, and the token was issued {in_s} s in the future"),
                clock,
            )
        }
        TokenError::LongLived => {
            let help =
                "tokens of webhooks live for three minutes: this one was made by somebody else";
            wrong(
                AUTHORIZATION,
                "the signature fits, and the token lives for more than an hour",
                help,
            )
        }
        _ => other_request(token, request, now_s),
    }
}

/// Finds out which other request a token covers, by what receivers often do with an address.
fn other_request(token: &ConnectToken<'_>, request: &Request<'_>, now_s: i64) -> Wrong {
    let covers = |method, path, query| token.check(now_s, method, path, query).is_ok();
    let Request { method, path, whole_path, query } = *request;
    let (message, help) = if covers(method, whole_path, query) {
        (
            "it covers the path with the part of the base address",
            "leave out --base-url, or correct it",
        )
    } else if !query.is_empty() && covers(method, path, "") {
        (
            "it covers the address without its query",
            "a proxy added the query: check the address that was called",
        )
    } else if let Some(other) =
        ["GET", "POST", "PUT", "DELETE"].into_iter().find(|other| covers(other, path, query))
    {
        let message = format!("it covers {other} of this address, not {method}");
        return wrong(QSH, message, "name the method of the request with --method");
    } else {
        (
            "it covers another request",
            "give the address that was called with --url, with its query, and the base address of the app with --base-url; \
             a proxy may have changed the path",
        )
    };
    let expected = qsh::hash(method, path, query);
    wrong(QSH, format!("{message}; of {method} {path} it is {expected}"), help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt;

    const BODY: &[u8] = b"{}";
    const NOW_S: i64 = 1_700_000_000;

    fn secret() -> Secret {
        Secret::new("a-shared-secret")
    }

    /// Headers of a request to `path` and `query` with a body.
    fn headers(method: &str, path: &str, query: &str) -> String {
        let token =
            jwt::sign(&secret(), "client-key", &qsh::hash(method, path, query), NOW_S).unwrap();
        let signature = hub_signature(&secret(), BODY).unwrap();
        format!("POST /hook HTTP/1.1\nAuthorization: JWT {token}\nX-Hub-Signature: {signature}\n")
    }

    fn checked(
        headers: &str,
        secret: &Secret,
        body: &[u8],
        now_s: Option<i64>,
    ) -> Result<(), Wrong> {
        let headers = Headers(headers);
        let request =
            Request { method: "POST", path: "/hook", whole_path: "/app/hook", query: "a=1" };
        check(secret, &headers, (token(&headers).unwrap(), &request), Some(body), now_s)
    }

    #[test]
    fn token_of_this_request_is_valid_while_it_lives() {
        let headers = headers("POST", "/hook", "a=1");
        assert_eq!(checked(&headers, &secret(), BODY, Some(NOW_S + 10)), Ok(()));
        assert_eq!(checked(&headers, &secret(), BODY, None), Ok(()), "its age does not matter");
        for (now_s, said) in
            [(NOW_S + 1_000, "expired 760 s ago"), (NOW_S - 100, "100 s in the future")]
        {
            let wrong = checked(&headers, &secret(), BODY, Some(now_s)).unwrap_err();
            assert!(wrong.part == AUTHORIZATION && wrong.message.contains(said), "{wrong:?}");
        }
    }

    #[test]
    fn the_wrong_part_is_named() {
        let right = headers("POST", "/hook", "a=1");
        let wrong = checked(&right, &Secret::new("other"), BODY, None).unwrap_err();
        assert!(wrong.part == AUTHORIZATION && wrong.message.contains("client-key"), "{wrong:?}");
        assert_eq!(checked(&right, &secret(), b"{ }", None).unwrap_err().part, HUB_SIGNATURE);
        for (method, path, query, said) in [
            ("POST", "/app/hook", "a=1", "base address"),
            ("POST", "/hook", "", "without its query"),
            ("GET", "/hook", "a=1", "covers GET of this address, not POST"),
            ("POST", "/other", "a=1", "another request"),
        ] {
            let wrong = checked(&headers(method, path, query), &secret(), BODY, None).unwrap_err();
            assert!(wrong.part == QSH && wrong.message.contains(said), "{said}: {wrong:?}");
        }
        for token in ["a.b.c", "x", "eyJhbGciOiJub25lIn0.e30."] {
            let headers = format!("authorization: JWT {token}\n");
            assert_eq!(checked(&headers, &secret(), BODY, None).unwrap_err().part, AUTHORIZATION);
        }
        assert_eq!(token(&Headers("authorization: Bearer x")), None);
    }
}

//! Settings of traces: checked, and the headers parsed. Messages show no value of a header: it is secret.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::effective::without_password;
use super::sections::TracesConfig;

impl TracesConfig {
    /// Returns the headers of each request to the collector, from `name=value,name=value`.
    ///
    /// **Source:** `OTEL_EXPORTER_OTLP_HEADERS` of OpenTelemetry has this form.
    ///
    /// # Errors
    /// The first part that is no header, by its number.
    pub fn header_map(&self) -> Result<HeaderMap, String> {
        let parts = self.headers.reveal().split(',').map(str::trim);
        let mut headers = HeaderMap::new();
        for (at, part) in parts.filter(|part| !part.is_empty()).enumerate() {
            let (name, value) = header(part).ok_or_else(|| {
                format!(
                    "part {} of `traces.headers` is no `name=value`, of which several are separated by commas",
                    at + 1
                )
            })?;
            headers.append(name, value);
        }
        Ok(headers)
    }
}

/// Refuses an endpoint that is no URL of a collector, and headers that cannot be sent.
pub(super) fn check(traces: &TracesConfig) -> Result<(), String> {
    let endpoint = traces.endpoint.as_str();
    if !endpoint.is_empty() && !is_collector(endpoint) {
        return Err(format!(
            "`traces.endpoint` is \"{}\"; it must be a URL with http or https, without user and query, such as \"http://localhost:4318\", or empty",
            without_password(endpoint)
        ));
    }
    traces.header_map().map(drop)
}

fn is_collector(endpoint: &str) -> bool {
    Url::parse(endpoint).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

fn header(part: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = part.split_once('=')?;
    let name = HeaderName::try_from(name.trim()).ok()?;
    let mut value = HeaderValue::try_from(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    fn traces(endpoint: &str, headers: &str) -> TracesConfig {
        TracesConfig {
            endpoint: endpoint.to_owned(),
            headers: Secret::new(headers),
            sample: 0.01,
            spans_per_second: 1000,
            site_share: 0.25,
        }
    }

    #[test]
    fn headers_are_read_as_the_environment_of_others_has_them() {
        let read = |text: &str| traces("", text).header_map();
        assert!(read("").unwrap().is_empty());
        let headers = read("authorization=Bearer a=b, x-tenant = t1 ,").unwrap();
        assert_eq!(headers["authorization"], "Bearer a=b");
        assert_eq!(headers.len(), 2);
        assert!(headers["x-tenant"].is_sensitive());
        for (text, part) in [("hidden", 1), ("a=b,hidden hidden=x", 2), ("a=b,c=\u{1}", 2)] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(&format!("part {part} of `traces.headers`")), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn endpoint_is_the_url_of_a_collector() {
        for endpoint in ["", "http://localhost:4318", "https://otlp.example.com/path/"] {
            assert_eq!(check(&traces(endpoint, "")), Ok(()), "{endpoint}");
        }
        for endpoint in ["localhost:4318", "grpc://c:4317", "http://c/?token=x", "/v1/traces", "x"]
        {
            let error = check(&traces(endpoint, "")).unwrap_err();
            assert!(error.contains(&format!("`traces.endpoint` is \"{endpoint}\"")), "{error}");
        }
        let error = check(&traces("http://user:hidden@c:4318", "")).unwrap_err();
        assert!(error.contains("http://***@c:4318") && !error.contains("hidden"), "{error}");
    }
}

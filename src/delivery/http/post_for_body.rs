//! Requests whose response body is used, under the same deadline and guard as deliveries.

use std::error::Error as StdError;

use bytes::Bytes;
use url::Url;

use super::{HttpClient, classify, read_response, request};
use crate::delivery::HeaderList;
use crate::delivery::metrics;

impl HttpClient {
    /// Posts and returns the body of a 2xx response of at most `bytes_max`.
    ///
    /// # Errors
    /// There was no such response in time; one sentence.
    pub async fn post_for_body(
        &self,
        url: &Url,
        headers: HeaderList,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<Bytes, String> {
        if let Err(refusal) = self.guard.check_url(url) {
            metrics::blocked(refusal);
            return Err(refusal.to_string());
        }
        let request = request(url, headers, body).ok_or("the request cannot be built")?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| detail(&error))?;
            let status = response.status();
            // One byte more than allowed, to distinguish a longer response from one of exactly that
            // size.
            let body = read_response(response, bytes_max.saturating_add(1)).await;
            let body = body.map_err(|error| detail(&error))?;
            match () {
                () if !status.is_success() => Err(format!("status {}", status.as_u16())),
                () if body.len() > bytes_max => {
                    Err(format!("the response has more than {bytes_max} bytes"))
                }
                () => Ok(Bytes::from(body)),
            }
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(responded) => responded,
            Err(_) => Err("no complete response before the deadline".into()),
        }
    }
}

fn detail(error: &(dyn StdError + 'static)) -> String {
    classify(error).detail.into_owned()
}

//! Requests whose answer matters, under the same deadline and guard as deliveries.

use std::error::Error as StdError;

use bytes::Bytes;
use url::Url;

use super::{HttpClient, classify, read_answer, request};
use crate::delivery::HeaderList;
use crate::delivery::metrics;

impl HttpClient {
    /// Posts and returns the body of a 2xx answer of at most `bytes_max`.
    ///
    /// # Errors
    /// One sentence: there was no such answer in time.
    pub async fn ask(
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
        let request = request(url, headers, body).ok_or("the request cannot be written")?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| detail(&error))?;
            let status = answer.status();
            // One byte more than may be, so that a longer answer is told from one that just fits.
            let body = read_answer(answer, bytes_max.saturating_add(1)).await;
            let body = body.map_err(|error| detail(&error))?;
            match () {
                () if !status.is_success() => Err(format!("status {}", status.as_u16())),
                () if body.len() > bytes_max => {
                    Err(format!("the answer has more than {bytes_max} bytes"))
                }
                () => Ok(Bytes::from(body)),
            }
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err("no whole answer before the deadline".into()),
        }
    }
}

fn detail(error: &(dyn StdError + 'static)) -> String {
    classify(error).detail.into_owned()
}

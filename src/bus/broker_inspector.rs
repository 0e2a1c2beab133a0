//! Reads what the broker says of itself and of the streams of a router, for the doctor.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{DiscardPolicy, Info, StorageType};
use futures_util::future::{BoxFuture, try_join_all};

use super::connect::JetStreamClient;
use super::subjects::Subjects;
use crate::recovery::doctor::{BrokerFacts, BrokerInspector, StreamFacts};

/// How long an inspection waits for the broker.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Inspects the broker that a router uses.
#[derive(Clone, Debug)]
pub struct StreamInspector {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    has_log: bool,
}

impl StreamInspector {
    /// Inspects over `jetstream_client`; `has_log` says whether there is a delivery log.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects, has_log: bool) -> Self {
        Self { jetstream_client, subjects, has_log }
    }

    fn names(&self) -> Vec<String> {
        let subjects = &self.subjects;
        let mut names = vec![
            subjects.events_stream(),
            subjects.parked_stream(),
            subjects.dead_letter_stream(),
            subjects.repeats_stream(),
            subjects.revisions_stream(),
            subjects.registry_stream(),
            subjects.state_stream(),
            subjects.audit_stream(),
            subjects.sessions_stream(),
        ];
        if self.has_log {
            names.extend([subjects.log_stream(), subjects.log_index_stream()]);
        }
        names
    }

    async fn read(&self) -> Result<BrokerFacts, String> {
        let context = &self.jetstream_client.context;
        let account = context.query_account().await.map_err(|error| error.to_string())?;
        let streams =
            self.names().into_iter().map(async |name| match context.get_stream(&name).await {
                Ok(stream) => Ok(stream_facts(name, stream.cached_info())),
                Err(error) => match error.kind() {
                    GetStreamErrorKind::JetStream(answer)
                        if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                    {
                        Ok(StreamFacts { name, ..StreamFacts::default() })
                    }
                    _ => Err(error.to_string()),
                },
            });
        // Asked all at once: a doctor is called when the broker is slow.
        let streams = try_join_all(streams).await?;
        let server = self.jetstream_client.client.server_info();
        Ok(BrokerFacts {
            version: server.version,
            server: server.server_name,
            storage_used: account.storage,
            storage_max: account.limits.max_storage.and_then(|max| u64::try_from(max).ok()),
            streams,
        })
    }
}

impl BrokerInspector for StreamInspector {
    fn facts(&self) -> BoxFuture<'_, Result<BrokerFacts, String>> {
        Box::pin(async {
            match tokio::time::timeout(TIMEOUT, self.read()).await {
                Ok(facts) => facts,
                Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
            }
        })
    }
}

fn stream_facts(name: String, info: &Info) -> StreamFacts {
    let replicas = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
    StreamFacts {
        name,
        exists: true,
        messages: info.state.messages,
        bytes: info.state.bytes,
        bytes_max: u64::try_from(info.config.max_bytes).ok().filter(|bytes| *bytes > 0),
        refuses_when_full: info.config.discard == DiscardPolicy::New,
        replicas: info.config.num_replicas,
        replicas_behind: replicas.filter(|peer| peer.offline || !peer.current).count(),
        is_durable: info.config.storage == StorageType::File,
    }
}

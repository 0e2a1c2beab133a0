//! The baselines: a loop that pulls and acknowledges events, and a client that posts bodies.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{anyhow, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::corpus;
use crate::report::Stopwatch;
use crate::rig::Rig;
use crate::sink;

const CONSUMER: &str = "bare";

/// Pulls `events` events as the router does, and acknowledges each one.
pub(crate) async fn pull_and_ack(rig: &Rig, events: usize) -> anyhow::Result<Stopwatch> {
    let consumer = rig.consumer_like_ours(CONSUMER).await?;
    let watch = Stopwatch::start();
    let messages = consumer
        .stream()
        .max_messages_per_batch(500)
        .max_bytes_per_batch(rig.config.events.in_flight_bytes_max)
        .expires(Duration::from_secs(10))
        .heartbeat(Duration::from_secs(2))
        .messages()
        .await?;
    let mut messages = messages.take(events);
    while let Some(message) = messages.next().await {
        message?.ack().await.map_err(|error| anyhow!("{error}"))?;
    }
    rig.until_acknowledged(CONSUMER).await?;
    Ok(watch.stop())
}

/// Posts `deliveries` bodies with the concurrency that the router has for one endpoint.
pub(crate) async fn post(
    rig: &Rig,
    sink: &sink::Process,
    deliveries: usize,
) -> anyhow::Result<Stopwatch> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let (url, bodies, next) = (sink.url("/bare")?, corpus::bodies(), AtomicUsize::new(0));
    let watch = Stopwatch::start();
    let poster = async |_| {
        loop {
            let number = next.fetch_add(1, Relaxed);
            let Some(body) = bodies.get(number % bodies.len()) else { break };
            if number >= deliveries {
                break;
            }
            let request = Request::post(url.as_str())
                .header("content-type", "application/json")
                .body(Full::new(body.clone()))?;
            let answer = client.request(request).await?;
            ensure!(answer.status().is_success(), "{}", answer.status());
            answer.into_body().collect().await?;
        }
        Ok(())
    };
    try_join_all((0..rig.config.delivery.endpoint_concurrency).map(poster)).await?;
    Ok(watch.stop())
}

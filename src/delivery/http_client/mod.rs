//! HTTP client for deliveries.

mod client;

pub use client::{HttpClient, HttpSender};

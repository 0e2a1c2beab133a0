//! What pages are made of: tables, states, figures, charts, forms, filters.

mod chart;
mod diagnostics;
mod figure;
mod filter;
mod form;
mod notice;
mod sample;
mod state;
mod table;
mod text;
mod time;

pub(super) use chart::{bars, curve};
pub(super) use diagnostics::{diagnostics, span, warnings};
pub(super) use figure::{figure, success, values};
pub(super) use filter::{filter, marked_filter};
pub(super) use form::{Action, PERIODS, check, field, search_form, select};
pub(super) use notice::{done, empty, notice, refusal};
pub(super) use sample::pretty_sample;
pub(super) use state::{State, breaker, outcome, severity, subscription_state};
pub(super) use table::{Column, Table, column, number_column, pages};
pub(super) use text::{prose, sentence};
pub(super) use time::{ago, ago_if_known, bytes, count, facts, milliseconds};

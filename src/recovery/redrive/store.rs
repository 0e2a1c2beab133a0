//! The port to the dead-letter stream; implemented in `bus`.

use futures_util::future::BoxFuture;
use thiserror::Error;

use super::letter::{LetterId, StoredLetter};
use super::query::LetterScope;

/// Start of the message ids of events that a redrive published again.
pub const REPUBLISHED_PREFIX: &str = "redrive/";

/// The broker does not answer; one sentence.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct ReadError(pub String);

/// What the stream has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamBounds {
    /// Sequence of its first letter, or of the next one if it is empty.
    pub first: u64,
    /// Sequence of the last letter that was stored; 0 if none ever was.
    pub last: u64,
}

/// A range of sequences, ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LetterRange {
    /// The first one.
    pub from: u64,
    /// The last one.
    pub to: u64,
}

/// Letters of a range, in the order of the stream, without their bodies.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LetterBatch {
    /// The letters.
    pub letters: Vec<StoredLetter>,
    /// Where the range continues; none if it has no more letters.
    pub next: Option<u64>,
}

/// What became of an event that was published again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Republished {
    /// The event stream has it, and its letter is deleted.
    Stored,
    /// The broker can never store it.
    TooLarge,
    /// The event stream is full; one sentence.
    Full(String),
}

/// Reads, deletes and republishes dead letters.
pub trait DeadLetters: Send + Sync {
    /// Returns what the stream has.
    ///
    /// # Errors
    /// The broker does not answer.
    fn bounds(&self) -> BoxFuture<'_, Result<StreamBounds, ReadError>>;

    /// Returns a letter with its body, as the leader of the stream has it; none if there is none with this id.
    ///
    /// # Errors
    /// The broker does not answer.
    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<StoredLetter>, ReadError>>;

    /// Returns at most `max` letters of a range within a scope; a scope may return letters beyond it.
    ///
    /// # Errors
    /// The broker does not answer.
    fn read<'a>(
        &'a self,
        range: LetterRange,
        scope: &'a LetterScope,
        max: usize,
    ) -> BoxFuture<'a, Result<LetterBatch, ReadError>>;

    /// Deletes a letter; returns whether there was one with this id.
    ///
    /// # Errors
    /// The broker does not answer; the letter may be deleted nevertheless.
    fn delete(&self, id: LetterId) -> BoxFuture<'_, Result<bool, ReadError>>;

    /// Publishes the event of a letter to the event stream again, under an id of [`REPUBLISHED_PREFIX`], `job` and
    /// the letter, so that it is no repetition of the event that was dead-lettered, and deletes the letter.
    ///
    /// # Errors
    /// The broker does not answer; the event may be stored nevertheless.
    fn republish<'a>(
        &'a self,
        letter: &'a StoredLetter,
        job: &'a str,
    ) -> BoxFuture<'a, Result<Republished, ReadError>>;
}

//! Splits a request body into numbered lines, in bounded memory.

use axum::body::Bytes;
use bytes::BytesMut;
use futures_util::{Stream, StreamExt};

/// One line of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// Its bytes, without the line end.
    Whole(Bytes),
    /// Skipped, because it was longer than the bound.
    TooLong,
}

/// Splits a stream of chunks at line ends. Buffers at most one line of `bytes_max` and one chunk.
#[derive(Debug)]
pub(super) struct LineReader<S> {
    chunks: S,
    buffer: BytesMut,
    /// Length of the buffer's prefix that is known to hold no line end.
    searched: usize,
    bytes_max: usize,
    number: u64,
    skipping: bool,
    ended: bool,
}

impl<S, E> LineReader<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    pub(super) fn new(chunks: S, bytes_max: usize) -> Self {
        Self {
            chunks,
            buffer: BytesMut::new(),
            searched: 0,
            bytes_max,
            number: 0,
            skipping: false,
            ended: false,
        }
    }

    /// Returns the next line that is not blank, with its number from 1. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<(u64, Line)>, E> {
        loop {
            if let Some(line) = self.cut() {
                self.number += 1;
                match line {
                    Line::Whole(bytes) if bytes.trim_ascii().is_empty() => {}
                    line => return Ok(Some((self.number, line))),
                }
            } else if self.ended {
                return Ok(None);
            } else {
                match self.chunks.next().await {
                    Some(chunk) => self.buffer.extend_from_slice(&chunk?),
                    None => self.ended = true,
                }
            }
        }
    }

    /// Returns the number of the last line that was read; 0 before the first.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the chunks that were not read.
    pub(super) fn into_chunks(self) -> S {
        self.chunks
    }

    /// Removes the first complete line from the buffer.
    fn cut(&mut self) -> Option<Line> {
        let unsearched = self.buffer.iter().skip(self.searched);
        let line_end = unsearched.copied().position(|byte| byte == b'\n');
        let line = match line_end {
            Some(at) => {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                line
            }
            None if self.ended => {
                if self.buffer.is_empty() && !self.skipping {
                    return None;
                }
                self.buffer.split()
            }
            None => {
                self.searched = self.buffer.len();
                if self.searched > self.bytes_max {
                    self.buffer.clear();
                    self.searched = 0;
                    self.skipping = true;
                }
                return None;
            }
        };
        self.searched = 0;
        let too_long = std::mem::take(&mut self.skipping) || line.len() > self.bytes_max;
        Some(if too_long { Line::TooLong } else { Line::Whole(line.freeze()) })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    async fn lines(text: &str, chunk_bytes: usize, bytes_max: usize) -> Vec<(u64, Option<String>)> {
        let chunks = text.as_bytes().chunks(chunk_bytes).map(Bytes::copy_from_slice);
        let chunks: Vec<Result<Bytes, Infallible>> = chunks.map(Ok).collect();
        let mut lines = LineReader::new(stream::iter(chunks), bytes_max);
        let mut read = Vec::new();
        while let Some((number, line)) = lines.next().await.unwrap() {
            let text = match line {
                Line::Whole(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
                Line::TooLong => None,
            };
            read.push((number, text));
        }
        read
    }

    #[tokio::test]
    async fn lines_are_independent_of_chunk_boundaries() {
        let text = "ab\n\ncdef\r\ntoo long by far\n12345678\n123456789\n  \nend";
        let expected = [
            (1, Some("ab".into())),
            (3, Some("cdef\r".into())),
            (4, None),
            (5, Some("12345678".into())),
            (6, None),
            (8, Some("end".into())),
        ];
        for chunk_bytes in 1..=text.len() {
            assert_eq!(lines(text, chunk_bytes, 8).await, expected, "{chunk_bytes}");
        }
    }

    #[tokio::test]
    async fn too_long_last_line_without_an_end_is_reported() {
        assert_eq!(lines("a\n123456789", 3, 8).await, [(1, Some("a".into())), (2, None)]);
        assert_eq!(lines("123456789", 9, 8).await, [(1, None)]);
    }

    #[tokio::test]
    async fn empty_body_has_no_lines() {
        assert_eq!(lines("", 1, 8).await, []);
        assert_eq!(lines("\n\n", 1, 8).await, []);
    }
}

//! How much a pull subscription requests: accounting without I/O.

/// Longest time without a moment at which nothing was requested, in milliseconds.
const DRAIN_MS: i64 = 60_000;

/// Messages and the bytes of their bodies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PullAmount {
    /// Number of messages.
    pub messages: usize,
    /// Bytes of their bodies.
    pub bytes: usize,
}

impl PullAmount {
    /// Returns one message with a body of `bytes`.
    #[must_use]
    pub fn one(bytes: usize) -> Self {
        Self { messages: 1, bytes }
    }

    /// Returns the sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// Returns the difference, at least zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(other.messages),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// The bound on messages that are requested, on their way or waiting in memory. Their bytes are at
/// most twice the capacity: requests overlap, and each may bring half of it or more.
#[derive(Debug)]
pub struct PullCredit {
    capacity: PullAmount,
    /// Messages requested and not received.
    outstanding: usize,
    /// When nothing was outstanding last.
    drained_ms: i64,
}

impl PullCredit {
    /// Creates the credit of a subscription that holds at most `capacity`.
    #[must_use]
    pub fn new(capacity: PullAmount) -> Self {
        let capacity =
            PullAmount { messages: capacity.messages.max(1), bytes: capacity.bytes.max(1) };
        Self { capacity, outstanding: 0, drained_ms: i64::MAX }
    }

    /// Forgets all requests, because the subscription they were made for ended.
    pub fn restart(&mut self) {
        self.outstanding = 0;
    }

    /// Whether a request is due while `waiting` waits: at most half of the capacity is used.
    #[must_use]
    pub fn is_due(&self, waiting: PullAmount) -> bool {
        let messages = self.outstanding.saturating_add(waiting.messages);
        messages <= self.capacity.messages / 2 && waiting.bytes <= self.capacity.bytes / 2
    }

    /// Returns how much to request while `waiting` waits, at most `messages_max` messages, and
    /// counts it.
    ///
    /// A leader of the consumer that dies takes its requests with it and cannot say so. What they
    /// left unserved would count for ever while later requests are served. So once a minute no
    /// request is made before all are served; if that does not happen, the broker is silent, and the
    /// subscription starts from scratch.
    pub fn request(
        &mut self,
        waiting: PullAmount,
        messages_max: usize,
        now_ms: i64,
    ) -> Option<PullAmount> {
        if self.outstanding == 0 {
            self.drained_ms = now_ms;
        }
        let must_drain = now_ms.saturating_sub(self.drained_ms) > DRAIN_MS;
        if must_drain || !self.is_due(waiting) {
            return None;
        }
        let free = self.capacity.minus(waiting);
        let messages = free.messages.saturating_sub(self.outstanding).min(messages_max);
        self.outstanding += messages;
        Some(PullAmount { messages, bytes: free.bytes })
    }

    /// Counts messages that arrived.
    pub fn receive(&mut self, messages: usize) {
        self.outstanding = self.outstanding.saturating_sub(messages);
    }

    /// Counts the unserved rest of a request that ended; all requests if it is not known.
    pub fn expire(&mut self, unserved: Option<usize>) {
        self.receive(unserved.unwrap_or(usize::MAX));
    }

    /// Whether messages are requested that did not arrive.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.outstanding > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn credit(messages: usize) -> PullCredit {
        PullCredit::new(PullAmount { messages, bytes: messages * KIB })
    }

    fn waiting(messages: usize) -> PullAmount {
        PullAmount { messages, bytes: messages * KIB }
    }

    fn requested(credit: &mut PullCredit, messages: usize) -> Option<usize> {
        credit.request(waiting(messages), usize::MAX, 0).map(|size| size.messages)
    }

    #[test]
    fn requests_never_exceed_the_capacity() {
        for capacity in 1..=9 {
            let (mut credit, mut held, mut on_the_way) = (credit(capacity), 0, 0);
            for step in 0..200 {
                on_the_way += requested(&mut credit, held).unwrap_or_default();
                assert!(held + on_the_way <= capacity, "capacity {capacity}, step {step}");
                if step % 3 == 0 && on_the_way > 0 {
                    (on_the_way, held) = (on_the_way - 1, held + 1);
                    credit.receive(1);
                } else {
                    held = usize::saturating_sub(held, 1);
                }
            }
        }
    }

    #[test]
    fn bytes_that_wait_delay_requests_however_few_messages_they_are() {
        let (capacity, mut held) = (PullAmount { messages: 500, bytes: 16 * KIB }, waiting(0));
        let mut credit = PullCredit::new(capacity);
        // The broker ends each request when its bytes are used up; no message is taken.
        for _ in 0..50 {
            let Some(size) = credit.request(held, usize::MAX, 0) else { break };
            let served = size.bytes / KIB;
            credit.receive(served);
            credit.expire(Some(size.messages - served));
            held = held.plus(waiting(served));
        }
        assert!(held.bytes <= 16 * KIB, "{held:?} wait");
        assert!(credit.is_due(waiting(8)));
    }

    #[test]
    fn request_is_due_when_half_of_the_capacity_is_free() {
        let mut credit = credit(8);
        assert_eq!(requested(&mut credit, 0), Some(8));
        credit.receive(4);
        assert_eq!(requested(&mut credit, 1), None, "four requested and one waiting");
        assert_eq!(requested(&mut credit, 0), Some(4));
    }

    #[test]
    fn rest_of_an_expired_request_is_requested_again() {
        let mut credit = credit(8);
        requested(&mut credit, 0);
        credit.receive(3);
        credit.expire(Some(5));
        assert!(!credit.is_waiting());
        assert_eq!(requested(&mut credit, 3), Some(5));
        credit.expire(None);
        assert!(!credit.is_waiting());
    }

    #[test]
    fn message_that_is_requested_alone_leaves_nothing_outstanding() {
        let mut credit = credit(8);
        assert_eq!(credit.request(waiting(0), 1, 0).map(|size| size.messages), Some(1));
        credit.receive(1);
        assert!(!credit.is_waiting());
    }

    #[test]
    fn request_that_died_with_its_leader_ends_the_requests_that_are_served() {
        let mut credit = credit(8);
        requested(&mut credit, 0);
        // The leader dies; the next one serves everything that is requested from now on.
        credit.receive(4);
        let mut is_silent = false;
        for now_ms in (1..=2 * DRAIN_MS).step_by(1_000) {
            let size = credit.request(waiting(0), usize::MAX, now_ms);
            is_silent = size.is_none() && credit.is_waiting();
            credit.receive(size.map_or(0, |size| size.messages));
        }
        assert!(is_silent, "no request is made, so the subscription is opened again");
        credit.restart();
        assert_eq!(requested(&mut credit, 0), Some(8));
    }

    #[test]
    fn subscription_that_is_served_never_stops_requesting() {
        let mut credit = credit(8);
        for now_ms in (1..=5 * DRAIN_MS).step_by(100) {
            let requested = credit.request(waiting(0), usize::MAX, now_ms);
            let left = credit.outstanding;
            assert!(requested.is_some() || left > 0);
            // A part of it is on its way, until the credit waits for it.
            credit.receive(if requested.is_none() { left } else { left / 2 + 1 });
        }
    }
}

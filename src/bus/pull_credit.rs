//! How many messages a pull subscription requests: accounting without I/O.

/// The bound on messages that are requested, on their way or waiting in memory.
#[derive(Debug)]
pub struct PullCredit {
    capacity: usize,
    /// Requested and not received.
    outstanding: usize,
}

impl PullCredit {
    /// Creates the credit of a subscription that holds at most `capacity` messages.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), outstanding: 0 }
    }

    /// Forgets all requests, because the subscription they were made for ended.
    pub fn restart(&mut self) {
        self.outstanding = 0;
    }

    /// Whether a request is due while `waiting` messages wait: at most half of the capacity is used.
    #[must_use]
    pub fn is_due(&self, waiting: usize) -> bool {
        self.outstanding.saturating_add(waiting) <= self.capacity / 2
    }

    /// Returns how many messages to request while `waiting` messages wait, and counts them.
    pub fn request(&mut self, waiting: usize) -> Option<usize> {
        if !self.is_due(waiting) {
            return None;
        }
        let count = self.capacity - self.outstanding - waiting;
        self.outstanding += count;
        Some(count)
    }

    /// Counts messages that arrived.
    pub fn receive(&mut self, messages: usize) {
        self.outstanding = self.outstanding.saturating_sub(messages);
    }

    /// Counts the unserved rest of a request that ended; the whole capacity if it is not known.
    pub fn expire(&mut self, unserved: Option<usize>) {
        self.receive(unserved.unwrap_or(self.capacity));
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

    #[test]
    fn requests_never_exceed_the_capacity() {
        for capacity in 1..=9 {
            let (mut credit, mut waiting, mut on_the_way) = (PullCredit::new(capacity), 0, 0);
            for step in 0..200 {
                on_the_way += credit.request(waiting).unwrap_or_default();
                assert!(waiting + on_the_way <= capacity, "capacity {capacity}, step {step}");
                if step % 3 == 0 && on_the_way > 0 {
                    (on_the_way, waiting) = (on_the_way - 1, waiting + 1);
                    credit.receive(1);
                } else {
                    waiting = usize::saturating_sub(waiting, 1);
                }
            }
        }
    }

    #[test]
    fn request_is_due_when_half_of_the_capacity_is_free() {
        let mut credit = PullCredit::new(8);
        assert_eq!(credit.request(0), Some(8));
        credit.receive(4);
        assert_eq!(credit.request(1), None, "four requested and one waiting");
        assert_eq!(credit.request(0), Some(4));
    }

    #[test]
    fn rest_of_an_expired_request_is_requested_again() {
        let mut credit = PullCredit::new(8);
        credit.request(0);
        credit.receive(3);
        credit.expire(Some(5));
        assert!(!credit.is_waiting());
        assert_eq!(credit.request(3), Some(5));
        credit.expire(None);
        assert!(!credit.is_waiting());
    }
}

//! Decision after an attempt: delivered, attempted again or dead-lettered. Pure.

use std::time::Duration;

use super::model::{AttemptOutcome, DeadLetterReason, NextStep, Progress};
use super::queue::{RetryDelay, RetrySchedule};

/// What the dispatcher does with a delivery after an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Nothing: the handler accepted it.
    Delivered,
    /// Park it for a moment: no attempt was made.
    Wait,
    /// Park it until its next attempt.
    Retry {
        /// How long from now.
        delay: Duration,
        /// Whether the delay is the one that the handler requested.
        is_requested: bool,
    },
    /// Dead-letter it.
    DeadLetter(DeadLetterReason),
}

/// Decides what follows from `outcome`, and advances `progress` to the next attempt if there is
/// one. `random` is a number from 0.0 to 1.0.
pub fn after_attempt(
    outcome: &AttemptOutcome,
    progress: &mut Progress,
    schedule: &RetrySchedule,
    random: f64,
) -> Decision {
    if !outcome.is_done() && outcome.next != NextStep::Wait {
        progress.last_class = outcome.class.label().into();
    }
    match &outcome.next {
        NextStep::Done => Decision::Delivered,
        NextStep::Wait => Decision::Wait,
        NextStep::DeadLetter(reason) => Decision::DeadLetter(reason.clone()),
        NextStep::Retry { requested, reason, data } => {
            let delay = schedule.delay_after(progress.attempt, outcome.class, *requested, random);
            let Some(RetryDelay { delay, is_requested }) = delay else {
                return Decision::DeadLetter(DeadLetterReason::Exhausted);
            };
            progress.attempt += 1;
            progress.retry_reason.clone_from(reason);
            progress.retry_data.clone_from(data);
            Decision::Retry { delay, is_requested }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::delivery::model::AttemptClass;

    fn decide(outcome: &AttemptOutcome, progress: &mut Progress) -> Decision {
        after_attempt(outcome, progress, &RetrySchedule::new(&[5, 30], 0.0), 0.5)
    }

    fn progress() -> Progress {
        Progress::new(Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn success_changes_no_progress() {
        let mut after = progress();
        assert_eq!(decide(&AttemptOutcome::of_reply(b""), &mut after), Decision::Delivered);
        assert_eq!(after, progress());
    }

    #[test]
    fn failure_is_retried_until_the_schedule_is_exhausted() {
        let failed = AttemptOutcome::failed(AttemptClass::Connect, "");
        let mut after = progress();
        for (attempt, delay_s) in [(2, 5), (3, 30)] {
            let delay = Duration::from_secs(delay_s);
            assert_eq!(decide(&failed, &mut after), Decision::Retry { delay, is_requested: false });
            assert_eq!(after.attempt, attempt);
            assert_eq!(&*after.retry_reason, AttemptClass::Connect.retry_reason());
        }
        let exhausted = Decision::DeadLetter(DeadLetterReason::Exhausted);
        assert_eq!(decide(&failed, &mut after), exhausted);
        assert_eq!((after.attempt, &*after.last_class), (3, "connect"));
    }

    #[test]
    fn fault_of_this_machine_consumes_no_attempt() {
        let mut after = progress();
        let local = AttemptOutcome::failed(AttemptClass::Local, "no descriptor");
        assert_eq!(decide(&local, &mut after), Decision::Wait);
        assert_eq!(after, progress());
    }

    #[test]
    fn permanent_failure_is_dead_lettered_with_its_class() {
        let rejected = AttemptOutcome::of_http(422, None, b"", Timestamp::UNIX_EPOCH);
        let mut after = progress();
        let reason = DeadLetterReason::Rejected(422);
        assert_eq!(decide(&rejected, &mut after), Decision::DeadLetter(reason));
        assert_eq!((after.attempt, &*after.last_class), (1, "4xx"));
    }

    #[test]
    fn requested_retry_keeps_its_reason_and_data() {
        let body = br#"{"_retry":true,"retryOptions":{"retryAfter":7,"retryReason":"BUSY","retryData":1}}"#;
        let mut after = progress();
        let delay = Duration::from_secs(7);
        let decision = decide(&AttemptOutcome::of_reply(body), &mut after);
        assert_eq!(decision, Decision::Retry { delay, is_requested: true });
        assert_eq!((&*after.retry_reason, after.retry_data.as_deref()), ("BUSY", Some("1")));
    }
}

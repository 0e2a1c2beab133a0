//! Deliberate faults, as changes of what goes into a state machine or of what is done with its answer. Each must be caught by an invariant
//! within a bounded number of seeds; a mutation that survives shows a hole in the simulator.

/// A deliberate fault of the router.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutation {
    /// The event is acknowledged when its records are sent, not when they are confirmed.
    AckBeforeParked,
    /// An unanswered publish counts as stored.
    UnknownCountsAsStored,
    /// A publish is repeated under a new message id.
    RepeatGetsNewId,
    /// The message id of a parked record lacks the number of parkings.
    DedupIdWithoutParks,
    /// The message id of a parked record lacks its due time.
    DedupIdWithoutDue,
    /// A schedule whose time passed before it was stored is not fired.
    PastScheduleLost,
    /// Due times are taken from the router's wall clock.
    DueByWallClock,
    /// The last delay of the retry schedule is left out.
    RetryDropsLastAttempt,
    /// An open breaker never admits a probe.
    BreakerNeverHalfOpens,
    /// Each attempt gets a delivery id of its own.
    IdPerAttempt,
    /// The trimmer purges two events beyond the floor.
    TrimBeyondFloor,
    /// Events are purged before their floor is stored.
    FloorNotStored,
    /// The event stream evicts its oldest event when it is full.
    FullStreamEvicts,
    /// A lost consumer is created again with all events.
    FloorIgnored,
    /// The floor of a deleted stream is used for its successor.
    FloorOfOldStream,
    /// An event is poison when the broker delivered it more than five times.
    PoisonByDeliveryCount,
    /// Crashes are never recorded, so poison crashes routers for ever.
    CrashesNotRecorded,
    /// After a pause the router works on with the registry it had.
    ZombieDeliversAfterRemoval,
    /// A stop shorter than the ack deadline is not noticed.
    ShortStopIgnored,
    /// Work resumes after a stop before the registry has caught up.
    ResumedBeforeRegistry,
    /// A delivery does not check its subscription before an attempt.
    NoCheckBeforeAttempt,
    /// The permit of an attempt that timed out is not returned.
    PermitLeak,
    /// Permits have no limit per owner.
    OneQueueForAll,
    /// Parking ignores the share of the owner.
    ParkingShareIgnored,
    /// Dead letters ignore the share of the owner.
    LetterShareIgnored,
    /// What other replicas parked is not counted.
    SharesOfOthersIgnored,
    /// What exceeds the share of dead letters is dropped and not counted.
    DropNotCounted,
    /// The acknowledgement deadline of a message in work is not extended.
    NoExtension,
    /// The limit on messages in flight is ignored.
    InFlightIgnored,
}

impl Mutation {
    /// All mutations.
    pub(crate) const ALL: [Self; 29] = [
        Self::AckBeforeParked,
        Self::UnknownCountsAsStored,
        Self::RepeatGetsNewId,
        Self::DedupIdWithoutParks,
        Self::DedupIdWithoutDue,
        Self::PastScheduleLost,
        Self::DueByWallClock,
        Self::RetryDropsLastAttempt,
        Self::BreakerNeverHalfOpens,
        Self::IdPerAttempt,
        Self::TrimBeyondFloor,
        Self::FloorNotStored,
        Self::FullStreamEvicts,
        Self::FloorIgnored,
        Self::FloorOfOldStream,
        Self::PoisonByDeliveryCount,
        Self::CrashesNotRecorded,
        Self::ZombieDeliversAfterRemoval,
        Self::ShortStopIgnored,
        Self::ResumedBeforeRegistry,
        Self::NoCheckBeforeAttempt,
        Self::PermitLeak,
        Self::OneQueueForAll,
        Self::ParkingShareIgnored,
        Self::LetterShareIgnored,
        Self::SharesOfOthersIgnored,
        Self::DropNotCounted,
        Self::NoExtension,
        Self::InFlightIgnored,
    ];
}

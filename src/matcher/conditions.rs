//! The conditions of a subscription in addition to its filter, as matching and dry runs check them.

use super::{EventConditions, Owner, Subscription};
use crate::domain::AppId;
use crate::event::{AppValues, Decoder, Permissions, RoutingKey};

/// The properties of an installation that conditions, `event.selfGenerated` and `event.permissions`
/// depend on.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber<'a> {
    /// The app; decides `ignoreSelf`.
    pub app: &'a AppId,
    /// The account the app acts with.
    pub app_account_id: Option<&'a str>,
    /// Whether the installation has an active licence.
    pub is_licensed: bool,
    /// The permissions of the app; none leaves `event.permissions` to the event.
    pub permissions: Option<&'a Permissions>,
}

impl<'a> From<&'a Owner> for Subscriber<'a> {
    fn from(owner: &'a Owner) -> Self {
        Self {
            app: &owner.app,
            app_account_id: owner.app_account_id.as_deref(),
            is_licensed: owner.licensed,
            permissions: owner.permissions.as_deref(),
        }
    }
}

impl<'a> From<&'a Subscription> for Subscriber<'a> {
    fn from(subscription: &'a Subscription) -> Self {
        Self::from(&*subscription.owner)
    }
}

impl<'a> Subscriber<'a> {
    /// Whether the app caused the event, which `decoder` holds.
    pub(super) fn is_self_generated(self, routing_key: RoutingKey<'_>, decoder: &Decoder) -> bool {
        decoder.is_self_generated(routing_key, self.app, self.app_account_id)
    }

    /// Returns what its filters read of the event in addition to the body.
    pub(super) fn values(self, routing_key: RoutingKey<'_>, decoder: &Decoder) -> AppValues<'a> {
        let self_generated = self.is_self_generated(routing_key, decoder);
        AppValues { self_generated, permissions: self.permissions }
    }
}

/// A condition that an event does not meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnmetCondition {
    /// `appIsLicensed`: the installation has no active licence.
    Licence,
    /// `ignoreSelf`: the app itself caused the event.
    IgnoreSelf,
}

/// The conditions on events of one type. A listener has a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Conditions {
    ignore_self: bool,
    requires_licence: bool,
}

impl From<&EventConditions> for Conditions {
    fn from(conditions: &EventConditions) -> Self {
        Self { ignore_self: conditions.ignore_self, requires_licence: conditions.requires_licence }
    }
}

impl Conditions {
    /// Whether every event meets them.
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Returns the first condition that the event does not meet. Most subscriptions have none, and
    /// then neither argument is called.
    pub(super) fn unmet<'a>(
        self,
        subscriber: impl Fn() -> Subscriber<'a>,
        is_self_generated: impl FnOnce(Subscriber<'a>) -> bool,
    ) -> Option<UnmetCondition> {
        if self.requires_licence && !subscriber().is_licensed {
            Some(UnmetCondition::Licence)
        } else if self.ignore_self && is_self_generated(subscriber()) {
            Some(UnmetCondition::IgnoreSelf)
        } else {
            None
        }
    }
}

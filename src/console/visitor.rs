//! Who looks at a page.

use maud::{Markup, html};

use crate::api::TokenDigest;
use crate::domain::{Caller, Scope, Secret};
use crate::listener::Client;

/// A visitor whose credentials were accepted. It is an extension of the request.
#[derive(Clone)]
pub(super) struct Visitor {
    /// In whose name the operator API is asked.
    pub(super) caller: Caller,
    /// What forms of this visitor must carry.
    pub(super) csrf: Secret,
    /// Whether the visitor can log out.
    pub(super) has_session: bool,
    /// Where the requests come from.
    pub(super) client: Client,
    /// The token that the visitor logged in with; none of single sign-on.
    pub(super) token: Option<TokenDigest>,
}

impl Visitor {
    /// Whether the visitor sees all installations.
    pub(super) fn is_operator(&self) -> bool {
        self.caller.installation.is_none()
    }

    /// Whether the visitor may do this.
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.caller.scope >= scope
    }

    /// Whether the visitor may change who has access.
    pub(super) fn is_admin(&self) -> bool {
        self.is_operator() && self.may(Scope::Admin)
    }

    /// Says who it is.
    pub(super) fn describe(&self) -> String {
        let Caller { name, scope, installation } = &self.caller;
        match installation {
            Some(id) => format!("{name}, {} of {id}", scope.as_str()),
            None if name == scope.as_str() => name.to_string(),
            None => format!("{name}, {}", scope.as_str()),
        }
    }

    /// Returns the field that every form with `method="post"` has.
    pub(super) fn csrf_field(&self) -> Markup {
        html! { input type="hidden" name="csrf" value=(self.csrf.reveal()); }
    }
}

//! The page of the login.

use maud::{Markup, html};

use super::super::layout::document;
use crate::domain::Secret;

/// What the page shows.
pub(super) struct LoginPage<'p> {
    /// What the form carries.
    pub(super) csrf: &'p Secret,
    /// The page that the visitor wanted.
    pub(super) next: &'p str,
    /// Why the last attempt failed.
    pub(super) error: Option<&'p str>,
    /// What the button of single sign-on says, and where it leads to.
    pub(super) sign_on: Option<(&'p str, &'p str)>,
}

/// Returns the page.
pub(super) fn page(shown: &LoginPage<'_>) -> Markup {
    let content = html! {
        main.login id="main" {
            h1 { "Log in to Switchyard" }
            @if let Some(error) = shown.error { p.error role="alert" { (error) } }
            @if let Some((name, link)) = shown.sign_on { p { a.button href=(link) { (name) } } }
            form method="post" action="/login" {
                input type="hidden" name="csrf" value=(shown.csrf.reveal());
                input type="hidden" name="next" value=(shown.next);
                label for="token" { "Token" }
                p.hint id="token-hint" {
                    "An access token, `swa_…`, or an admin token of the configuration. An administrator creates access \
                     tokens: " code { "switchyard tokens add" } "."
                }
                input type="password" id="token" name="token" required autocomplete="current-password"
                    aria-describedby="token-hint" autofocus[shown.sign_on.is_none()];
                button type="submit" { "Log in" }
            }
        }
    };
    document("Log in · Switchyard", &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_has_the_form_and_escapes_what_it_shows() {
        let csrf = Secret::new("secret-of-the-form");
        let shown = LoginPage {
            csrf: &csrf,
            next: "/a?b=\"c",
            error: Some("<wrong>"),
            sign_on: Some(("Corp", "/login/oidc")),
        };
        let text = page(&shown).into_string();
        for expected in [
            r#"<p class="error" role="alert">&lt;wrong&gt;</p>"#,
            r#"name="csrf" value="secret-of-the-form""#,
            r#"name="next" value="/a?b=&quot;c""#,
            r#"<label for="token">Token</label>"#,
            r#"<a class="button" href="/login/oidc">Corp</a>"#,
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains("autofocus"), "{text}");
    }
}

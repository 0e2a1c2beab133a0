//! The table of products.

use super::confluence::ConfluenceSource;
use super::jira::JiraSource;
use super::product_source::ProductSource;
use crate::domain::Product;

/// All products. Where tables of several products overlap, the first has precedence.
pub const SOURCES: [&dyn ProductSource; 2] = [&JiraSource, &ConfluenceSource];

/// Returns the source of a product.
#[must_use]
pub fn source_of(product: Product) -> &'static dyn ProductSource {
    match product {
        Product::Jira => &JiraSource,
        Product::Confluence => &ConfluenceSource,
    }
}

/// Returns the source that an event type belongs to; Jira for a type that belongs to none, such as
/// `webhook:<name>`.
#[must_use]
pub fn source_of_event_type(event_type: &str) -> &'static dyn ProductSource {
    SOURCES.into_iter().find(|source| source.has_event_type(event_type)).unwrap_or(&JiraSource)
}

/// Returns the source whose context path a request path begins with; Jira has none.
#[must_use]
pub fn source_of_path(path: &str) -> &'static dyn ProductSource {
    let is_in = |context: &str| !context.is_empty() && path.starts_with(context);
    SOURCES.into_iter().find(|source| is_in(source.context_path())).unwrap_or(&JiraSource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_product_is_in_the_table_under_its_own_name() {
        for source in SOURCES {
            let product = source.product();
            assert_eq!(source_of(product).name(), source.name());
            let in_documents = serde_json::to_value(product).unwrap();
            assert_eq!(in_documents, source.name(), "the name in stored documents");
        }
    }

    #[test]
    fn request_paths_belong_to_the_product_of_their_context_path() {
        assert_eq!(source_of_path("/rest/atlassian-connect/1/app").name(), "jira");
        assert_eq!(source_of_path("/wiki/rest/atlassian-connect/1/app").name(), "confluence");
    }

    #[test]
    fn event_types_belong_to_the_product_of_their_prefix() {
        for (event_type, name) in [
            ("avi:jira:created:issue", "jira"),
            ("avi:jira-software:created:sprint", "jira"),
            ("avi:confluence:created:page", "confluence"),
            ("webhook:page_renamed", "jira"),
            ("", "jira"),
        ] {
            assert_eq!(source_of_event_type(event_type).name(), name, "{event_type}");
        }
    }
}

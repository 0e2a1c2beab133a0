//! Pages, lists and times.

use utoipa::ToSchema;

/// Defines the schema of an answer that has one of two forms.
macro_rules! either {
    ($(#[$doc:meta])* $name:ident = $one:ident | $other:ident) => {
        $(#[$doc])*
        pub(in crate::api) enum $name {}

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let reference = utoipa::openapi::Ref::from_schema_name;
                utoipa::openapi::OneOfBuilder::new()
                    .item(reference(stringify!($one)))
                    .item(reference(stringify!($other)))
                    .into()
            }
        }

        impl ToSchema for $name {
            fn schemas(
                all: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>,
            ) {
                all.push((stringify!($one).to_owned(), <$one as utoipa::PartialSchema>::schema()));
                all.push((stringify!($other).to_owned(), <$other as utoipa::PartialSchema>::schema()));
                <$one as ToSchema>::schemas(all);
                <$other as ToSchema>::schemas(all);
            }
        }
    };
}

pub(super) use either;

/// A time, RFC 3339 in UTC.
#[derive(ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-11-30T08:00:00Z")]
pub(super) struct Time(String);

/// A page of a list.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Page<T> {
    items: Vec<T>,
    /// Cursor of the next page; absent on the last one.
    next_cursor: Option<String>,
}

/// A whole list.
#[derive(ToSchema)]
pub(in crate::api) struct Items<T> {
    items: Vec<T>,
}

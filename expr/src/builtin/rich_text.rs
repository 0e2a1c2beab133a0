//! Members of RichText.

mod plain_text;

use super::signature::builtins;
use crate::value::Text;

builtins! {
    Text<'v>;
    plain_text::PlainText,
}

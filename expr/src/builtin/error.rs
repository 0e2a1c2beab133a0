//! Members of Error, the value that `catch` binds.

mod location;
mod message;

use std::rc::Rc;

use super::signature::builtins;
use crate::value::CaughtError;

builtins! {
    Rc<CaughtError>;
    message::ErrorMessage,
    location::Location,
}

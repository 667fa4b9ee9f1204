//! What a [`crate::Report`] looks like, one file a form. Each reads the report and nothing else.

mod json;
mod markdown;
mod numbers;
mod table;
mod terminal;

pub use json::json;
pub use markdown::markdown;
pub use terminal::terminal;

//! What a [`crate::Report`] looks like, one file a form. Each reads the report and nothing else.

mod curve;
mod html;
mod json;
mod markdown;
mod numbers;
mod sweep;
mod table;
mod terminal;
mod training;

pub use html::{NETWORK_SCRIPT, Section, compare_html, html, network_data, try_it};
pub use json::json;
pub use markdown::markdown;
pub use terminal::terminal;

//! The subcommands, one file each.

pub(crate) mod evaluate;
pub(crate) mod inspect;
pub(crate) mod lower;
pub(crate) mod predict;
pub(crate) mod quantize;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod targets;
pub(crate) mod time;
pub(crate) mod trace;
pub(crate) mod train;
pub(crate) mod transform;
pub(crate) mod verify;

//! Pictures of the data, for people: images side by side, and curves.

mod curves;
mod sheet;

pub(crate) use curves::circulations;
pub(crate) use sheet::contact_sheet;

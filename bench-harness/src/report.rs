//! Reports: one JSON form for every command, and a table for people.

use std::io::Write;
use std::path::Path;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use furthermore::io::is_secret_key;
use serde::Serialize;

use crate::environment::Environment;
use crate::error::{Error, Result};

/// How a row of a report ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It was measured.
    #[default]
    Ok,
    /// It could not be finished; its note says why.
    Failed,
    /// It was not tried; its note says why.
    Skipped,
}

/// What a command that takes `--json` writes.
#[derive(Debug, Serialize)]
pub struct Report<Row> {
    schema: &'static str,
    command: &'static str,
    environment: Environment,
    rows: Vec<Row>,
    /// What follows from the rows, where a command draws conclusions.
    #[serde(skip_serializing_if = "Option::is_none")]
    conclusions: Option<serde_json::Value>,
}

impl<Row: Serialize> Report<Row> {
    /// A report of `command`.
    pub fn new(command: &'static str, environment: Environment, rows: Vec<Row>) -> Self {
        Self {
            schema: "furthermore-report/1",
            command,
            environment,
            rows,
            conclusions: None,
        }
    }

    /// With what follows from the rows.
    pub(crate) fn concluding(mut self, conclusions: &impl Serialize) -> Self {
        self.conclusions = serde_json::to_value(conclusions).ok();
        self
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// How a command ends that has printed and written its report.
    ///
    /// # Errors
    /// When a row failed.
    pub(crate) fn check(&self, status: impl Fn(&Row) -> Status) -> Result<()> {
        let failed = |row: &&Row| status(row) == Status::Failed;
        match self.rows.iter().filter(failed).count() {
            0 => Ok(()),
            failed => Err(Error::FailedRows {
                failed,
                rows: self.rows.len(),
            }),
        }
    }

    /// The machine.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Writes the report as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::File {
            path: path.to_owned(),
            reason: e.to_string(),
        })?;
        write_file(path, text + "\n")
    }
}

/// Writes a file under a temporary name beside `path`, then renames it.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let refuse = |reason: String| Error::File {
        path: path.to_owned(),
        reason,
    };
    if is_secret_key(path) {
        return Err(refuse("there is a secret key, and it stays".to_owned()));
    }
    let mut builder = tempfile::Builder::new();
    // For whoever may read files here, where a temporary one is for its owner alone.
    #[cfg(unix)]
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(everyone);
    let mut file = (builder.tempfile_in(folder_of(path)))
        .map_err(|e| refuse(format!("nothing can be written there: {e}")))?;
    file.write_all(content.as_ref())
        .map_err(|e| refuse(e.to_string()))?;
    file.persist(path).map_err(|e| refuse(e.to_string()))?;
    Ok(())
}

/// The folder a file lies in.
fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Checks, before hours of work, that a report can be written to `path`.
///
/// # Errors
/// When its folder does not exist or cannot be written, or it is a folder.
pub(crate) fn check_writable(path: Option<&Path>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let refuse = |reason: String| Error::File {
        path: path.to_owned(),
        reason,
    };
    if path.is_dir() {
        return Err(refuse("it is a folder".to_owned()));
    }
    if is_secret_key(path) {
        return Err(refuse("there is a secret key, and it stays".to_owned()));
    }
    tempfile::NamedTempFile::new_in(folder_of(path))
        .map(drop)
        .map_err(|e| refuse(format!("nothing can be written there: {e}")))
}

/// A table whose first `text_columns` columns are text and the rest numbers.
pub(crate) fn table(header: &[&str], text_columns: usize) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header.to_vec());
    for column in table.column_iter_mut().skip(text_columns) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A time in the unit that suits it; a dash for none.
pub(crate) fn seconds(time: Option<f64>) -> String {
    match time {
        None => "-".to_owned(),
        Some(s) if s >= 1.0 => format!("{s:.2} s"),
        Some(s) if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        Some(s) => format!("{:.1} us", s * 1e6),
    }
}

/// A number with `digits` decimals; a dash for none.
pub(crate) fn number(x: Option<f64>, digits: usize) -> String {
    x.map_or_else(|| "-".to_owned(), |x| format!("{x:.digits$}"))
}

/// A difference; a dash for none.
pub(crate) fn difference(x: Option<f64>) -> String {
    x.map_or_else(|| "-".to_owned(), |x| format!("{x:.1e}"))
}

//! The table of what runs where, drawn from a parity report.

use furthermore::device::gpu::AdapterDescription;

use super::{Row, Status};

/// The columns: device and element type.
const COLUMNS: [(&str, &str); 4] = [
    ("cpu", "f32"),
    ("cpu", "f64"),
    ("gpu", "f32"),
    ("gpu", "f16"),
];

/// A Markdown document with a line for each kernel: on which device and in which element type all its
/// cases agree with the oracle. Where the adapter is no graphics processor, the head says so.
pub fn support_table(rows: &[Row], adapter: Option<&AdapterDescription>) -> String {
    let mut kernels: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|row| !row.shape.is_empty()) {
        if !kernels.contains(&row.kernel.as_str()) {
            kernels.push(&row.kernel);
        }
    }
    let mut text = String::from(
        "# What runs where\n\n\
         Kernels whose results agree with an oracle in f64 within what rounding explains, for \
         plaintexts and ciphertexts. Written by `furthermore-bench parity --table`; the tests hold \
         every kernel to its line.",
    );
    if let Some(adapter) = adapter.filter(|adapter| adapter.software) {
        let whose = match adapter.driver.contains("Mesa") {
            true => "Mesa's software adapter",
            false => "a software adapter",
        };
        text += &format!(
            " Columns marked gpu are shown on {whose}, which runs the shaders on the processor."
        );
    }
    text += "\n\n| kernel |";
    for (device, dtype) in COLUMNS {
        text += &format!(" {device} {dtype} |");
    }
    text += "\n| --- |";
    text += &" --- |".repeat(COLUMNS.len());
    text.push('\n');
    for kernel in kernels {
        text += &support_line(rows, kernel);
        text.push('\n');
    }
    text
}

/// The line of one kernel.
fn support_line(rows: &[Row], kernel: &str) -> String {
    let mut line = format!("| `{kernel}` |");
    for (device, dtype) in COLUMNS {
        let of = || {
            let here = |row: &&Row| row.kernel == kernel && row.device == device;
            rows.iter().filter(here).filter(|row| row.dtype == dtype)
        };
        let supported = of().next().is_some() && of().all(|row| row.status == Status::Ok);
        line += if supported { " yes |" } else { " - |" };
    }
    line
}

/// Whether such a table has a row's kernel run on its device in its element type.
pub fn table_supports(table: &str, row: &Row) -> bool {
    let name = format!("`{}`", row.kernel);
    let column = COLUMNS
        .iter()
        .position(|(device, dtype)| row.device == *device && row.dtype == *dtype);
    let mut lines = table
        .lines()
        .map(|line| line.split('|').map(str::trim).skip(1));
    let Some(mut cells) =
        lines.find_map(|mut cells| (cells.next() == Some(&name)).then_some(cells))
    else {
        return false;
    };
    column.and_then(|column| cells.nth(column)) == Some("yes")
}

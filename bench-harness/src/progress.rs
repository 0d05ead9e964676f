//! Progress bars: on a terminal, and nowhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `steps` steps on standard error; hidden where that is no terminal.
pub(crate) fn bar(what: &str, steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg:30} [{bar:32}] {pos}/{len} {elapsed_precise} (left: {eta})",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
    .progress_chars("=> ");
    ProgressBar::new(steps as u64)
        .with_style(style)
        .with_message(what.to_owned())
}

/// A spinner for work of unknown length.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

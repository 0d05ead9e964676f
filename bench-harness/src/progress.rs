//! Progress bars: on a terminal, and nowhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `steps` steps on standard error; hidden where that is no terminal.
pub(crate) fn bar(what: &str, steps: usize) -> ProgressBar {
    styled(what, steps as u64, "{pos}/{len}")
}

/// The same over the bytes of a file.
pub(crate) fn bytes(what: &str, bytes: u64) -> ProgressBar {
    styled(what, bytes, "{bytes}/{total_bytes}")
}

fn styled(what: &str, len: u64, position: &str) -> ProgressBar {
    let template =
        format!("{{msg:30}} [{{bar:32}}] {position} {{elapsed_precise}} (left: {{eta}})");
    let style = ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(len)
        .with_style(style)
        .with_message(what.to_owned())
}

/// A spinner for work of unknown length.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

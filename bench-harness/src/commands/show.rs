//! `show`: pictures of the data.

use std::path::{Path, PathBuf};

use anstream::println;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::data;
use crate::drawing;
use crate::error::{Error, Result};
use crate::report;

/// What can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Handwritten digits side by side, as .png.
    Digits,
    /// X-ray frames of coronary arteries side by side, as .png: left ones first, then right ones.
    Angio,
    /// The whole-body circulation as curves, as .svg: loops of pressure and volume in the left
    /// ventricle, pressures and volumes over a beat.
    Wbc,
}

/// Options of `show`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// What to show.
    pub kind: Kind,
    /// Where the picture goes.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Images to show [default: 100].
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// Seed of the images that are drawn, or of the choice among those of --data [default: 1].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Folder with MNIST as IDX files, gzip or not [default: digits are drawn].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Most images on a sheet.
const MOST: usize = 10_000;

/// Runs the command.
///
/// # Errors
/// When an option's value cannot be used or does not go with what is shown, or a file cannot be read
/// or written.
pub fn run(options: &Options) -> Result<()> {
    let ending = match options.kind {
        Kind::Digits | Kind::Angio => "png",
        Kind::Wbc => "svg",
    };
    check_ending(&options.to, ending)?;
    report::check_writable(Some(&options.to))?;
    match options.kind {
        Kind::Digits => {
            let count = options.count()?;
            let (images, what) = digits(options, count)?;
            write_sheet(&options.to, &images, data::SIDE)?;
            println!("{count} {what}: {}", options.to.display());
        }
        Kind::Angio => {
            if options.data.is_some() {
                let (option, reason) = ("--data", "angiograms are always drawn".to_owned());
                return Err(Error::Option { option, reason });
            }
            let count = options.count()?;
            let images = angiograms(options.seed(), count);
            write_sheet(&options.to, &images, data::angiograms::SIDE)?;
            println!("{count} drawn angiograms: {}", options.to.display());
        }
        Kind::Wbc => {
            for (option, given) in [
                ("--count", options.count.is_some()),
                ("--seed", options.seed.is_some()),
                ("--data", options.data.is_some()),
            ] {
                if given {
                    let reason = "it goes with images, and wbc is curves".to_owned();
                    return Err(Error::Option { option, reason });
                }
            }
            let drawing = drawing::circulations().map_err(|error| refuse(&options.to, error))?;
            report::write_file(&options.to, drawing)?;
            println!("the whole-body circulation: {}", options.to.display());
        }
    }
    Ok(())
}

impl Options {
    fn count(&self) -> Result<usize> {
        match self.count.unwrap_or(100) {
            count @ 1..=MOST => Ok(count),
            count => Err(Error::Option {
                option: "--count",
                reason: format!("{count} is not between 1 and {MOST}"),
            }),
        }
    }

    fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }
}

/// Images of digits, and what they are.
fn digits(options: &Options, count: usize) -> Result<(Vec<f32>, &'static str)> {
    let Some(folder) = &options.data else {
        let drawn = data::draw(options.seed(), count, 0).train;
        return Ok((drawn.images, "drawn digits"));
    };
    let split = data::load(folder)?.train;
    if count > split.len() {
        return Err(Error::Option {
            option: "--count",
            reason: format!("{count} images, and there are {}", split.len()),
        });
    }
    let mut rng = ChaCha20Rng::seed_from_u64(options.seed());
    let chosen = rand::seq::index::sample(&mut rng, split.len(), count);
    let image = |i: usize| &split.images[i * data::PIXELS..][..data::PIXELS];
    let images = chosen.iter().flat_map(image).copied().collect();
    Ok((images, "digits of MNIST"))
}

/// Frames of left arteries, then of right ones.
fn angiograms(seed: u64, count: usize) -> Vec<f32> {
    let drawn = data::angiograms::draw(seed, count, 0).train;
    let frames = drawn.images.chunks_exact(data::angiograms::PIXELS);
    let mut frames: Vec<(&[f32], u8)> = frames.zip(drawn.labels.iter().copied()).collect();
    frames.sort_by_key(|(_, label)| *label);
    let images: Vec<&[f32]> = frames.into_iter().map(|(image, _)| image).collect();
    images.concat()
}

/// Writes images of a side as one sheet.
fn write_sheet(path: &Path, images: &[f32], side: usize) -> Result<()> {
    let sheet = drawing::contact_sheet(images, side).map_err(|error| refuse(path, error))?;
    report::write_file(path, sheet)
}

fn refuse(path: &Path, why: impl ToString) -> Error {
    Error::File {
        path: path.to_owned(),
        reason: why.to_string(),
    }
}

/// A picture has the format that its file's ending says.
fn check_ending(path: &Path, ending: &str) -> Result<()> {
    let found = path.extension().unwrap_or_default();
    if found.eq_ignore_ascii_case(ending) {
        return Ok(());
    }
    Err(Error::Option {
        option: "--to",
        reason: format!("'{}' does not end in .{ending}", path.display()),
    })
}

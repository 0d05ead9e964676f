//! Which tiles a matrix product takes on this device: what `tune` found fastest here, or a rule.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use furthermore_shaders::{Product, Tile};
use serde::{Deserialize, Serialize};

use super::adapter::AdapterDescription;

/// How many combinations of coordinates a product takes of either side, real products between them,
/// and sums these go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) terms: u32,
    pub(super) sums: u32,
}

impl Program {
    /// Of a product between operands of so many planes.
    pub(super) fn new(product: Product, a: usize, b: usize) -> Self {
        let (left, right) = (a as u32, b as u32);
        match product {
            Product::Plain => {
                let terms = left.max(right);
                Program {
                    left,
                    right,
                    terms,
                    sums: terms,
                }
            }
            Product::Compact2 { .. } => Program::each(3),
            Product::Program { terms, .. } => Program::each(terms),
            Product::Blocks { size } => Program {
                left,
                right,
                terms: size.pow(3),
                sums: size.pow(2),
            },
        }
    }

    /// Products that each have combinations and a sum of their own.
    fn each(terms: u32) -> Self {
        Program {
            left: terms,
            right: terms,
            terms,
            sums: terms,
        }
    }
}

/// Products that one choice of tiles serves: of one shader and program, with results of about one
/// size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kind {
    family: String,
    half: bool,
    program: Program,
    rows: usize,
    columns: usize,
}

impl Kind {
    pub(super) fn new(
        family: &str,
        half: bool,
        program: Program,
        [rows, columns]: [usize; 2],
    ) -> Self {
        // Beyond the largest tile, sizes differ in the number of workgroups only.
        let class = |size: usize| size.clamp(16, 1024).next_power_of_two();
        Self {
            family: family.to_owned(),
            half,
            program,
            rows: class(rows),
            columns: class(columns),
        }
    }

    /// The tiles that leave sums in registers and operands in workgroup memory, and that the result
    /// fills; those come first that are the rule's choice where none was tuned.
    pub(super) fn candidates(&self, workgroup_bytes: usize) -> Vec<Tile> {
        /// Of an invocation and of a workgroup.
        const SIZES: [[u32; 4]; 9] = [
            [8, 8, 16, 16],
            [8, 4, 16, 16],
            [4, 4, 16, 16],
            // Few rows or few columns, as convolutions of few channels have.
            [4, 4, 4, 32],
            [4, 4, 8, 16],
            [4, 4, 32, 4],
            [4, 4, 16, 8],
            [4, 4, 8, 8],
            [4, 4, 4, 4],
        ];
        /// Sums that one invocation keeps in registers.
        const SUMS: u32 = 128;
        let least = Tile {
            thread_rows: 4,
            thread_columns: 4,
            group_rows: 4,
            group_columns: 4,
            depth: 1,
        };
        let program = self.program;
        let tiles = SIZES.into_iter().flat_map(
            |[thread_rows, thread_columns, group_rows, group_columns]| {
                [8, 4, 2, 1].map(|depth| Tile {
                    thread_rows,
                    thread_columns,
                    group_rows,
                    group_columns,
                    depth,
                })
            },
        );
        let fits = |tile: &Tile| {
            let sums = program.sums * tile.thread_rows * tile.thread_columns;
            let bytes = tile.bytes(program.left, program.right) as usize;
            bytes <= workgroup_bytes
                && (sums <= SUMS || tile.group_rows * tile.group_columns == 16)
                && tile.rows() as usize <= self.rows
                && tile.columns() as usize <= self.columns
        };
        let mut fitting: Vec<Tile> = tiles.filter(fits).collect();
        if fitting.is_empty() {
            fitting.push(least);
        }
        fitting
    }
}

/// The file's form of a choice.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Choice {
    kind: Kind,
    /// Rows and columns of an invocation, of a workgroup in invocations, depth.
    tile: [u32; 5],
}

/// What was tuned on one adapter with one driver.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct TileTable {
    choices: Vec<Choice>,
}

impl TileTable {
    /// The tile for products of a kind: the tuned one, or the first that fits.
    pub(super) fn tile(&self, kind: &Kind, workgroup_bytes: usize) -> Tile {
        let candidates = kind.candidates(workgroup_bytes);
        let tuned = self.choices.iter().find(|choice| choice.kind == *kind);
        // What a file says is taken only where it could have been chosen here.
        let known = tuned.and_then(|choice| candidates.iter().find(|t| numbers(t) == choice.tile));
        *known.unwrap_or(&candidates[0])
    }

    /// From now on this tile for this kind.
    pub(super) fn choose(&mut self, kind: Kind, tile: &Tile) {
        self.choices.retain(|choice| choice.kind != kind);
        let tile = numbers(tile);
        self.choices.push(Choice { kind, tile });
    }

    /// What was kept of this adapter with this driver in `folder`.
    pub(super) fn load(folder: &Path, adapter: &AdapterDescription) -> Self {
        let file = file(folder, adapter);
        let Ok(text) = fs::read(&file) else {
            return Self::default();
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(file = %file.display(), %error, "tuned tiles cannot be read");
            Self::default()
        })
    }

    /// Keeps it for the next process, under a temporary name first.
    pub(super) fn save(&self, folder: &Path, adapter: &AdapterDescription) -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let file = file(folder, adapter);
        let passing = file.with_extension(std::process::id().to_string());
        let mut writer = fs::File::create(&passing)?;
        serde_json::to_writer(&mut writer, self)?;
        writer.flush()?;
        fs::rename(&passing, &file)
    }
}

/// A tile as files and reports hold it.
pub(super) fn numbers(tile: &Tile) -> [u32; 5] {
    [
        tile.thread_rows,
        tile.thread_columns,
        tile.group_rows,
        tile.group_columns,
        tile.depth,
    ]
}

/// A file of its own for each adapter and driver.
fn file(folder: &Path, adapter: &AdapterDescription) -> PathBuf {
    let name: String = adapter
        .to_string()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    folder.join(format!("tiles-{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 32 << 10;

    fn kind(rows: usize, columns: usize) -> Kind {
        let product = Product::Compact2 { constants: 0 };
        Kind::new(
            "block_matmul",
            false,
            Program::new(product, 2, 2),
            [rows, columns],
        )
    }

    fn adapter(driver: &str) -> AdapterDescription {
        AdapterDescription {
            name: "card".to_owned(),
            driver: driver.to_owned(),
            backend: "vulkan".to_owned(),
            software: false,
        }
    }

    #[test]
    fn a_choice_is_kept_by_adapter_and_driver() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut table = TileTable::default();
        let of = |table: &TileTable, kind: &Kind| table.tile(kind, BYTES);
        let large = kind(4096, 4096);
        let rule = of(&table, &large);
        let other = *large.candidates(BYTES).last().expect("several");
        assert_ne!(rule, other);
        table.choose(large.clone(), &other);
        table.save(folder.path(), &adapter("1.0")).expect("written");
        let kept = TileTable::load(folder.path(), &adapter("1.0"));
        assert_eq!(of(&kept, &large), other);
        assert_eq!(of(&kept, &kind(2000, 1024)), other, "about as large");
        assert_eq!(of(&kept, &kind(64, 64)), of(&table, &kind(64, 64)));
        let updated = TileTable::load(folder.path(), &adapter("1.1"));
        assert_eq!(of(&updated, &large), rule, "another driver");
    }

    #[test]
    fn a_file_that_is_wrong_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let large = kind(4096, 4096);
        let rule = TileTable::default().tile(&large, BYTES);
        let file = file(folder.path(), &adapter("1.0"));
        let mut odd = TileTable::default();
        odd.choices.push(Choice {
            kind: large.clone(),
            tile: [3, 5, 7, 9, 0],
        });
        let odd = serde_json::to_string(&odd).expect("JSON");
        for text in ["", "{", "[]", odd.as_str()] {
            fs::write(&file, text).expect("written");
            let table = TileTable::load(folder.path(), &adapter("1.0"));
            assert_eq!(table.tile(&large, BYTES), rule, "{text}");
        }
    }

    #[test]
    fn every_product_has_a_tile() {
        for n in 2..=8u32 {
            let products = [
                (Product::Plain, n),
                (
                    Product::Program {
                        constants: 0,
                        terms: 2 * n - 1,
                    },
                    n,
                ),
                (Product::Blocks { size: n }, n * n),
            ];
            for (product, planes) in products {
                let program = Program::new(product, planes as usize, planes as usize);
                let kind = Kind::new("conv2d", true, program, [0, 1]);
                let tile = kind.candidates(BYTES)[0];
                assert!(tile.rows() >= 4 && tile.columns() >= 4);
            }
        }
    }
}

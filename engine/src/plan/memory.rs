//! The memory map: which whole buffer each tensor of a plan lives in.
//!
//! Whole buffers, not offsets into one arena, because GPUs track usage by buffer. Tensors that are
//! never alive together share one.

use super::{Command, Region};

/// A tensor before it has a buffer; regions name it by its place in the list until then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage {
    /// Elements, all planes together.
    pub(super) elements: usize,
    /// It is written or read from outside a run, so nothing may share its buffer.
    pub(super) pinned: bool,
}

/// Rounds up to a size class, so that tensors of similar size can share: an eighth of a power of two.
fn size_class(elements: usize) -> usize {
    let step = (elements.max(64).next_power_of_two() / 8).max(16);
    elements.max(1).next_multiple_of(step)
}

/// Replaces storages by buffers in `commands` and `pinned` regions; returns each buffer's elements.
pub(super) fn assign<'a>(
    storages: &[Storage],
    commands: &mut [Command],
    pinned: impl Iterator<Item = &'a mut Region>,
) -> Vec<usize> {
    let mut last = vec![0; storages.len()];
    for (at, command) in commands.iter().enumerate() {
        for region in command.reads.iter().chain(&command.writes) {
            last[region.buffer] = at;
        }
    }
    let mut buffers: Vec<usize> = Vec::new();
    let mut home: Vec<Option<usize>> = vec![None; storages.len()];
    for (storage, home) in storages.iter().zip(&mut home) {
        if storage.pinned {
            buffers.push(size_class(storage.elements));
            *home = Some(buffers.len() - 1);
        }
    }
    let mut free: Vec<usize> = Vec::new();
    for (at, command) in commands.iter_mut().enumerate() {
        for region in &command.writes {
            let storage = region.buffer;
            if home[storage].is_some() {
                continue;
            }
            let class = size_class(storages[storage].elements);
            let fitting = free.iter().position(|&b| buffers[b] == class);
            home[storage] = Some(match fitting {
                Some(nth) => free.swap_remove(nth),
                None => {
                    buffers.push(class);
                    buffers.len() - 1
                }
            });
        }
        let mut done: Vec<usize> = command
            .reads
            .iter()
            .chain(&command.writes)
            .map(|region| region.buffer)
            .filter(|&s| last[s] == at && !storages[s].pinned)
            .collect();
        done.sort_unstable();
        done.dedup();
        free.extend(done.into_iter().filter_map(|s| home[s]));
        for region in command.reads.iter_mut().chain(&mut command.writes) {
            region.buffer = home[region.buffer].expect("a region is written before it is read");
        }
    }
    for region in pinned {
        region.buffer = home[region.buffer].expect("pinned storages have a buffer");
    }
    buffers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Kernel, Watch};

    fn region(buffer: usize) -> Region {
        Region {
            buffer,
            planes: 1,
            elements: 100,
            stride: 112,
        }
    }

    fn command(reads: &[usize], writes: &[usize]) -> Command {
        Command {
            name: String::new(),
            kernel: Kernel::SlotMaxima,
            reads: reads.iter().map(|&s| region(s)).collect(),
            writes: writes.iter().map(|&s| region(s)).collect(),
            watch: Watch::Finite,
        }
    }

    #[test]
    fn tensors_share_only_when_not_alive_together() {
        let pinned = Storage {
            elements: 100,
            pinned: true,
        };
        let passing = Storage {
            elements: 100,
            pinned: false,
        };
        // 0 -> 1 -> 2 -> 3 -> 4: of the passing 1, 2, 3 the first and last may share.
        let storages = [pinned, passing, passing, passing, pinned];
        let mut commands: Vec<Command> = (0..4).map(|i| command(&[i], &[i + 1])).collect();
        let mut ends = [region(0), region(4)];
        let buffers = assign(&storages, &mut commands, ends.iter_mut());
        assert_eq!(buffers.len(), 4);
        for c in &commands {
            assert_ne!(c.reads[0].buffer, c.writes[0].buffer);
        }
        assert_eq!(commands[0].writes[0].buffer, commands[2].writes[0].buffer);
        assert_eq!(ends[0].buffer, commands[0].reads[0].buffer);
    }
}

//! Image tensors: how they lie in memory, and which elements a sliding window covers.
//!
//! A plane of `[batch, channels, height, width]` is stored in *tiles* of [`TILE_IMAGES`] images, the
//! images innermost: `[tile][channel][row][column][image]`, the last tile as narrow as the images that
//! are left. A pixel of a full tile is then a run of whole vectors whatever the image's size, a weight
//! is one broadcast for all of them, and a tile's channels stay close enough together to be in cache.

use std::ops::Range;

use crate::sizes::product;

/// Images whose pixels lie side by side: two AVX-512 vectors of f32.
pub const TILE_IMAGES: usize = 32;

/// The tile that holds image `32 tile`: where it starts, in images, and how many it holds.
#[inline(always)]
pub(crate) fn tile(batch: usize, tile: usize) -> (usize, usize) {
    let start = tile * TILE_IMAGES;
    (start, (batch - start).min(TILE_IMAGES))
}

/// Whether a tensor of these sizes can exist, so that what kernels compute of them stays in range.
pub(crate) fn in_range(sizes: &[usize]) -> bool {
    product(sizes) <= 1 << (usize::BITS / 4 * 3)
}

/// One axis of a sliding window. Positions of the result are `target`s, those it reads `source`s.
///
/// A window slides over `input` elements with zeros around them and stops at `output` places. The
/// operation that goes the other way, from places to elements, has source and target swapped: each
/// element reads the places whose windows cover it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
    /// From places to elements.
    pub(crate) swapped: bool,
}

/// The taps of a window that lie on elements: tap `tap + i tap_step` on source `source + i source_step`
/// for `i < count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taps {
    pub(crate) tap: usize,
    pub(crate) tap_step: usize,
    pub(crate) source: usize,
    pub(crate) source_step: isize,
    pub(crate) count: usize,
}

impl Taps {
    /// The source of the `i`-th tap that lies on one.
    #[inline(always)]
    pub(crate) fn source_at(&self, i: usize) -> usize {
        self.source
            .wrapping_add_signed(i as isize * self.source_step)
    }

    /// Each tap with its source.
    #[inline(always)]
    pub(crate) fn iter(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.count).map(move |i| (self.tap + i * self.tap_step, self.source_at(i)))
    }
}

impl Axis {
    /// A number no smaller than any index along this axis, padding and taps off the image included.
    pub(crate) fn reach(&self, after: usize) -> usize {
        let taps = self.kernel.saturating_mul(self.dilation);
        let padded = self
            .input
            .saturating_add(self.padding)
            .saturating_add(after);
        padded.saturating_add(taps).saturating_add(self.stride)
    }

    /// Elements that a window spans.
    #[inline(always)]
    fn span(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// The taps of the window at `target` that lie on elements.
    #[inline(always)]
    pub(crate) fn taps(&self, target: usize) -> Taps {
        if self.swapped {
            self.taps_swapped(target)
        } else {
            self.taps_forward(target)
        }
    }

    /// Target `t`'s tap `k` is source `t stride - padding + k dilation`.
    #[inline(always)]
    fn taps_forward(&self, target: usize) -> Taps {
        let start = target * self.stride;
        let taps = |tap: usize, count: usize| Taps {
            tap,
            tap_step: 1,
            source: (start + tap * self.dilation).wrapping_sub(self.padding),
            source_step: self.dilation as isize,
            count,
        };
        if start >= self.padding && start - self.padding + self.span() <= self.input {
            return taps(0, self.kernel);
        }
        let first = self.padding.saturating_sub(start).div_ceil(self.dilation);
        let room = (self.input + self.padding).saturating_sub(start);
        let end = room.div_ceil(self.dilation).min(self.kernel);
        taps(first, end.saturating_sub(first))
    }

    /// Source `s` reaches target `t` by tap `k` where `s stride = t + padding - k dilation`.
    #[inline(always)]
    fn taps_swapped(&self, target: usize) -> Taps {
        let at = target + self.padding;
        if self.stride == 1 {
            let all = Taps {
                tap: 0,
                tap_step: 1,
                source: at,
                source_step: -(self.dilation as isize),
                count: self.kernel,
            };
            if at < self.output && at + 1 >= self.span() {
                return all;
            }
            let first = (at + 1).saturating_sub(self.output).div_ceil(self.dilation);
            let end = (at / self.dilation + 1).min(self.kernel);
            return Taps {
                tap: first,
                // Where no tap lands, none is read.
                source: at.saturating_sub(first * self.dilation),
                count: end.saturating_sub(first),
                ..all
            };
        }
        if self.dilation == 1 {
            // From the last place that starts no later, each place before it a stride further on.
            let source = (at / self.stride).min(self.output.saturating_sub(1));
            let tap = at - source * self.stride;
            let count = match (self.kernel - 1).checked_sub(tap) {
                Some(room) if self.output > 0 => (room / self.stride).min(source) + 1,
                _ => 0,
            };
            return Taps {
                tap,
                tap_step: self.stride,
                source,
                source_step: -1,
                count,
            };
        }
        let lands = |tap: usize| {
            let ahead = at - tap * self.dilation;
            ahead.is_multiple_of(self.stride) && ahead / self.stride < self.output
        };
        let mut taps = Taps {
            tap: 0,
            tap_step: 1,
            source: 0,
            source_step: 0,
            count: 0,
        };
        // The taps that land are evenly spaced: by the smallest number of dilations that is a
        // multiple of the stride.
        let within = self.kernel.min(at / self.dilation + 1);
        for tap in (0..within).filter(|&tap| lands(tap)) {
            let source = (at - tap * self.dilation) / self.stride;
            match taps.count {
                0 => (taps.tap, taps.source) = (tap, source),
                1 => {
                    taps.tap_step = tap - taps.tap;
                    taps.source_step = source as isize - taps.source as isize;
                }
                _ => {}
            }
            taps.count += 1;
        }
        taps
    }

    /// The sources that targets `targets` read between them.
    pub(crate) fn sources(&self, targets: Range<usize>) -> Range<usize> {
        let (mut start, mut end) = (usize::MAX, 0);
        for (_, source) in targets.flat_map(|target| self.taps(target).iter()) {
            (start, end) = (start.min(source), end.max(source + 1));
        }
        start.min(end)..end
    }

    /// The most sources that `targets` targets in a row read between them.
    pub(crate) fn most_sources(&self, targets: usize) -> usize {
        let (before, span) = (targets.saturating_sub(1), self.span());
        let most = if self.swapped {
            (before + span - 1) / self.stride + 1
        } else {
            before.saturating_mul(self.stride).saturating_add(span)
        };
        most.min(self.source_len())
    }

    /// How many places there are.
    pub(crate) fn targets(&self) -> usize {
        if self.swapped {
            self.input
        } else {
            self.output
        }
    }

    /// How many sources there are.
    pub(crate) fn source_len(&self) -> usize {
        if self.swapped {
            self.output
        } else {
            self.input
        }
    }

    /// The same window, from places to elements.
    pub(crate) fn swap(self) -> Self {
        Self {
            swapped: !self.swapped,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every (tap, element, place) of a window, by trying them all.
    fn all(axis: &Axis) -> Vec<(usize, usize, usize)> {
        let mut found = Vec::new();
        for place in 0..axis.output {
            for tap in 0..axis.kernel {
                let element = place * axis.stride + tap * axis.dilation;
                if (axis.padding..axis.input + axis.padding).contains(&element) {
                    found.push((tap, element - axis.padding, place));
                }
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn taps_are_those_that_lie_on_elements() {
        let mut seen = 0;
        for input in [1usize, 2, 5, 8] {
            for kernel in 1..=5 {
                for stride in 1..=4 {
                    for dilation in 1..=3 {
                        for padding in 0..=4 {
                            let span = (kernel - 1) * dilation + 1;
                            let Some(room) = (input + 2 * padding).checked_sub(span) else {
                                continue;
                            };
                            let axis = Axis {
                                input,
                                output: room / stride + 1,
                                kernel,
                                stride,
                                padding,
                                dilation,
                                swapped: false,
                            };
                            let expected = all(&axis);
                            let mut forward: Vec<_> = (0..axis.output)
                                .flat_map(|place| {
                                    axis.taps(place).iter().map(move |(tap, x)| (tap, x, place))
                                })
                                .collect();
                            forward.sort_unstable();
                            assert_eq!(forward, expected, "{axis:?}");
                            let swapped = axis.swap();
                            let mut back: Vec<_> = (0..axis.input)
                                .flat_map(|x| {
                                    swapped
                                        .taps(x)
                                        .iter()
                                        .map(move |(tap, place)| (tap, x, place))
                                })
                                .collect();
                            back.sort_unstable();
                            assert_eq!(back, expected, "{axis:?} swapped");
                            seen += 1;
                        }
                    }
                }
            }
        }
        assert!(seen > 500);
    }
}

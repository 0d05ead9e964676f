//! Commands cut in two, and again, until a device binds what each part takes: most go through rows,
//! samples or elements, each by itself; some through terms of sums, which parts add up one after the
//! other.

mod along;
mod boxes;

use std::collections::HashMap;

use self::along::Along;
use super::lower::{Lowered, Share};
use crate::plan::{Command, Region};

/// A command or a part of one.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Regions whose buffer is a view's show a range of a tensor.
    pub(super) command: Command,
    /// What it has of the command's sums, means and rows.
    pub(super) share: Share,
    /// Of a part, words from one slot's steps to the next: those of the whole command.
    steps_stride: Option<usize>,
}

impl Part {
    pub(super) fn whole(command: &Command) -> Self {
        Self {
            command: command.clone(),
            share: Share::default(),
            steps_stride: None,
        }
    }

    pub(super) fn operands(&self) -> impl Iterator<Item = &Region> {
        self.command.reads.iter().chain(&self.command.writes)
    }

    /// Has a dispatch find steps where they lie among those of the whole command.
    pub(super) fn place_steps(&self, lowered: &mut Lowered) {
        if let Some(stride) = self.steps_stride {
            let regions = lowered.operands.iter_mut().map(|(_, region)| region);
            for region in regions.filter(|region| region.is_bits()) {
                region.stride = stride;
            }
        }
    }
}

/// Ranges of buffers, which regions name as if they were buffers that come after all there are.
#[derive(Debug)]
pub(super) struct Views {
    buffers: usize,
    /// Buffer and first element, by number; and the number, by these.
    views: Vec<(usize, usize)>,
    numbers: HashMap<(usize, usize), usize>,
}

impl Views {
    pub(super) fn new(buffers: usize) -> Self {
        Self {
            buffers,
            views: Vec::new(),
            numbers: HashMap::new(),
        }
    }

    /// The buffer that a region lies in, and the element, or word, where it begins.
    pub(super) fn resolve(&self, region: &Region) -> (usize, usize) {
        let view = region.buffer.checked_sub(self.buffers);
        view.map_or((region.buffer, 0), |view| self.views[view])
    }

    /// `elements` of each plane of a region, from element `at` on.
    fn range(&mut self, region: &Region, at: usize, elements: usize) -> Region {
        let (buffer, first) = self.resolve(region);
        let (view, next) = ((buffer, first + at), self.buffers + self.views.len());
        let number = *self.numbers.entry(view).or_insert(next);
        if number == next {
            self.views.push(view);
        }
        Region {
            buffer: number,
            elements,
            ..*region
        }
    }
}

/// How commands may be cut on a device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cutter {
    /// Bytes of a stored number.
    pub(super) number: usize,
    /// Bindings begin at multiples of so many bytes, a power of two.
    pub(super) alignment: usize,
    /// The most bytes that one binding takes.
    pub(super) binding: u64,
}

/// Where a command is cut along a way.
struct Cut {
    /// Granules of the first half.
    middle: usize,
    /// Elements, or words of a slot, that each operand has of the command and of each granule.
    extents: Vec<(usize, usize)>,
}

impl Cutter {
    /// What takes a command's place, in order: mostly its two halves, about. The operands that are too
    /// large get smaller by that or, where none is, what it writes. `None` where there is no way.
    pub(super) fn parts(
        self,
        part: &Part,
        views: &mut Views,
        large: &[usize],
    ) -> Option<Vec<Part>> {
        if let Some((copy, rest)) = boxes::copy_of(&part.command) {
            return self.boxes(part, views, &copy, rest, large.contains(&0));
        }
        let ways = Along::ways(&part.command);
        let (way, cut) = self.choose(part, large, &ways)?;
        Some(self.halves(part, views, way, &cut).into())
    }

    /// The first way that makes an operand of these smaller. What is summed is cut last: until a sum's
    /// last part no other may write to where its numbers are kept, which are best bound as one.
    fn choose<'w, 'c>(
        self,
        part: &Part,
        large: &[usize],
        ways: &'w [Along<'c>],
    ) -> Option<(&'w Along<'c>, Cut)> {
        let first = |sums: bool, operands: &[usize]| {
            ways.iter()
                .filter(|way| way.sums == sums && operands.iter().any(|nth| way.cuts(*nth)))
                .find_map(|way| Some((way, self.cut(part, way)?)))
        };
        if part.share.of_sums() {
            return first(true, large);
        }
        let (reads, writes) = (&part.command.reads, &part.command.writes);
        let results: Vec<usize> = (reads.len()..reads.len() + writes.len()).collect();
        if large.is_empty() {
            return first(false, &results);
        }
        let kept: usize = writes.iter().map(|y| y.planes * y.elements).sum();
        let keeps = (kept as u64).saturating_mul(size_of::<f32>() as u64) <= self.binding;
        let sums = || first(true, large);
        first(false, large).or_else(|| match keeps {
            true => sums(),
            false => first(false, &results).or_else(sums),
        })
    }

    /// The middle of a way, about: where bindings may begin if there are enough to choose from.
    fn cut(self, part: &Part, way: &Along<'_>) -> Option<Cut> {
        let granules = way.count.div_ceil(way.granule);
        let mut extents = Vec::new();
        let mut step = 1;
        for (nth, region) in part.operands().enumerate() {
            let (all, each, bytes) = match (way.shared.contains(&nth), region.is_bits()) {
                (true, _) => (region.elements, 0, self.number),
                (_, true) => (way.words, way.words / granules.max(1), size_of::<u32>()),
                (_, false) => {
                    let each = region.elements / way.count.max(1) * way.granule;
                    (region.elements, each, self.number)
                }
            };
            extents.push((all, each));
            // Powers of two: the largest is a multiple of all.
            let lowest = (each * bytes).trailing_zeros().min(usize::BITS - 1);
            step = step.max(self.alignment >> lowest);
        }
        let middle = |step: usize| {
            let middle = (granules / 2 / step * step).max(step);
            (middle < granules).then_some(middle)
        };
        let middle = middle(step).or_else(|| middle(1))?;
        Some(Cut { middle, extents })
    }

    fn halves(self, part: &Part, views: &mut Views, way: &Along<'_>, cut: &Cut) -> [Part; 2] {
        let count = cut.middle * way.granule;
        let mut half = |first: bool| {
            let mut half = part.clone();
            let command = &mut half.command;
            let regions = command.reads.iter_mut().chain(&mut command.writes);
            for (region, (all, each)) in regions.zip(&cut.extents) {
                let at = cut.middle * each;
                *region = match (*each, first) {
                    (0, _) => *region,
                    (_, true) => views.range(region, 0, region.elements - (all - at)),
                    (_, false) => views.range(region, at, region.elements - at),
                };
            }
            command.kernel = (way.of_count)(if first { count } else { way.count - count });
            half.steps_stride = part.steps_stride.or(Some(way.words));
            let share = &mut half.share;
            share.terms = share.terms.or(way.terms);
            if first {
                share.is_followed |= way.sums;
            } else {
                share.follows |= way.sums;
                for nth in &way.windows {
                    share.starts[*nth] += count;
                }
            }
            half
        };
        [half(true), half(false)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algebra::Algebra;
    use crate::network::Function;
    use crate::plan::{CompileOptions, Kernel, Operand, Plan};
    use crate::tensor::DType;

    #[test]
    fn parts_begin_where_bindings_may_and_leave_nothing_out() {
        const LEN: usize = 5003;
        let operand = Operand {
            planes: 2,
            elements: LEN,
        };
        let function = Function::Tanh;
        let kernel = Kernel::FunctionMap { function };
        let options = CompileOptions::encrypted(1, DType::F32, Algebra::Compact(2));
        let plan = Plan::of_command(&options, kernel, &[operand], &[operand]);
        let plan = plan.expect("operands that fit");
        for number in [2, 4] {
            let cutter = Cutter {
                number,
                alignment: 256,
                binding: 4000,
            };
            let mut views = Views::new(plan.buffers().len());
            let mut left = vec![Part::whole(&plan.commands()[0])];
            let mut next = 0;
            while let Some(part) = left.pop() {
                let elements = part.command.writes[0].elements;
                if elements > 1000 {
                    let parts = cutter.parts(&part, &mut views, &[0, 1]);
                    left.extend(parts.expect("elements go by themselves").into_iter().rev());
                    continue;
                }
                let whole = Part::whole(&plan.commands()[0]);
                for (region, whole) in part.operands().zip(whole.operands()) {
                    assert_eq!(views.resolve(region), (whole.buffer, next));
                    assert_eq!(region.elements, elements);
                }
                assert_eq!(next * number % 256, 0);
                next += elements;
            }
            assert_eq!(next, LEN);
        }
    }
}

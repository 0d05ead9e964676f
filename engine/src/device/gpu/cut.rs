//! Commands cut in two, and again, until a device binds what each part takes: most go through rows,
//! samples or elements, each by itself.

use std::collections::HashMap;

use furthermore_kernels_cpu::TILE_IMAGES;
use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::conv2d::{Conv2dShape, steps_len};
use furthermore_kernels_cpu::elementwise::Broadcast;
use furthermore_kernels_cpu::pool::PoolShape;
use furthermore_kernels_cpu::reduce::Axis;

use super::lower::Lowered;
use crate::plan::{Command, Kernel, Region};

/// A command or a part of one.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Regions whose buffer is a view's show a range of a tensor.
    pub(super) command: Command,
    /// Of a part, words from one slot's steps to the next: those of the whole command.
    steps_stride: Option<usize>,
}

impl Part {
    pub(super) fn whole(command: &Command) -> Self {
        Self {
            command: command.clone(),
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
}

impl Cutter {
    /// The two halves of a command, about, where each operand that `fits` says is too large gets
    /// smaller by that.
    pub(super) fn halves(
        self,
        part: &Part,
        views: &mut Views,
        fits: impl Fn(&Region) -> bool,
    ) -> Option<[Part; 2]> {
        let along = Along::of(&part.command)?;
        let granules = along.count.div_ceil(along.granule);
        // Elements, or words of a slot, that an operand has of the command and of each granule.
        let mut extents = Vec::new();
        let mut step = 1;
        for (nth, region) in part.operands().enumerate() {
            let whole = along.shared.contains(&nth);
            if whole && !along.nested && !fits(region) {
                return None;
            }
            let (all, each, bytes) = match (whole, region.is_bits()) {
                (true, _) => (region.elements, 0, self.number),
                (_, true) => (along.words, along.words / granules.max(1), size_of::<u32>()),
                (_, false) => {
                    let each = region.elements / along.count.max(1) * along.granule;
                    (region.elements, each, self.number)
                }
            };
            extents.push((all, each));
            // Powers of two: the largest is a multiple of all.
            let lowest = (each * bytes).trailing_zeros().min(usize::BITS - 1);
            step = step.max(self.alignment >> lowest);
        }
        let middle = (granules / 2 / step * step).max(step);
        if middle >= granules {
            return None;
        }
        let cut = middle * along.granule;
        let steps_stride = part.steps_stride.or(Some(along.words));
        let half = |views: &mut Views, first: bool| {
            let mut command = part.command.clone();
            let regions = command.reads.iter_mut().chain(&mut command.writes);
            for (region, (all, each)) in regions.zip(&extents) {
                let at = middle * each;
                *region = match (*each, first) {
                    (0, _) => *region,
                    (_, true) => views.range(region, 0, region.elements - (all - at)),
                    (_, false) => views.range(region, at, region.elements - at),
                };
            }
            command.kernel = (along.of_count)(if first { cut } else { along.count - cut });
            Part {
                command,
                steps_stride,
            }
        };
        Some([half(views, true), half(views, false)])
    }
}

/// What a command goes through, each by itself.
struct Along<'a> {
    /// How many there are.
    count: usize,
    /// So many stay together.
    granule: usize,
    /// Operands of which each takes all, by their place among those read and then those written.
    shared: Vec<usize>,
    /// Each may be cut further, what it shares with others included.
    nested: bool,
    /// Words of a slot's steps, where it has steps.
    words: usize,
    /// The kernel for fewer.
    of_count: Box<dyn Fn(usize) -> Kernel + 'a>,
}

impl<'a> Along<'a> {
    fn new(count: usize, of_count: impl Fn(usize) -> Kernel + 'a) -> Self {
        Self {
            count,
            granule: 1,
            shared: Vec::new(),
            nested: false,
            words: 0,
            of_count: Box::new(of_count),
        }
    }

    /// Images, in whole tiles.
    fn images(count: usize, of_count: impl Fn(usize) -> Kernel + 'a) -> Self {
        Self {
            granule: TILE_IMAGES,
            ..Self::new(count, of_count)
        }
    }

    /// Images of a convolution, all with its weights and its bias.
    fn convolved(shape: &Conv2dShape, of_shape: impl Fn(Conv2dShape) -> Kernel + 'a) -> Self {
        let shape = *shape;
        Self {
            words: steps_len(shape.output_sizes()),
            ..Self::images(shape.batch, move |batch| {
                of_shape(Conv2dShape { batch, ..shape })
            })
        }
    }

    fn pooled(shape: &PoolShape, of_shape: impl Fn(PoolShape) -> Kernel + 'a) -> Self {
        let shape = *shape;
        Self::images(shape.batch, move |batch| {
            of_shape(PoolShape { batch, ..shape })
        })
    }

    fn outer(axis: Axis, of_axis: impl Fn(Axis) -> Kernel + 'a) -> Self {
        Self::new(axis.outer, move |outer| of_axis(Axis { outer, ..axis }))
    }

    /// Places along the outermost axis.
    fn broadcast(
        whole: &Broadcast,
        of_broadcast: impl Fn(Broadcast) -> Kernel + 'a,
    ) -> Option<Self> {
        let axes = whole.axes().to_vec();
        let outermost = *axes.last()?;
        let repeats = [outermost.a == 0, outermost.b == 0];
        let nested = axes.len() > 1;
        let of_count = move |count: usize| {
            let shape = |repeated: fn(&(usize, usize)) -> bool| -> Vec<usize> {
                let inner = axes
                    .iter()
                    .rev()
                    .skip(1)
                    .map(|axis| (axis.size, axis.a, axis.b));
                let all = std::iter::once((count, outermost.a, outermost.b)).chain(inner);
                all.map(|(size, a, b)| if repeated(&(a, b)) { 1 } else { size })
                    .collect()
            };
            let part = Broadcast::new(&shape(|axis| axis.0 == 0), &shape(|axis| axis.1 == 0));
            of_broadcast(part.expect("the axes of a broadcast, one of them shorter"))
        };
        Some(Self {
            shared: (0..2).filter(|nth| repeats[*nth]).collect(),
            nested,
            ..Self::new(outermost.size, of_count)
        })
    }

    fn sharing(mut self, shared: impl IntoIterator<Item = usize>) -> Self {
        self.shared.extend(shared);
        self
    }

    /// What can be cut of a command; nothing of one that adds up all it reads, or moves elements from
    /// anywhere to anywhere.
    fn of(command: &'a Command) -> Option<Self> {
        let kernel = &command.kernel;
        let same = move |_: usize| kernel.clone();
        let last = command.writes.last().or(command.reads.last())?.elements;
        let reads = command.reads.len();
        Some(match *kernel {
            Kernel::FunctionMap { .. }
            | Kernel::FunctionMapGradient { .. }
            | Kernel::LinearMap { .. }
            | Kernel::SlotMaxima
            | Kernel::Sgd { .. }
            | Kernel::Adam { .. }
            | Kernel::Clip { .. } => Self::new(last, same),
            // Coefficients.
            Kernel::PolyMap { .. } | Kernel::PolyMapGradient { .. } => {
                Self::new(last, same).sharing(1..reads)
            }
            Kernel::Interleave { into } => {
                let elements = if into {
                    command.reads[0].elements
                } else {
                    last
                };
                Self::new(elements, same)
            }
            Kernel::Linear {
                ref broadcast,
                alpha,
                beta,
            } => Self::broadcast(broadcast, move |broadcast| Kernel::Linear {
                broadcast,
                alpha,
                beta,
            })?,
            Kernel::Multiply { ref broadcast } => {
                Self::broadcast(broadcast, |broadcast| Kernel::Multiply { broadcast })?
            }
            Kernel::Divide { ref broadcast } => {
                Self::broadcast(broadcast, |broadcast| Kernel::Divide { broadcast })?
            }
            Kernel::BlockMatmul {
                shape,
                bias,
                activation,
            } => {
                let of_shape = move |shape: MatmulShape| Kernel::BlockMatmul {
                    shape,
                    bias,
                    activation,
                };
                if shape.batch > 1 {
                    Self::new(shape.batch, move |batch| {
                        of_shape(MatmulShape { batch, ..shape })
                    })
                    .sharing(2..reads)
                } else if shape.transpose_a {
                    return None;
                } else {
                    Self::new(shape.m, move |m| of_shape(MatmulShape { m, ..shape }))
                        .sharing(1..reads)
                }
            }
            Kernel::Conv2d {
                ref shape,
                bias,
                activation,
            } => Self::convolved(shape, move |shape| Kernel::Conv2d {
                shape,
                bias,
                activation,
            })
            .sharing(1..reads),
            Kernel::Conv2dPooled {
                ref shape,
                bias,
                window,
            } => Self::convolved(shape, move |shape| Kernel::Conv2dPooled {
                shape,
                bias,
                window,
            })
            .sharing(1..reads),
            Kernel::Conv2dGradientInput { ref shape, pooled } => {
                Self::convolved(shape, move |shape| Kernel::Conv2dGradientInput {
                    shape,
                    pooled,
                })
                .sharing([1])
            }
            Kernel::Pool {
                pool,
                ref shape,
                rectified,
            } => Self::pooled(shape, move |shape| Kernel::Pool {
                pool,
                shape,
                rectified,
            }),
            Kernel::PoolGradient {
                pool,
                ref shape,
                rectified,
            } => Self::pooled(shape, move |shape| Kernel::PoolGradient {
                pool,
                shape,
                rectified,
            }),
            Kernel::Reduce { reduction, axis } => {
                Self::outer(axis, move |axis| Kernel::Reduce { reduction, axis })
            }
            Kernel::MaxGradient { axis } => Self::outer(axis, |axis| Kernel::MaxGradient { axis }),
            Kernel::Softmax { columns, .. } | Kernel::SoftmaxGradient { columns, .. } => {
                Self::new(last.checked_div(columns)?, same)
            }
            Kernel::Transpose {
                sizes: [batch, rows, columns],
            } => Self::new(batch, move |batch| Kernel::Transpose {
                sizes: [batch, rows, columns],
            }),
            Kernel::Tiles { batch, into } => {
                Self::images(batch, move |batch| Kernel::Tiles { batch, into })
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algebra::Algebra;
    use crate::network::Function;
    use crate::plan::{CompileOptions, Operand, Plan};
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
            };
            let mut views = Views::new(plan.buffers().len());
            let fits = |region: &Region| region.elements <= 1000;
            let mut left = vec![Part::whole(&plan.commands()[0])];
            let mut next = 0;
            while let Some(part) = left.pop() {
                let elements = part.command.writes[0].elements;
                if elements > 1000 {
                    let halves = cutter.halves(&part, &mut views, fits);
                    let [first, second] = halves.expect("elements go by themselves");
                    left.extend([second, first]);
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

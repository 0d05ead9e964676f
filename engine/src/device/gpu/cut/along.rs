//! The ways along which commands are cut, by kernel.

use furthermore_kernels_cpu::TILE_IMAGES;
use furthermore_kernels_cpu::block_matmul::MatmulShape;
use furthermore_kernels_cpu::conv2d::{Conv2dShape, steps_len};
use furthermore_kernels_cpu::elementwise::Broadcast;
use furthermore_kernels_cpu::pool::PoolShape;
use furthermore_kernels_cpu::reduce::Axis;

use crate::plan::{Command, Kernel};

/// What a command goes through: each by itself, or each a term of all its sums.
pub(super) struct Along<'a> {
    /// How many there are.
    pub(super) count: usize,
    /// So many stay together.
    pub(super) granule: usize,
    /// Operands of which each takes all, by their place among those read and then those written.
    pub(super) shared: Vec<usize>,
    /// Each may be cut further, what it shares with others included.
    nested: bool,
    /// Words of a slot's steps, where it has steps.
    pub(super) words: usize,
    /// Parts have terms of the same sums, or of the same maxima.
    pub(super) sums: bool,
    /// What means are divided by, where these are the terms.
    pub(super) terms: Option<usize>,
    /// Of a product's A, B and C those of whose rows each takes one element.
    pub(super) windows: Vec<usize>,
    /// The kernel for fewer.
    pub(super) of_count: Box<dyn Fn(usize) -> Kernel + 'a>,
}

impl<'a> Along<'a> {
    fn new(count: usize, of_count: impl Fn(usize) -> Kernel + 'a) -> Self {
        Self {
            count,
            granule: 1,
            shared: Vec::new(),
            nested: false,
            words: 0,
            sums: false,
            terms: None,
            windows: Vec::new(),
            of_count: Box::new(of_count),
        }
    }

    fn sharing(mut self, shared: impl IntoIterator<Item = usize>) -> Self {
        self.shared.extend(shared);
        self
    }

    /// The terms of sums, which each part adds to all of an operand.
    fn into_sums(self, operand: usize) -> Self {
        Self {
            sums: true,
            ..self.sharing([operand])
        }
    }

    /// The terms of means.
    fn of_means(self) -> Self {
        Self {
            terms: Some(self.count),
            ..self
        }
    }

    fn with_words(self, words: usize) -> Self {
        Self { words, ..self }
    }

    /// Whether an operand gets smaller, by this or by what can follow.
    pub(super) fn cuts(&self, operand: usize) -> bool {
        self.nested || !self.shared.contains(&operand)
    }

    /// Images, in whole tiles, and the channels of a single one: there these lie one after the other.
    fn tiled(
        batch: usize,
        of_batch: impl Fn(usize) -> Kernel + 'a,
        channels: impl FnOnce() -> Self,
    ) -> Self {
        if batch <= TILE_IMAGES {
            return channels();
        }
        Self {
            granule: TILE_IMAGES,
            ..Self::new(batch, of_batch)
        }
    }

    /// A convolution or a gradient by its input or weights. Its input's images and its weights are
    /// operands of these numbers, as is what is written; all others go by output channels.
    fn convolved(
        shape: &Conv2dShape,
        of_shape: impl Fn(Conv2dShape) -> Kernel + Copy + 'a,
        [input, weights, written]: [usize; 3],
        biased: bool,
    ) -> Self {
        let shape = *shape;
        let channels = || {
            if shape.groups > 1 {
                let [ins, outs] = [shape.in_channels, shape.out_channels].map(|c| c / shape.groups);
                return Self::new(shape.groups, move |groups| {
                    of_shape(Conv2dShape {
                        groups,
                        in_channels: groups * ins,
                        out_channels: groups * outs,
                        ..shape
                    })
                });
            }
            let channels = Self::new(shape.out_channels, move |out_channels| {
                of_shape(Conv2dShape {
                    out_channels,
                    ..shape
                })
            });
            // The gradient by the input is a sum over them.
            if input == written {
                channels.into_sums(input)
            } else {
                channels.sharing([input])
            }
        };
        let of_batch = move |batch| of_shape(Conv2dShape { batch, ..shape });
        let along = Self::tiled(shape.batch, of_batch, channels);
        let along = match shape.batch <= TILE_IMAGES {
            true => along,
            false if weights == written => along.into_sums(weights),
            false => Self {
                nested: true,
                ..along.sharing([weights]).sharing(biased.then_some(2))
            },
        };
        along.with_words(steps_len(shape.output_sizes()))
    }

    fn pooled(shape: &PoolShape, of_shape: impl Fn(PoolShape) -> Kernel + Copy + 'a) -> Self {
        let shape = *shape;
        let of_batch = move |batch| of_shape(PoolShape { batch, ..shape });
        Self::tiled(shape.batch, of_batch, || {
            Self::new(shape.channels, move |channels| {
                of_shape(PoolShape { channels, ..shape })
            })
        })
    }

    /// Places along the axes outside the one that is reduced.
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

    /// Rows, columns and terms of a product that reads `reads` operands, where C in memory has no other
    /// columns or some.
    fn product(
        shape: MatmulShape,
        of_shape: impl Fn(MatmulShape) -> Kernel + Copy + 'a,
        reads: usize,
        whole_columns: bool,
    ) -> Vec<Self> {
        if shape.batch > 1 {
            let of_batch = move |batch| of_shape(MatmulShape { batch, ..shape });
            return vec![Self::new(shape.batch, of_batch).sharing(2..reads)];
        }
        // Each takes an element of the rows of some operands, and no part of others.
        let along = |along: Self, windows: &[usize], all: &[usize]| {
            let place = |nth: &usize| if *nth == 2 { reads } else { *nth };
            let windows = windows.to_vec();
            Self {
                windows: windows.clone(),
                ..along
                    .sharing(windows.iter().map(place))
                    .sharing(all.iter().copied())
            }
        };
        let rows = Self::new(shape.m, move |m| of_shape(MatmulShape { m, ..shape }));
        let columns = Self::new(shape.n, move |n| of_shape(MatmulShape { n, ..shape }));
        let terms = Self::new(shape.k, move |k| of_shape(MatmulShape { k, ..shape }));
        let bias: Vec<usize> = (2..reads).collect();
        let a_turned: &[usize] = if shape.transpose_a { &[0] } else { &[] };
        let mut of_columns = Vec::new();
        if !shape.transpose_b {
            of_columns.push(1);
        }
        if shape.m > 1 || !whole_columns {
            of_columns.push(2);
        }
        let mut of_terms = Vec::new();
        if !shape.transpose_a {
            of_terms.push(0);
        }
        if shape.transpose_b {
            of_terms.push(1);
        }
        vec![
            along(rows.sharing([1]), a_turned, &bias),
            along(columns, &of_columns, &[0]),
            along(terms.into_sums(reads), &of_terms, &bias),
        ]
    }

    /// The ways in which a command can be cut, the better first; none of one that moves elements from
    /// anywhere to anywhere.
    pub(super) fn ways(command: &'a Command) -> Vec<Self> {
        let reads = command.reads.len();
        match command.kernel {
            Kernel::BlockMatmul {
                shape,
                bias,
                activation,
            } => {
                let of_shape = move |shape| Kernel::BlockMatmul {
                    shape,
                    bias,
                    activation,
                };
                let whole = command.writes[0].elements == shape.m * shape.n;
                Self::product(shape, of_shape, reads, whole)
            }
            _ => Self::only(command).into_iter().collect(),
        }
    }

    /// The one way of a command.
    fn only(command: &'a Command) -> Option<Self> {
        let kernel = &command.kernel;
        let same = move |_: usize| kernel.clone();
        let last = command.writes.last().or(command.reads.last())?.elements;
        let first = command.reads.first().map_or(last, |x| x.elements);
        let reads = command.reads.len();
        Some(match *kernel {
            Kernel::FunctionMap { .. }
            | Kernel::FunctionMapGradient { .. }
            | Kernel::LinearMap { .. }
            | Kernel::SlotMaxima
            | Kernel::Sgd { .. }
            | Kernel::Adam { .. }
            | Kernel::Clip { .. } => Self::new(last, same),
            Kernel::BinaryCrossEntropyGradient => Self::new(last, same).of_means(),
            // Coefficients.
            Kernel::PolyMap { .. } | Kernel::PolyMapGradient { .. } => {
                Self::new(last, same).sharing(1..reads)
            }
            Kernel::PolyMapCoefficientGradient => Self::new(first, same).into_sums(reads),
            Kernel::Interleave { into } => Self::new(if into { first } else { last }, same),
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
            Kernel::Conv2d {
                ref shape,
                bias,
                activation,
            } => {
                let of_shape = move |shape| Kernel::Conv2d {
                    shape,
                    bias,
                    activation,
                };
                Self::convolved(shape, of_shape, [0, 1, reads], bias)
            }
            Kernel::Conv2dPooled {
                ref shape,
                bias,
                window,
            } => {
                let of_shape = move |shape| Kernel::Conv2dPooled {
                    shape,
                    bias,
                    window,
                };
                Self::convolved(shape, of_shape, [0, 1, reads], bias)
            }
            Kernel::Conv2dGradientInput { ref shape, pooled } => {
                let of_shape = move |shape| Kernel::Conv2dGradientInput { shape, pooled };
                Self::convolved(shape, of_shape, [reads, 1, reads], false)
            }
            Kernel::Conv2dGradientWeights { ref shape, pooled } => {
                let of_shape = move |shape| Kernel::Conv2dGradientWeights { shape, pooled };
                Self::convolved(shape, of_shape, [0, reads, reads], false)
            }
            Kernel::Conv2dGradientBias { sizes, pooled } => {
                let [batch, channels, rows, columns] = sizes;
                let of = move |batch, channels| Kernel::Conv2dGradientBias {
                    sizes: [batch, channels, rows, columns],
                    pooled,
                };
                let along = Self::tiled(
                    batch,
                    move |batch| of(batch, channels),
                    || Self::new(channels, move |channels| of(batch, channels)),
                );
                let along = along.with_words(steps_len(sizes));
                if batch > TILE_IMAGES {
                    along.into_sums(reads)
                } else {
                    along
                }
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
            Kernel::Reduce { reduction, axis } if axis.outer == 1 => {
                let of_length = move |length| Kernel::Reduce {
                    reduction,
                    axis: Axis { length, ..axis },
                };
                Self::new(axis.length, of_length)
                    .into_sums(reads)
                    .of_means()
            }
            Kernel::Reduce { reduction, axis } => {
                Self::outer(axis, move |axis| Kernel::Reduce { reduction, axis })
            }
            Kernel::MaxGradient { axis } => Self::outer(axis, |axis| Kernel::MaxGradient { axis }),
            Kernel::Softmax { columns, .. } | Kernel::SoftmaxGradient { columns, .. } => {
                Self::new(last.checked_div(columns)?, same)
            }
            Kernel::SoftmaxCrossEntropy { columns } => Self::new(first.checked_div(columns)?, same)
                .into_sums(reads)
                .of_means(),
            Kernel::SoftmaxCrossEntropyGradient { columns } => {
                Self::new(last.checked_div(columns)?, same).of_means()
            }
            Kernel::BinaryCrossEntropy | Kernel::MeanSquaredError => {
                Self::new(first, same).into_sums(reads).of_means()
            }
            Kernel::Transpose {
                sizes: [batch, rows, columns],
            } => Self::new(batch, move |batch| Kernel::Transpose {
                sizes: [batch, rows, columns],
            }),
            Kernel::Tiles { batch, into } => Self {
                granule: TILE_IMAGES,
                ..Self::new(batch, move |batch| Kernel::Tiles { batch, into })
            },
            _ => return None,
        })
    }
}

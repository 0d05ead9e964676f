//! How operands are bound: each as one where a device takes that, else groups of planes, or segments of
//! a plane.

use furthermore_shaders::Split;

/// Bytes of four numbers in single precision.
const VECTOR: u64 = 16;

/// What bindings show a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// The buffer of that number.
    Tensors(usize),
    Scratch,
}

/// What an operand's bindings have to show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) held: Held,
    /// Where they begin, in bytes.
    pub(super) offset: u64,
    /// Bytes of a number.
    pub(super) size: u64,
    pub(super) planes: usize,
    /// Numbers from plane to plane.
    pub(super) stride: usize,
    /// Numbers of each plane.
    pub(super) numbers: usize,
}

impl Span {
    /// Numbers from the first to the last of all planes.
    fn all(&self) -> usize {
        let before = self.planes.saturating_sub(1).saturating_mul(self.stride);
        before.saturating_add(self.numbers)
    }

    fn bound(&self, first: usize, numbers: usize) -> Bound {
        Bound {
            held: self.held,
            offset: self.offset + first as u64 * self.size,
            bytes: whole_vectors(numbers, self.size),
        }
    }

    /// The bindings, in the order in which shaders number them.
    pub(super) fn bindings(&self, split: Option<Split>) -> Vec<Bound> {
        let Some(split) = split else {
            return vec![self.bound(0, self.all())];
        };
        let [planes, together, segments] =
            [split.planes, split.together, split.segments].map(|count| count as usize);
        let binding = |number: usize| {
            let plane = number / segments * together;
            if segments == 1 {
                let more = together.min(planes - plane) - 1;
                return self.bound(plane * self.stride, more * self.stride + self.numbers);
            }
            let at = (number % segments) << split.bits;
            let numbers = (self.numbers - at).min(1 << split.bits);
            self.bound(plane * self.stride + at, numbers)
        };
        (0..split.bindings() as usize).map(binding).collect()
    }
}

/// What one binding shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) held: Held,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// Bytes of so many numbers of so many bytes in whole vectors, since shaders may read them. What that
/// adds is padding.
pub(super) fn whole_vectors(numbers: usize, size: u64) -> u64 {
    let bytes = (numbers as u64).saturating_mul(size).max(1);
    bytes.checked_next_multiple_of(VECTOR).unwrap_or(bytes)
}

/// What a device takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binder {
    /// The most bytes of one binding: not less than the alignment.
    pub(super) largest: u64,
    /// Bindings begin at multiples of so many bytes, a power of two and no less than a vector.
    pub(super) alignment: u64,
}

impl Binder {
    /// Where bindings begin.
    pub(super) fn new(largest: u64, alignment: u32) -> Self {
        Self {
            largest,
            alignment: u64::from(alignment).max(VECTOR),
        }
    }

    /// The most numbers of so many bytes that one binding takes and shaders can count.
    fn most(&self, size: u64) -> usize {
        let numbers = self.largest / VECTOR * VECTOR / size;
        numbers.min(u64::from(u32::MAX)) as usize
    }

    /// Whether one binding takes so many numbers of so many bytes.
    pub(super) fn binds(&self, numbers: usize, size: u64) -> bool {
        numbers <= self.most(size)
    }

    /// How an operand is bound as several; none if it is bound as one.
    ///
    /// # Errors
    /// What is in the way.
    pub(super) fn split(&self, span: &Span) -> Result<Option<Split>, String> {
        let most = self.most(span.size);
        if span.all() <= most {
            return Ok(None);
        }
        if u32::try_from(span.numbers).is_err() {
            return Err(format!(
                "has {} numbers a plane at once, and shaders count to 2^32",
                span.numbers
            ));
        }
        let planes = span.planes.max(1);
        // Segments are powers of two: places in them are bits of places in the plane.
        let bits = most.max(1).ilog2();
        let (together, segments, bits) = match most.checked_sub(span.numbers) {
            Some(room) => ((room / span.stride.max(1) + 1).min(planes), 1, 0),
            None => (1, span.numbers.div_ceil(1 << bits), bits),
        };
        let starts = [
            (together * span.stride, planes > together),
            (1 << bits, segments > 1),
        ];
        for (apart, several) in starts {
            let apart = apart as u64 * span.size;
            if several && !apart.is_multiple_of(self.alignment) {
                return Err(format!(
                    "would be bound {apart} bytes apart, and bindings start at multiples of {}",
                    self.alignment
                ));
            }
        }
        Ok(Some(Split {
            planes: planes as u32,
            together: together as u32,
            segments: segments as u32,
            bits,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a shader finds a number: `Variant` writes the same.
    fn place(split: Option<Split>, stride: usize, plane: usize, at: usize) -> (usize, usize) {
        match split {
            None => (0, plane * stride + at),
            Some(Split {
                segments: 1,
                together,
                ..
            }) => {
                let together = together as usize;
                (plane / together, plane % together * stride + at)
            }
            Some(Split { segments, bits, .. }) => (
                plane * segments as usize + (at >> bits),
                at & ((1 << bits) - 1),
            ),
        }
    }

    #[test]
    fn every_number_is_in_the_binding_where_shaders_look_for_it() {
        let mut kinds = [0; 3];
        for largest in [256, 1000, 1024, 4096, 5000, 1 << 20] {
            let binder = Binder::new(largest, 256);
            for size in [2, 4] {
                for planes in [0, 1, 2, 3, 7, 16] {
                    for numbers in [1usize, 63, 64, 127, 500, 1000, 2049] {
                        let span = Span {
                            held: Held::Tensors(0),
                            offset: 512,
                            size,
                            planes,
                            stride: numbers.next_multiple_of(128),
                            numbers,
                        };
                        let split = binder.split(&span).expect("planes are aligned");
                        let bindings = span.bindings(split);
                        kinds[match split {
                            None => 0,
                            Some(split) if split.segments == 1 => 1,
                            Some(_) => 2,
                        }] += 1;
                        for bound in &bindings {
                            assert!(bound.bytes <= largest, "{span:?} {split:?}");
                            assert!(bound.offset.is_multiple_of(256), "{span:?} {split:?}");
                        }
                        for plane in 0..planes.max(1) {
                            for at in 0..numbers {
                                let (number, inside) = place(split, span.stride, plane, at);
                                let bound = bindings[number];
                                let found = bound.offset + inside as u64 * size;
                                let first = 512 + (plane * span.stride + at) as u64 * size;
                                assert_eq!(found, first, "{span:?} {split:?}");
                                assert!((inside as u64 + 1) * size <= bound.bytes);
                            }
                        }
                    }
                }
            }
        }
        assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
    }

    #[test]
    fn what_cannot_be_bound_is_said() {
        let binder = Binder::new(1024, 256);
        let span = |numbers, stride| Span {
            held: Held::Scratch,
            offset: 0,
            size: 4,
            planes: 2,
            stride,
            numbers,
        };
        let said = binder
            .split(&span(200, 200))
            .expect_err("planes that are not aligned");
        assert!(said.contains("800 bytes apart"), "{said}");
        let many = u32::MAX as usize + 1;
        let said = binder
            .split(&span(many, many))
            .expect_err("too many to count");
        assert!(said.contains("4294967296 numbers"), "{said}");
    }
}

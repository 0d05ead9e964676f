//! What a kernel knows of a ciphertext algebra: its product and its slots, in public constants.

use std::sync::OnceLock;

use crate::polynomials;

/// Most coordinates an element can have: blocks of 8 x 8.
pub const MAX_DIM: usize = 64;
/// Most slots an element can have.
pub const MAX_SLOTS: usize = 8;

/// A linear combination of coordinates: pairs of plane and coefficient.
pub type Combination = Vec<(usize, f64)>;

/// Whether a combination is a plane as it is, which can be copied or read in place.
pub(crate) fn is_plane(combination: &Combination) -> bool {
    matches!(combination[..], [(_, 1.0)])
}

/// One real product of a bilinear program.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// Which left combination.
    pub left: usize,
    /// Which right combination.
    pub right: usize,
    /// The coordinates of the result it is added to, and with what coefficient.
    pub outputs: Combination,
}

/// An algebra's product as real products between linear combinations of coordinates.
///
/// Read with "product" as a real matrix product or convolution, it multiplies matrices of
/// ciphertexts or convolves them.
#[derive(Debug, Clone, PartialEq)]
pub struct Bilinear {
    /// Combinations of the left operand's coordinates.
    pub left: Vec<Combination>,
    /// Combinations of the right operand's coordinates.
    pub right: Vec<Combination>,
    /// The real products.
    pub terms: Vec<Term>,
}

impl Bilinear {
    /// The program of a ciphertext of `dim` coordinates and a plaintext, on whichever side has the
    /// single plane: each coordinate times the plaintext.
    fn by_plain(dim: usize, plain_left: bool) -> Self {
        let planes: Vec<Combination> = (0..dim).map(|i| vec![(i, 1.0)]).collect();
        let plain = vec![vec![(0, 1.0)]];
        let terms = (0..dim)
            .map(|i| Term {
                left: if plain_left { 0 } else { i },
                right: if plain_left { i } else { 0 },
                outputs: vec![(i, 1.0)],
            })
            .collect();
        let (left, right) = if plain_left {
            (plain, planes)
        } else {
            (planes, plain)
        };
        Self { left, right, terms }
    }

    /// What kernels rely on when they follow the program, of operands with `left` and `right` planes
    /// and a result of `dim`, without looking.
    pub(crate) fn check(&self, [left, right, dim]: [usize; 3]) {
        for (combinations, planes) in [(&self.left, left), (&self.right, right)] {
            for combination in combinations {
                assert!(!combination.is_empty(), "a combination is empty");
                assert!(
                    combination.iter().all(|&(plane, _)| plane < planes),
                    "a plane is not there"
                );
            }
        }
        let mut reached: u64 = 0;
        for term in &self.terms {
            assert!(term.left < self.left.len() && term.right < self.right.len());
            let mut own: u64 = 0;
            for &(plane, _) in &term.outputs {
                assert!(plane < dim, "a term adds to a plane that is not there");
                assert!(own & (1 << plane) == 0, "a term names a plane twice");
                own |= 1 << plane;
            }
            reached |= own;
        }
        assert_eq!(reached.count_ones() as usize, dim, "a plane has no term");
    }
}

/// For an algebra of two slots: the slots are `mean . c` plus and minus `half . c`, and the element
/// whose slots are `m + h` and `m - h` is `m one + h span`.
#[derive(Debug, Clone, PartialEq)]
pub struct TwoSlots {
    /// Half the slots' sum, as a combination of coordinates.
    pub mean: Vec<f64>,
    /// Half the slots' difference.
    pub half: Vec<f64>,
    /// Coordinates of the element with slots 1 and 1.
    pub one: Vec<f64>,
    /// Coordinates of the element with slots 1 and -1.
    pub span: Vec<f64>,
}

/// The arithmetic of one ciphertext algebra in the constants of one evaluation key.
#[derive(Debug, Clone, PartialEq)]
pub struct Arithmetic {
    dim: usize,
    slots: usize,
    to_slots: Vec<f64>,
    from_slots: Vec<f64>,
    one: Vec<f64>,
    two: Option<TwoSlots>,
    cipher: Bilinear,
    plain_left: Bilinear,
    plain_right: Bilinear,
    plain: Bilinear,
    /// Coefficients that a polynomial over the algebra can have; 1 where there are no polynomials.
    most: usize,
    /// Products of polynomials by their operands' coefficients, 0 for plaintext: made when first
    /// asked for.
    polynomials: Vec<OnceLock<Bilinear>>,
}

impl Arithmetic {
    /// Plaintext: the algebra of one coordinate.
    pub fn real() -> Self {
        Self::new(1, 1, vec![1.0], vec![1.0], Bilinear::by_plain(1, false))
    }

    /// An algebra of `dim` coordinates and `slots` slots.
    ///
    /// `to_slots` (slots x dim, row-major) takes coordinates to slots, `from_slots` (dim x slots)
    /// takes them back, and `product` multiplies two elements.
    ///
    /// # Panics
    /// When the sizes disagree or pass [`MAX_DIM`] and [`MAX_SLOTS`], or the program names a plane or
    /// combination that does not exist, has an empty combination, names a plane twice in a term, or
    /// leaves a plane of the result without a term.
    pub fn new(
        dim: usize,
        slots: usize,
        to_slots: Vec<f64>,
        from_slots: Vec<f64>,
        product: Bilinear,
    ) -> Self {
        assert!((1..=MAX_DIM).contains(&dim) && (1..=MAX_SLOTS).contains(&slots));
        assert_eq!(to_slots.len(), slots * dim);
        assert_eq!(from_slots.len(), dim * slots);
        product.check([dim; 3]);
        let one: Vec<f64> = from_slots
            .chunks(slots)
            .map(|row| row.iter().sum())
            .collect();
        let two = (slots == 2).then(|| {
            let pair = |sign: f64| {
                (0..dim)
                    .map(|i| (to_slots[i] + sign * to_slots[dim + i]) / 2.0)
                    .collect()
            };
            TwoSlots {
                mean: pair(1.0),
                half: pair(-1.0),
                one: one.clone(),
                span: from_slots.chunks(2).map(|row| row[0] - row[1]).collect(),
            }
        });
        Self {
            dim,
            slots,
            to_slots,
            from_slots,
            one,
            two,
            cipher: product,
            plain_left: Bilinear::by_plain(dim, true),
            plain_right: Bilinear::by_plain(dim, false),
            plain: Bilinear::by_plain(1, false),
            most: 1,
            polynomials: Vec::new(),
        }
    }

    /// Polynomials over this algebra of two coordinates: elements may have any number of
    /// coefficients, from one to `most`, lowest first, each with the algebra's coordinates. Their
    /// degrees add in a product.
    ///
    /// # Panics
    /// When the algebra has another number of coordinates or slots, or elements of `most` coefficients
    /// pass [`MAX_DIM`].
    pub fn graded(mut self, most: usize) -> Self {
        assert_eq!([self.dim, self.slots], [2, 2]);
        assert!((1..=MAX_DIM / self.dim).contains(&most));
        self.one.resize(most * self.dim, 0.0);
        self.most = most;
        self.polynomials = vec![OnceLock::new(); (most + 1) * (most + 1)];
        self
    }

    /// Coordinates of an element, or of a polynomial's coefficient.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Whether elements are polynomials over the algebra.
    pub fn is_graded(&self) -> bool {
        !self.polynomials.is_empty()
    }

    /// Coefficients of an element of that many planes: 0 for plaintext, 1 but in polynomials. `None`
    /// where there is no such element.
    pub fn coefficients(&self, planes: usize) -> Option<usize> {
        match planes {
            1 => Some(0),
            _ if !planes.is_multiple_of(self.dim) => None,
            _ => Some(planes / self.dim).filter(|count| (1..=self.most).contains(count)),
        }
    }

    /// Planes of a ciphertext: those that an operand of a ring operation has, where there is such a
    /// polynomial.
    pub(crate) fn ciphertext(&self, has: usize) -> usize {
        match self.coefficients(has) {
            Some(1..) => has,
            _ => self.dim,
        }
    }

    /// Slots of an element.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Coordinates of the element 1, by which a plaintext is embedded.
    pub fn one(&self) -> &[f64] {
        &self.one
    }

    /// Coordinates to slots (slots x dim).
    pub fn to_slots(&self) -> &[f64] {
        &self.to_slots
    }

    /// Slots to coordinates (dim x slots).
    pub fn from_slots(&self) -> &[f64] {
        &self.from_slots
    }

    /// The constants of an algebra of two slots.
    pub fn two(&self) -> Option<&TwoSlots> {
        self.two.as_ref()
    }

    /// The program for operands of that many planes: 1 for plaintext, `dim` for ciphertexts, or as
    /// many as the coefficients of a polynomial take.
    pub fn product(&self, left_planes: usize, right_planes: usize) -> &Bilinear {
        if self.is_graded() && left_planes.max(right_planes) > 1 {
            return self.product_of_polynomials(left_planes, right_planes);
        }
        match (left_planes == self.dim, right_planes == self.dim) {
            (true, true) => &self.cipher,
            (true, false) => &self.plain_right,
            (false, true) => &self.plain_left,
            (false, false) => &self.plain,
        }
    }

    fn product_of_polynomials(&self, left_planes: usize, right_planes: usize) -> &Bilinear {
        let both = (self.coefficients(left_planes)).zip(self.coefficients(right_planes));
        // Of what is no element kernels ask for a program too, before they refuse it: any will do.
        let Some((left, right)) = both.filter(|(left, right)| left + right <= self.most + 1) else {
            return &self.plain;
        };
        self.polynomials[left * (self.most + 1) + right].get_or_init(|| {
            if left == 0 || right == 0 {
                Bilinear::by_plain(left_planes.max(right_planes), left == 0)
            } else {
                polynomials::product(&self.cipher, self.dim, [left, right])
            }
        })
    }

    /// Planes of the product of operands of that many planes.
    pub fn result_planes(&self, left_planes: usize, right_planes: usize) -> usize {
        if left_planes == 1 || right_planes == 1 || !self.is_graded() {
            left_planes.max(right_planes)
        } else {
            left_planes + right_planes - self.dim
        }
    }
}

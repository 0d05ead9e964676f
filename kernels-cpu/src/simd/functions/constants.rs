//! Coefficients and limits for each element type.
//!
//! Polynomials are minimax approximations by Remez exchange in 60 digits, rounded to the element
//! type, lowest power first. The error beside each is the largest before that rounding, relative to
//! the function it serves.

#![allow(
    clippy::excessive_precision,
    clippy::unreadable_literal,
    reason = "as many digits as identify the number"
)]

/// What elementary functions are computed with.
pub struct Constants<T: 'static> {
    /// Past these the exponential is zero or infinite.
    pub(super) exp_range: (T, T),
    /// Below this `exp(x) - 1` is -1.
    pub(super) exp_m1_low: T,
    /// ln 2 in two parts: the first short enough that its multiples by exponents are exact.
    pub(super) ln_2: (T, T),
    /// `(exp(r) - 1 - r) / r^2` on |r| <= ln 2 / 2.
    pub(super) exp: &'static [T],
    /// A power of two that takes subnormal numbers to normal ones, and its exponent.
    pub(super) lift: (T, T),
    /// `(2 atanh(s) - 2 s) / s^3` in s^2, for s up to `(sqrt 2 - 1) / (sqrt 2 + 1)`.
    pub(super) ln: &'static [T],
    /// `(tanh(x) - x) / x^3` in x^2, for x up to 0.625.
    pub(super) tanh: &'static [T],
    /// `erf(x) / x - 1` in x^2, for x up to 1.
    pub(super) erf: &'static [T],
    /// `exp(x^2) erfc(x)` from 1 to where `erfc` no longer matters, in the distance from a middle.
    pub(super) erfcx: &'static [T],
    pub(super) erfcx_middle: T,
    pub(super) erfcx_end: T,
}

pub(crate) const F32: Constants<f32> = Constants {
    exp_range: (-105.0, 89.0),
    exp_m1_low: -18.0,
    ln_2: (0.693359375, -2.12194440e-4),
    // 2e-8
    exp: &[0.5, 0.166665435, 0.0416662805, 0.00836659782, 0.00139464752],
    lift: (16777216.0, 24.0),
    // 9e-10
    ln: &[0.666667759, 0.399774969, 0.298730224],
    // 5e-9
    tanh: &[
        -0.333332837,
        0.133314908,
        -0.0537435003,
        0.0206505973,
        -0.00571705494,
    ],
    // 2e-9
    erf: &[
        0.128379166,
        -0.37612626,
        0.112835854,
        -0.026853811,
        0.00518832728,
        -0.000801019138,
        7.85385346e-5,
    ],
    // 2e-8
    erfcx: &[
        0.255396128,
        -0.106799506,
        0.0417712331,
        -0.0154921487,
        0.0055719628,
        -0.0016029228,
        0.000560749788,
        -0.00038888288,
    ],
    erfcx_middle: 2.0,
    erfcx_end: 4.0,
};

pub(crate) const F64: Constants<f64> = Constants {
    exp_range: (-746.0, 710.0),
    exp_m1_low: -38.0,
    ln_2: (0.6931471803691238, 1.9082149292705877e-10),
    // 2e-17
    exp: &[
        0.5000000000000006,
        0.16666666666666685,
        0.04166666666657381,
        0.008333333333314612,
        0.0013888888932358963,
        0.00019841269903014464,
        2.4801504438439724e-05,
        2.755722794695954e-06,
        2.7626338567002795e-07,
        2.51144808207976e-08,
    ],
    lift: (18014398509481984.0, 54.0),
    // 2e-18
    ln: &[
        0.6666666666666735,
        0.3999999999941156,
        0.28571428743174504,
        0.2222219848396342,
        0.18183569365440538,
        0.15313912039705402,
        0.14797425957578145,
    ],
    // 1e-17
    tanh: &[
        -0.33333333333332876,
        0.1333333333326493,
        -0.0539682539324887,
        0.02186948760210221,
        -0.008863221320963762,
        0.003591991583755663,
        -0.001454970540135713,
        0.0005863526854611089,
        -0.0002286336324118159,
        7.721960713041115e-05,
        -1.6107747395377446e-05,
    ],
    // 8e-18
    erf: &[
        0.12837916709551256,
        -0.3761263890318352,
        0.11283791670944185,
        -0.02686617064311155,
        0.005223977606119026,
        -0.0008548325929336319,
        0.00012055293577446517,
        -1.4924712310965859e-05,
        1.6447131667834782e-06,
        -1.620631441899007e-07,
        1.3710983000384784e-08,
        -7.779472987202185e-10,
    ],
    // 1e-17
    erfcx: &[
        0.17900115118135485,
        -0.05437226000649483,
        0.01588437116709441,
        -0.004479431010827844,
        0.0012230389713264581,
        -0.0003241257814846394,
        8.355413869013337e-05,
        -2.0988643477393914e-05,
        5.1474570902543134e-06,
        -1.2337500501022704e-06,
        2.875466217922347e-07,
        -6.747780458248626e-08,
        1.5590794653284432e-08,
        -2.3160663682184974e-09,
        9.995879175012552e-10,
        -3.685505347622815e-10,
        -1.4053017961538734e-10,
        -3.217444749138512e-11,
        1.8007556519625583e-11,
        7.635817955059583e-12,
        1.1725232538166887e-12,
    ],
    erfcx_middle: 3.0,
    erfcx_end: 6.0,
};

// Elementary functions: the polynomials of the CPU's kernels, since what WGSL promises of its own is
// too little: `exp` may be off by 3 + 2 |x| units in the last place.

const LOG2_E = 1.4426950408889634;
// ln 2 in two parts: the first short enough that its multiples by exponents are exact.
const LN_2_HIGH = 0.693359375;
const LN_2_LOW = -2.12194440e-4;
const SQRT_1_2 = 0.7071067811865476;
const TWO_OVER_SQRT_PI = 1.1283791670955126;

fn not_a_number() -> f32 {
    var bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}

fn infinity() -> f32 {
    var bits = INFINITY_BITS;
    return bitcast<f32>(bits);
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > INFINITY_BITS;
}

// `x 2^n` in two steps, so that results down to the subnormal numbers are reached.
fn scale_by_power(x: f32, n: i32) -> f32 {
    let first = n / 2;
    let second = n - first;
    return x * bitcast<f32>((first + 127) << 23u) * bitcast<f32>((second + 127) << 23u);
}

struct Reduced {
    // `exp(r) - 1`, |r| <= ln 2 / 2.
    rise: f32,
    n: i32,
}

// Of x = n ln 2 + r, for x between `low` and 89.
fn reduce_exp(x: f32, low: f32) -> Reduced {
    let inside = clamp(x, low, 89.0);
    let n = round(inside * LOG2_E);
    var r = fma(n, -LN_2_HIGH, inside);
    r = fma(n, -LN_2_LOW, r);
    var p = 0.00139464752;
    p = fma(p, r, 0.00836659782);
    p = fma(p, r, 0.0416662805);
    p = fma(p, r, 0.166665435);
    p = fma(p, r, 0.5);
    return Reduced(fma(p * r, r, r), i32(n));
}

fn exponential(x: f32) -> f32 {
    let reduced = reduce_exp(x, -105.0);
    return select(scale_by_power(1.0 + reduced.rise, reduced.n), x, is_nan(x));
}

// `exp(x) - 1` without cancellation near zero.
fn exponential_minus_one(x: f32) -> f32 {
    let reduced = reduce_exp(x, -18.0);
    let rest = 1.0 - scale_by_power(1.0, -reduced.n);
    let y = scale_by_power(reduced.rise + rest, reduced.n);
    // So small a number is its own result, and keeps its sign where it is zero.
    return select(x, y, abs(x) > 1.17549435e-38);
}

// `n ln 2 + ln(1 + f)` for 1 + f between sqrt(1/2) and sqrt 2: with s = f / (2 + f), 2 atanh(s),
// arranged so that the leading term f is exact.
fn logarithm_near_one(f: f32, n: f32) -> f32 {
    let s = f / (2.0 + f);
    let z = s * s;
    let half = 0.5 * f * f;
    var p = 0.298730224;
    p = fma(p, z, 0.399774969);
    p = fma(p, z, 0.666667759);
    let rest = fma(p, z, half);
    let small = half - fma(s, rest, n * LN_2_LOW);
    return fma(n, LN_2_HIGH, f - small);
}

// -infinity at zero and NaN below.
fn logarithm(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    if is_nan(x) || x == infinity() {
        return x;
    }
    if (bits & 0x7fffffffu) == 0u {
        return -infinity();
    }
    if bits >> 31u == 1u {
        return not_a_number();
    }
    // Subnormal numbers are made normal by their bits: arithmetic on them may flush to zero.
    var n = 0;
    var normal = bits;
    if bits < 0x00800000u {
        let shift = countLeadingZeros(bits) - 8u;
        normal = bits << shift;
        n = 1 - i32(shift);
        normal = (normal & 0x007fffffu) | 0x00800000u;
    }
    n += i32(normal >> 23u) - 127;
    var near = bitcast<f32>((normal & 0x007fffffu) | 0x3f800000u);
    if near > 1.41421354 {
        near *= 0.5;
        n += 1;
    }
    return logarithm_near_one(near - 1.0, f32(n));
}

// `ln(1 + x)` for x from 0 to 1.
fn logarithm_of_one_plus(x: f32) -> f32 {
    let beyond = x > 0.41421354;
    return logarithm_near_one(select(x, (x - 1.0) * 0.5, beyond), select(0.0, 1.0, beyond));
}

fn hyperbolic_tangent(x: f32) -> f32 {
    let size = abs(x);
    let square = x * x;
    var p = -0.00571705494;
    p = fma(p, square, 0.0206505973);
    p = fma(p, square, -0.0537435003);
    p = fma(p, square, 0.133314908);
    p = fma(p, square, -0.333332837);
    let near = x * fma(p, square, 1.0);
    let far = 1.0 - 2.0 / (exponential(size + size) + 1.0);
    return select(near, select(-far, far, x > 0.0), size > 0.625);
}

fn logistic(x: f32) -> f32 {
    // Of exp(x) and exp(-x) the one that cannot overflow.
    let fall = exponential(-abs(x));
    return select(fall, 1.0, x > 0.0) / (1.0 + fall);
}

struct Erf {
    value: f32,
    // `exp(-x^2)`
    gaussian: f32,
}

// Up to 1 a polynomial, past it `1 - exp(-x^2) p(x)` with p close to `exp(x^2) erfc(x)`.
fn error_function(x: f32) -> Erf {
    let size = abs(x);
    let square = x * x;
    let gaussian = exponential(-square);
    var p = 7.85385346e-5;
    p = fma(p, square, -0.000801019138);
    p = fma(p, square, 0.00518832728);
    p = fma(p, square, -0.026853811);
    p = fma(p, square, 0.112835854);
    p = fma(p, square, -0.37612626);
    p = fma(p, square, 0.128379166);
    let near = fma(p, x, x);
    let t = min(size, 4.0) - 2.0;
    var q = -0.00038888288;
    q = fma(q, t, 0.000560749788);
    q = fma(q, t, -0.0016029228);
    q = fma(q, t, 0.0055719628);
    q = fma(q, t, -0.0154921487);
    q = fma(q, t, 0.0417712331);
    q = fma(q, t, -0.106799506);
    q = fma(q, t, 0.255396128);
    let far = 1.0 - q * gaussian;
    let value = select(near, select(-far, far, x > 0.0), size > 1.0);
    return Erf(select(value, x, is_nan(x)), gaussian);
}

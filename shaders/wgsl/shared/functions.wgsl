// The functions and their derivatives, evaluated at one slot. FUNCTION is the variant's choice;
// `params.alpha` and `params.beta` are its parameters.

const IDENTITY = 18u;
const EXP = 0u;
const LN = 1u;
const SQRT = 2u;
const INVERSE = 3u;
const ABS = 4u;
const SIGN = 5u;
const RELU = 6u;
const LEAKY_RELU = 7u;
const ELU = 8u;
const SIGMOID = 9u;
const HARD_SIGMOID = 10u;
const TANH = 11u;
const SOFTPLUS = 12u;
const GELU = 13u;
const GELU_TANH = 14u;
const ERF = 15u;
const SILU = 16u;
const SQUARE = 17u;

// `size` with the sign of `x`, and zero where that is zero.
fn with_sign(x: f32, size: f32) -> f32 {
    return select(select(0.0, -size, x < 0.0), size, x > 0.0);
}

// Twice `sqrt(2 / pi)`: the tangent's argument is that of a sigmoid halved.
const GELU_TANH_SCALE = 2.0 * TWO_OVER_SQRT_PI * SQRT_1_2;
const GELU_TANH_CUBIC = 0.044715;

fn value(x: f32) -> f32 {
    switch FUNCTION {
        case EXP: { return exponential(x); }
        case LN: { return logarithm(x); }
        case SQRT: { return sqrt(x); }
        case INVERSE: { return 1.0 / x; }
        case ABS: { return abs(x); }
        case SIGN: { return with_sign(x, 1.0); }
        // NaN is no less than zero, and passes.
        case RELU: { return select(x, 0.0, x < 0.0); }
        case LEAKY_RELU: { return select(x * params.alpha, x, x > 0.0); }
        case ELU: { return select(exponential_minus_one(x) * params.alpha, x, x > 0.0); }
        case SIGMOID: { return logistic(x); }
        case HARD_SIGMOID: { return clamp(fma(x, params.alpha, params.beta), 0.0, 1.0); }
        case TANH: { return hyperbolic_tangent(x); }
        case SOFTPLUS: { return max(x, 0.0) + logarithm_of_one_plus(exponential(-abs(x))); }
        case GELU: { return fma(0.5 * x, error_function(x * SQRT_1_2).value, 0.5 * x); }
        // With (1 + tanh u) / 2 = sigmoid(2 u), which does not cancel where the function is small.
        case GELU_TANH: {
            let inner = fma(x * x, GELU_TANH_CUBIC, 1.0);
            return x * logistic(inner * x * GELU_TANH_SCALE);
        }
        case ERF: { return error_function(x).value; }
        case SILU: { return x * logistic(x); }
        case SQUARE: { return x * x; }
        default: { return x; }
    }
}

// `f'(x) g`, from what the function saves: its value for exp, sqrt, inverse, sigmoid and tanh, its
// argument for the others.
fn gradient(saved: f32, g: f32) -> f32 {
    let x = saved;
    switch FUNCTION {
        case EXP: { return x * g; }
        case LN: { return g / x; }
        case SQRT: { return g / (x + x); }
        case INVERSE: { return -x * x * g; }
        case ABS: { return with_sign(x, g); }
        case SIGN: { return 0.0; }
        case RELU: { return select(0.0, g, x > 0.0); }
        case LEAKY_RELU: { return select(g * params.alpha, g, x > 0.0); }
        case ELU: { return select(exponential(x) * params.alpha * g, g, x > 0.0); }
        case SIGMOID: { return x * (1.0 - x) * g; }
        case HARD_SIGMOID: {
            let y = fma(x, params.alpha, params.beta);
            return select(0.0, params.alpha * g, y > 0.0 && y < 1.0);
        }
        case TANH: { return (1.0 - x) * (1.0 + x) * g; }
        case SOFTPLUS: { return logistic(x) * g; }
        case GELU: {
            let erf = error_function(x * SQRT_1_2);
            let density = erf.gaussian * (0.5 * TWO_OVER_SQRT_PI * SQRT_1_2);
            return fma(x, density, fma(0.5, erf.value, 0.5)) * g;
        }
        case GELU_TANH: {
            // Past 64 it is at its limit, and powers of x would overflow.
            let held = clamp(x, -64.0, 64.0);
            let square = held * held;
            let inner = fma(square, GELU_TANH_CUBIC, 1.0);
            let slope = fma(square, 3.0 * GELU_TANH_CUBIC, 1.0) * GELU_TANH_SCALE;
            let y = logistic(inner * held * GELU_TANH_SCALE);
            return y * fma(held * slope, 1.0 - y, 1.0) * g;
        }
        case ERF: { return exponential(-x * x) * TWO_OVER_SQRT_PI * g; }
        case SILU: {
            let y = logistic(x);
            return y * fma(x, 1.0 - y, 1.0) * g;
        }
        case SQUARE: { return (x + x) * g; }
        default: { return g; }
    }
}

// A matrix product of ciphertexts in tiles: an algebra's bilinear program over one real product.
//
// A workgroup computes TILE_ROWS x TILE_COLUMNS elements of the result. It takes DEPTH columns of the
// left operand and rows of the right one at a time into workgroup memory, combinations of coordinates
// formed on the way; each invocation then holds its sums, THREAD_ROWS x THREAD_COLUMNS for each of
// the program's, in registers.
//
// The kernel's file says where operands lie, what is done to a number that is read by itself, and what
// becomes of an element of the result: `left_index(batch, row, depth)`,
// `right_index(batch, depth, column)`, `left_value` and `right_value` likewise, and
// `write(batch, row, column, c)`.
//
// An operand that is WIDE is read four numbers at a time: those at multiples of 4 along its rows in
// memory lie side by side, and all or none of them are there. Along the depth, an invocation takes the
// four of four lines and transposes them.

const TILE_ROWS = THREAD_ROWS * GROUP_ROWS;
const TILE_COLUMNS = THREAD_COLUMNS * GROUP_COLUMNS;
const THREADS = GROUP_ROWS * GROUP_COLUMNS;
const ROW_VECTORS = THREAD_ROWS / 4u;
const COLUMN_VECTORS = THREAD_COLUMNS / 4u;
// A vector more than a line of the tile has, so that lines start in different banks.
const LEFT_PITCH = TILE_ROWS / 4u + 1u;
const RIGHT_PITCH = TILE_COLUMNS / 4u + 1u;
// Where operands are wide along the depth, that is a multiple of 4.
const DEPTH_VECTORS = max(DEPTH / 4u, 1u);
// Loads that fill a vector of a tile.
const LEFT_LOADS = select(4u, 1u, WIDE_A);
const RIGHT_LOADS = select(4u, 1u, WIDE_B);

// Whole vectors, since WGSL may write a component by reading and writing all of its vector.
var<workgroup> left_tile: array<vec4<f32>, LEFT * DEPTH * LEFT_PITCH>;
var<workgroup> right_tile: array<vec4<f32>, RIGHT * DEPTH * RIGHT_PITCH>;

// Where the right operand has a zero that lies in no memory.
const NOWHERE = 0xffffffffu;

struct Product {
    rows: u32,
    columns: u32,
    // From where to where sums go.
    depth: vec2<u32>,
}

// Four rows of one column of the left operand, combined, to where its tile has them.
fn put_left(coordinates: array<vec4<f32>, A_PLANES>, k: u32, at: u32) {
    var combined = left(coordinates);
    for (var t = 0u; t < LEFT; t++) {
        left_tile[(t * DEPTH + k) * LEFT_PITCH + at] = combined[t];
    }
}

// Four columns of one row of the right operand, likewise.
fn put_right(coordinates: array<vec4<f32>, B_PLANES>, k: u32, at: u32) {
    var combined = right(coordinates);
    for (var t = 0u; t < RIGHT; t++) {
        right_tile[(t * DEPTH + k) * RIGHT_PITCH + at] = combined[t];
    }
}

fn stage_left(product: Product, batch: u32, row: u32, depth: u32, local: u32) {
    if WIDE_A && LEFT_ALONG_DEPTH {
        for (var i = local; i < DEPTH_VECTORS * TILE_ROWS / 4u; i += THREADS) {
            let k = i % DEPTH_VECTORS * 4u;
            let at = i / DEPTH_VECTORS;
            var block: array<array<vec4<f32>, A_PLANES>, 4>;
            for (var j = 0u; j < 4u; j++) {
                let r = row + at * 4u + j;
                if r < product.rows && depth + k < product.depth.y {
                    block[j] = load4_a(left_index(batch, r, depth + k));
                }
            }
            for (var j = 0u; j < 4u; j++) {
                var column: array<vec4<f32>, A_PLANES>;
                for (var p = 0u; p < A_PLANES; p++) {
                    column[p] = vec4(block[0][p][j], block[1][p][j], block[2][p][j], block[3][p][j]);
                }
                put_left(column, k + j, at);
            }
        }
    } else {
        for (var i = local; i < DEPTH * TILE_ROWS / 4u; i += THREADS) {
            // Neighbouring invocations read neighbouring numbers.
            let k = select(i / (TILE_ROWS / 4u), i % DEPTH, LEFT_ALONG_DEPTH);
            let at = select(i % (TILE_ROWS / 4u), i / DEPTH, LEFT_ALONG_DEPTH);
            let r = row + at * 4u;
            var column: array<vec4<f32>, A_PLANES>;
            for (var j = 0u; j < LEFT_LOADS; j++) {
                if r + j < product.rows && depth + k < product.depth.y {
                    let start = left_index(batch, r + j, depth + k);
                    if WIDE_A {
                        column = load4_a(start);
                    } else {
                        var element = left_value(load_a(start), batch, r + j, depth + k);
                        for (var p = 0u; p < A_PLANES; p++) {
                            column[p][j] = element[p];
                        }
                    }
                }
            }
            put_left(column, k, at);
        }
    }
}

fn stage_right(product: Product, batch: u32, column: u32, depth: u32, local: u32) {
    if WIDE_B && RIGHT_ALONG_DEPTH {
        for (var i = local; i < DEPTH_VECTORS * TILE_COLUMNS / 4u; i += THREADS) {
            let k = i % DEPTH_VECTORS * 4u;
            let at = i / DEPTH_VECTORS;
            var block: array<array<vec4<f32>, B_PLANES>, 4>;
            for (var j = 0u; j < 4u; j++) {
                let c = column + at * 4u + j;
                if c < product.columns && depth + k < product.depth.y {
                    let start = right_index(batch, depth + k, c);
                    if start != NOWHERE {
                        block[j] = load4_b(start);
                    }
                }
            }
            for (var j = 0u; j < 4u; j++) {
                var row: array<vec4<f32>, B_PLANES>;
                for (var p = 0u; p < B_PLANES; p++) {
                    row[p] = vec4(block[0][p][j], block[1][p][j], block[2][p][j], block[3][p][j]);
                }
                put_right(row, k + j, at);
            }
        }
    } else {
        for (var i = local; i < DEPTH * TILE_COLUMNS / 4u; i += THREADS) {
            let k = select(i / (TILE_COLUMNS / 4u), i % DEPTH, RIGHT_ALONG_DEPTH);
            let at = select(i % (TILE_COLUMNS / 4u), i / DEPTH, RIGHT_ALONG_DEPTH);
            let c = column + at * 4u;
            var row: array<vec4<f32>, B_PLANES>;
            for (var j = 0u; j < RIGHT_LOADS; j++) {
                if c + j < product.columns && depth + k < product.depth.y {
                    let start = right_index(batch, depth + k, c + j);
                    if start != NOWHERE && WIDE_B {
                        row = load4_b(start);
                    } else if start != NOWHERE {
                        var element = right_value(load_b(start), batch, depth + k, c + j);
                        for (var p = 0u; p < B_PLANES; p++) {
                            row[p][j] = element[p];
                        }
                    }
                }
            }
            put_right(row, k, at);
        }
    }
}

// Computes one tile of one product of the batch. Every invocation of the workgroup has to call it.
fn multiply_tile(product: Product, batch: u32, tile_row: u32, tile_column: u32, local: vec3<u32>) {
    let thread = local.y * GROUP_COLUMNS + local.x;
    let row = tile_row * TILE_ROWS;
    let column = tile_column * TILE_COLUMNS;
    var sums: array<vec4<f32>, SUMS * THREAD_ROWS * COLUMN_VECTORS>;
    for (var depth = product.depth.x; depth < product.depth.y; depth += DEPTH) {
        stage_left(product, batch, row, depth, thread);
        stage_right(product, batch, column, depth, thread);
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            var l: array<vec4<f32>, LEFT * ROW_VECTORS>;
            for (var t = 0u; t < LEFT; t++) {
                for (var i = 0u; i < ROW_VECTORS; i++) {
                    l[t * ROW_VECTORS + i] =
                        left_tile[(t * DEPTH + k) * LEFT_PITCH + i * GROUP_ROWS + local.y];
                }
            }
            var r: array<vec4<f32>, RIGHT * COLUMN_VECTORS>;
            for (var t = 0u; t < RIGHT; t++) {
                for (var j = 0u; j < COLUMN_VECTORS; j++) {
                    r[t * COLUMN_VECTORS + j] =
                        right_tile[(t * DEPTH + k) * RIGHT_PITCH + j * GROUP_COLUMNS + local.x];
                }
            }
            for (var t = 0u; t < TERMS; t++) {
                for (var i = 0u; i < THREAD_ROWS; i++) {
                    let factor = vec4(l[term_left(t) * ROW_VECTORS + i / 4u][i % 4u]);
                    for (var j = 0u; j < COLUMN_VECTORS; j++) {
                        let s = (term_sum(t) * THREAD_ROWS + i) * COLUMN_VECTORS + j;
                        sums[s] = fma(factor, r[term_right(t) * COLUMN_VECTORS + j], sums[s]);
                    }
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < THREAD_ROWS; i++) {
        let r = row + ((i / 4u) * GROUP_ROWS + local.y) * 4u + i % 4u;
        for (var j = 0u; j < THREAD_COLUMNS; j++) {
            let c = column + ((j / 4u) * GROUP_COLUMNS + local.x) * 4u + j % 4u;
            if r < product.rows && c < product.columns {
                var element: array<f32, SUMS>;
                for (var s = 0u; s < SUMS; s++) {
                    element[s] = sums[(s * THREAD_ROWS + i) * COLUMN_VECTORS + j / 4u][j % 4u];
                }
                write(batch, r, c, finish(element));
            }
        }
    }
}

// A matrix product of ciphertexts in tiles: an algebra's bilinear program over one real product.
//
// A workgroup computes TILE_ROWS x TILE_COLUMNS elements of the result. It takes DEPTH columns of the
// left operand and rows of the right one at a time into workgroup memory, combinations of coordinates
// formed on the way; each invocation then holds its sums, THREAD_ROWS x THREAD_COLUMNS for each of
// the program's, in registers.
//
// The kernel's file says where operands lie and what becomes of an element of the result:
// `left_at(batch, row, depth)`, `right_at(batch, depth, column)`, `write(batch, row, column, c)`.

const TILE_ROWS = THREAD_ROWS * GROUP_ROWS;
const TILE_COLUMNS = THREAD_COLUMNS * GROUP_COLUMNS;
const THREADS = GROUP_ROWS * GROUP_COLUMNS;
const ROW_VECTORS = THREAD_ROWS / 4u;
const COLUMN_VECTORS = THREAD_COLUMNS / 4u;
// A vector more than a line of the tile has, so that lines start in different banks.
const LEFT_PITCH = TILE_ROWS / 4u + 1u;
const RIGHT_PITCH = TILE_COLUMNS / 4u + 1u;

// Whole vectors, since WGSL may write a component by reading and writing all of its vector.
var<workgroup> left_tile: array<vec4<f32>, LEFT * DEPTH * LEFT_PITCH>;
var<workgroup> right_tile: array<vec4<f32>, RIGHT * DEPTH * RIGHT_PITCH>;

struct Product {
    rows: u32,
    columns: u32,
    // From where to where sums go.
    depth: vec2<u32>,
}

fn stage_left(product: Product, batch: u32, row: u32, depth: u32, local: u32) {
    for (var i = local; i < DEPTH * TILE_ROWS / 4u; i += THREADS) {
        // Neighbouring invocations read neighbouring numbers.
        let k = select(i / (TILE_ROWS / 4u), i % DEPTH, LEFT_ALONG_DEPTH);
        let at = select(i % (TILE_ROWS / 4u), i / DEPTH, LEFT_ALONG_DEPTH);
        var vectors: array<vec4<f32>, LEFT>;
        for (var j = 0u; j < 4u; j++) {
            let r = row + at * 4u + j;
            if r < product.rows && depth + k < product.depth.y {
                var l = left(left_at(batch, r, depth + k));
                for (var t = 0u; t < LEFT; t++) {
                    vectors[t][j] = l[t];
                }
            }
        }
        for (var t = 0u; t < LEFT; t++) {
            left_tile[(t * DEPTH + k) * LEFT_PITCH + at] = vectors[t];
        }
    }
}

fn stage_right(product: Product, batch: u32, column: u32, depth: u32, local: u32) {
    for (var i = local; i < DEPTH * TILE_COLUMNS / 4u; i += THREADS) {
        let k = select(i / (TILE_COLUMNS / 4u), i % DEPTH, RIGHT_ALONG_DEPTH);
        let at = select(i % (TILE_COLUMNS / 4u), i / DEPTH, RIGHT_ALONG_DEPTH);
        var vectors: array<vec4<f32>, RIGHT>;
        for (var j = 0u; j < 4u; j++) {
            let c = column + at * 4u + j;
            if c < product.columns && depth + k < product.depth.y {
                var r = right(right_at(batch, depth + k, c));
                for (var t = 0u; t < RIGHT; t++) {
                    vectors[t][j] = r[t];
                }
            }
        }
        for (var t = 0u; t < RIGHT; t++) {
            right_tile[(t * DEPTH + k) * RIGHT_PITCH + at] = vectors[t];
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

// Of some convolutions only averages of relu are kept, over windows of WINDOW_ROWS x WINDOW_COLUMNS
// pixels that tile them, and the steps: whether a slot of a pixel is above zero. A tile has a word for
// each slot of a pixel, and each of its images a bit of that.

// What a window's pixel is worth in its average.
const SHARE = 1.0 / f32(WINDOW_ROWS * WINDOW_COLUMNS);

// Sizes of a convolution's result.
struct Result {
    channels: u32,
    rows: u32,
    columns: u32,
}

// Where the average is that a pixel counts in; with windows of one pixel, the pixel itself.
fn average_at(p: Pixel, all: Result, channel: u32, row: u32, column: u32) -> u32 {
    let rows = all.rows / WINDOW_ROWS;
    let columns = all.columns / WINDOW_COLUMNS;
    let number = (channel * rows + row / WINDOW_ROWS) * columns + column / WINDOW_COLUMNS;
    return element(p, all.channels * rows * columns, number);
}

// The word of a pixel's steps, in each slot.
fn word_at(p: Pixel, all: Result, channel: u32, row: u32, column: u32) -> u32 {
    let corner = (p.first / TILE_IMAGES * all.channels + channel) * all.rows;
    return (corner + row) * all.columns + column;
}

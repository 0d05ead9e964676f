// Image tensors, `[tile][channel][row][column][image]`: tiles of TILE_IMAGES images, the last as narrow
// as the images that are left. What is there of a channel in one tile lies side by side.

struct Pixel {
    // Images before its tile, and images of that.
    first: u32,
    width: u32,
    number: u32,
    image: u32,
}

// The `at`-th number of a tensor of `pixels` pixels an image.
fn pixel(at: u32, pixels: u32) -> Pixel {
    let first = at / pixels / TILE_IMAGES * TILE_IMAGES;
    let inside = at - first * pixels;
    let width = min(TILE_IMAGES, params.batch - first);
    return Pixel(first, width, inside / width, inside % width);
}

// Where the same image's pixel `number` is in a tensor of `pixels` pixels an image, those of all
// channels.
fn element(p: Pixel, pixels: u32, number: u32) -> u32 {
    return p.first * pixels + number * p.width + p.image;
}

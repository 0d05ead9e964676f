//! Many grey images on one sheet.

/// Pixels between two tiles, and around all of them.
const GAP: usize = 4;
/// Grey of the gaps, so that black and white margins of images both show.
const GAP_GREY: u8 = 96;
/// Images are enlarged, each pixel to a square, as long as a tile is no wider than this.
const TILE: usize = 128;

/// Square images of `side` pixels (at least one), each pixel in `0.0..=1.0` from black to white, as
/// tiles of one PNG file: row by row in their order, as many across as down or a row fewer.
///
/// # Errors
/// When the sheet is too large for a PNG file.
pub(crate) fn contact_sheet(images: &[f32], side: usize) -> Result<Vec<u8>, png::EncodingError> {
    let (width, pixels) = tiled(images, side);
    let size =
        |pixels: usize| u32::try_from(pixels).map_err(|_| png::EncodingError::LimitsExceeded);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size(width)?, size(pixels.len() / width)?);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(file)
}

/// The sheet's width, and its pixels row by row.
fn tiled(images: &[f32], side: usize) -> (usize, Vec<u8>) {
    let count = images.len() / (side * side);
    let across = (1..).find(|n| n * n >= count).unwrap_or(1);
    let down = count.div_ceil(across).max(1);
    let scale = (TILE / side).max(1);
    let pitch = scale * side + GAP;
    let (width, height) = (across * pitch + GAP, down * pitch + GAP);
    let mut pixels = vec![GAP_GREY; width * height];
    for (i, image) in images.chunks_exact(side * side).enumerate() {
        let corner = (GAP + i / across * pitch) * width + GAP + i % across * pitch;
        for row in 0..scale * side {
            let line = &mut pixels[corner + row * width..][..scale * side];
            let source = &image[row / scale * side..][..side];
            for (x, pixel) in line.iter_mut().enumerate() {
                *pixel = (255.0 * source[x / scale].clamp(0.0, 1.0)).round() as u8;
            }
        }
    }
    (width, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_lie_where_they_belong() {
        // Five images of 80 x 80, each of one grey but for its top right pixel.
        let side = 80;
        let image = |i: usize| {
            (0..side * side).map(move |p| if p == side - 1 { 1.0 } else { i as f32 / 10.0 })
        };
        let images: Vec<f32> = (0..5).flat_map(image).collect();
        let (width, pixels) = tiled(&images, side);
        assert_eq!((width, pixels.len() / width), (3 * 84 + 4, 2 * 84 + 4));
        let at = |x: usize, y: usize| pixels[y * width + x];
        for i in 0..5 {
            let (x, y) = (4 + i % 3 * 84, 4 + i / 3 * 84);
            let grey = (25.5 * i as f32).round() as u8;
            assert_eq!(
                [at(x, y), at(x + 78, y + 79), at(x + 79, y + 79)],
                [grey; 3]
            );
            assert_eq!(at(x + 79, y), 255);
            let around = [at(x - 1, y), at(x + 80, y), at(x, y - 1), at(x, y + 80)];
            assert_eq!(around, [GAP_GREY; 4]);
        }
        // Where a sixth would be.
        assert_eq!(at(4 + 2 * 84 + 40, 4 + 84 + 40), GAP_GREY);
    }

    #[test]
    fn small_images_are_enlarged_and_large_ones_are_not() {
        let images: Vec<f32> = (0..2 * 28 * 28).map(|p| (p % 28) as f32 / 27.0).collect();
        let (width, pixels) = tiled(&images, 28);
        assert_eq!((width, pixels.len() / width), (2 * 116 + 4, 120));
        let row = &pixels[5 * width + 4..][..112];
        assert!((0..28).all(|x| row[4 * x] == row[4 * x + 3]));
        assert_eq!((row[0], row[111]), (0, 255));
        assert_eq!(tiled(&[0.5; 65 * 65], 65).0, 65 + 8);
        assert_eq!(tiled(&[], 7), (126 + 8, vec![GAP_GREY; 134 * 134]));
        // Numbers that no image has are drawn all the same.
        let (width, pixels) = tiled(&[f32::NAN, -3.0, 7.0, 1.0], 2);
        let at = |x: usize, y: usize| pixels[(4 + 64 * y) * width + 4 + 64 * x];
        assert_eq!([at(0, 0), at(1, 0), at(0, 1), at(1, 1)], [0, 0, 255, 255]);
    }

    #[test]
    fn the_file_holds_the_sheet() {
        let images: Vec<f32> = (0..7 * 9).map(|p| p as f32 / 62.0).collect();
        let file = contact_sheet(&images, 3).expect("a sheet");
        let mut reader = png::Decoder::new(std::io::Cursor::new(&file))
            .read_info()
            .expect("a PNG file");
        let (width, pixels) = tiled(&images, 3);
        let info = reader.info();
        assert_eq!(info.color_type, png::ColorType::Grayscale);
        assert_eq!(
            (info.width as usize, info.height as usize),
            (width, pixels.len() / width)
        );
        let mut read = vec![0; pixels.len()];
        reader.next_frame(&mut read).expect("pixels");
        assert_eq!(read, pixels);
    }
}

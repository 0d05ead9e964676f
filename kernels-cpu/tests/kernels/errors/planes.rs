//! What views of planes refuse.

use super::refused;
use furthermore_kernels_cpu::{Planes, PlanesMut};

#[test]
fn views() {
    let kernel = ("planes", "data");
    let data = [0.0f32; 20];
    let view = |count, stride, len| {
        let shared = Planes::new(&data, count, stride, len).map(|_| ());
        let exclusive = PlanesMut::new(&mut data.clone(), count, stride, len).map(|_| ());
        assert_eq!(shared, exclusive, "both views look alike");
        shared
    };
    for (count, stride, len) in [
        (0, 0, 0),
        (0, 7, 100),
        (100, 7, 0),
        (2, usize::MAX, 0),
        (1, 0, 20),
        (2, 10, 10),
        (3, 9, 2),
        (20, 1, 1),
    ] {
        view(count, stride, len).expect("these fit into twenty elements");
    }
    refused(view(1, 0, 21), kernel, false, (21, 20));
    refused(view(2, 11, 10), kernel, false, (21, 20));
    refused(view(3, 10, 1), kernel, false, (21, 20));
    // Planes that overlap: enough data, but one element would be written twice.
    refused(view(2, 9, 10), kernel, false, (19, 20));
    refused(view(2, 0, 1), kernel, false, (1, 20));
    // Sizes whose product passes the largest number do not come round to a small one.
    let huge = usize::MAX / 2 + 1;
    refused(view(3, huge, 1), kernel, false, (usize::MAX, 20));
    refused(view(2, usize::MAX, 5), kernel, false, (usize::MAX, 20));
    refused(view(huge + 1, 2, 2), kernel, false, (usize::MAX, 20));
}

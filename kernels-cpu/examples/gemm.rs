use furthermore_kernels_cpu::block_matmul::*;
use furthermore_kernels_cpu::*;
use std::time::Instant;
fn compact2(v1: f64, v2: f64) -> Arithmetic {
    let (t, d, g) = (v1 + v2, v1 * v2, v1 - v2);
    Arithmetic::new(
        2,
        2,
        vec![1., v1, 1., v2],
        vec![-v2 / g, v1 / g, 1. / g, -1. / g],
        Bilinear {
            left: vec![vec![(0, 1.)], vec![(1, 1.)], vec![(0, 1.), (1, 1.)]],
            right: vec![vec![(0, 1.)], vec![(1, 1.)], vec![(0, 1.), (1, 1.)]],
            terms: vec![
                Term {
                    left: 0,
                    right: 0,
                    outputs: vec![(0, 1.), (1, -1.)],
                },
                Term {
                    left: 1,
                    right: 1,
                    outputs: vec![(0, -d), (1, t - 1.)],
                },
                Term {
                    left: 2,
                    right: 2,
                    outputs: vec![(1, 1.)],
                },
            ],
        },
    )
}
fn blocks2() -> Arithmetic {
    let mut terms = vec![];
    for i in 0..2 {
        for j in 0..2 {
            for l in 0..2 {
                terms.push(Term {
                    left: i * 2 + l,
                    right: l * 2 + j,
                    outputs: vec![(i * 2 + j, 1.)],
                })
            }
        }
    }
    let planes: Vec<Combination> = (0..4).map(|i| vec![(i, 1.)]).collect();
    Arithmetic::new(
        4,
        2,
        vec![1., 0.5, 0., 0., 1., -0.5, 0., 0.],
        vec![0.5; 8],
        Bilinear {
            left: planes.clone(),
            right: planes,
            terms,
        },
    )
}
fn main() {
    let isa = Isa::from_env().unwrap();
    let exec = Exec::new(isa);
    println!("{isa} {} threads", exec.threads);
    for (m, k, n) in [
        (64, 784, 128),
        (256, 784, 128),
        (256, 128, 10),
        (784, 64, 128),
        (256, 256, 256),
        (512, 512, 512),
        (1024, 1024, 1024),
    ] {
        let mut plain = 0.;
        for (name, ar, pa, pb) in [
            ("plain", Arithmetic::real(), 1, 1),
            ("c2 ctpt", compact2(0.75, -0.5), 2, 1),
            ("c2 ctct", compact2(0.75, -0.5), 2, 2),
            ("b2 ctpt", blocks2(), 4, 1),
            ("b2 ctct", blocks2(), 4, 4),
        ] {
            let ta = m == 784;
            let shape = MatmulShape {
                m,
                k,
                n,
                transpose_a: ta,
                transpose_b: false,
            };
            let a = vec![0.5f32; pa * m * k];
            let b = vec![0.25f32; pb * k * n];
            let pc = pa.max(pb);
            let mut c = vec![0f32; pc * m * n];
            let mut s = vec![0f32; scratch_len::<f32>(&exec, &ar, &shape, pa, pb)];
            let mut ts = vec![];
            for _ in 0..30 {
                let t = Instant::now();
                let reps = ((50_000_000 / (m * n * k)).max(1)).min(20);
                for _ in 0..reps {
                    block_matmul(
                        &exec,
                        &ar,
                        &shape,
                        Planes::new(&a, pa, m * k, m * k).unwrap(),
                        Planes::new(&b, pb, k * n, k * n).unwrap(),
                        &mut PlanesMut::new(&mut c, pc, m * n, m * n).unwrap(),
                        &Epilogue::NONE,
                        &mut s,
                    )
                    .unwrap();
                }
                ts.push(t.elapsed().as_secs_f64() / reps as f64);
            }
            ts.sort_by(f64::total_cmp);
            let med = ts[ts.len() / 2];
            if name == "plain" {
                plain = med
            }
            println!(
                "{m}x{k}x{n} {name}: {:.1} us, {:.1} GF/s (x{:.2})",
                med * 1e6,
                2. * (m * k * n) as f64 / med / 1e9,
                med / plain
            );
        }
    }
}

//! scratch
use furthermore::*; use furthermore::scheme::*; use furthermore::tensor::*; use furthermore::device::*; use furthermore::network::*;
#[test] fn zeros() {
    for alg in [Algebra::Compact(2), Algebra::Blocks(2), Algebra::Compact(3)] {
    for dtype in [DType::F32, DType::F64] {
    let mut fails=[0;2];
    for seed in 0..50 {
    let key = SecretKey::from_known_seed(alg.slots(), seed).unwrap();
    let z = Plaintext::zeros([16], dtype).unwrap();
    let c = key.encryptor_from_known_seed(alg, seed).unwrap().encrypt(&z).unwrap();
    fails[0] += Cpu::new().unwrap().scale(&c, 1.0).is_err() as usize;
    let neg: Vec<f64> = (0..16).map(|i| -1.0 - i as f64/16.0).collect();
    let pos: Vec<f64> = (0..16).map(|i| 1.0 + i as f64/16.0).collect();
    let neg = Plaintext::new([16], &neg).unwrap().to_dtype(dtype);
    let pos = Plaintext::new([16], &pos).unwrap().to_dtype(dtype);
    let c = key.encryptor_from_known_seed(alg, seed).unwrap().encrypt_with(&neg, MaskPolicy::From(&pos)).unwrap();
    fails[1] += Cpu::new().unwrap().map(Function::Relu, &c).is_err() as usize;
    }
    println!("{alg} {dtype}: {fails:?} of 50");
    }}
}
#[test] fn foreign() {
    let mut a = Network::new(); let x = a.input("x",[3]).unwrap(); let mut y = x; for i in 0..5 { y = a.relu(&format!("r{i}"), y).unwrap(); }
    let mut b = Network::new(); let x = b.input("x",[3]).unwrap(); let t = b.input("t",[3]).unwrap(); let l = b.mean_squared_error("l", x, t).unwrap();
    println!("{:?}", b.gradients(l, &[y]).map(|_| ()));
}
#[test] fn rows_scalar() { let p = Plaintext::new([], &[1.0f32]).unwrap(); println!("{:?}", p.rows(&[0,0]).map(|_| ())); }
#[test] fn rows_huge() { let p = Plaintext::zeros([0, usize::MAX, 2], DType::F32).unwrap(); println!("{:?}", p.rows(&[]).map(|_| ())); }
#[test] fn enc_huge() { let p = Plaintext::zeros([0, usize::MAX, 2], DType::F32).unwrap(); let key = SecretKey::from_known_seed(2, 1).unwrap(); let c = key.encryptor(Algebra::Compact(2)).unwrap().encrypt(&p).unwrap(); println!("{:?}", Cpu::new().unwrap().add(&c,&c).map(|_| ())); }
#[test] fn from_inf() { let p = Plaintext::zeros([2], DType::F32).unwrap(); let m = Plaintext::new([2], &[1e300, 1.0]).unwrap(); let key = SecretKey::from_known_seed(2, 1).unwrap(); let c = key.encryptor(Algebra::Compact(2)).unwrap().encrypt_with(&p, MaskPolicy::From(&m)); println!("from inf {:?}", c.map(|c| c.planes::<f32>().unwrap().plane(0).to_vec())); }
#[test] fn huge_messages() { let p = Plaintext::new([2], &[3e38f32, -3e38]).unwrap(); let key = SecretKey::from_known_seed(2, 1).unwrap(); let c = key.encryptor(Algebra::Compact(2)).unwrap().encrypt(&p); println!("huge {:?}", c.map(|c| c.planes::<f32>().unwrap().plane(0).to_vec()));
 let p = Plaintext::new([2], &[1.7e308, -1.7e308]).unwrap(); let c = key.encryptor(Algebra::Compact(2)).unwrap().encrypt(&p); println!("huge {:?}", c.map(|c| c.planes::<f64>().unwrap().plane(0).to_vec())); }
#[test] fn targets() {
    let mut n = Network::new(); let x = n.input("x",[3]).unwrap(); let w = n.parameter("w", [3,3], Init::Uniform{bound:1.0}).unwrap(); let p = n.matmul("p", x, w).unwrap(); let s = n.sigmoid("s", p).unwrap(); let l = n.softmax_cross_entropy("l", p, s).unwrap();
    println!("{:?}", n.gradients(l, &[w]).map(|_| ()));
    let l2 = n.mean_squared_error("l2", p, s).unwrap();
    println!("{:?}", n.gradients(l2, &[w]).map(|_| ()));
}

use genzoo_core::{Dataset, Noise, Split};

use super::super::{OpenOptions, open, random_rows};
use super::*;

fn glyphs(spec: &str, seed: u64) -> Box<dyn Dataset> {
    open(spec, &OpenOptions { data_dir: None, seed }).unwrap()
}

fn values(batch: &Batch) -> Vec<f32> {
    batch.x.flatten_all().unwrap().to_vec1().unwrap()
}

fn labels(batch: &Batch) -> Vec<u32> {
    batch.label.as_ref().unwrap().to_vec1().unwrap()
}

#[test]
fn a_row_is_a_function_of_seed_split_and_address() {
    for spec in
        ["glyphs{size=14}", "glyphs{size=14,space=binary_static}", "glyphs{size=14,space=binary_dynamic}"]
    {
        let (one, other) = (glyphs(spec, 1), glyphs(spec, 1));
        let whole = one.rows(Split::Train, 59_990..60_010).unwrap();
        let parts: Vec<f32> = [59_990..59_993, 59_993..60_001, 60_001..60_010]
            .into_iter()
            .flat_map(|rows| values(&other.rows(Split::Train, rows).unwrap()))
            .collect();
        assert_eq!(values(&whole), parts, "{spec}");
        assert_eq!(whole.x.dims(), [20, 1, 14, 14]);
        assert_ne!(
            values(&one.rows(Split::Test, 0..20).unwrap()),
            values(&one.rows(Split::Validation, 0..20).unwrap())
        );
        assert_ne!(
            values(&one.rows(Split::Test, 0..20).unwrap()),
            values(&glyphs(spec, 2).rows(Split::Test, 0..20).unwrap())
        );
    }
}

#[test]
fn an_epoch_holds_every_item_once_and_ten_balanced_classes() {
    let data = glyphs("glyphs{size=8}", 0);
    assert_eq!(data.len(Split::Train), Some(60_000));
    for split in [Split::Validation, Split::Test] {
        let n = data.len(split).unwrap();
        let mut count = [0; 10];
        labels(&data.rows(split, 0..n).unwrap()).iter().for_each(|&l| count[l as usize] += 1);
        assert_eq!(count, [n / 10; 10]);
    }
    // Items return in the second epoch with the same bytes, in another order and with fresh fractions.
    let epochs = Epochs::new(&Noise::new(0).fork("data").fork("glyphs"), 60_000, 5_000, 10_000);
    let second = epochs.items(Split::Train, 60_000..60_500).unwrap();
    let first: Vec<u64> = epochs.items(Split::Train, 0..60_000).unwrap();
    let again = data.rows(Split::Train, 60_000..60_500).unwrap();
    for (i, item) in second.iter().enumerate().step_by(50) {
        let address = first.iter().position(|f| f == item).unwrap() as u64;
        let before = values(&data.rows(Split::Train, address..address + 1).unwrap());
        let after = values(&again)[i * 64..(i + 1) * 64].to_vec();
        let bytes = |v: &[f32]| v.iter().map(|x| (256.0 * x).floor()).collect::<Vec<_>>();
        assert_eq!(bytes(&before), bytes(&after));
        assert_ne!(before, after);
    }
}

#[test]
fn glyphs_have_the_statistics_of_handwriting() {
    // MNIST: 19 % of the pixels are not black and the mean is 0.13; the rim is black; the centre of mass is in
    // the middle.
    for size in [28usize, 14] {
        let data = glyphs(&format!("glyphs{{size={size}}}"), 0);
        let n = 1000;
        let batch = random_rows(&*data, Split::Train, n, &mut Noise::new(4)).unwrap();
        let bytes: Vec<f64> = values(&batch).iter().map(|x| f64::from((256.0 * x).floor())).collect();
        let ink = bytes.iter().filter(|&&k| k > 0.0).count() as f64 / bytes.len() as f64;
        let mean = bytes.iter().sum::<f64>() / bytes.len() as f64 / 255.0;
        let most = if size == 28 { 0.22 } else { 0.30 };
        assert!((0.16..most).contains(&ink), "size {size}: ink {ink}");
        assert!((0.10..0.17).contains(&mean), "size {size}: mean {mean}");
        for image in bytes.chunks(size * size) {
            let mass: f64 = image.iter().sum();
            let moment = |f: fn(usize, usize) -> usize| {
                image.iter().enumerate().map(|(i, v)| v * (f(i / size, i % size) as f64 + 0.5)).sum::<f64>()
                    / mass
            };
            let (y, x) = (moment(|y, _| y), moment(|_, x| x));
            let off = (x - size as f64 / 2.0).hypot(y - size as f64 / 2.0);
            assert!(off < 0.12 * size as f64, "centre ({x}, {y})");
            let rim = (0..size).flat_map(|i| [i, size * (size - 1) + i, size * i, size * i + size - 1]);
            assert!(rim.map(|i| image[i]).all(|v| v < 64.0), "ink on the rim");
        }
    }
}

#[test]
fn digits_are_told_apart_by_their_nearest_neighbour() {
    // Far above chance, far from trivial: a nearest neighbour among 4,000 reaches about 95 % on MNIST.
    let data = glyphs("glyphs{size=14}", 0);
    let train = random_rows(&*data, Split::Train, 4000, &mut Noise::new(1)).unwrap();
    let test = random_rows(&*data, Split::Test, 400, &mut Noise::new(2)).unwrap();
    let (a, b, la, lb) = (values(&train), values(&test), labels(&train), labels(&test));
    let nearest = |x: &[f32]| {
        let square = |y: &[f32]| x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum::<f32>();
        let distances = a.chunks(196).map(square);
        distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0
    };
    let right = b.par_chunks(196).zip(&lb).filter(|(x, l)| la[nearest(x)] == **l).count();
    assert!((340..400).contains(&right), "{right} of 400");
    // Distinct drawings: no two training rows are alike.
    let mut sorted: Vec<Vec<u32>> =
        a.chunks(196).map(|x| x.iter().map(|v| (256.0 * v) as u32).collect()).collect();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), 4000);
}

#[test]
fn random_rows_are_distinct_and_not_the_first() {
    let data = glyphs("glyphs{size=8}", 0);
    let n = data.len(Split::Validation).unwrap() as usize;
    let all = random_rows(&*data, Split::Validation, n, &mut Noise::new(0)).unwrap();
    assert_eq!(values(&all), values(&data.rows(Split::Validation, 0..n as u64).unwrap()));
    let some = random_rows(&*data, Split::Validation, 300, &mut Noise::new(0)).unwrap();
    assert_eq!((some.len(), some.rows.clone(), labels(&some).len()), (300, 0..300, 300));
    let first = values(&data.rows(Split::Validation, 0..300).unwrap());
    let same = values(&some).chunks(64).zip(first.chunks(64)).filter(|(a, b)| a == b).count();
    assert!(same < 50, "{same} rows in place");
    let mut rows: Vec<Vec<u32>> =
        values(&some).chunks(64).map(|r| r.iter().map(|v| v.to_bits()).collect()).collect();
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), 300);
    assert!(random_rows(&*data, Split::Validation, n + 1, &mut Noise::new(0)).is_err());
    assert_eq!(random_rows(&*data, Split::Validation, 0, &mut Noise::new(0)).unwrap().len(), 0);
    let toy = open("moons", &OpenOptions::default()).unwrap();
    assert_eq!(random_rows(&*toy, Split::Test, 50, &mut Noise::new(3)).unwrap().x.dims(), [50, 2]);
}

/// Some classes in some shares: the rows are those of the whole set, the shares are exact in every split.
#[test]
fn classes_are_chosen_in_exact_shares() {
    let spec = "glyphs{size=8,digits=[2,3,6],masses=[4,2,1]}";
    let (some, whole) = (glyphs(spec, 0), glyphs("glyphs{size=8}", 0));
    assert_eq!(some.name(), spec);
    assert_ne!(some.sha256(), whole.sha256());
    let bytes = |b: &Batch| values(b).iter().map(|x| (256.0 * x).floor() as u8).collect::<Vec<_>>();
    for (split, of_two) in [(Split::Train, 6000), (Split::Validation, 500), (Split::Test, 1000)] {
        let n = some.len(split).unwrap();
        assert_eq!(n, of_two * 7 / 4);
        if split == Split::Test {
            let rows = some.rows(split, 0..n).unwrap();
            let mut count = [0; 10];
            labels(&rows).iter().for_each(|&l| count[l as usize] += 1);
            assert_eq!((count[2], count[3], count[6]), (1000, 500, 250));
            let all = bytes(&whole.rows(split, 0..10_000).unwrap());
            let drawings: std::collections::HashSet<_> = all.chunks(64).collect();
            assert!(bytes(&rows).chunks(64).all(|drawing| drawings.contains(drawing)));
        }
    }
    let shares = some.class_shares().unwrap();
    assert_eq!(shares.iter().sum::<f64>(), 1.0);
    assert_eq!((shares[2], shares[3], shares[6]), (4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0));
    let e = open("glyphs{digits=[2,3],masses=[1]}", &OpenOptions::default()).err().unwrap().to_string();
    assert!(e.contains("one mass for each of the digits [2,3]"), "{e}");
}

//! Files of real data: what is right is read to the bit, what is wrong gets one clear error.

#![allow(clippy::print_stderr)] // a test that cannot run says so

mod small;

use std::path::Path;

use genzoo_core::{Dataset, Error, Space, Split};
use genzoo_lab::data::idx::{self, Expected, Idx};
use genzoo_lab::data::manifest::{Manifest, Role};
use genzoo_lab::data::mnist::Images;
use genzoo_lab::data::{OpenOptions, open};

const HERE: &str = "some/file-idx3-ubyte";

fn tiny() -> (Vec<u8>, Expected) {
    let data: Vec<u8> = (0..60).map(|i| i * 3).collect();
    let file = [&[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5], &data[..]].concat();
    (file, Expected::images(Some(3), 4, 5))
}

fn read(bytes: &[u8], expected: &Expected) -> Result<Idx, Error> {
    idx::read_from(bytes, Path::new(HERE), expected)
}

/// The error's text, which must name the file and be an error about the file.
fn refused(bytes: &[u8], expected: &Expected) -> String {
    let e = read(bytes, expected).expect_err("a bad file must be refused");
    assert!(matches!(e, Error::File { .. }), "{e:?}");
    let text = e.to_string();
    assert!(text.starts_with(HERE) && text.contains("expected"), "{text}");
    text
}

#[test]
fn plain_and_gzipped_files_hold_the_same() {
    let (file, expected) = tiny();
    let plain = read(&file, &expected).unwrap();
    assert_eq!((plain.dims.as_slice(), plain.data.as_slice()), (&[3, 4, 5][..], &file[16..]));
    assert_eq!(plain.sha256, small::sha256(&file));
    assert_eq!(plain.gz_sha256, None);
    let packed = small::gz(&file);
    let unpacked = read(&packed, &expected).unwrap();
    assert_eq!((unpacked.data, unpacked.sha256), (plain.data, plain.sha256));
    assert_eq!(unpacked.gz_sha256, Some(small::sha256(&packed)));
    let free = Expected { rows: None, ..expected };
    assert_eq!(read(&file, &free).unwrap().dims, [3, 4, 5]);
}

#[test]
fn what_is_written_is_read_back() {
    let (file, expected) = tiny();
    assert_eq!(idx::encode(&[3, 4, 5], &file[16..]).unwrap(), file);
    assert_eq!(read(&file, &expected).unwrap().data, file[16..]);
    assert!(idx::encode(&[3, 4, 5], &[0; 59]).is_err());
    assert!(idx::encode(&[usize::MAX, usize::MAX], &[]).is_err());
    assert!(idx::header(&[1 << 33]).is_err());
}

#[test]
fn every_truncation_is_refused() {
    let (file, expected) = tiny();
    for bytes in [file.clone(), small::gz(&file)] {
        for n in 0..bytes.len() {
            refused(&bytes[..n], &expected);
        }
    }
    assert_eq!(refused(&[], &expected), format!("{HERE}: expected an idx header of 16 bytes, found 0 bytes"));
    assert!(
        refused(&file[..50], &expected).ends_with("expected 60 bytes after the header, found 34 (truncated)")
    );
}

#[test]
fn anything_after_the_end_is_refused() {
    let (mut file, expected) = tiny();
    let mut packed = small::gz(&file);
    packed.push(0);
    refused(&packed, &expected);
    file.push(0);
    assert!(refused(&file, &expected).ends_with("expected 60 bytes after the header, found more"));
    refused(&small::gz(&file), &expected);
}

#[test]
fn no_flipped_byte_goes_unnoticed() {
    let (file, expected) = tiny();
    let sha256 = read(&file, &expected).unwrap().sha256;
    for i in 0..file.len() {
        for mask in [1, 0x80, 0xff] {
            let mut bytes = file.clone();
            bytes[i] ^= mask;
            match read(&bytes, &expected) {
                Err(_) => assert!(i < 16, "byte {i} is data"),
                Ok(idx) => assert!(i >= 16 && idx.sha256 != sha256, "byte {i} is header"),
            }
        }
    }
    let packed = small::gz(&file);
    for i in 0..packed.len() {
        for mask in [1, 0x80, 0xff] {
            let mut bytes = packed.clone();
            bytes[i] ^= mask;
            // Bits without a meaning may change: a flag, a time and notes in the gzip header, the padding of deflate.
            if let Ok(idx) = read(&bytes, &expected) {
                assert_eq!(idx.sha256, sha256, "byte {i}");
                assert_ne!(idx.gz_sha256, Some(small::sha256(&packed)), "byte {i}");
            }
        }
    }
}

#[test]
fn claims_of_the_header_are_checked_before_anything_is_allocated() {
    let (file, fixed) = tiny();
    let free = Expected { rows: None, ..fixed.clone() };
    let before = peak_memory();
    for dim in 0..3 {
        for claim in [0u32, 1, 1 << 31, u32::MAX] {
            let mut bytes = file.clone();
            bytes[4 + 4 * dim..8 + 4 * dim].copy_from_slice(&claim.to_be_bytes());
            for bytes in [small::gz(&bytes), bytes] {
                assert!(refused(&bytes, &fixed).contains(&format!("the header claims {}", {
                    let mut d = [3, 4, 5];
                    d[dim] = claim;
                    format!("{} × {} × {}", d[0], d[1], d[2])
                })));
                refused(&bytes, &free);
            }
        }
    }
    // The product of these would wrap around to 0 in 64 bits.
    for dims in [[1u32 << 31, 1 << 31, 4], [u32::MAX; 3]] {
        let bytes = [&[0, 0, 8, 3][..], &dims.map(u32::to_be_bytes).concat(), &[0; 60]].concat();
        refused(&bytes, &fixed);
        refused(&bytes, &free);
    }
    assert!(peak_memory() - before < 64 << 20);
}

#[test]
fn other_formats_are_named() {
    let (file, expected) = tiny();
    for magic in [[0u8, 0, 8, 1], [0, 0, 0x0d, 3], [1, 0, 8, 3], *b"<htm"] {
        let bytes = [&magic, &file[4..]].concat();
        assert!(refused(&bytes, &expected).contains("magic number 00 00 08 03, found"));
    }
    let e = refused(&small::idx_labels(&[1, 2]), &expected);
    assert!(e.ends_with("found 00 00 08 01"), "{e}");
}

#[test]
fn a_decompression_bomb_is_cut_off() {
    // 512 MiB of zeros behind a right header.
    let bomb = {
        use std::io::Write;
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        e.write_all(&tiny().0[..16]).unwrap();
        let zeros = vec![0u8; 1 << 20];
        (0..512).for_each(|_| e.write_all(&zeros).unwrap());
        e.finish().unwrap()
    };
    let before = peak_memory();
    let start = std::time::Instant::now();
    assert!(refused(&bomb, &tiny().1).ends_with("found more"));
    assert!(start.elapsed().as_secs_f64() < 1.0);
    assert!(peak_memory() - before < 64 << 20);
}

#[test]
fn labels_are_classes() {
    assert!(idx::check_labels(Path::new(HERE), &[0, 9, 3], 10).is_ok());
    let e = idx::check_labels(Path::new(HERE), &[0, 10, 3], 10).unwrap_err().to_string();
    assert_eq!(e, format!("{HERE}: expected labels 0 to 9, found 10 in row 1"));
}

#[test]
fn a_folder_in_place_of_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let e = idx::read(dir.path(), &tiny().1).unwrap_err().to_string();
    assert!(e.contains("expected a regular file"), "{e}");
    let e = idx::read(dir.path().join("none"), &tiny().1).unwrap_err();
    assert!(matches!(e, Error::Io { .. }), "{e}");
}

#[test]
fn files_are_accepted_by_the_hash_of_their_contents() {
    let manifest = small::manifest();
    for packed in [[false; 4], [true; 4], [true, false, false, true]] {
        let dir = tempfile::tempdir().unwrap();
        small::write(dir.path(), packed);
        for (report, bytes) in manifest.verify(dir.path()).iter().zip(small::files()) {
            assert_eq!(report.problem, None);
            assert_eq!(report.sha256, Some(small::sha256(&bytes)));
        }
    }
}

#[test]
fn a_wrong_file_is_reported_with_both_hashes() {
    let manifest = small::manifest();
    let dir = tempfile::tempdir().unwrap();
    small::write(dir.path(), [false; 4]);
    let mut bytes = small::files();
    bytes[0][100] ^= 1;
    bytes[3][9] = 200;
    for i in [0, 3] {
        std::fs::write(dir.path().join(small::NAMES[i]), &bytes[i]).unwrap();
    }
    std::fs::remove_file(dir.path().join(small::NAMES[1])).unwrap();
    let reports = manifest.verify(dir.path());
    let problem = reports[0].problem.as_deref().unwrap();
    let (right, wrong) = (small::sha256(&small::files()[0]), small::sha256(&bytes[0]));
    assert!(
        problem.contains(&right) && problem.contains(&wrong) && problem.contains(small::NAMES[0]),
        "{problem}"
    );
    assert_eq!(reports[1].problem.as_deref(), Some("missing"));
    assert!(reports[2].problem.is_none() && reports[3].problem.is_some());
    assert!(Images::read(&manifest, dir.path(), Space::U8, 0).is_err());
}

#[test]
fn where_only_the_gzipped_hash_is_published_only_that_file_is_accepted() {
    let [images, ..] = small::files();
    let packed = small::gz(&images);
    let with = |hash: &str| {
        let sha256 = format!("sha256 = \"{}\"", small::sha256(&images));
        let gz = format!("gz = {{ bytes = {}, sha256 = \"{hash}\" }}", packed.len());
        Manifest::parse(&small::manifest_text().replace(&sha256, &gz), "m").unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    small::write(dir.path(), [true, false, false, false]);
    assert!(with(&small::sha256(&packed)).read(Role::TrainImages, dir.path()).is_ok());
    assert!(with(&"0".repeat(64)).read(Role::TrainImages, dir.path()).is_err());
    std::fs::remove_file(dir.path().join(format!("{}.gz", small::NAMES[0]))).unwrap();
    std::fs::write(dir.path().join(small::NAMES[0]), &images).unwrap();
    let e = with(&small::sha256(&packed)).read(Role::TrainImages, dir.path()).unwrap_err().to_string();
    assert!(e.contains("no sha256 is published"), "{e}");
}

#[test]
fn manifests_that_contradict_themselves_are_refused() {
    let good = small::manifest_text();
    let cases = [
        ("rows = 12", "rows = 13", "bytes"),
        ("rows = 6", "rows = 0", "rows"),
        ("name = \"train-images-idx3-ubyte\"", "name = \"../evil\"", "plain file name"),
        ("name = \"small\"", "name = \"/etc\"", "plain file name"),
        ("role = \"test_labels\"", "role = \"test_images\"", "TestImages"),
        ("shape = [1, 28, 28]", "shape = [3, 28, 28]", "shape"),
        ("classes = 10", "classes = 0", "classes"),
        ("validation = 4", "validation = 12", "validation"),
        ("train = \"small/train", "train = \"../small/train", "relative path"),
        ("sha256 = \"", "sha256 = \"x", "hexadecimal"),
        ("title = \"t\"", "tittle = \"t\"", "tittle"),
    ];
    for (from, to, word) in cases {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let e = Manifest::parse(&text, "m.toml").unwrap_err().to_string();
        assert!(e.starts_with("m.toml: ") && e.contains(word), "{to}: {e}");
    }
}

#[test]
fn the_embedded_manifests_parse_and_know_their_names() {
    for name in genzoo_lab::data::manifest::names() {
        let m = Manifest::named(name).unwrap();
        assert_eq!((m.name.as_str(), m.shape, m.classes), (name, [1, 28, 28], 10));
        assert_eq!(m.file(Role::TrainImages).unwrap().bytes, 47_040_016);
    }
    assert_eq!(Manifest::named("mnist{space=binary_dynamic}").unwrap().name, "mnist");
    let e = Manifest::named("mnsit").unwrap_err().to_string();
    assert!(e.contains("did you mean 'mnist'"), "{e}");
}

#[test]
fn missing_files_are_named_with_the_places_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions { data_dir: Some(dir.path().to_path_buf()), ..OpenOptions::default() };
    let e = open("mnist", &options).err().unwrap().to_string();
    let here = dir.path().display().to_string();
    for part in ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "genzoo data fetch mnist", "--data-dir"]
    {
        assert!(e.contains(part), "{e}");
    }
    assert!(e.contains(&format!("searched {here}/mnist, {here}, datasets/mnist/raw")), "{e}");
    let e = open("mnist{space=u9}", &options).err().unwrap().to_string();
    assert!(e.contains("space") && e.contains("binary_dynamic"), "{e}");
    let e = open("fashion-mnist{space=binary_static(larochelle)}", &options).err().unwrap().to_string();
    assert!(e.contains("no binarisation by Larochelle and Murray"), "{e}");
    let e = open("mnist{space=binary_static(larochelle)}", &options).err().unwrap().to_string();
    assert!(e.contains("binarized_mnist_train.amat"), "{e}");
}

fn images(space: Space, seed: u64) -> Images {
    let dir = tempfile::tempdir().unwrap();
    small::write(dir.path(), [true, false, true, false]);
    Images::read(&small::manifest(), dir.path(), space, seed).unwrap()
}

fn rows(data: &Images, split: Split, start: u64, end: u64) -> Vec<Vec<f32>> {
    data.rows(split, start..end).unwrap().x.flatten_from(1).unwrap().to_vec2().unwrap()
}

fn bytes_of(row: &[f32]) -> Vec<u8> {
    row.iter().map(|x| (256.0 * x).floor() as u8).collect()
}

#[test]
fn train_and_validation_share_out_the_training_file() {
    let data = images(Space::U8, 0);
    let n = |s| data.len(s).unwrap();
    assert_eq!((n(Split::Train), n(Split::Validation), n(Split::Test)), (8, 4, 6));
    let mut served: Vec<Vec<u8>> = rows(&data, Split::Train, 0, 8).iter().map(|r| bytes_of(r)).collect();
    served.extend(rows(&data, Split::Validation, 0, 4).iter().map(|r| bytes_of(r)));
    let mut stored: Vec<Vec<u8>> = small::pixels(true).chunks(784).map(<[u8]>::to_vec).collect();
    served.sort();
    stored.sort();
    assert_eq!(served, stored);
    // The split does not depend on the seed; the order of an epoch does.
    let other = images(Space::U8, 1);
    let valid = |d: &Images| rows(d, Split::Validation, 0, 4).iter().map(|r| bytes_of(r)).collect::<Vec<_>>();
    assert_eq!(valid(&data), valid(&other));
    assert_eq!(data.sha256(), other.sha256());
}

#[test]
fn rows_keep_their_labels_and_their_bytes() {
    let data = images(Space::U8, 5);
    for (split, train) in [(Split::Train, true), (Split::Validation, true), (Split::Test, false)] {
        let n = data.len(split).unwrap();
        let batch = data.rows(split, 0..2 * n).unwrap();
        assert_eq!(batch.x.dims(), [2 * n as usize, 1, 28, 28]);
        let label: Vec<u32> = batch.label.unwrap().to_vec1().unwrap();
        let x: Vec<Vec<f32>> = batch.x.flatten_from(1).unwrap().to_vec2().unwrap();
        let (pixels, labels) = (small::pixels(train), small::labels(train));
        for (x, label) in x.iter().zip(label) {
            let bytes = bytes_of(x);
            let found = pixels.chunks(784).position(|p| p == bytes).expect("a row of the file");
            assert_eq!(u32::from(labels[found]), label);
        }
    }
}

#[test]
fn binary_rows_are_drawn_once_or_for_every_address() {
    let fixed = images(Space::BinaryStatic, 0);
    assert_eq!(fixed.name(), "small{space=binary_static(genzoo)}");
    assert_eq!(rows(&fixed, Split::Test, 0, 6), rows(&fixed, Split::Test, 6, 12));
    assert_eq!(rows(&fixed, Split::Test, 0, 6), rows(&images(Space::BinaryStatic, 9), Split::Test, 0, 6));
    let fresh = images(Space::BinaryDynamic, 0);
    assert_eq!(fresh.name(), "small{space=binary_dynamic}");
    assert_ne!(rows(&fresh, Split::Test, 0, 6), rows(&fresh, Split::Test, 6, 12));
    assert_eq!(rows(&fresh, Split::Test, 0, 6), rows(&images(Space::BinaryDynamic, 0), Split::Test, 0, 6));
    for data in [fixed, fresh] {
        assert!(data.spec().space.is_binary());
        assert!(rows(&data, Split::Train, 0, 8).iter().flatten().all(|x| *x == 0.0 || *x == 1.0));
    }
}

#[test]
fn a_batch_is_a_function_of_its_addresses() {
    let data = images(Space::BinaryDynamic, 3);
    let whole = rows(&data, Split::Train, 0, 40);
    for (start, end) in [(0, 7), (7, 8), (8, 25), (25, 40)] {
        assert_eq!(rows(&data, Split::Train, start, end), whole[start as usize..end as usize]);
    }
}

#[test]
fn a_folder_of_idx_files_opens_without_a_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions { data_dir: Some(dir.path().to_path_buf()), ..OpenOptions::default() };
    let folder = dir.path().join("mine");
    std::fs::create_dir(&folder).unwrap();
    let e = open("idx{folder=mine}", &options).err().unwrap().to_string();
    assert!(e.contains("mine/train-images-idx3-ubyte: expected this file"), "{e}");
    small::write(&folder, [true, false, false, true]);
    let data = open("idx{folder=mine,space=binary_dynamic}", &options).unwrap();
    assert_eq!(data.name(), "idx{folder=mine,space=binary_dynamic}");
    assert_eq!([Split::Train, Split::Validation, Split::Test].map(|s| data.len(s).unwrap()), [11, 1, 6]);
    assert_eq!(data.spec().classes, Some(10));
    let sha256 = data.sha256();
    let mut labels = small::files()[1].clone();
    labels[8] ^= 1;
    std::fs::write(folder.join(small::NAMES[1]), &labels).unwrap();
    assert_ne!(open("idx{folder=mine}", &options).unwrap().sha256(), sha256);
    std::fs::write(folder.join(small::NAMES[1]), small::idx_labels(&[1, 2])).unwrap();
    let e = open("idx{folder=mine}", &options).err().unwrap().to_string();
    assert!(e.contains("expected 12 bytes, the header claims 2"), "{e}");
    for name in ["..", "a/b", "/etc", ".hidden", ""] {
        let e = open(&format!("idx{{folder={name}}}"), &options).err().unwrap().to_string();
        assert!(e.contains("a name of letters"), "{e}");
    }
    assert!(open("idx", &OpenOptions::default()).err().unwrap().to_string().contains("--data-dir"));
}

/// Three text files in the format of Larochelle and Murray, and a manifest that knows them.
fn binarised(dir: &Path) -> Manifest {
    let mut text = small::manifest_text() + "[larochelle]\nsource = \"s\"\n";
    for (split, rows) in [("train", 5), ("validation", 3), ("test", 2)] {
        let body: String = (0..rows * 784)
            .map(|i| format!("{}{}", (i * i + i / 784 + rows) % 2, if i % 784 == 783 { '\n' } else { ' ' }))
            .collect();
        text += &format!(
            "{split} = {{ name = \"{split}.amat\", rows = {rows}, bytes = {}, sha256 = \"{}\" }}\n",
            body.len(),
            small::sha256(body.as_bytes())
        );
        std::fs::write(dir.join(format!("{split}.amat")), body).unwrap();
    }
    Manifest::parse(&text, "m").unwrap()
}

#[test]
fn the_fixed_binarisation_of_larochelle_and_murray_is_served_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = binarised(dir.path());
    let data = Images::read_larochelle(&manifest, dir.path(), 0).unwrap();
    assert_eq!(data.name(), "small{space=binary_static(larochelle)}");
    assert_eq!([Split::Train, Split::Validation, Split::Test].map(|s| data.len(s).unwrap()), [5, 3, 2]);
    assert_eq!(data.spec().classes, None);
    let test = rows(&data, Split::Test, 0, 2);
    for (i, x) in test.concat().iter().enumerate() {
        assert_eq!(*x, ((i * i + i / 784) % 2) as f32);
    }
    let mut damaged = std::fs::read(dir.path().join("test.amat")).unwrap();
    for n in [0, 1, 783, 1568, damaged.len() - 1] {
        std::fs::write(dir.path().join("test.amat"), &damaged[..n]).unwrap();
        let e = Images::read_larochelle(&manifest, dir.path(), 0).unwrap_err().to_string();
        assert!(e.contains("test.amat: expected 3136 bytes"), "{e}");
    }
    damaged[0] = b'2';
    std::fs::write(dir.path().join("test.amat"), &damaged).unwrap();
    let e = Images::read_larochelle(&manifest, dir.path(), 0).unwrap_err().to_string();
    assert!(e.contains("test.amat: expected sha256"), "{e}");
}

/// The real files, where GENZOO_DATA says they are.
fn real() -> Option<OpenOptions> {
    let dir = std::env::var_os("GENZOO_DATA");
    if dir.is_none() {
        eprintln!("SKIPPED: GENZOO_DATA is not set, the real MNIST is not tested");
    }
    dir.map(|d| OpenOptions { data_dir: Some(d.into()), ..OpenOptions::default() })
}

#[test]
fn mnist_has_its_published_counts_and_mean() {
    let Some(options) = real() else { return };
    let data = open("mnist", &options).unwrap();
    assert_eq!(data.name(), "mnist");
    assert_eq!(
        [Split::Train, Split::Validation, Split::Test].map(|s| data.len(s).unwrap()),
        [55_000, 5_000, 10_000]
    );
    let count = |split, n| {
        let labels: Vec<u32> = data.rows(split, 0..n).unwrap().label.unwrap().to_vec1().unwrap();
        (0..10).map(|c| labels.iter().filter(|l| **l == c).count()).collect::<Vec<_>>()
    };
    assert_eq!(count(Split::Test, 10_000), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    let train = count(Split::Train, 55_000).into_iter().zip(count(Split::Validation, 5_000));
    let together: Vec<usize> = train.map(|(a, b)| a + b).collect();
    assert_eq!(together, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    // Every toolkit normalises by the mean 0.1307 of the 60 000 training images, in units of 255.
    let mut sum = 0u64;
    for (split, n) in [(Split::Train, 55_000), (Split::Validation, 5_000)] {
        for start in (0..n).step_by(5_000) {
            let x: Vec<f32> =
                data.rows(split, start..start + 5_000).unwrap().x.flatten_all().unwrap().to_vec1().unwrap();
            sum += x.iter().map(|x| (256.0 * x).floor() as u64).sum::<u64>();
        }
    }
    let mean = sum as f64 / (60_000.0 * 784.0) / 255.0;
    assert!((mean - 0.1307).abs() < 5e-5, "{mean}");
}

/// The most memory this process has had, in bytes (0 where the system does not say).
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

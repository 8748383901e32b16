//! Fetching from a hub that works, is busy, breaks, lies or attacks.
//!
//! The hub is a thread of this test. Whatever it does: the error says what was wrong, nothing lands outside the
//! data folder, nothing partial stays in it, and the next healthy fetch succeeds.

mod small;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use genzoo_core::Error;
use genzoo_lab::data::hub::{Options, candle_dataset, fetch};
use genzoo_lab::data::manifest::Manifest;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const PATHS: [&str; 2] = ["small/train/0000.parquet", "small/test/0000.parquet"];

/// What the hub does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Good,
    BusyTwice,
    ErrorAlways,
    GetForbidden,
    GetErrorPage,
    NotFound,
    CutOff,
    CutOffOnce,
    Short,
    ShortWithoutLength,
    Longer,
    Endless,
    Altered,
    AlteredWithoutEtag,
    HangApi,
    HangHead,
    HangGet,
    HangBody,
    EvilEtag,
    EvilCommit,
    EvilListing,
    ExtraListing,
    Redirect,
    HugeAnnounced,
}

struct Hub {
    address: String,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
    }
}

fn hub(mode: Mode, files: [Vec<u8>; 2]) -> Hub {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (connections, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, stopped, files) = (connections.clone(), stop.clone(), Arc::new(files));
    let gets = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let n = count.fetch_add(1, Ordering::Relaxed);
            let (files, stopped, gets) = (files.clone(), stopped.clone(), gets.clone());
            std::thread::spawn(move || {
                // A client that gives up is part of the game.
                let _ = serve(stream.unwrap(), mode, n, &gets, &files, &stopped);
            });
        }
    });
    Hub { address, connections, stop }
}

fn serve(
    mut stream: TcpStream,
    mode: Mode,
    n: usize,
    gets: &AtomicUsize,
    files: &[Vec<u8>; 2],
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or("").to_string());
    let hang = || {
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    };
    if mode == Mode::ErrorAlways || (mode == Mode::BusyTwice && n < 2) {
        let status = if mode == Mode::BusyTwice { "503 Busy" } else { "500 Broken" };
        return answer(&mut stream, status, &[], b"");
    }
    if path.starts_with("/api/") {
        if mode == Mode::HangApi {
            return hang();
        }
        assert_eq!(path, "/api/datasets/zoo/small/revision/refs%2Fconvert%2Fparquet");
        let sha = if mode == Mode::EvilCommit { "../../evil" } else { COMMIT };
        let listing: &[&str] = match mode {
            Mode::EvilListing => &["../../../evil.txt"],
            Mode::ExtraListing => &["../../../evil.txt", PATHS[0], "README.md", PATHS[1]],
            _ => &PATHS,
        };
        let siblings: Vec<String> = listing.iter().map(|p| format!("{{\"rfilename\":\"{p}\"}}")).collect();
        let body =
            format!("{{\"id\":\"zoo/small\",\"sha\":\"{sha}\",\"siblings\":[{}]}}", siblings.join(","));
        return answer(&mut stream, "200 OK", &["Content-Type: application/json".into()], body.as_bytes());
    }
    let file = PATHS.iter().position(|p| path.ends_with(p));
    let Some(data) = file.map(|i| &files[i]).filter(|_| mode != Mode::NotFound) else {
        return answer(&mut stream, "404 Not Found", &[], b"");
    };
    let wanted = format!("/datasets/zoo/small/resolve/{COMMIT}/");
    assert!(path.starts_with(&wanted) || path.starts_with("/storage/"), "{path}");
    let etag = match mode {
        Mode::EvilEtag => "../../../../evil_etag".to_string(),
        _ => small::sha256(data),
    };
    let mut headers = vec![format!("ETag: \"{etag}\""), format!("X-Repo-Commit: {COMMIT}")];
    if mode == Mode::AlteredWithoutEtag {
        headers.remove(0);
    }
    if mode == Mode::Redirect && !path.starts_with("/storage/") {
        let linked = [
            format!("X-Linked-Etag: \"{etag}\""),
            format!("X-Linked-Size: {}", data.len()),
            format!("Location: /storage/{}", PATHS[file.unwrap()]),
        ];
        return answer(&mut stream, "302 Found", &linked, b"elsewhere");
    }
    let head = |stream: &mut TcpStream, length: Option<usize>| {
        let length = length.map_or_else(String::new, |n| format!("Content-Length: {n}\r\n"));
        write!(stream, "HTTP/1.1 200 OK\r\n{}\r\n{length}Connection: close\r\n\r\n", headers.join("\r\n"))
    };
    if method == "HEAD" {
        let announced = if mode == Mode::HugeAnnounced { 1 << 40 } else { data.len() };
        return if mode == Mode::HangHead { hang() } else { head(&mut stream, Some(announced)) };
    }
    let first = gets.fetch_add(1, Ordering::Relaxed) == 0;
    let half = data.len() / 2;
    match mode {
        Mode::HangGet => hang(),
        Mode::GetForbidden => answer(&mut stream, "403 Forbidden", &[], b"denied"),
        Mode::GetErrorPage => answer(&mut stream, "500 Error", &[], b"<html>Internal error</html>"),
        Mode::CutOff | Mode::CutOffOnce if mode == Mode::CutOff || first => {
            head(&mut stream, Some(data.len()))?;
            stream.write_all(&data[..half])
        }
        Mode::HangBody => {
            head(&mut stream, Some(data.len()))?;
            stream.write_all(&data[..half])?;
            hang()
        }
        Mode::Short => {
            head(&mut stream, Some(half))?;
            stream.write_all(&data[..half])
        }
        Mode::ShortWithoutLength => {
            head(&mut stream, None)?;
            stream.write_all(&data[..half])
        }
        Mode::Longer => {
            head(&mut stream, None)?;
            stream.write_all(data)?;
            stream.write_all(b"x")
        }
        Mode::Endless => {
            head(&mut stream, None)?;
            loop {
                stream.write_all(&[7; 4096])?;
            }
        }
        Mode::Altered | Mode::AlteredWithoutEtag => {
            let mut altered = data.clone();
            altered[half] ^= 1;
            head(&mut stream, Some(data.len()))?;
            stream.write_all(&altered)
        }
        _ => {
            head(&mut stream, Some(data.len()))?;
            stream.write_all(data)
        }
    }
}

fn answer(stream: &mut TcpStream, status: &str, headers: &[String], body: &[u8]) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    headers.iter().for_each(|h| text += &format!("{h}\r\n"));
    stream.write_all(format!("{text}\r\n").as_bytes())?;
    stream.write_all(body)
}

fn png(pixels: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut out = Vec::new();
    PngEncoder::new(&mut out).write_image(pixels, width, height, ExtendedColorType::L8).unwrap();
    out
}

/// A parquet file as the hub's converter writes it: PNGs in a struct, labels as int64.
fn parquet(rows: &[(Vec<u8>, i64)], compression: Compression) -> Vec<u8> {
    let schema = "message schema {
        optional group image { optional binary bytes; optional binary path (UTF8); }
        optional int64 label;
    }";
    let properties = WriterProperties::builder().set_compression(compression).build();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let n = rows.len();
    let bytes: Vec<ByteArray> = rows.iter().map(|r| r.0.clone().into()).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&bytes, Some(&vec![2; n]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[], Some(&vec![1; n]), None).unwrap();
    column.close().unwrap();
    let labels: Vec<i64> = rows.iter().map(|r| r.1).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&labels, Some(&vec![1; n]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

fn rows(train: bool) -> Vec<(Vec<u8>, i64)> {
    let images = small::pixels(train);
    images.chunks(784).zip(small::labels(train)).map(|(p, l)| (png(p, 28, 28), i64::from(l))).collect()
}

fn right_files() -> [Vec<u8>; 2] {
    [true, false].map(|t| parquet(&rows(t), Compression::SNAPPY))
}

/// Like [`right_files`] with the test rows changed.
fn files_with(change: impl FnOnce(&mut Vec<(Vec<u8>, i64)>)) -> [Vec<u8>; 2] {
    let mut test = rows(false);
    change(&mut test);
    [parquet(&rows(true), Compression::SNAPPY), parquet(&test, Compression::SNAPPY)]
}

fn options(hub: &Hub) -> Options {
    Options {
        endpoint: hub.address.clone(),
        connect: Duration::from_millis(500),
        stall: Duration::from_millis(500),
        total: Duration::from_secs(10),
        attempts: 3,
        backoff: Duration::from_millis(5),
        ..Options::default()
    }
}

fn fetch_from(mode: Mode, files: [Vec<u8>; 2], manifest: &Manifest, dir: &Path) -> Result<(), Error> {
    let hub = hub(mode, files);
    let reports = fetch(manifest, dir, &options(&hub), &mut |_| {})?;
    assert!(reports.iter().all(|r| r.problem.is_none()), "{reports:?}");
    Ok(())
}

fn assert_complete(dir: &Path) {
    for (name, bytes) in small::NAMES.iter().zip(small::files()) {
        assert_eq!(std::fs::read(dir.join(name)).unwrap(), bytes, "{name}");
    }
    assert_eq!(small::tree(dir).len(), 4, "only the four files: {:?}", small::tree(dir));
}

/// Fetches from a bad hub, then from a good one into the same folder. Gives the error's text.
fn refused(mode: Mode, files: [Vec<u8>; 2]) -> String {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("deep/down/data");
    let start = Instant::now();
    let e = fetch_from(mode, files, &small::manifest(), &dir).expect_err("a bad hub must be refused");
    assert!(matches!(e, Error::Network { .. } | Error::File { .. }), "{e:?}");
    assert!(start.elapsed() < Duration::from_secs(6), "{mode:?} took {:?}", start.elapsed());
    let expected: Vec<_> =
        ["deep", "deep/down", "deep/down/data"].iter().map(|p| root.path().join(p)).collect();
    assert_eq!(small::tree(root.path()), expected, "{mode:?} left something behind");
    fetch_from(Mode::Good, right_files(), &small::manifest(), &dir).unwrap();
    assert_complete(&dir);
    e.to_string()
}

#[test]
fn a_good_hub_delivers_the_original_files() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(Mode::Good, right_files());
    let mut seen = Vec::new();
    fetch(&small::manifest(), dir.path(), &options(&hub), &mut |p| {
        assert!(p.total.is_none_or(|t| p.done <= t));
        seen.push(p.file.to_string());
    })
    .unwrap();
    assert_complete(dir.path());
    seen.dedup();
    assert_eq!(seen, PATHS);
    // What is there and right is not fetched again.
    let before = hub.connections.load(Ordering::Relaxed);
    fetch(&small::manifest(), dir.path(), &options(&hub), &mut |_| {}).unwrap();
    assert_eq!(hub.connections.load(Ordering::Relaxed), before);
}

#[test]
fn fetched_files_read_alike_in_candle_datasets() {
    let dir = tempfile::tempdir().unwrap();
    fetch_from(Mode::Good, right_files(), &small::manifest(), dir.path()).unwrap();
    let set = candle_dataset(&small::manifest(), dir.path()).unwrap();
    let images: Vec<f32> = set.train_images.flatten_all().unwrap().to_vec1().unwrap();
    let expected: Vec<f32> = small::pixels(true).iter().map(|k| f32::from(*k) / 255.0).collect();
    assert!(images.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(images.len(), expected.len());
    assert_eq!(set.test_labels.to_vec1::<u8>().unwrap(), small::labels(false));
    std::fs::write(dir.path().join(small::NAMES[1]), b"not labels").unwrap();
    assert!(candle_dataset(&small::manifest(), dir.path()).is_err());
}

#[test]
fn hubs_that_recover_or_only_look_odd_are_good_enough() {
    for mode in [Mode::BusyTwice, Mode::CutOffOnce, Mode::EvilEtag, Mode::ExtraListing, Mode::Redirect] {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        fetch_from(mode, right_files(), &small::manifest(), &dir).unwrap_or_else(|e| panic!("{mode:?}: {e}"));
        assert_complete(&dir);
        assert_eq!(small::tree(root.path()).len(), 5, "{mode:?} wrote outside the folder");
    }
    let plain = [true, false].map(|t| parquet(&rows(t), Compression::UNCOMPRESSED));
    let dir = tempfile::tempdir().unwrap();
    fetch_from(Mode::Good, plain, &small::manifest(), dir.path()).unwrap();
    assert_complete(dir.path());
}

#[test]
fn broken_hubs_are_refused_with_the_reason() {
    let cases = [
        (Mode::ErrorAlways, "500"),
        (Mode::GetForbidden, "expected status 200, found 403"),
        (Mode::GetErrorPage, "expected status 200, found 500"),
        (Mode::NotFound, "expected status 200, found 404"),
        (Mode::CutOff, "the connection broke"),
        (Mode::Short, "the server sends"),
        (Mode::ShortWithoutLength, "bytes, found"),
        (Mode::Longer, "the server sends more"),
        (Mode::Endless, "the server sends more"),
        (Mode::Altered, "damaged on the way"),
        (Mode::HugeAnnounced, "the server announces 1099511627776"),
    ];
    for (mode, reason) in cases {
        let e = refused(mode, right_files());
        assert!(e.contains(reason), "{mode:?}: {e}");
        assert!(e.contains("http://127.0.0.1"), "{mode:?}: {e}");
    }
}

#[test]
fn hubs_that_never_answer_are_given_up() {
    for (mode, reason) in [
        (Mode::HangApi, "no answer within"),
        (Mode::HangHead, "no answer in time"),
        (Mode::HangGet, "no answer in time"),
        (Mode::HangBody, "the connection broke"),
    ] {
        let e = refused(mode, right_files());
        assert!(e.contains(reason), "{mode:?}: {e}");
    }
}

#[test]
fn nothing_a_hub_says_becomes_a_path() {
    let e = refused(Mode::EvilCommit, right_files());
    assert!(e.contains("expected a commit of 40 hexadecimal digits, found '../../evil'"), "{e}");
    let e = refused(Mode::EvilListing, right_files());
    assert!(e.contains("expected the file small/train/0000.parquet"), "{e}");
}

#[test]
fn rows_that_are_not_the_data_set_are_refused_however_consistent_the_hub() {
    let altered = files_with(|rows| {
        let mut pixels = small::pixels(false)[784 * 3..784 * 4].to_vec();
        pixels[400] ^= 1;
        rows[3].0 = png(&pixels, 28, 28);
    });
    let cases: Vec<([Vec<u8>; 2], &str)> = vec![
        (altered, "not the data set of the manifest"),
        (files_with(|rows| rows[3].1 = (rows[3].1 + 1) % 10), "not the data set of the manifest"),
        (files_with(|rows| rows.swap(0, 1)), "not the data set of the manifest"),
        (files_with(|rows| rows[3].1 = 300), "row 3: expected a label from 0 to 9, found 300"),
        (files_with(|rows| rows[3].1 = -1), "row 3: expected a label from 0 to 9, found -1"),
        (
            files_with(|rows| rows[3].0 = b"garbage".to_vec()),
            "row 3: expected a grey PNG of 28 × 28, found no PNG",
        ),
        (files_with(|rows| rows[3].0 = png(&[0; 900], 30, 30)), "found 30 × 30"),
        (files_with(|rows| rows[3].0 = png(&[0; 784], 784, 1)), "found 784 × 1"),
        (files_with(|rows| rows[3].0 = bomb()), "found 20000 × 20000"),
        (
            files_with(|rows| rows[3].0.truncate(200)),
            "row 3: expected a grey PNG of 28 × 28, found a damaged one",
        ),
        (files_with(|rows| rows[3].0 = colour()), "found one of type Rgb8"),
        (files_with(|rows| rows.truncate(5)), "expected 6 rows, the file claims 5"),
        (files_with(|rows| rows.push(rows[0].clone())), "expected 6 rows, the file claims 7"),
        ([right_files()[0].clone(), b"PAR1".to_vec()], "expected a parquet file"),
        ([right_files()[0].clone(), right_files()[1][..2000].to_vec()], "expected a parquet file"),
        ([right_files()[0].clone(), b"<html>".to_vec()], "expected a parquet file"),
        ([right_files()[0].clone(), Vec::new()], "expected a parquet file"),
        (
            [right_files()[0].clone(), parquet(&rows(false), Compression::GZIP(Default::default()))],
            "expected snappy or no compression",
        ),
    ];
    for (files, reason) in cases {
        let e = refused(Mode::Good, files);
        assert!(e.contains(reason), "{reason}: {e}");
    }
    let e = refused(Mode::AlteredWithoutEtag, right_files());
    assert!(e.contains("expected"), "{e}");
}

#[test]
fn no_single_altered_byte_of_a_parquet_file_gets_through_or_panics() {
    let [train, test] = right_files();
    // A sample, denser in the footer, where the claims are.
    let footer = test.len().saturating_sub(1200);
    for i in (0..footer).step_by(997).chain((footer..test.len()).step_by(17)) {
        let mut bytes = test.clone();
        bytes[i] ^= 0xff;
        let dir = tempfile::tempdir().unwrap();
        match fetch_from(Mode::Good, [train.clone(), bytes], &small::manifest(), dir.path()) {
            // Statistics and key-value notes may change without changing a row.
            Ok(()) => assert_complete(dir.path()),
            Err(e) => {
                assert!(e.to_string().contains("expected"), "{e}");
                assert!(small::tree(dir.path()).is_empty(), "byte {i}");
            }
        }
    }
}

fn bomb() -> Vec<u8> {
    let mut out = png(&[0; 784], 28, 28);
    out[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
    out
}

fn colour() -> Vec<u8> {
    let mut out = Vec::new();
    PngEncoder::new(&mut out).write_image(&[9; 784 * 3], 28, 28, ExtendedColorType::Rgb8).unwrap();
    out
}

#[test]
fn offline_opens_no_socket() {
    let hub = hub(Mode::Good, right_files());
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let offline = Options { offline: true, ..options(&hub) };
    let e = fetch(&small::manifest(), &data, &offline, &mut |_| {}).unwrap_err().to_string();
    assert!(e.contains("HF_HUB_OFFLINE") && e.contains("--data-dir") && e.contains(small::NAMES[0]), "{e}");
    assert_eq!(hub.connections.load(Ordering::Relaxed), 0);
    assert!(small::tree(dir.path()).is_empty());
    // Complete files need no server, so offline is no obstacle.
    std::fs::create_dir(&data).unwrap();
    small::write(&data, [true; 4]);
    assert!(fetch(&small::manifest(), &data, &offline, &mut |_| {}).is_ok());
}

#[test]
fn the_environment_names_the_hub_and_forbids_it() {
    let with = |offline: &str, endpoint: &str| {
        Options::from_variables(|name| match name {
            "HF_HUB_OFFLINE" => Some(offline.to_string()),
            "HF_ENDPOINT" => Some(endpoint.to_string()),
            _ => None,
        })
    };
    assert!(
        with("1", "").offline && with("TRUE", "").offline && !with("0", "").offline && !with("", "").offline
    );
    assert_eq!(with("", "http://mirror/").endpoint, "http://mirror");
    assert_eq!(with("", "").endpoint, "https://huggingface.co");
}

#[test]
fn a_wrong_file_is_replaced_only_by_a_right_one() {
    let dir = tempfile::tempdir().unwrap();
    small::write(dir.path(), [false; 4]);
    let path = dir.path().join(small::NAMES[0]);
    std::fs::write(&path, b"mine").unwrap();
    assert!(fetch_from(Mode::Altered, right_files(), &small::manifest(), dir.path()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    fetch_from(Mode::Good, right_files(), &small::manifest(), dir.path()).unwrap();
    assert_complete(dir.path());
}

#[test]
fn a_mirror_is_asked_when_the_hub_fails() {
    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/files/", mirror.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in mirror.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
            let found = small::NAMES.iter().position(|n| request.starts_with(&format!("GET /files/{n}.gz ")));
            match found {
                Some(i) => answer(&mut stream, "200 OK", &[], &small::gz(&small::files()[i])).unwrap(),
                None => answer(&mut stream, "404 Not Found", &[], b"").unwrap(),
            }
        }
    });
    let text = format!("{}[mirror]\nbase = \"{base}\"\n", small::manifest_text());
    let manifest = Manifest::parse(&text, "m").unwrap();
    let dir = tempfile::tempdir().unwrap();
    fetch_from(Mode::ErrorAlways, right_files(), &manifest, dir.path()).unwrap();
    assert_eq!(small::tree(dir.path()).len(), 4);
    // What the mirror gives does not help while a wrong plain file stands before it; that is said, not deleted.
    std::fs::write(dir.path().join(small::NAMES[1]), b"mine").unwrap();
    let e = fetch_from(Mode::ErrorAlways, right_files(), &manifest, dir.path()).unwrap_err().to_string();
    assert!(e.contains(small::NAMES[1]) && e.contains("remove it"), "{e}");
    // A mirror with other contents is refused like any other server.
    let other = text.replace(&small::sha256(&small::files()[3]), &"0".repeat(64));
    let manifest = Manifest::parse(&other, "m").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let e = fetch_from(Mode::ErrorAlways, right_files(), &manifest, dir.path()).unwrap_err().to_string();
    assert!(e.contains("500") && e.contains(&"0".repeat(64)), "{e}");
    assert!(small::tree(dir.path()).is_empty());
}

//! One file over HTTP: bounded in size and time, hashed while it streams, in a temporary file until it is accepted.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use genzoo_core::{Error, Result};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use ureq::http::{HeaderMap, StatusCode};

use super::{Options, keep};
use crate::data::idx::hex;

/// What a file must be.
#[derive(Clone, Debug)]
pub(super) struct Expect {
    /// The most bytes.
    pub(super) max: u64,
    /// The exact number of bytes, where known.
    pub(super) bytes: Option<u64>,
    /// Its sha256, where known.
    pub(super) sha256: Option<String>,
}

/// What a server says about a file before it sends it.
pub(super) struct Headers {
    pub(super) etag: Option<String>,
    pub(super) bytes: Option<u64>,
}

/// A failure of one attempt, and whether another may help.
struct Failure {
    problem: String,
    again: bool,
}

/// What the reading thread reports.
enum Event {
    Length(u64),
    Chunk(Vec<u8>),
    End,
    Failed(Failure),
}

/// Asks for the headers of a file without following redirects: the hub states the file's own size and hash
/// (`X-Linked-Size`, `X-Linked-Etag`) on the answer that redirects to its storage.
pub(super) fn headers(url: &str, options: &Options) -> Result<Headers> {
    let agent = agent(url, options, 0);
    repeat(url, options, || {
        let response = agent.head(url).call().map_err(|e| of_ureq(&e))?;
        let status = response.status();
        if !status.is_success() && !status.is_redirection() {
            return Err(of_status(status));
        }
        let text = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        let etag = text("x-linked-etag").or_else(|| text("etag"));
        let etag = etag.map(|e| e.strip_prefix("W/").unwrap_or(e).trim_matches('"').to_string());
        // The length of a redirecting answer is that of its own text.
        let length = if status.is_success() { text("content-length") } else { None };
        let bytes = text("x-linked-size").or(length).and_then(|v| v.parse().ok());
        Ok(Headers { etag, bytes })
    })
}

/// Downloads a file into a temporary one in `dir` and checks size and hash.
///
/// # Errors
/// [`Error::Network`] on any status but 200, silence, a broken connection, wrong size or hash; [`Error::Io`] if
/// the bytes cannot be written. Nothing is left in `dir` then.
pub(super) fn download(
    url: &str,
    expect: &Expect,
    dir: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<NamedTempFile> {
    if let Some(bytes) = expect.bytes.filter(|b| *b > expect.max) {
        return Err(failure(
            url,
            format!("expected at most {} bytes, the server announces {bytes}", expect.max),
        ));
    }
    let mut disk = None;
    let out = repeat(url, options, || match attempt(url, expect, dir, options, progress) {
        Ok(file) => Ok(file),
        Err(Trouble::Network(f)) => Err(f),
        Err(Trouble::Disk(e)) => {
            disk = Some(e);
            Err(Failure { problem: String::new(), again: false })
        }
    });
    match disk {
        Some(e) => Err(e),
        None => out,
    }
}

enum Trouble {
    Network(Failure),
    Disk(Error),
}

impl Trouble {
    fn last(problem: String) -> Self {
        Trouble::Network(Failure { problem, again: false })
    }
}

fn attempt(
    url: &str,
    expect: &Expect,
    dir: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> std::result::Result<NamedTempFile, Trouble> {
    let mut file = keep::temporary(dir).map_err(Trouble::Disk)?;
    let events = spawn_reader(url, expect.max, options).map_err(Trouble::last)?;
    let end = Instant::now() + options.total;
    let (mut hash, mut done, mut total) = (Sha256::new(), 0u64, expect.bytes);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match events.recv_timeout(left.min(options.connect + options.stall)) {
            Ok(Event::Length(n)) => {
                if n > expect.max || expect.bytes.is_some_and(|b| b != n) {
                    let wanted =
                        expect.bytes.map_or_else(|| format!("at most {}", expect.max), |b| b.to_string());
                    return Err(Trouble::last(format!("expected {wanted} bytes, the server sends {n}")));
                }
                total = Some(n);
            }
            Ok(Event::Chunk(bytes)) => {
                hash.update(&bytes);
                file.write_all(&bytes).map_err(|e| Trouble::Disk(Error::io("write in", dir)(e)))?;
                done += bytes.len() as u64;
                if done > expect.bytes.unwrap_or(expect.max) {
                    let limit = expect.bytes.unwrap_or(expect.max);
                    return Err(Trouble::last(format!(
                        "expected at most {limit} bytes, the server sends more"
                    )));
                }
                progress(done, total);
            }
            Ok(Event::End) => break,
            Ok(Event::Failed(f)) => return Err(Trouble::Network(f)),
            Err(RecvTimeoutError::Timeout) => return Err(Trouble::last(silence(left, options))),
            Err(RecvTimeoutError::Disconnected) => return Err(Trouble::last("the transfer stopped".into())),
        }
    }
    if let Some(bytes) = expect.bytes.filter(|b| *b != done) {
        return Err(Trouble::last(format!("expected {bytes} bytes, found {done}")));
    }
    let found = hex(&hash.finalize());
    if let Some(sha256) = expect.sha256.as_ref().filter(|s| **s != found) {
        return Err(Trouble::last(format!("expected sha256 {sha256}, found {found}: damaged on the way")));
    }
    Ok(file)
}

fn silence(left: Duration, options: &Options) -> String {
    if left.is_zero() {
        format!("not complete within {:.0} s", options.total.as_secs_f64())
    } else {
        format!("no data for {:.1} s", (options.connect + options.stall).as_secs_f64())
    }
}

/// Reads on a thread of its own, so that no server can hold up the caller; at most eight chunks wait.
fn spawn_reader(
    url: &str,
    max: u64,
    options: &Options,
) -> std::result::Result<mpsc::Receiver<Event>, String> {
    let (send, receive) = mpsc::sync_channel(8);
    let (url, agent) = (url.to_string(), agent(url, options, 5));
    let work = move || {
        let last = match read(&url, &agent, max, &send) {
            Ok(()) => Event::End,
            Err(f) => Event::Failed(f),
        };
        // The receiver is gone if it gave up.
        let _ = send.send(last);
    };
    std::thread::Builder::new()
        .name("transfer".into())
        .spawn(work)
        .map_err(|e| format!("no thread to read: {e}"))?;
    Ok(receive)
}

fn read(
    url: &str,
    agent: &ureq::Agent,
    max: u64,
    send: &SyncSender<Event>,
) -> std::result::Result<(), Failure> {
    let response = agent.get(url).call().map_err(|e| of_ureq(&e))?;
    if response.status() != StatusCode::OK {
        return Err(of_status(response.status()));
    }
    if let Some(n) = content_length(response.headers()) {
        let _ = send.send(Event::Length(n));
    }
    let mut body =
        response.into_body().into_with_config().limit(u64::MAX).reader().take(max.saturating_add(1));
    loop {
        let mut chunk = vec![0; 1 << 16];
        let n = body.read(&mut chunk).map_err(|e| {
            let again = e.kind() != std::io::ErrorKind::TimedOut;
            Failure { problem: format!("the connection broke: {}", printable(&e.to_string())), again }
        })?;
        chunk.truncate(n);
        if n == 0 || send.send(Event::Chunk(chunk)).is_err() {
            return Ok(());
        }
    }
}

/// Repeats an attempt while it fails in a way that may pass.
fn repeat<T>(
    url: &str,
    options: &Options,
    mut attempt: impl FnMut() -> std::result::Result<T, Failure>,
) -> Result<T> {
    let mut pause = options.backoff;
    for left in (0..options.attempts.max(1)).rev() {
        match attempt() {
            Ok(out) => return Ok(out),
            Err(f) if left == 0 || !f.again => return Err(failure(url, f.problem)),
            Err(_) => std::thread::sleep(pause),
        }
        pause *= 2;
    }
    Err(failure(url, "not tried"))
}

fn agent(url: &str, options: &Options, redirects: u32) -> ureq::Agent {
    ureq::Agent::config_builder()
        .https_only(url.starts_with("https://"))
        .http_status_as_error(false)
        .max_redirects(redirects)
        .max_redirects_will_error(redirects > 0)
        .timeout_global(Some(options.total))
        .timeout_connect(Some(options.connect))
        .timeout_recv_response(Some(options.stall))
        .timeout_per_read(Some(options.stall))
        .user_agent(concat!("genzoo/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get("content-length")?.to_str().ok()?.parse().ok()
}

fn of_status(status: StatusCode) -> Failure {
    let again = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504);
    Failure { problem: format!("expected status 200, found {}", status.as_u16()), again }
}

fn of_ureq(e: &ureq::Error) -> Failure {
    let again = matches!(e, ureq::Error::Io(_) | ureq::Error::ConnectionFailed | ureq::Error::Protocol(_));
    let problem = match e {
        ureq::Error::Timeout(t) => format!("no answer in time ({t})"),
        e => printable(&e.to_string()),
    };
    Failure { problem, again }
}

/// A failure to get something from a server.
pub(super) fn failure(url: &str, problem: impl Into<String>) -> Error {
    Error::Network { url: url.to_string(), problem: problem.into() }
}

/// Text from a server, without control characters and not too long.
pub(super) fn printable(text: &str) -> String {
    let mut out: String = text.chars().take(300).flat_map(char::escape_debug).collect();
    if text.chars().nth(300).is_some() {
        out.push('…');
    }
    out
}

//! What the hub says about a repository: the commit of a revision, the presence of files, their size and sha256.
//!
//! hf-hub has no time limits of its own, so it works on a thread that is given up when its time is over.

use std::sync::mpsc;
use std::time::Duration;

use genzoo_core::Result;
use hf_hub::HFClient;

use super::transfer::{self, Expect};
use super::{HubSource, Options};
use crate::data::manifest::is_hex;

/// The commit of the source's revision, after checking that it lists the source's files.
pub(super) fn resolve(source: &HubSource, options: &Options) -> Result<String> {
    let url = format!("{}/datasets/{} at {}", options.endpoint, source.repo, source.revision);
    let (endpoint, attempts, backoff) = (options.endpoint.clone(), options.attempts, options.backoff);
    let (repo, revision) = (source.repo.clone(), source.revision.clone());
    let info = with_deadline(&url, options.connect + options.stall, move || {
        let client = HFClient::builder()
            .endpoint(endpoint)
            .cache_enabled(false)
            .retry_max_attempts(attempts as usize)
            .retry_base_delay(backoff)
            .build_sync()?;
        let (owner, name) = hf_hub::split_id(&repo);
        client.dataset(owner, name).info().revision(revision).send()
    })?
    .map_err(|e| {
        transfer::failure(
            &url,
            format!("the hub did not resolve it: {}", transfer::printable(&e.to_string())),
        )
    })?;
    let commit = info.sha.unwrap_or_default();
    if !is_hex(&commit, 40) {
        let found = transfer::printable(&commit);
        return Err(transfer::failure(
            &url,
            format!("expected a commit of 40 hexadecimal digits, found '{found}'"),
        ));
    }
    let listed = info.siblings.unwrap_or_default();
    for path in [&source.train, &source.test] {
        if !listed.iter().any(|s| s.rfilename == *path) {
            let problem = format!("expected the file {path}, found a listing of {} others", listed.len());
            return Err(transfer::failure(&url, problem));
        }
    }
    Ok(commit)
}

/// Size and sha256 that the hub states for a file, from the answer that would redirect to its storage.
///
/// A statement that is missing or has another form is no reason to stop: the manifest decides in the end.
pub(super) fn expectation(url: &str, options: &Options) -> Result<Expect> {
    let headers = transfer::headers(url, options)?;
    let sha256 = headers.etag.filter(|e| is_hex(e, 64));
    Ok(Expect { max: u64::MAX, bytes: headers.bytes, sha256 })
}

/// Runs `work` on a thread and waits for at most `limit`. The thread of a server that never answers is left to
/// its fate; it holds nothing but its socket.
fn with_deadline<T: Send + 'static>(
    url: &str,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (send, receive) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("hub".into())
        .spawn(move || {
            // The receiver is gone if the time is over.
            let _ = send.send(work());
        })
        .map_err(|e| transfer::failure(url, format!("no thread to ask the hub: {e}")))?;
    receive.recv_timeout(limit).map_err(|e| match e {
        mpsc::RecvTimeoutError::Timeout => {
            transfer::failure(url, format!("no answer within {:.0} s", limit.as_secs_f64()))
        }
        mpsc::RecvTimeoutError::Disconnected => {
            transfer::failure(url, "the hub's client stopped without an answer")
        }
    })
}

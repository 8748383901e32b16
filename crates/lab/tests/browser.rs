//! The report in a headless Chromium: its tables sort, nothing is fetched, nothing complains, hostile names do nothing.
//!
//! Skipped, loudly, where there is no Chromium; `GENZOO_CHROMIUM` names one. The rows of the fixture are those of a
//! run of the suite `quick`, with second seeds and a hostile row added by hand.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use genzoo_lab::{report, row};
use sha2::{Digest, Sha256};

/// Clicks through the first table and writes down what it sees; runs as the end of the page's own script.
const DRIVER: &str = r#"
const verdict = { errors: [], tables: [] };
addEventListener("securitypolicyviolation", (e) => verdict.errors.push(e.violatedDirective));
addEventListener("error", (e) => verdict.errors.push(e.message));
// What is folded away cannot take the focus.
document.querySelectorAll("details").forEach((d) => (d.open = true));
for (const table of document.querySelectorAll("table.sortable")) {
  const seen = { rows: table.tBodies[0].rows.length, columns: [] };
  const look = (column) => ({
    sort: table.tHead.rows[0].cells[column].getAttribute("aria-sort"),
    kinds: [...table.tBodies[0].rows].map((r) => r.className),
    names: [...table.tBodies[0].rows].map((r) => r.cells[0].textContent),
    keys: [...table.tBodies[0].rows].filter((r) => r.className === "model")
      .map((r) => r.cells[column].dataset.key).map((k) => (k === undefined ? null : Number(k))),
  });
  seen.before = look(0);
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = cell.querySelector("button");
    button.focus();
    const focused = document.activeElement === button;
    button.click();
    const first = look(column);
    button.click();
    seen.columns.push({ focused, higher: cell.dataset.higher !== undefined, first, second: look(column) });
  });
  table.tHead.rows[0].cells[0].querySelector("button").click();
  seen.after = look(0);
  verdict.tables.push(seen);
}
setTimeout(() => {
  verdict.resources = performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:"));
  verdict.width = [document.documentElement.scrollWidth, innerWidth];
  verdict.handlers = document.querySelectorAll("[onload], [onclick], [onerror]").length;
  document.documentElement.dataset.verdict = JSON.stringify(verdict);
}, 500);
"#;

fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("GENZOO_CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    named.or_else(|| names.iter().flat_map(|n| places.iter().map(move |p| p.join(n))).find(|p| p.is_file()))
}

/// The page with the driver behind its script, and the hash of both in its policy.
fn driven(page: &str) -> String {
    let script = page.split("<script>").nth(1).and_then(|s| s.split("</script>").next()).expect("a script");
    let both = format!("{script}{DRIVER}");
    let hash = |s: &str| base64(&Sha256::digest(s));
    assert!(page.contains(&hash(script)), "the page names its script by hash");
    page.replace(&hash(script), &hash(&both)).replace(script, &both)
}

fn base64(bytes: &[u8]) -> String {
    let letters: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let bits: Vec<u8> = bytes.iter().flat_map(|b| (0..8).rev().map(move |i| b >> i & 1)).collect();
    let text: String = bits
        .chunks(6)
        .map(|six| letters[(0..6).fold(0, |n, i| 2 * n + usize::from(six.get(i).is_some_and(|b| *b == 1)))])
        .collect();
    text + ["", "==", "="][bytes.len() % 3]
}

/// Loads the page and gives its verdict and what the browser wrote on its console.
fn load(browser: &Path, page: &Path, profile: &Path, width: u32) -> (serde_json::Value, String) {
    let o = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=3000", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--window-size={width},900"))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("the browser runs");
    let dom = String::from_utf8_lossy(&o.stdout).into_owned();
    let verdict = dom.split("data-verdict=\"").nth(1).and_then(|s| s.split('"').next());
    let verdict = verdict.unwrap_or_else(|| panic!("no verdict: {}", String::from_utf8_lossy(&o.stderr)));
    let text =
        verdict.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let console: Vec<String> = String::from_utf8_lossy(&o.stderr)
        .lines()
        .filter(|l| l.contains("CONSOLE"))
        .map(str::to_string)
        .collect();
    (serde_json::from_str(&text).expect("a verdict in JSON"), console.join("\n"))
}

#[test]
fn the_report_works_in_a_browser_without_a_network() {
    let Some(browser) = chromium() else {
        // Written past the test harness, which would swallow it.
        let _ = std::io::stderr()
            .write_all(b"\nSKIPPED: the report was not tried in a browser, for there is no Chromium\n");
        return;
    };
    let rows = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/report/rows.jsonl");
    let (rows, warnings) = row::read(&rows).expect("rows");
    assert!(rows.len() > 10 && warnings.is_empty(), "{warnings:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("report.html");
    std::fs::write(&page, driven(&report::html(folder.path(), &rows).expect("a page"))).expect("written");
    let (verdict, console) = load(&browser, &page, &folder.path().join("profile"), 1280);
    assert_eq!((console.as_str(), &verdict["errors"]), ("", &serde_json::json!([])));
    assert_eq!(
        (&verdict["resources"], &verdict["handlers"]),
        (&serde_json::json!([]), &serde_json::json!(0))
    );
    let tables = verdict["tables"].as_array().expect("tables");
    assert!(tables.len() >= 4, "{}", tables.len());
    for table in tables {
        assert_eq!(table["before"]["names"], table["after"]["names"], "the order of the ranks comes back");
        for column in table["columns"].as_array().expect("columns").iter().skip(1) {
            assert_eq!(column["focused"], true, "a heading takes the focus of the keyboard");
            for (turn, falls) in [("first", column["higher"] == true), ("second", column["higher"] != true)] {
                let seen = &column[turn];
                assert_eq!(seen["sort"], if falls { "descending" } else { "ascending" });
                let keys: Vec<Option<f64>> =
                    seen["keys"].as_array().expect("keys").iter().map(serde_json::Value::as_f64).collect();
                let known: Vec<f64> = keys.iter().copied().map_while(|k| k).collect();
                assert!(
                    keys[known.len()..].iter().all(Option::is_none),
                    "what has no number goes last: {keys:?}"
                );
                let ordered = known.windows(2).all(|w| if falls { w[0] >= w[1] } else { w[0] <= w[1] });
                assert!(ordered, "{turn}: {keys:?}");
                let kinds: Vec<&str> =
                    seen["kinds"].as_array().expect("kinds").iter().filter_map(|k| k.as_str()).collect();
                let first_model = kinds.iter().position(|k| *k == "model").unwrap_or(kinds.len());
                assert!(
                    kinds[first_model..].iter().all(|k| *k == "model"),
                    "references stay on top: {kinds:?}"
                );
            }
        }
    }
    // On a narrow screen tables scroll in their frames and the page itself does not.
    let (verdict, _) = load(&browser, &page, &folder.path().join("profile"), 500);
    let width = |i: usize| verdict["width"][i].as_u64().expect("a width");
    assert!(width(0) <= width(1), "{}", verdict["width"]);
}

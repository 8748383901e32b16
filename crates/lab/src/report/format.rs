//! Numbers as people read them: as many digits as the error allows, and no control characters.

/// A value and its standard error with two digits of the error: `2.843`, `.010`. At most four decimals.
pub(super) fn with_error(value: f64, stderr: f64) -> (String, String) {
    let decimals = if stderr > 0.0 { (1.0 - stderr.log10().floor()).clamp(0.0, 4.0) as usize } else { 3 };
    (fixed(value, decimals), fixed(stderr, decimals).trim_start_matches('0').to_string())
}

/// `2.843±.010`; the value alone if its error is not known.
pub(super) fn plus_minus(value: f64, stderr: Option<f64>) -> String {
    match stderr {
        Some(s) if s > 0.0 => {
            let (value, error) = with_error(value, s);
            if error.chars().any(|c| c.is_ascii_digit() && c != '0') {
                format!("{value}±{error}")
            } else {
                value
            }
        }
        _ => significant(value, 3),
    }
}

/// With this many decimals; minus zero is zero.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let is_zero = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
    if is_zero { text.trim_start_matches('-').to_string() } else { text }
}

/// With this many significant digits, never as a power of ten.
pub(super) fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return fixed(value, 0);
    }
    // The exponent of the rounded value: 0.9996 with three digits is 1.00.
    let exponent = format!("{value:.*e}", digits - 1)
        .rsplit_once('e')
        .and_then(|(_, e)| e.parse::<i32>().ok())
        .unwrap_or(0);
    fixed(value, (digits as i32 - 1 - exponent).clamp(0, 8) as usize)
}

/// `950`, `12.3k`, `4.1M`.
pub(super) fn short(value: f64) -> String {
    for (unit, size) in [("G", 1e9), ("M", 1e6), ("k", 1e3)] {
        if value.abs() >= 0.9995 * size {
            let scaled = value / size;
            return format!(
                "{}{unit}",
                if scaled.abs() < 99.95 { significant(scaled, 3) } else { fixed(scaled, 0) }
            );
        }
    }
    if value.abs() >= 99.95 { fixed(value, 0) } else { significant(value, 3) }
}

/// A count: `6`, `950`, `12.3k`.
pub(super) fn count(n: u64) -> String {
    if n < 1000 { n.to_string() } else { short(n as f64) }
}

/// `1 step`, `12.3k steps`.
pub(super) fn steps(n: u64) -> String {
    format!("{} step{}", count(n), if n == 1 { "" } else { "s" })
}

/// `0.35 s`, `12 s`, `2 min 5 s`, `1.2 ms`.
pub(super) fn seconds(s: f64) -> String {
    match s {
        s if s < 1e-3 => format!("{} µs", significant(1e6 * s, 2)),
        s if s < 0.1 => format!("{} ms", significant(1e3 * s, 2)),
        s if s < 99.5 => format!("{} s", significant(s, 2)),
        s => format!("{} min {} s", (s / 60.0) as u64, (s % 60.0) as u64),
    }
}

/// `70 MB`.
pub(super) fn bytes(b: u64) -> String {
    format!("{}B", short(b as f64))
        .replace('k', "k")
        .replace("GB", " GB")
        .replace("MB", " MB")
        .replace("kB", " kB")
}

/// Text from a file, safe for a terminal: control and direction characters are written out.
pub(super) fn printable(text: &str) -> String {
    let unsafe_ = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .flat_map(|c| if unsafe_(c) { c.escape_debug().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// A word for a POSIX shell.
pub(super) fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@:=+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_decide_the_digits() {
        assert_eq!(plus_minus(2.8434, Some(0.0098)), "2.8434±.0098");
        assert_eq!(plus_minus(2.8434, Some(0.0131)), "2.843±.013");
        assert_eq!(plus_minus(-0.04, Some(0.3)), "-0.04±.30");
        assert_eq!(plus_minus(1279.81, Some(12.0)), "1280±12");
        assert_eq!(plus_minus(7.0, Some(1e-9)), "7.0000");
        assert_eq!((plus_minus(0.5, None), plus_minus(8.0, Some(0.0))), ("0.500".into(), "8.00".into()));
        assert_eq!(fixed(-0.0001, 2), "0.00");
    }

    #[test]
    fn large_numbers_are_short() {
        assert_eq!([6, 999, 12_345].map(count), ["6", "999", "12.3k"]);
        assert_eq!([1, 100, 12_345].map(steps), ["1 step", "100 steps", "12.3k steps"]);
        let got = [0.0, 7.0, 99.94, 950.2, 1000.0, 12_345.0, 105_567.0, 999_960.0, 4.1e6].map(short);
        assert_eq!(got, ["0", "7.00", "99.9", "950", "1.00k", "12.3k", "106k", "1.00M", "4.10M"]);
        assert_eq!(
            [0.0000205, 0.002, 0.35, 12.0, 125.0].map(seconds),
            ["20 µs", "2.0 ms", "0.35 s", "12 s", "2 min 5 s"]
        );
        assert_eq!(bytes(73_400_320), "73.4 MB");
    }

    #[test]
    fn hostile_words_are_inert() {
        assert_eq!(printable("a\x1b[2Jb\u{202e}"), "a\\u{1b}[2Jb\\u{202e}");
        assert_eq!(shell("moons"), "moons");
        assert_eq!(shell("glyphs{size=14}"), "'glyphs{size=14}'");
        assert_eq!(shell("x'; rm -rf ~ #"), r"'x'\''; rm -rf ~ #'");
    }
}

//! `genzoo compare`: two sample files from any software, judged by the zoo's metrics.

use genzoo_core::Noise;
use serde_json::json;

use crate::args::Compare;
use crate::output::Output;

pub(crate) fn command(args: &Compare, out: &Output) -> anyhow::Result<i32> {
    let real = genzoo_lab::samples::read(&args.real, args.key.as_deref())?;
    let fake = genzoo_lab::samples::read(&args.fake, args.key.as_deref())?;
    let spinner = out.spinner("compare");
    let mut noise = Noise::new(crate::EVAL_SEED).fork("compare");
    let quality = genzoo_lab::metrics::compare(&real, &fake, args.metrics.as_deref(), &mut noise)?;
    spinner.finish_and_clear();
    if out.json() {
        let metrics: serde_json::Map<String, serde_json::Value> =
            quality.iter().map(|(k, m)| (k.clone(), json!(m))).collect();
        out.print_json(&json!({
            "real": args.real, "fake": args.fake, "n_real": real.dim(0)?, "n_fake": fake.dim(0)?, "metrics": metrics,
        }))?;
    } else {
        let lines: Vec<String> = quality
            .iter()
            .map(|(name, m)| {
                let value = m.value.map_or("failed".to_string(), |v| format!("{v:.6}"));
                let error = m.stderr.map_or(String::new(), |s| {
                    format!(" ± {s:.2}", s = s).replace(" ± 0.00", &format!(" ± {s:.1e}"))
                });
                format!("{name:20} {value}{error}")
            })
            .collect();
        out.print(&lines.join("\n"))?;
    }
    Ok(0)
}

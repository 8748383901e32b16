#!/usr/bin/env python3
"""Writes models/STUDIES.md from the study.json files of finished runs: every claim, its verdict and its numbers, as they are.

    benches/studies_page.py OUT [OUT …] > models/STUDIES.md        OUT as in `genzoo bench NAME --out OUT`
"""

import json
import pathlib
import sys

HEAD = """# Claims, tried again: what came out

Written by `benches/studies_page.py` from the runs' own `study.json`; nothing here is typed by hand. Intervals are 95 %; a verdict
follows from the numbers beside it. Seconds are of the wall on a shared machine; full budgets ran at the lowest priority and
took many times their CPU time. The page that a command writes also has the figures, measurement beside theory.

| study | budget | hold | fail | undecided | seconds | version |
|---|---|---:|---:|---:|---:|---|"""


def main(folders):
    runs = [json.loads((pathlib.Path(folder) / "study.json").read_text()) for folder in folders]
    runs.sort(key=lambda run: (run["study"], run["budget"] != "small"))
    lines = [HEAD]
    for run in runs:
        verdicts = [finding["verdict"] for finding in run["page"]["findings"]]
        counts = " | ".join(str(verdicts.count(v)) for v in ("holds", "fails", "undecided"))
        lines.append(f"| `{run['study']}` | {run['budget']} | {counts} | {run['seconds']:.0f} | {run['version']} |")
    for run in runs:
        lines += ["", f"## {run['study']}, {run['budget']}", "", f"`{run['command']}`: {run['summary']}.", ""]
        for finding in run["page"]["findings"]:
            lines.append(f"- **{finding['verdict']}**: {finding['claim']} {finding['because']}")
    print("\n".join(lines))


main(sys.argv[1:])

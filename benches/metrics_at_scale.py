#!/usr/bin/env python3
"""Time and peak memory of each metric of `genzoo compare` at a given size.

    pip install numpy
    cargo build --release && benches/metrics_at_scale.py ROWS DIMENSIONS [METRIC,METRIC,…]

Every metric runs in a process of its own, so that its peak is its own. `seconds` is the value with its standard error, as
the JSON says; `wall` adds reading both files and the floor, the same metric between two halves of the real one.
"""
import json
import os
import sys
import tempfile
import time

import numpy as np

GENZOO = os.environ.get("GENZOO", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "target", "release", "genzoo"))
n, d = int(sys.argv[1]), int(sys.argv[2])
listed = json.loads(os.popen(f"{GENZOO} list metrics --json").read())
names = sys.argv[3].split(",") if len(sys.argv) > 3 else [m["name"] for m in listed if m["needs"] in ("samples", "train")]
rng = np.random.default_rng(0)
with tempfile.TemporaryDirectory() as folder:
    files = {name: os.path.join(folder, name + ".npy") for name in ("real", "fake", "train")}
    np.save(files["real"], rng.standard_normal((n, d)))
    np.save(files["fake"], 1.1 * rng.standard_normal((n, d)) + 0.3)
    np.save(files["train"], rng.standard_normal((n, d)))
    answer = os.path.join(folder, "answer.json")
    print("| metric | rows | seconds | wall, s | peak, MiB |\n|---|---|---|---|---|")
    for name in names:
        start = time.time()
        child = os.fork()
        if child == 0:
            os.dup2(os.open(answer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
            train = ["--train", files["train"]]
            os.execv(GENZOO, [GENZOO, "compare", files["real"], files["fake"], *train, "--metrics", name, "--json"])
        _, status, usage = os.wait4(child, 0)
        wall = time.time() - start
        if status:
            sys.exit(f"{name} failed")
        m = json.load(open(answer))["metrics"][name]
        print(f"| {name} | {m['n']} | {m['seconds']:.2f} | {wall:.2f} | {usage.ru_maxrss / 1024:.0f} |", flush=True)

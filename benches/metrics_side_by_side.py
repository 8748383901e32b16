#!/usr/bin/env python3
"""Times `genzoo compare` against the software each metric comes from, on the same files in one run.

    pip install numpy scipy scikit-learn POT prdc torch-fidelity tqdm pillow requests
    cargo build --release && benches/metrics_side_by_side.py [--genzoo PATH] [--rounds 3] [--out table.md]

Both use all cores and take turns, round by round; medians are reported. An original is timed inside this process around
its function calls alone, with samples in memory; genzoo's time is the "seconds" of its JSON: the value and its standard
error, which the originals do not have. Files are read and processes started outside both times.
"""
import argparse
import contextlib
import importlib.abc
import importlib.machinery
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types

sys.path.pop(0)  # beside this script lies a folder torch, which is not the package

import numpy as np
import ot
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from sklearn.neighbors import NearestNeighbors


class Stand(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for torch where it is missing: torch-fidelity's functions of NumPy arrays need only its import."""

    class Module(types.ModuleType):
        __path__ = []

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {"__getattr__": lambda *_: None}) if name[0].isupper() else lambda *_, **__: lambda f: f

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return self.Module(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.append(Stand())
from torch_fidelity.metric_fid import fid_statistics_to_metric  # noqa: E402
from torch_fidelity.metric_kid import mmd2 as torch_fidelity_mmd2  # noqa: E402

with contextlib.redirect_stdout(io.StringIO()):
    from prdc import compute_prdc


def off_diagonal(kxx, kyy, kxy):
    n, m = len(kxx), len(kyy)
    return (kxx.sum() - np.trace(kxx)) / (n * (n - 1)) + (kyy.sum() - np.trace(kyy)) / (m * (m - 1)) - 2 * kxy.mean()


def mmd(x, y, sigma):
    kernel = lambda a, b: rbf_kernel(a, b, 1 / (2 * sigma * sigma))
    return off_diagonal(kernel(x, x), kernel(y, y), kernel(x, y))


def energy(x, y):
    return off_diagonal(-cdist(x, x), -cdist(y, y), -cdist(x, y))


def uniform(x):
    return np.full(len(x), 1 / len(x))


def w1(x, y):
    return ot.emd2(uniform(x), uniform(y), ot.dist(x, y, metric="euclidean"), numItermax=10_000_000)


def w2(x, y):
    return ot.emd2(uniform(x), uniform(y), ot.dist(x, y), numItermax=10_000_000) ** 0.5


def sinkhorn(x, y, eps):
    return ot.sinkhorn2(uniform(x), uniform(y), ot.dist(x, y), reg=eps, method="sinkhorn_log", numItermax=5000, stopThr=1e-9)


def sinkhorn_divergence(x, y, eps):
    return ot.bregman.empirical_sinkhorn_divergence(x, y, reg=eps, numIterMax=5000, stopThr=1e-9)


def frechet(x, y):
    moments = [{"mu": t.mean(0), "sigma": np.cov(t, rowvar=False)} for t in (x, y)]
    return fid_statistics_to_metric(*moments, False)["frechet_inception_distance"]


def kid(x, y):
    kernel = lambda a, b: polynomial_kernel(a, b, degree=3, gamma=1 / a.shape[1], coef0=1)
    return torch_fidelity_mmd2(kernel(x, x), kernel(x, y), kernel(y, y))


def prdc(x, y):
    with contextlib.redirect_stdout(io.StringIO()):
        return compute_prdc(x, y, 5)["coverage"]


def one_nn(x, y):
    z, label = np.vstack([x, y]), np.r_[np.zeros(len(x)), np.ones(len(y))]
    nearest = NearestNeighbors(n_neighbors=2, n_jobs=-1).fit(z).kneighbors(z, return_distance=False)[:, 1]
    return (label[nearest] == label).mean()


def cases(theta):
    """Metric, original, rows, dimensions, arguments of genzoo, function."""
    rows = []
    for n, d in ((5000, 64), (2000, 2)):
        sigma, eps = float(np.sqrt(d)), 0.1 * d
        rows += [
            ("mmd2_unbiased", "scikit-learn", n, d, ["--bandwidth", str(sigma)], lambda x, y, s=sigma: mmd(x, y, s)),
            ("energy_distance_u", "scipy", n, d, [], energy),
            ("kid", "torch-fidelity + scikit-learn", n, d, [], kid),
            ("coverage", "prdc", n, d, [], prdc),
            ("one_nn_accuracy", "scikit-learn", n, d, [], one_nn),
            ("frechet", "torch-fidelity", n, d, [], frechet),
            ("sliced_w2", "POT", n, d, ["--projections", theta[d][0]],
             lambda x, y, t=theta[d][1]: ot.sliced_wasserstein_distance(x, y, projections=t, p=2)),
            ("sliced_w1", "POT", n, d, ["--projections", theta[d][0]],
             lambda x, y, t=theta[d][1]: ot.sliced_wasserstein_distance(x, y, projections=t, p=1)),
            ("max_sliced_w2", "POT", n, d, ["--projections", theta[d][0]],
             lambda x, y, t=theta[d][1]: ot.max_sliced_wasserstein_distance(x, y, projections=t, p=2)),
            ("w1", "POT", 1000, d, [], w1),
            ("w2", "POT", 1000, d, [], w2),
            ("sinkhorn_cost", "POT", 1000, d, ["--eps", str(eps)], lambda x, y, e=eps: sinkhorn(x, y, e)),
            ("sinkhorn_divergence_cost", "POT", 1000, d, ["--eps", str(eps)],
             lambda x, y, e=eps: sinkhorn_divergence(x, y, e)),
        ]
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--genzoo", default=os.path.join(here, "..", "target", "release", "genzoo"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="one metric")
    parser.add_argument("--out", help="also write the table to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(args, folder)


def run(args, folder):
    rng = np.random.default_rng(0)
    save = lambda name, x: (np.save(os.path.join(folder, name), x), os.path.join(folder, name))[1]
    theta = {}
    for d in (64, 2):
        t = rng.standard_normal((d, 128))
        t /= np.linalg.norm(t, axis=0)
        theta[d] = (save(f"theta{d}.npy", t), t)
    samples = {}

    def pair(n, d):
        if (n, d) not in samples:
            x, y = rng.standard_normal((n, d)), 1.1 * rng.standard_normal((n, d)) + 0.3
            samples[n, d] = (x, y, save(f"x{n}_{d}.npy", x), save(f"y{n}_{d}.npy", y))
        return samples[n, d]

    rows = [c for c in cases(theta) if args.only in (None, c[0])]
    times = [([], [], []) for _ in rows]
    for _ in range(args.rounds):
        for (metric, _, n, d, flags, original), (theirs, ours, gaps) in zip(rows, times):
            x, y, real, fake = pair(n, d)
            start = time.perf_counter()
            want = float(original(x, y))
            theirs.append(time.perf_counter() - start)
            command = [args.genzoo, "compare", real, fake, "--metrics", metric, "--json", *flags]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            got = json.loads(answer)["metrics"][metric]
            ours.append(got["seconds"])
            gaps.append(abs(got["value"] - want) / max(abs(want), 1e-300))
    lines = [
        f"{os.cpu_count()} cores, median of {args.rounds} rounds",
        "",
        "| metric | original | rows × dimensions | original, s | genzoo, s | ratio | values differ by |",
        "|---|---|---|---|---|---|---|",
    ]
    ratios = []
    for (metric, name, n, d, _, _), (theirs, ours, gaps) in zip(rows, times):
        a, b = statistics.median(theirs), statistics.median(ours)
        ratios.append(b / a)
        lines.append(f"| {metric} | {name} | {n} × {d} | {a:.4f} | {b:.4f} | {b / a:.3f} | {max(gaps):.0e} |")
    lines += ["", f"{sum(r > 1.1 for r in ratios)} ratios above 1.1, {sum(r < 0.2 for r in ratios)} of {len(ratios)} below 0.2"]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        with open(args.out, "w") as file:
            file.write(text)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Runs `genzoo bench samplers` and blackjax on the same six targets, one after the other on this machine.

    python -m venv venv && venv/bin/pip install blackjax
    cargo build --release && venv/bin/python benches/samplers_side_by_side.py [--genzoo PATH] [--full] [--out table.md]

Both start every chain in the target, warm up with other chains, spend the same number of gradients per chain and report
the least effective sample size over the same statistics, by the same estimator (initial monotone sequences over all chains).
Chains of blackjax are one vectorised program in f64, compiled before the clock starts; genzoo's are one batch. A gradient of
NUTS is a leapfrog of a chain; a vectorised NUTS waits for the longest trajectory of its chains, which seconds show and
gradients do not.
"""
import argparse
import contextlib
import importlib.machinery
import importlib.util
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import jax

jax.config.update("jax_enable_x64", True)

import blackjax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from blackjax.diagnostics import effective_sample_size  # noqa: E402

NAMES = ["two modes", "rosenbrock", "neal funnel", "correlated", "mixture", "network"]
SAMPLERS = ["random walk", "MALA", "HMC", "NUTS", "HMC, dense masses", "NUTS, dense masses"]
LEAPFROGS, SEEN = 8, 400
HERE = pathlib.Path(__file__).resolve().parent


def moments(x):
    return jnp.concatenate([x, x * x], axis=-1)


def mixture(distance, deviation, d, along):
    mean = distance * np.asarray(along)

    def log_density(x):
        squares = jnp.stack([jnp.sum((x + mean) ** 2), jnp.sum((x - mean) ** 2)]) / (2 * deviation**2)
        return jax.nn.logsumexp(jnp.log(jnp.array([0.25, 0.75])) - squares)

    def draws(n, rng):
        side = np.where(rng.random((n, 1)) < 0.25, -1.0, 1.0)
        return side * mean + deviation * rng.normal(size=(n, d))

    return d, log_density, draws, moments


def rosenbrock():
    def draws(n, rng):
        x = 1 + math.sqrt(0.5) * rng.normal(size=n)
        return np.stack([x, x * x + math.sqrt(0.1) * rng.normal(size=n)], 1)

    return 2, lambda x: -((x[0] - 1) ** 2) - 5 * (x[1] - x[0] ** 2) ** 2, draws, moments


def funnel(width=1.5):
    def log_density(x):
        return -0.5 * (x[0] / width) ** 2 - 0.5 * jnp.exp(-x[0]) * (x[1] ** 2 + x[2] ** 2) - x[0]

    def draws(n, rng):
        v = width * rng.normal(size=(n, 1))
        return np.concatenate([v, np.exp(0.5 * v) * rng.normal(size=(n, 2))], 1)

    def statistics(x):
        return jnp.concatenate([x[..., :1], x[..., :1] ** 2, jnp.sign(x[..., 1:])], axis=-1)

    return 3, log_density, draws, statistics


def correlated(d=10):
    index = np.arange(d)
    covariance = 0.9 ** np.abs(index[:, None] - index)
    precision, factor = np.linalg.inv(covariance), np.linalg.cholesky(covariance)
    return d, lambda x: -0.5 * x @ (precision @ x), lambda n, rng: rng.normal(size=(n, d)) @ factor.T, moments


def network():
    widths, gains = [2, 64, 64, 1], [3.0, 2.0, 4.0]
    layers = []
    for layer, (fan_in, fan_out) in enumerate(zip(widths, widths[1:])):
        def values(rows, columns, first):
            i, j = np.meshgrid(np.arange(rows), np.arange(columns) + first, indexing="ij")
            wave = 43758.5453 * np.sin(12.9898 * i + 78.233 * j + layer)
            return (2 * (wave - np.floor(wave)) - 1) * gains[layer] / math.sqrt(fan_in)

        layers.append((values(fan_out, fan_in, 0), values(fan_out, 1, -1)[:, 0]))

    def log_density(x):
        y = x
        for layer, (weight, bias) in enumerate(layers):
            y = weight @ y + bias
            y = jnp.tanh(y) if layer < 2 else y
        return -3 * y[0] - 0.25 * x @ x

    cells, reach = 350, 7.0
    width = 2 * reach / cells
    middle = -reach + width * (np.arange(cells) + 0.5)
    grid = np.stack(np.meshgrid(middle, middle, indexing="ij"), -1).reshape(-1, 2)

    def draws(n, rng):
        log = np.asarray(jax.vmap(log_density)(grid))
        p = np.exp(log - log.max())
        return grid[rng.choice(len(grid), n, p=p / p.sum())] + width * (rng.random((n, 2)) - 0.5)

    return 2, log_density, draws, moments


def make(name):
    return {
        "two modes": lambda: mixture(2.0, 0.7, 2, [1.0, 0.0]),
        "rosenbrock": rosenbrock,
        "neal funnel": funnel,
        "correlated": correlated,
        "mixture": lambda: mixture(3.5, 1.0, 10, [math.sqrt(0.1)] * 10),
        "network": network,
    }[name]()


def kernel(sampler, log_density, step, inverse_mass):
    if sampler == "random walk":
        rmh = blackjax.additive_step_random_walk(log_density, blackjax.mcmc.random_walk.normal(step * jnp.ones(len(inverse_mass))))
        return rmh, lambda key, state: rmh.step(key, state), lambda info: 1
    if sampler == "MALA":
        mala = blackjax.mala(log_density, step)
        return mala, lambda key, state: mala.step(key, state), lambda info: 1
    if sampler.startswith("HMC"):
        build = blackjax.hmc.build_kernel()

        def move(key, state):
            jitter, key = jax.random.split(key)
            size = step * (1 + 0.5 * jax.random.uniform(jitter, minval=-1, maxval=1))
            return build(key, state, log_density, size, inverse_mass, LEAPFROGS)

        return blackjax.hmc(log_density, step, inverse_mass, LEAPFROGS), move, lambda info: LEAPFROGS
    nuts = blackjax.nuts(log_density, step, inverse_mass, max_num_doublings=8)
    return nuts, lambda key, state: nuts.step(key, state), lambda info: info.num_integration_steps


def acceptance_of(sampler, info):
    return info.acceptance_rate


def adapt(sampler, target, chains, steps, seed):
    """A step size by dual averaging over all chains, and the masses of exact draws where they are dense."""
    d, log_density, draws, _ = target
    rng = np.random.default_rng(seed)
    aim = {"random walk": 0.3, "MALA": 0.574}.get(sampler, 0.8)
    first = {"random walk": 0.5, "MALA": 0.05}.get(sampler, 0.2)
    inverse_mass = jnp.asarray(np.cov(draws(5000, rng).T)) if "dense" in sampler else jnp.ones(d)
    states = None
    mu, gap, average = math.log(10 * first), 0.0, 0.0
    step = first

    @jax.jit
    def batch(keys, positions, step):
        algorithm, move, _ = kernel(sampler, log_density, step, inverse_mass)
        states = jax.vmap(algorithm.init)(positions)
        states, info = jax.vmap(move)(keys, states)
        return states.position, jnp.mean(acceptance_of(sampler, info))

    positions, key = jnp.asarray(draws(chains, rng)), jax.random.key(seed)
    for t in range(1, steps + 1):
        key, sub = jax.random.split(key)
        positions, acceptance = batch(jax.random.split(sub, chains), positions, step)
        gap = (1 - 1 / (t + 10)) * gap + (aim - float(acceptance)) / (t + 10)
        log_step = mu - math.sqrt(t) / 0.05 * gap
        average = t**-0.75 * log_step + (1 - t**-0.75) * average
        step = math.exp(log_step)
    return math.exp(average), inverse_mass


def run(sampler, target, chains, gradients, warm_up, seed):
    d, log_density, draws, statistics = target
    step, inverse_mass = adapt(sampler, target, chains, warm_up, seed)
    algorithm, move, cost = kernel(sampler, log_density, step, inverse_mass)
    positions = jnp.asarray(draws(chains, np.random.default_rng(seed + 1)))
    initial = jax.jit(jax.vmap(algorithm.init))(positions)
    vector = jax.vmap(move)

    def block(count):
        @jax.jit
        def go(key, states):
            def one(states, key):
                states, info = vector(jax.random.split(key, chains), states)
                return states, (states.position, jnp.mean(cost(info) * jnp.ones(chains)))

            return jax.lax.scan(one, states, jax.random.split(key, count))

        return go

    # How many steps the gradients make: known, or learnt from a few of NUTS's.
    per_step = float(cost(None)) if not sampler.startswith("NUTS") else float(np.mean(block(20)(jax.random.key(0), initial)[1][1]))
    steps = max(int(gradients / per_step), 8)
    go = block(steps).lower(jax.random.key(1), initial).compile()
    start = time.perf_counter()
    _, (path, spent) = go(jax.random.key(2), initial)
    path.block_until_ready()
    seconds = time.perf_counter() - start
    thin = max(steps // SEEN, 1)
    values = np.asarray(statistics(path[::thin]))  # (draws, chains, statistics)
    ess = [float(effective_sample_size(jnp.asarray(values[..., s]), chain_axis=1, sample_axis=0)) for s in range(values.shape[-1])]
    return {"ess": min(ess), "gradients": float(np.sum(spent)) * chains, "seconds": seconds}


def ours(program, full):
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "bench", "samplers", "--out", folder + "/out", "--quiet"] + ([] if full else ["--budget", "small"])
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        parts = [json.loads(path.read_text())[1] for path in pathlib.Path(folder).rglob("parts/*/*.json")]
    return {(part["target"], part["sampler"]): part for part in parts}


def speed(options):
    """Gradients per second of a Langevin and a Hamiltonian step on the energy of a perceptron: ours, PyTorch's, blackjax's."""
    loader = importlib.machinery.SourceFileLoader("side_by_side", str(HERE / "side_by_side"))
    bench = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(bench)
    torch = [os.environ.get("TORCH_PYTHON", sys.executable), str(HERE / "torch" / "run.py")]
    lines = [
        "| chains | genzoo | PyTorch | blackjax | genzoo over PyTorch (rounds) | over blackjax (rounds) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, gradients in ("ula", 1), ("hmc", 10):
        with contextlib.ExitStack() as stack:
            commands = [[options.workloads, name, "--threads", "2"], [sys.executable, str(HERE / "jax_chains.py"), name]]
            commands += [[*torch, name, "--threads", n] + ["--no-compile"] * options.no_compile for n in "12"]
            programs = [stack.enter_context(bench.Program(command)) for command in commands]
            hello = [program.read() for program in programs]
            assert len({h["parameters"] for h in hello}) == 1, hello
            # Such small operations may be faster on one thread than on two.
            forms = [bench.Side(p, v + " ") for p, h in zip(programs[2:], hello[2:]) for v in h["variants"]]
            best = min(forms, key=lambda side: side.warm(0.4))
            sides = [bench.Side(programs[0]), best, bench.Side(programs[1])]
            threads = hello[programs.index(best.program)]["threads"]
            estimates = [side.warm(0.4) for side in sides]
            for _ in range(7):
                for side, estimate in zip(sides, estimates):
                    side.measure(0.4, estimate)
            medians = [[statistics.median(block) for block in side.blocks] for side in sides]
            speeds = [256e3 * gradients / statistics.median(of) for of in medians]
            ratios = [sorted(b / a for a, b in zip(medians[0], other)) for other in medians[1:]]
            print(name, "mean energies", [round(side.value, 3) for side in sides], hello[1]["version"], flush=True)
            print(f"PyTorch's best form: {best.prefix}on {threads} thread(s)", flush=True)
        cells = [f"{s / 1e3:,.0f}" for s in speeds] + [f"{r[len(r) // 2]:.2f} ({r[0]:.2f} – {r[-1]:.2f})" for r in ratios]
        lines.append("| " + " | ".join([{"ula": "ULA", "hmc": "HMC, ten leapfrogs"}[name], *cells]) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genzoo", default="target/release/genzoo", metavar="PATH")
    parser.add_argument("--workloads", default="target/release/genzoo-workloads", metavar="PATH")
    parser.add_argument("--full", action="store_true", help="the full study instead of the small one")
    parser.add_argument("--only", default=",".join(NAMES), metavar="a,b", help="these targets alone")
    parser.add_argument("--speed", action="store_true", help="gradients per second instead, beside PyTorch as well")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile, which costs minutes")
    parser.add_argument("--out", metavar="FILE", type=pathlib.Path)
    options = parser.parse_args()
    lines = speed(options) if options.speed else effective_draws(options)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


def effective_draws(options):
    chains, gradients, warm_up = (128, 30_000, 500) if options.full else (48, 3_000, 150)
    rows = ours(options.genzoo, options.full)
    lines = [
        f"blackjax {blackjax.__version__}, jax {jax.__version__}; {chains} chains, {gradients} gradients each after the warm-up.",
        "",
        "| target | sampler | ESS per 1,000 gradients, genzoo | blackjax | ESS per second, genzoo | blackjax |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name in options.only.split(","):
        target = make(name)
        for sampler in SAMPLERS:
            us, them = rows[name, sampler], run(sampler, target, chains, gradients, warm_up, seed=1)
            cells = [name, sampler]
            cells += [f"{1e3 * r['ess'] / r['gradients']:.2f}" for r in (us, them)]
            cells += [f"{r['ess'] / r['seconds']:.0f}" for r in (us, them)]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    return lines


if __name__ == "__main__":
    main()

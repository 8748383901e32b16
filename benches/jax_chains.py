"""`jax_chains.py ula|hmc`: the workloads of those names in blackjax, run as the standard input says, like torch/run.py.

Chains are vectorised, the program is compiled, and BLOCK steps run inside it (lax.scan): the fastest form that we know.
Langevin steps are blackjax.mcmc.diffusions.overdamped_langevin, trajectories blackjax.hmc, both in f32.
"""

import json
import sys
import time

import blackjax
import jax
import jax.numpy as jnp

CHAINS, BLOCK = 256, 50
WIDTHS = [2, 128, 128, 128, 1]


def make(name):
    keys = jax.random.split(jax.random.key(0), len(WIDTHS))
    layers = []
    for key, fan_in, fan_out in zip(keys, WIDTHS, WIDTHS[1:]):
        bound = fan_in**-0.5
        weight, bias = (jax.random.uniform(k, s, minval=-bound, maxval=bound) for k, s in zip(jax.random.split(key), ((fan_out, fan_in), (fan_out,))))
        layers.append((weight, bias))

    def log_density(x):
        y = x
        for i, (weight, bias) in enumerate(layers):
            y = weight @ y + bias
            y = y if i == len(layers) - 1 else jax.nn.silu(y)
        return -y[0] - 0.5 * x @ x

    if name == "ula":
        both = jax.value_and_grad(log_density)
        langevin = blackjax.mcmc.diffusions.overdamped_langevin(both)

        def start(x):
            return blackjax.mcmc.diffusions.DiffusionState(x, *both(x))

        def move(key, state):
            return langevin(key, state, 0.01)

    else:
        algorithm = blackjax.hmc(log_density, 0.1, jnp.ones(2), 10)
        start = algorithm.init

        def move(key, state):
            return algorithm.step(key, state)[0]

    @jax.jit
    def block(key, states):
        def one(states, key):
            return jax.vmap(move)(jax.random.split(key, CHAINS), states), None

        return jax.lax.scan(one, states, jax.random.split(key, BLOCK))[0]

    states = jax.vmap(start)(jax.random.normal(keys[-1], (CHAINS, 2)))
    return block, states, sum(w.size + b.size for w, b in layers)


def main(name):
    block, states, parameters = make(name)
    print(json.dumps({"workload": name, "parameters": parameters, "version": f"blackjax {blackjax.__version__}, jax {jax.__version__}"}), flush=True)
    for i, line in enumerate(sys.stdin):
        times = []
        for k in range(max(1, int(line.split()[-1]) // BLOCK)):
            key = jax.random.fold_in(jax.random.key(i), k)
            start = time.perf_counter()
            states = block(key, states)
            jax.block_until_ready(states)
            times.append(1e3 * (time.perf_counter() - start) / BLOCK)
        print(json.dumps({"ms": times, "value": float(-states.logdensity.mean())}), flush=True)


main(sys.argv[1])

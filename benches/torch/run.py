"""`run.py NAME [--threads N] [--no-compile]`: one workload in PyTorch, run as the standard input says.

    first output line    {"workload", "parameters", "threads", "version", "variants"}
    each input line      VARIANT STEPS
    each output line     {"ms": [per step], "value": mean of the last step's result}, or {"error"}

A workload is a module beside this file with `build(variant) -> (network, step)`; it lists in `VARIANTS` which of
eager, channels_last, compile and compile_channels_last make sense for it. `run.py --check` prints versions only.
"""

import importlib
import json
import os
import sys
import time


def say(**line):
    print(json.dumps(line), flush=True)


def main(arguments):
    threads = arguments[arguments.index("--threads") + 1] if "--threads" in arguments else None
    if threads:  # before the import: the pools read it once
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = threads
    try:
        import torch
    except ImportError as error:
        say(error=f"PyTorch cannot be imported: {error}")
        return
    if arguments[0] == "--check":
        say(version=torch.__version__, threads=torch.get_num_threads(), python=sys.version.split()[0])
        return
    if threads:
        torch.set_num_threads(int(threads))
    torch.manual_seed(0)

    from common import Variant

    workload = importlib.import_module(arguments[0])
    names = [v for v in workload.VARIANTS if "--no-compile" not in arguments or "compile" not in v]
    steps = {}

    def prepared(name):
        if name not in steps:
            torch.manual_seed(0)
            network, step = workload.build(Variant(name))
            steps[name] = step, sum(p.numel() for n in network for p in n.parameters())
        return steps[name]

    say(
        workload=arguments[0],
        parameters=prepared(names[0])[1],
        threads=torch.get_num_threads(),
        version=torch.__version__,
        variants=names,
    )
    for line in sys.stdin:
        name, count = line.split()
        try:
            step, _ = prepared(name)
            times, value = [], None
            for _ in range(int(count)):
                start = time.perf_counter()
                value = step()
                times.append(1e3 * (time.perf_counter() - start))
            say(ms=times, value=value.double().mean().item())
        except Exception as error:  # a variant that this PyTorch cannot run is left out, and said to be
            say(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["--check"])

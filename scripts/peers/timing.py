"""How peers are timed and what they print: as `gps bench --format json` does.

Import this before NumPy: BLAS reads its number of threads when it is loaded.
"""

import argparse
import gc
import json
import os
import statistics
import time

SHORTEST, FEWEST, MOST = 0.005, 5, 101


def parser(description):
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--repetitions", type=int, help="default: as many as fit in a second, 5 to 101")
    p.add_argument("--budget", type=float, default=1.0, help="seconds for the repetitions of a case")
    return p


def measure(work, arguments):
    """Seconds of each repetition, after a warm-up."""

    def seconds(calls):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        return (time.perf_counter() - start) / calls

    once = seconds(1)
    if once < 0.5 * arguments.budget:
        once = seconds(1)
    calls = max(1, -int(-SHORTEST // max(once, 1e-9)))
    if calls > 1:
        once = seconds(calls)
    count = arguments.repetitions or min(max(int(arguments.budget / max(once * calls, 1e-9)), FEWEST), MOST)
    gc.collect()
    gc.disable()
    try:
        return [seconds(calls) for _ in range(count)]
    finally:
        gc.enable()


def emit(peer, version, stage, case, sizes, samples, threads=1, check=None, units=None, **extras):
    line = dict(peer=peer, version=version, stage=stage, case=case, sizes=sizes, threads=threads)
    line.update(median_s=statistics.median(samples), min_s=min(samples), reps=len(samples))
    if check is not None:
        line["check"] = float(check)
    if units:
        line[units[0] + "_per_s_median"] = units[1] / line["median_s"]
    line.update(extras)
    line["load1"] = os.getloadavg()[0]
    print(json.dumps(line), flush=True)


def emit_failure(peer, stage, case, sizes, error):
    reason = f"{type(error).__name__}: {error}"[:300]
    print(json.dumps(dict(peer=peer, stage=stage, case=case, sizes=sizes, error=reason)), flush=True)

"""Draws the figures of scripts/bench: figures.py growth|profile FILE.png, with the data as JSON on standard input."""

import json
import os
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader

FOLDER = os.path.dirname(os.path.realpath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(FOLDER))  # scripts/plot imports what lies beside it
loader = SourceFileLoader("plot", os.path.join(os.path.dirname(FOLDER), "plot"))
plot = module_from_spec(spec_from_loader("plot", loader))
loader.exec_module(plot)
plot.load_matplotlib()
plot.set_style()
import numpy as np  # noqa: E402

plt = plot.plt


def growth(rows, path):
    """Time of an iteration and peak memory by conditions, with the fitted exponent."""
    count = np.array([row["conditions"] for row in rows], dtype=float)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9), constrained_layout=True)
    for name, label, color in plot.STAGES:
        seconds = [row["stages"][name.removeprefix("seconds_")] for row in rows]
        left.plot(count, seconds, marker="o", color=color, label=label, linewidth=1)
    for axis, key, unit in ((left, "seconds", "s"), (right, "memory", "MiB")):
        values = np.array([row[key] for row in rows])
        if key == "memory":
            slope, offset = np.polyfit(count, values, 1)
            axis.plot(count, values, "o", color="#222222")
            axis.plot(count, offset + slope * count, color="#222222", linewidth=1, label=f"{slope:.2f} MiB a condition")
            axis.set_ylim(bottom=0)
        else:
            exponent, factor = np.polyfit(np.log(count), np.log(values), 1)
            axis.plot(count, values, "o", color="#222222")
            fit = np.exp(factor) * count**exponent
            axis.plot(count, fit, color="#222222", label=f"whole: conditions to the {exponent:.2f}")
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_ylim(top=12 * values.max())  # room for the legend
            print(f"time grows like conditions to the {exponent:.3f}", file=sys.stderr)
        axis.set_xlabel("conditions")
        axis.set_ylabel(f"time of an iteration ({unit})" if key == "seconds" else f"peak memory ({unit})")
        axis.legend(fontsize=6.5)
    figure.savefig(path, dpi=150)


def profile(stacks, path):
    """Icicles: each level of the call stack a row, as wide as its share of the samples."""
    total = sum(count for _, count in stacks)

    def readable(name):
        name = name.split("+0x")[0]
        name = name.split(" in ")[0] if name.startswith(("closure", "specialized closure")) else name
        return name.removeprefix("specialized ").removeprefix("generic specialization of ")

    def insert(node, names, count):
        node["count"] += count
        if names:
            child = node["children"].setdefault(names[0], dict(count=0, children={}))
            insert(child, names[1:], count)

    root = dict(count=0, children={})
    # What lies above the toolkit's own functions (threads, tasks, thunks) says nothing.
    above = ("swift_", "swift::", "clone", "start_thread", "unknown", "dispatch", "main", "Main", "thunk", "_start",
             "partial apply", "resume", "suspend", "await", "closure", "CommandLine", "<deduplicated_symbol>")  # fmt: skip
    for names, count in stacks:
        names = [readable(name) for name in names]
        first = next((i for i, name in enumerate(names) if not any(word in name for word in above)), None)
        insert(root, names[first:] if first is not None else ["runtime"], count)
    figure, axis = plt.subplots(figsize=(9, 4.6), constrained_layout=True)
    deepest = 12
    colors = [color for _, _, color in plot.STAGES]

    def draw(node, left, depth, color):
        for index, (name, child) in enumerate(sorted(node["children"].items(), key=lambda item: -item[1]["count"])):
            width = child["count"] / total
            if width < 0.004 or depth >= deepest:
                continue
            shade = colors[index % len(colors)] if depth == 0 else color
            axis.barh(-depth, width, left=left, height=0.94, color=shade, alpha=0.9 - 0.045 * depth,
                      edgecolor="white", linewidth=0.5)  # fmt: skip
            room = int(width * 150)
            if room >= 4:
                text = name if len(name) <= room else name[: room - 1] + "…"
                axis.text(left + 0.002, -depth, text, va="center", fontsize=5.5, clip_on=True)
            draw(child, left, depth + 1, shade)
            left += width

    draw(root, 0.0, 0, colors[0])
    axis.set_xlim(0, 1)
    axis.set_yticks([])
    axis.grid(False)
    axis.set_xticks(np.linspace(0, 1, 11), [f"{10 * i} %" for i in range(11)])
    axis.set_xlabel(f"share of {total} samples of a run, by call stack from above")
    figure.savefig(path, dpi=170)


dict(growth=growth, profile=profile)[sys.argv[1]](json.load(sys.stdin), sys.argv[2])

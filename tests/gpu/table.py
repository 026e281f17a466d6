"""The summary of a run, in Markdown: which tests passed, and ratios to PyTorch. Reads results alone, so
that it can be made anywhere from the files that came back."""

import glob
import json
import os


def load(folder):
    """Results by step name."""
    results = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        with open(path) as handle:
            found = json.load(handle)
        results[found["name"]] = found
    return results


def number(value, digits=3):
    if not isinstance(value, (int, float)):
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def parity(results):
    tests = [found for found in results.values() if found["group"] == "parity"]
    if not tests:
        return []
    failed = [found for found in tests if found["exit"] != 0]
    lines = ["", "## Parity", "", f"{len(tests) - len(failed)} of {len(tests)} tests passed."]
    if failed:
        lines += [""] + table(["failed", "how", "last words"], [
            [found["name"][len("parity-"):], found["how"], "`" + found["last"].replace("|", "/") + "`"]
            for found in failed])
    return lines


def measured(results, name):
    """The last line of JSON that a step printed, or {}."""
    return (results.get(name) or {}).get("measured") or {}


def by_shape(line):
    return {(row["shape"], row["kind"]): row for row in line.get("rows", []) if "kind" in row}


def products(results, suffix, title):
    ours, theirs = measured(results, "bench-gemm" + suffix), measured(results, "pytorch-gemm" + suffix)
    if not ours and not theirs:
        return []
    other = by_shape(theirs)
    rows = []
    for key, row in by_shape(ours).items():
        peer = other.get(key, {})
        ratio = row["ms"] / peer["ms"] if peer.get("ms") else None
        rows.append([*key, f"{row['m']} × {row['k']} × {row['n']}", number(row["ms"]),
                     number(row["tflop_per_second"]), number(peer.get("ms")),
                     number(peer.get("tflop_per_s")), number(ratio)])
    ceiling = (number(ours.get("square_tflop_per_second")), number(theirs.get("gemm_ceiling_tflop_per_s")))
    lines = ["", f"## {title}", ""]
    lines += table(["layer", "form", "m × k × n", "ours, ms", "TFLOP/s", "PyTorch, ms", "TFLOP/s", "ratio"], rows)
    return lines + ["", "Square product: ours %s TFLOP/s, PyTorch %s." % ceiling]


def attention(results):
    ours = measured(results, "bench-attention")
    peers = [row for row in measured(results, "pytorch-gemm").get("rows", [])
             if row.get("op") == "sdpa" and "forward_s" in row]
    if not ours:
        return []
    rows = []
    for peer in peers or [{}]:
        of = lambda mine, key: mine / peer[key] if peer.get(key) else None  # noqa: E731
        forward, train = ours["forward_seconds"], ours["train_seconds"]
        rows.append([peer.get("backend", "–"), number(forward * 1e3), number((peer.get("forward_s") or 0) * 1e3),
                     number(of(forward, "forward_s")), number(train * 1e3),
                     number((peer.get("train_s") or 0) * 1e3), number(of(train, "train_s"))])
    head = ["PyTorch's kernels", "forward: ours, ms", "PyTorch", "ratio", "and backward: ours, ms", "PyTorch", "ratio"]
    return ["", "## Attention", ""] + table(head, rows)


# Ours, and the rows of PyTorch that do the same.
STEPS = [("resident", ["resident", "compiled"]), ("recompute", ["recompute", "recompute-compiled"]),
         ("swap", ["recompute", "recompute-compiled"])]


def finetune(results):
    rows = []
    for ours, peers in STEPS:
        line = measured(results, "bench-finetune-" + ours)
        mine = line.get("step_s_median")
        for name in peers:
            peer = measured(results, "pytorch-finetune-" + name)
            theirs = peer.get("step_s_median")
            if mine or theirs:
                memory = line.get("device_reserved_bytes")
                rows.append([ours, number(mine), number(line.get("tflop_per_s")),
                             number(memory / 2 ** 30 if memory else None), name, number(theirs),
                             number(peer.get("tflop_per_s")), number(peer.get("peak_reserved_gib")),
                             number(mine / theirs if mine and theirs else None)])
    if not rows:
        return []
    head = ["ours", "step, s", "TFLOP/s", "GiB reserved", "PyTorch", "step, s", "TFLOP/s", "GiB reserved", "ratio"]
    lines = ["", "## A step of full fine-tuning", ""] + table(head, rows)
    resident, swap = (measured(results, "bench-finetune-" + name).get("step_s_median")
                      for name in ("resident", "swap"))
    if resident and swap:
        lines += ["", "Swapping against resident blocks: %s (goal: at most 1.15)." % number(swap / resident)]
    return lines


def alone(results):
    rows = []
    for name in ("label", "tag", "clip", "autoencoder", "t5"):
        line = measured(results, "bench-" + name)
        if line:
            rate = line.get("pictures_per_second") or (line.get("texts") or 0) / line["seconds"]
            rows.append([name, line.get("network"), line.get("batch") or line.get("texts"),
                         number(line["seconds"]), number(rate)])
    return (["", "## Other stages", ""]
            + table(["stage", "network", "at once", "seconds", "per second"], rows)) if rows else []


def broken(results):
    rows = [[found["name"], found["how"], "`" + found["last"].replace("|", "/") + "`"]
            for found in results.values() if found["exit"] != 0 and found["group"] != "parity"]
    return ["", "## Steps that failed", ""] + table(["step", "how", "last words"], rows) if rows else []


def commands(results):
    rows = [f"{found['name']}: {found['command']}" for found in results.values() if found["group"] != "parity"]
    return ["", "## Commands", "", "```", *rows, "```"] if rows else []


def markdown(folder, about):
    """The whole summary. `about` are lines on the machine."""
    results = load(folder)
    lines = ["# Measured on a device", "", *("- " + line for line in about)]
    lines += parity(results)
    lines += products(results, "", "Products of a block, bf16") + products(results, "-f32", "Products of a block, f32")
    lines += attention(results) + finetune(results) + alone(results) + broken(results) + commands(results)
    return "\n".join(lines) + "\n"

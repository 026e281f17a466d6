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
    sizes = lambda row: (row["m"], row["k"], row["n"])  # noqa: E731
    return {(row["shape"], row["kind"], *sizes(row)): row for row in line.get("rows", []) if "kind" in row}


def ratio(ours, theirs, mine, peer, keys):
    """Ours by theirs, where both did the same work by what these keys say."""
    other = [key for key in keys if mine.get(key) != peer.get(key)]
    if other and ours and theirs:
        return "other " + ", ".join(other)
    return number(ours / theirs if ours and theirs else None)


def products(results, suffix, title):
    ours, theirs = measured(results, "bench-gemm" + suffix), measured(results, "pytorch-gemm" + suffix)
    if not ours and not theirs:
        return []
    other = by_shape(theirs)
    rows = []
    for key, row in by_shape(ours).items():
        peer = other.get(key, {})
        rows.append([*key[:2], f"{row['m']} × {row['k']} × {row['n']}", number(row["ms"]),
                     number(row["tflop_per_second"]), number(peer.get("ms")),
                     number(peer.get("tflop_per_s")), ratio(row["ms"], peer.get("ms"), row, peer, ())])
    ceiling = (number(ours.get("square_tflop_per_second")), number(theirs.get("gemm_ceiling_tflop_per_s")))
    lines = ["", f"## {title}", ""]
    lines += table(["layer", "form", "m × k × n", "ours, ms", "TFLOP/s", "PyTorch, ms", "TFLOP/s", "ratio"], rows)
    return lines + ["", "Square product: ours %s TFLOP/s, PyTorch %s." % ceiling]


# What has to be equal on both sides.
ATTENTION = ("dtype", "batch", "heads", "tokens", "head_dim")
TRANSFORMER = ("dtype", "batch", "tokens", "hidden", "heads", "depth", "depth_single", "parameters")


def attention(results):
    ours, theirs = measured(results, "bench-attention"), measured(results, "pytorch-gemm")
    peers = [{**row, "dtype": theirs.get("dtype")} for row in theirs.get("rows", [])
             if row.get("op") == "sdpa" and "forward_s" in row]
    if not ours:
        return []
    rows = []
    for peer in peers or [{}]:
        of = lambda mine, key: ratio(mine, peer.get(key), ours, peer, ATTENTION)  # noqa: E731
        forward, train = ours["forward_seconds"], ours["train_seconds"]
        milli = lambda key: number(peer[key] * 1e3 if key in peer else None)  # noqa: E731
        rows.append([peer.get("backend", "–"), number(forward * 1e3), milli("forward_s"), of(forward, "forward_s"),
                     number(train * 1e3), milli("train_s"), of(train, "train_s")])
    head = ["PyTorch's kernels", "forward: ours, ms", "PyTorch", "ratio", "and backward: ours, ms", "PyTorch", "ratio"]
    return ["", "## Attention", ""] + table(head, rows)


# Ours, and the rows of PyTorch that do the same.
STEPS = [("resident", ["resident", "compiled"]), ("recompute", ["recompute", "recompute-compiled"]),
         ("swap", ["recompute", "recompute-compiled"])]


def finetune(results):
    rows, seconds, counted = [], {}, []
    for ours, peers in STEPS:
        line = measured(results, "bench-finetune-" + ours)
        mine, memory = line.get("step_s_median"), line.get("device_reserved_bytes")
        seconds[ours] = mine
        planned = line.get("planned_device_bytes")
        if memory and planned:
            share = f"{planned / memory:.2f}" + ("" if abs(planned / memory - 1) <= 0.1 else ", NOT within a tenth")
            counted.append(f"{ours} {number(planned / 2 ** 30)} of {number(memory / 2 ** 30)} GiB ({share})")
        # One row for each peer that ran, or one without any.
        names = [name for name in peers if measured(results, "pytorch-finetune-" + name)] or ["–"]
        for name in names if mine or names != ["–"] else []:
            peer = measured(results, "pytorch-finetune-" + name)
            theirs = peer.get("step_s_median")
            rows.append([ours, number(mine), number(line.get("tflop_per_s")),
                         number(memory / 2 ** 30 if memory else None), name, number(theirs),
                         number(peer.get("tflop_per_s")), number(peer.get("peak_reserved_gib")),
                         ratio(mine, theirs, line, peer, TRANSFORMER)])
    if not rows:
        return []
    head = ["ours", "step, s", "TFLOP/s", "GiB reserved", "PyTorch", "step, s", "TFLOP/s", "GiB reserved", "ratio"]
    lines = ["", "## A step of full fine-tuning", ""] + table(head, rows)
    if counted:
        lines += ["", "Memory that the plan counts, of what the device then had reserved: " + "; ".join(counted) + "."]
    if seconds["swap"]:
        # The swapped blocks are recomputed ones, so the first ratio is the price of moving them.
        of = lambda name: number(seconds["swap"] / seconds[name] if seconds[name] else None)  # noqa: E731
        lines += ["", f"With swapped blocks a step takes {of('recompute')} times as long as with resident ones that are "
                      f"recomputed too, and {of('resident')} times as long as with all resident and kept."]
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

"""The steps of a run: names, groups, commands. Knows no results."""

import os
import subprocess

# Seconds. A step that takes longer is stopped: a command may take ten minutes where machines are shared.
LIMIT = 540


# A transformer that a laptop trains in a second. Both sides know these options.
TINY_FLUX = ["--hidden", "64", "--heads", "2", "--depth", "1", "--depth-single", "1",
             "--resolution", "64", "--text-tokens", "16", "--steps", "2", "--warmup", "1"]


class Step:
    """`argv` prints one line of JSON, or (for tests) says by its exit code whether it passed."""

    def __init__(self, group, name, argv, kind="json", limit=LIMIT):
        self.group, self.name, self.argv, self.kind, self.limit = group, name, argv, kind, limit


def parity(binary):
    """A step per test, so that one that crashes takes no other with it."""
    listed = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True)
    names = [line[:-len(": test")] for line in listed.stdout.splitlines() if line.endswith(": test")]
    return [Step("parity", "parity-" + name.replace("::", "-"),
                 [binary, "--exact", name, "--nocapture", "--test-threads", "1"], "test")
            for name in names]


def bench(program, device, tiny):
    """What fluxpipe measures of itself. `tiny` has the same steps on sizes that a laptop does in seconds."""
    flux = ["--shape", "flux-dev", "--resolution", "1024", "--batch", "1", "--steps", "6"]
    if tiny:
        flux = ["--shape", "tiny", *TINY_FLUX, "--batch", "1"]

    def step(name, part, real, small=()):
        options = list(small if tiny else real)
        return Step("bench", "bench-" + name, [program, "bench", *part, *options, "--device", device])

    few, small = ["--samples", "1"], ["--shape", "tiny", "--samples", "1"]
    small_gemm = ["--tokens", "16", "--hidden", "16", "--square", "64", *few]
    swapped = ["--blocks-to-swap", "1" if tiny else "35"]
    return [
        step("gemm", ["gemm"], ["--dtype", "bf16"], ["--dtype", "bf16", *small_gemm]),
        step("gemm-f32", ["gemm"], ["--dtype", "f32"], ["--dtype", "f32", *small_gemm]),
        step("attention", ["attention"], ["--dtype", "bf16"],
             ["--dtype", "bf16", "--tokens", "16", "--heads", "2", *few]),
        step("finetune-resident", ["finetune", *flux, "--blocks-to-swap", "0",
                                   "--gradient-checkpointing", "false"], []),
        step("finetune-recompute", ["finetune", *flux, "--blocks-to-swap", "0",
                                    "--gradient-checkpointing", "true"], []),
        step("finetune-swap", ["finetune", *flux, *swapped, "--gradient-checkpointing", "true"], []),
        step("label", ["label"], ["--batch", "8", "--num-beams", "3"], small),
        step("tag", ["tag"], ["--batch", "8"], small),
        step("clip", ["cache", "clip"], ["--texts", "8"], small),
        step("autoencoder", ["cache", "autoencoder"], ["--resolution", "1024"],
             ["--resolution", "32", *small]),
        step("t5", ["cache"], ["--texts", "32"], ["--shape", "tiny", "--texts", "2"]),
    ]


def pytorch(folder, device, tiny):
    """The same shapes in PyTorch, by the scripts that were packed with this."""
    python = ["python3", "-u"]
    tiny_gemm = ["--tokens", "16", "--hidden", "16", "--heads", "2", "--head-dim", "128",
                 "--samples", "2", "--gemm-n", "64"]

    def step(name, script, *options):
        argv = [*python, os.path.join(folder, script), "--device", device, *options]
        return Step("pytorch", "pytorch-" + name, argv, "lines")

    flux = TINY_FLUX if tiny else []
    gemm = tiny_gemm if tiny else []
    of = lambda name: ["--dtype", name]  # noqa: E731
    steps = [
        step("gemm", "gemm_attn.py", *of("bf16"), *gemm),
        step("gemm-f32", "gemm_attn.py", *of("f32"), *gemm),
        step("finetune-resident", "flux_step.py", *of("bf16"), *flux),
        step("finetune-recompute", "flux_step.py", *of("bf16"), "--checkpoint", "block", *flux),
    ]
    if not tiny:
        steps.insert(3, step("finetune-compiled", "flux_step.py", *of("bf16"), "--compile", "--sdpa", "best"))
        steps.append(step("finetune-recompute-compiled", "flux_step.py", *of("bf16"), "--compile",
                          "--sdpa", "best", "--checkpoint", "block"))
    return steps

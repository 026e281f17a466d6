"""Tests of the parts that need no card: python3 -m unittest discover tests/gpu"""

import importlib.machinery
import importlib.util
import json
import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import cuda    # noqa: E402
import steps   # noqa: E402
import table   # noqa: E402


def load_run():
    loader = importlib.machinery.SourceFileLoader("gpu_run", os.path.join(HERE, "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_run", loader))
    loader.exec_module(module)
    return module


run = load_run()


def touch(*path):
    path = os.path.join(*path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w").close()


class Cuda(unittest.TestCase):
    def test_wheels_with_a_part_each_become_one_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            packages = os.path.join(folder, "nvidia")
            touch(packages, "cuda_nvrtc", "lib", "libnvrtc.so.13")
            touch(packages, "cuda_runtime", "include", "cuda_runtime.h")
            touch(packages, "cuda_runtime", "include", "cuda_fp16.h")
            touch(packages, "cuda_cccl", "include", "cuda", "barrier")
            roots = sorted(os.path.join(packages, name) for name in os.listdir(packages))
            variables, words = cuda.environment(os.path.join(folder, "links"), roots)
            include = os.path.join(variables["CUDA_PATH"], "include")
            self.assertTrue(os.path.exists(os.path.join(include, "cuda_fp16.h")))
            self.assertTrue(os.path.exists(os.path.join(include, "cuda", "barrier")))
            self.assertIn(os.path.join(packages, "cuda_nvrtc", "lib"), variables["LD_LIBRARY_PATH"])
            self.assertIn("cuda_nvrtc", words)

    def test_a_whole_toolkit_is_taken_as_it_is_and_the_newest_compiler_first(self):
        with tempfile.TemporaryDirectory() as folder:
            for major, root in (("12", "old"), ("13", "new")):
                touch(folder, root, "lib64", "libnvrtc.so." + major)
                touch(folder, root, "include", "cuda_runtime.h")
                touch(folder, root, "include", "cuda_fp16.h")
                touch(folder, root, "include", "cccl", "cuda", "barrier")
            roots = [os.path.join(folder, name) for name in ("old", "new")]
            variables, _ = cuda.environment(os.path.join(folder, "links"), roots)
            self.assertEqual(variables["CUDA_PATH"], roots[0])
            self.assertTrue(variables["LD_LIBRARY_PATH"].startswith(os.path.join(folder, "new")))

    def test_what_is_missing_is_left_out(self):
        with tempfile.TemporaryDirectory() as folder:
            variables, words = cuda.environment(os.path.join(folder, "links"), [])
            self.assertEqual(variables, {})
            self.assertIn("not found", words)


class Steps(unittest.TestCase):
    def execute(self, script, kind, limit=20):
        with tempfile.TemporaryDirectory() as folder:
            step = steps.Step("bench", "one", [sys.executable, "-c", script], kind, limit)
            return run.execute(step, {**os.environ, "FLUXPIPE_CACHE": folder}, folder)

    def test_the_line_of_json_is_found_among_others(self):
        found = self.execute("print('warning'); print('{\"a\": 1}'); print('bye')", "json")
        self.assertEqual((found["exit"], found["measured"]), (0, {"a": 1}))
        found = self.execute("print('{\\n  \"a\": 2\\n}')", "lines")
        self.assertEqual(found["measured"], {"a": 2})

    def test_a_step_without_a_result_and_one_that_hangs_have_failed(self):
        self.assertEqual(self.execute("print('hello')", "json")["how"], "no result")
        found = self.execute("import time; time.sleep(60)", "json", limit=1)
        self.assertEqual((found["exit"], found["how"]), (124, "stopped after 1 s"))

    def test_why_a_test_failed_is_kept(self):
        script = "print(\"thread 'x' panicked at a.rs:1:\"); print('0.5 is not 0.4'); print('end'); raise SystemExit(101)"
        self.assertEqual(self.execute(script, "test")["last"], "0.5 is not 0.4")

    def test_names_are_unique_and_every_step_ends_in_time(self):
        found = steps.bench("fluxpipe", "cuda", False) + steps.pytorch("pytorch", "cuda", False)
        self.assertEqual(len({step.name for step in found}), len(found))
        self.assertTrue(all(step.limit < 600 for step in found))


class Packs(unittest.TestCase):
    def test_those_of_the_checkout_are_found_from_below_it_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            inside = os.path.join(folder, "checkout", "fluxpipe-gpu")
            touch(folder, "checkout", "tests", "fixtures", "flow", "manifest.json")
            os.makedirs(inside)
            self.assertEqual(run.of_checkout(inside), [])
            touch(folder, "checkout", "Cargo.toml")
            self.assertEqual(run.of_checkout(inside), [os.path.join(folder, "checkout", "tests", "fixtures")])
            self.assertEqual(run.of_checkout(os.path.join(folder, "elsewhere")), [])


class Table(unittest.TestCase):
    def test_ratios_are_ours_by_theirs(self):
        def result(name, group, measured, code=0):
            return {"name": name, "group": group, "exit": code, "how": "exit code %d" % code, "seconds": 1.0,
                    "command": "run " + name, "last": "a | b", "measured": measured}
        row = {"shape": "qkv", "kind": "grad_input", "m": 4, "k": 5, "n": 6, "ms": 3.0, "tflop_per_second": 1.0}
        peer = {"shape": "qkv", "kind": "grad_input", "m": 4, "k": 5, "n": 6, "ms": 2.0, "tflop_per_s": 1.5}
        sdpa = {"op": "sdpa", "backend": "flash", "forward_s": 0.25, "train_s": 0.5}
        results = [
            result("bench-gemm", "bench", {"rows": [row], "square_tflop_per_second": 7.0}),
            result("pytorch-gemm", "pytorch", {"rows": [peer, sdpa], "gemm_ceiling_tflop_per_s": 8.0}),
            result("bench-attention", "bench", {"forward_seconds": 0.5, "train_seconds": 2.0}),
            result("bench-finetune-resident", "bench", {"step_s_median": 0.6, "device_reserved_bytes": 2 ** 31,
                                                                  "planned_device_bytes": 2 ** 30}),
            result("bench-finetune-recompute", "bench", {"step_s_median": 0.6, "tokens": 528}),
            result("bench-finetune-swap", "bench", {"step_s_median": 0.66, "tokens": 528}),
            result("pytorch-finetune-resident", "pytorch", {"step_s_median": 0.5}),
            result("pytorch-finetune-recompute", "pytorch", {"step_s_median": 0.5, "tokens": 32}),
            result("bench-label", "bench", None, 101),
            result("parity-a", "parity", None),
            result("parity-b", "parity", None, 101),
        ]
        with tempfile.TemporaryDirectory() as folder:
            for found in results:
                with open(os.path.join(folder, found["name"] + ".json"), "w") as handle:
                    json.dump(found, handle)
            text = table.markdown(folder, ["a card"])
        self.assertIn("1 of 2 tests passed", text)
        self.assertIn("resident 1 of 2 GiB (0.50, NOT within a tenth)", text)
        self.assertIn("| qkv | grad_input | 4 × 5 × 6 | 3 | 1 | 2 | 1.5 | 1.5 |", text)
        self.assertIn("| flash | 500 | 250 | 2 | 2000 | 500 | 4 |", text)
        self.assertIn("| resident | 0.6 | – | 2 | resident | 0.5 | – | – | 1.2 |", text)
        self.assertIn("| recompute | 0.6 | – | – | recompute | 0.5 | – | – | other tokens |", text)
        self.assertIn("takes 1.1 times as long", text)
        self.assertIn("| bench-label | exit code 101 | `a / b` |", text)
        self.assertIn("run bench-gemm", text)


if __name__ == "__main__":
    unittest.main()

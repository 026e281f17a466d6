"""Trains the demo's tagger and writes it as an ONNX file with its list of tags.

    python tagger.py PICTURES tagger [--steps 8000]

Input and output are those of the published WD taggers: `[N, 64, 64, 3]`, blue first, 0 to 255; a probability per
tag. It learns on blurred and noisy pictures too, so that it judges what a transformer draws and not only what
the program draws.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pictures import pictures, tags

SIDE = 64
WIDTHS = [3, 16, 32, 64, 64]


class Tagger(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(WIDTHS[i], WIDTHS[i + 1], 3, stride=2, padding=1) for i in range(len(WIDTHS) - 1)
        )
        self.hidden, self.last = nn.Linear(64 * 16, 64), nn.Linear(64, count)

    def forward(self, x):
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        return self.last(F.relu(self.hidden(x.flatten(1))))


def as_input(images):
    """Bytes `[N, 3, side, side]` to half the size by area, blue first, in -1..1."""
    images = F.avg_pool2d(images.float(), images.shape[-1] // SIDE)
    return images.flip(1) / 127.5 - 1


def spoiled(images):
    """The same pictures, moved, a little blurred, noisy, and lighter or darker."""
    count = len(images)
    dx, dy = (int(v) for v in torch.randint(-4, 5, (2,)))
    images = F.pad(images, (4, 4, 4, 4), mode="replicate")[:, :, 4 + dy : 4 + dy + SIDE, 4 + dx : 4 + dx + SIDE]
    if torch.rand(()) < 0.5:
        images = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    shade = 0.12 * torch.randn(count, 3, 1, 1)
    return images + shade + 0.15 * torch.rand(count, 1, 1, 1) * torch.randn_like(images)


def write(model, names, folder):
    folder.mkdir(parents=True, exist_ok=True)
    nodes, weights = [], []

    def constant(name, value):
        value = np.ascontiguousarray(value, np.float32)
        if value.size < 1000:
            weights.append(numpy_helper.from_array(value, name))
            return name
        # Large ones are stored in 16 bits: half the file.
        weights.append(numpy_helper.from_array(value.astype(np.float16), f"{name}.half"))
        nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], name, to=TensorProto.FLOAT))
        return name

    def node(operator, inputs, **attributes):
        name = f"{operator.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    x = node("Transpose", ["input"], perm=[0, 3, 1, 2])
    x = node("Mul", [x, constant("scale", np.float32(1 / 127.5))])
    x = node("Sub", [x, constant("middle", np.float32(1.0))])
    for index, layer in enumerate(model.convolutions):
        place = [constant(f"conv{index}.{part}", getattr(layer, part).detach().numpy()) for part in ("weight", "bias")]
        x = node("Conv", [x, *place], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        x = node("Relu", [x])
    x = node("Flatten", [x], axis=1)
    for name in ("hidden", "last"):
        layer = getattr(model, name)
        place = [constant(f"{name}.{part}", getattr(layer, part).detach().numpy()) for part in ("weight", "bias")]
        x = node("Gemm", [x, *place], transB=1)
        if name == "hidden":
            x = node("Relu", [x])
    nodes.append(helper.make_node("Sigmoid", [x], ["predictions"], "predictions"))
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("predictions", TensorProto.FLOAT, ["batch", len(names)])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    # Category 0: general.
    rows = [f"{index},{name.replace(' ', '_')},0,0" for index, name in enumerate(names)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *rows]) + "\n")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("output", type=Path)
    arguments.add_argument("--held-out", type=Path)
    arguments.add_argument("--steps", type=int, default=8000)
    options = arguments.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    lists = tags(options.pictures)
    # In the order of their first appearance in what the pictures have, shapes before colours.
    names = list(dict.fromkeys(name for place in range(6) for one in lists for name in one[place : place + 1]))
    truth = torch.tensor([[float(name in one) for name in names] for one in lists])
    images = as_input(pictures(options.pictures))
    model = Tagger(len(names))
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, options.steps)
    begun = time.time()
    for step in range(options.steps):
        some = torch.randint(len(images), (64,))
        loss = F.binary_cross_entropy_with_logits(model(spoiled(images[some])), truth[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            print(f"step {step}: loss {loss.item():.4f}, {time.time() - begun:.0f} s", flush=True)
    write(model, names, options.output)
    if options.held_out:
        lists = tags(options.held_out)
        truth = torch.tensor([[name in one for name in names] for one in lists])
        with torch.no_grad():
            found = model(as_input(pictures(options.held_out))) > 0
        print(f"held out: all tags right in {(found == truth).all(1).float().mean():.1%} of {len(lists)} pictures")


if __name__ == "__main__":
    main()

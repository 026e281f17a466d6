"""Writes the transformer that the demo's FLUX is trained from: FLUX.1-dev with few channels, knowing nothing.

    python transformer.py untrained.safetensors

Gates and the last layer are zero, so that every block passes its input on, and what training begins with is 0.
"""

import sys

import torch
from safetensors.torch import save_file

WIDTH, HEADS, DOUBLE, SINGLE = 128, 4, 2, 4
MLP = 4 * WIDTH
TOKEN, TEXT, POOLED, SINUSOID = 64, 32, 24, 256


def main():
    random = torch.Generator().manual_seed(1)
    tensors = {}

    def layer(name, outputs, inputs, scale=1.0):
        tensors[f"{name}.weight"] = scale * inputs**-0.5 * torch.randn(outputs, inputs, generator=random)
        tensors[f"{name}.bias"] = torch.zeros(outputs)

    def scales(name):
        for part in ("query_norm", "key_norm"):
            tensors[f"{name}.{part}.scale"] = torch.ones(WIDTH // HEADS)

    layer("img_in", WIDTH, TOKEN)
    layer("txt_in", WIDTH, TEXT)
    for name, inputs in [("time_in", SINUSOID), ("vector_in", POOLED), ("guidance_in", SINUSOID)]:
        layer(f"{name}.in_layer", WIDTH, inputs)
        layer(f"{name}.out_layer", WIDTH, WIDTH)
    for block in range(DOUBLE):
        for stream in ("img", "txt"):
            place = f"double_blocks.{block}.{stream}"
            layer(f"{place}_mod.lin", 6 * WIDTH, WIDTH, scale=0.0)
            layer(f"{place}_attn.qkv", 3 * WIDTH, WIDTH)
            scales(f"{place}_attn.norm")
            layer(f"{place}_attn.proj", WIDTH, WIDTH)
            layer(f"{place}_mlp.0", MLP, WIDTH)
            layer(f"{place}_mlp.2", WIDTH, MLP)
    for block in range(SINGLE):
        place = f"single_blocks.{block}"
        layer(f"{place}.linear1", 3 * WIDTH + MLP, WIDTH)
        layer(f"{place}.linear2", WIDTH, WIDTH + MLP)
        scales(f"{place}.norm")
        layer(f"{place}.modulation.lin", 3 * WIDTH, WIDTH, scale=0.0)
    layer("final_layer.linear", TOKEN, WIDTH, scale=0.0)
    layer("final_layer.adaLN_modulation.1", 2 * WIDTH, WIDTH, scale=0.0)
    print(sum(value.numel() for value in tensors.values()), "weights")
    save_file({name: value.contiguous() for name, value in tensors.items()}, sys.argv[1])


if __name__ == "__main__":
    main()

"""FLUX.1 as the diffusers library reads it from one file. Run by `diffusers.rs`, which says what for.

    single_file.py table FILE                 the names and shapes of `flux1.txt` make the library's own network
    single_file.py run CHECKPOINT CONFIG OUT  reads the checkpoint, writes what was read and what it computes
"""

import json
import os
import pathlib
import sys
import types

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from safetensors.torch import save_file

LOADER = SINGLE_FILE_LOADABLE_CLASSES["FluxTransformer2DModel"]
# The width that the library's function has written into its code, for the splits of `linear1`.
WIDTH = 3072


def table(path):
    """All shapes, nothing allocated: the library's function, as it is, makes its own full-size network of them."""
    lines = [line.split() for line in open(path) if not line.startswith("#")]
    for dev in (True, False):
        shapes = {name: shape for name, _, shape, *only in lines if dev or not only}
        checkpoint = {
            name: torch.empty([int(size) for size in shape.split("x")], dtype=torch.bfloat16, device="meta")
            for name, shape in shapes.items()
        }
        converted = LOADER["checkpoint_mapping_fn"](checkpoint=checkpoint)
        assert not checkpoint, f"not read: {list(checkpoint)}"
        with torch.device("meta"):
            network = FluxTransformer2DModel(guidance_embeds=dev)
        found = {name: tuple(tensor.shape) for name, tensor in converted.items()}
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        assert found == expected, set(found.items()) ^ set(expected.items())


def of_width(function, width):
    """The library's function with another width in its code, and nothing else changed."""
    constants = function.__code__.co_consts
    if WIDTH not in constants:
        return function
    constants = tuple(width if constant == WIDTH else constant for constant in constants)
    code = function.__code__.replace(co_consts=constants)
    return types.FunctionType(code, function.__globals__, function.__name__)


def run(checkpoint, config, out):
    out = pathlib.Path(out)
    sizes = json.loads(pathlib.Path(config, "config.json").read_text())
    width = sizes["attention_head_dim"] * sizes["num_attention_heads"]
    LOADER["checkpoint_mapping_fn"] = of_width(LOADER["checkpoint_mapping_fn"], width)
    network = FluxTransformer2DModel.from_single_file(checkpoint, config=config, torch_dtype=torch.float32)
    save_file(network.state_dict(), out / "read.safetensors")

    height, columns, texts = 6, 4, 7
    random = torch.Generator().manual_seed(20)
    picture = torch.randn(2, height * columns, sizes["in_channels"], generator=random)
    text = torch.randn(2, texts, sizes["joint_attention_dim"], generator=random)
    pooled = torch.randn(2, sizes["pooled_projection_dim"], generator=random)
    times = torch.tensor([0.25, 0.9])
    guidance = torch.tensor([3.5, 1.0])
    places = torch.zeros(height, columns, 3)
    places[..., 1] = torch.arange(height)[:, None]
    places[..., 2] = torch.arange(columns)[None, :]
    with torch.no_grad():
        (velocity,) = network(
            hidden_states=picture,
            encoder_hidden_states=text,
            pooled_projections=pooled,
            timestep=times,
            img_ids=places.reshape(-1, 3),
            txt_ids=torch.zeros(texts, 3),
            guidance=guidance if sizes["guidance_embeds"] else None,
            return_dict=False,
        )
    tensors = {"img": picture, "txt": text, "y": pooled, "timesteps": times, "guidance": guidance, "output": velocity}
    save_file(tensors, out / "pass.safetensors", metadata={"height": str(height), "width": str(columns)})


if __name__ == "__main__":
    {"table": table, "run": run}[sys.argv[1]](*sys.argv[2:])

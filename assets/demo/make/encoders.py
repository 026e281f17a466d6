"""Makes the demo's text encoders: CLIP-L and T5 v1.1 with few channels, in the layouts of the published files.

    python encoders.py FOLDER

They are not trained. What a transformer needs of them is that different words give different features, and that
the pooled vector tells which words a text has; random tables do that. Attention is kept nearly even and the
layers weak, so that a token's vector is mostly its own word's. Tables are stored as 8-bit floats, as many people's
`t5xxl_fp8_e4m3fn.safetensors` is.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

CLIP, T5 = 24, 32


def clip(random):
    def normal(*shape, scale):
        return scale * torch.randn(*shape, generator=random)

    tensors = {
        "embeddings.token_embedding.weight": normal(49_408, CLIP, scale=1.0),
        "embeddings.position_embedding.weight": normal(77, CLIP, scale=0.05),
        "final_layer_norm.weight": torch.ones(CLIP),
        "final_layer_norm.bias": torch.zeros(CLIP),
    }
    layer = "encoder.layers.0"
    for name, scale in [("q_proj", 0.02), ("k_proj", 0.02), ("v_proj", 1.0), ("out_proj", 3.0)]:
        # Values are turned, not mixed: no word is lost.
        turn = torch.linalg.qr(torch.randn(CLIP, CLIP, generator=random)).Q
        tensors[f"{layer}.self_attn.{name}.weight"] = scale * turn
        tensors[f"{layer}.self_attn.{name}.bias"] = torch.zeros(CLIP)
    for name, shape in [("fc1", (2 * CLIP, CLIP)), ("fc2", (CLIP, 2 * CLIP))]:
        tensors[f"{layer}.mlp.{name}.weight"] = normal(*shape, scale=0.7 * shape[1] ** -0.5)
        tensors[f"{layer}.mlp.{name}.bias"] = torch.zeros(shape[0])
    for name in ("layer_norm1", "layer_norm2"):
        tensors[f"{layer}.{name}.weight"] = torch.ones(CLIP)
        tensors[f"{layer}.{name}.bias"] = torch.zeros(CLIP)
    return {f"text_model.{name}": value for name, value in tensors.items()}


def t5(random):
    def normal(*shape, scale):
        return scale * torch.randn(*shape, generator=random)

    tensors = {"shared.weight": normal(32_128, T5, scale=1.0), "encoder.final_layer_norm.weight": torch.ones(T5)}
    attention, dense = (f"encoder.block.0.layer.{part}" for part in (0, 1))
    for name, scale in [("q", 0.1), ("k", 0.1), ("v", 1.0), ("o", 0.5)]:
        tensors[f"{attention}.SelfAttention.{name}.weight"] = normal(T5, T5, scale=scale * T5**-0.5)
    tensors[f"{attention}.SelfAttention.relative_attention_bias.weight"] = normal(32, 2, scale=0.5)
    for name, shape, scale in [("wi_0", (2 * T5, T5), 1.0), ("wi_1", (2 * T5, T5), 1.0), ("wo", (T5, 2 * T5), 0.5)]:
        tensors[f"{dense}.DenseReluDense.{name}.weight"] = normal(*shape, scale=scale * shape[1] ** -0.5)
    for part in (attention, dense):
        tensors[f"{part}.layer_norm.weight"] = torch.ones(T5)
    return tensors


def main():
    folder = Path(sys.argv[1])
    random = torch.Generator().manual_seed(1)
    for name, tensors in [("clip_l", clip(random)), ("t5xxl", t5(random))]:
        tensors = {
            key: value.to(torch.float8_e4m3fn if value.numel() > 100_000 else torch.bfloat16).contiguous()
            for key, value in tensors.items()
        }
        save_file(tensors, folder / f"{name}.safetensors")


if __name__ == "__main__":
    main()

"""Times the same networks in the public Python packages, for docs/benchmarks.md.

    pip install torch==2.8.0 transformers==4.54.1 onnx onnxruntime
    python tests/bench/peers.py GRAPH.onnx
    python tests/bench/peers.py t5
    python tests/bench/peers.py clip

The first writes the tagger graph that `cargo bench --bench speed -- tagger GRAPH.onnx`
reads, and times it and the captioner; the others time the text encoders. Each
prints one line per measurement: the median of five runs after one
that is not counted. Weights are random and of the published sizes; the number
of new tokens is forced, so that they do not matter.
"""

import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

THREADS = 2


def timed(name, work, runs=5):
    work()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    print(f"{name:<40} {statistics.median(seconds):8.3f} s   "
          f"{min(seconds):.3f} to {max(seconds):.3f}, {runs} runs", flush=True)


def label():
    from transformers import BlipConfig, BlipForConditionalGeneration

    vision = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
                  num_attention_heads=16, image_size=384, patch_size=16)
    text = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                num_attention_heads=12, encoder_hidden_size=1024, vocab_size=30524)
    model = BlipForConditionalGeneration(BlipConfig(vision_config=vision, text_config=text)).eval()
    picture = torch.randn(1, 3, 384, 384)
    timed("BLIP-large, looking (transformers)", lambda: model.vision_model(picture))
    for beams in (1, 3):
        for tokens in (20, 74):
            timed(f"BLIP-large, {tokens} tokens, {beams} beams (transformers)",
                  lambda: model.generate(pixel_values=picture, num_beams=beams, do_sample=False,
                                         min_new_tokens=tokens, max_new_tokens=tokens))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.joint, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n, tokens, width = x.shape
        joint = self.joint(self.before_attention(x))
        joint = joint.reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = joint.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q * (width // self.heads) ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, tokens, width))
        return x + self.narrow(F.gelu(self.wide(self.before_mlp(x))))


class Tagger(nn.Module):
    """ViT-B/16 at 448 as the taggers are: [N, 448, 448, 3] in, a probability per tag out."""

    def __init__(self, width=768, tags=10_861):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.places = nn.Parameter(torch.randn(1, 28 * 28, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, 12) for _ in range(12)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tags)

    def forward(self, pictures):
        x = self.patches(pictures.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        x = self.blocks(x + self.places)
        return torch.sigmoid(self.head(self.norm(x.mean(1))))


def tagger(path):
    import onnxruntime

    model = Tagger().eval()
    torch.onnx.export(model, (torch.randn(1, 448, 448, 3),), path, input_names=["input"],
                      output_names=["output"], opset_version=17, dynamo=False,
                      dynamic_axes={"input": {0: "n"}, "output": {0: "n"}})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for batch in (1, 8):
        pictures = torch.randn(batch, 448, 448, 3)
        timed(f"tagger, batch {batch} (onnxruntime)",
              lambda: session.run(None, {"input": pictures.numpy()}))
        timed(f"tagger, batch {batch} (torch)", lambda: model(pictures))


def t5():
    from transformers import T5Config, T5EncoderModel

    config = T5Config(d_model=4096, d_ff=10240, d_kv=64, num_heads=64, num_layers=1,
                      feed_forward_proj="gated-gelu", vocab_size=32128)
    model = T5EncoderModel(config).eval()
    for texts in (1, 4):
        ids = torch.randint(0, 32000, (texts, 512))
        timed(f"T5-XXL layer, {texts} x 512 tokens (transformers)", lambda: model(input_ids=ids))


def clip():
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                            num_attention_heads=12, hidden_act="quick_gelu")
    model = CLIPTextModel(config).eval()
    for texts in (1, 8):
        ids = torch.randint(0, 49000, (texts, 77))
        timed(f"CLIP-L, {texts} x 77 tokens (transformers)", lambda: model(input_ids=ids))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    with torch.no_grad():
        if sys.argv[1] == "t5":
            t5()
        elif sys.argv[1] == "clip":
            clip()
        else:
            tagger(sys.argv[1])
            label()

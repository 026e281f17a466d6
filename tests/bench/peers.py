"""Times the same networks in the public Python packages, for docs/benchmarks.md.

    pip install torch==2.8.0 transformers==4.54.1 onnx onnxruntime
    python tests/bench/peers.py GRAPH.onnx
    python tests/bench/peers.py t5
    python tests/bench/peers.py clip
    python tests/bench/peers.py ae
    python tests/bench/peers.py optimizer

The first writes the tagger graph that `fluxpipe bench tag --graph GRAPH.onnx`
reads, and times it and the captioner; the others time the text encoders and the autoencoder. Each
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


class Residual(nn.Module):
    def __init__(self, width, to):
        super().__init__()
        self.first, self.second = (nn.GroupNorm(32, n, eps=1e-6) for n in (width, to))
        self.into, self.out = nn.Conv2d(width, to, 3, padding=1), nn.Conv2d(to, to, 3, padding=1)
        self.short = nn.Identity() if width == to else nn.Conv2d(width, to, 1)

    def forward(self, x):
        h = self.into(F.silu(self.first(x)))
        return self.short(x) + self.out(F.silu(self.second(h)))


class Pixels(nn.Module):
    """Attention of every pixel to every pixel, one head."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.q, self.k, self.v, self.out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x):
        n, width, height, across = x.shape
        h = self.norm(x)
        q, k, v = (conv(h).flatten(2).transpose(1, 2)[:, None] for conv in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)[:, 0]
        return x + self.out(h.transpose(1, 2).reshape(n, width, height, across))


class Half(nn.Module):
    def forward(self, x):
        return F.pad(x, (0, 1, 0, 1))


def autoencoder(decode):
    """Encoder or decoder in the sizes of FLUX.1's: 128, 256, 512, 512 channels."""
    widths = (128, 256, 512, 512)
    middle = [Residual(512, 512), Pixels(512), Residual(512, 512)]
    if decode:
        layers, width = [nn.Conv2d(16, 512, 3, padding=1), *middle], 512
        for level in (3, 2, 1, 0):
            for _ in range(3):
                layers.append(Residual(width, widths[level]))
                width = widths[level]
            if level:
                layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1)]
        out = 3
    else:
        layers, width = [nn.Conv2d(3, 128, 3, padding=1)], 128
        for level in range(4):
            for _ in range(2):
                layers.append(Residual(width, widths[level]))
                width = widths[level]
            if level < 3:
                layers += [Half(), nn.Conv2d(width, width, 3, stride=2)]
        layers, out = layers + middle, 32
    last = [nn.GroupNorm(32, width, eps=1e-6), nn.SiLU(), nn.Conv2d(width, out, 3, padding=1)]
    return nn.Sequential(*layers, *last).eval()


def ae():
    encoder = autoencoder(decode=False)
    for side in (512, 1024):
        picture = torch.rand(1, 3, side, side) * 2 - 1
        timed(f"autoencoder, {side}² to a latent (torch)", lambda: encoder(picture), runs=3)
        print(f"  most memory so far: {peak_memory()} MB", flush=True)
    latent, decoder = torch.randn(1, 16, 64, 64), autoencoder(decode=True)
    timed("autoencoder, a latent to 512² (torch)", lambda: decoder(latent), runs=3)


def optimizer():
    from transformers.optimization import Adafactor
    fixed = dict(lr=1e-5, relative_step=False, scale_parameter=False, warmup_init=False)
    for name, make in [
        ("Adafactor (transformers)", lambda weights: Adafactor(weights, **fixed)),
        ("AdamW (torch, for-each)", lambda weights: torch.optim.AdamW(weights, 1e-5, foreach=True)),
        ("AdamW (torch, fused)", lambda weights: torch.optim.AdamW(weights, 1e-5, fused=True)),
    ]:
        weights = [nn.Parameter(torch.randn(21_504, 3072) * 0.02) for _ in range(4)]
        gradient = torch.randn(21_504, 3072) * 0.02
        for weight in weights:
            weight.grad = gradient
        stepper = make(weights)
        timed(f"{name}, 0.26e9 weights in f32", stepper.step)


def peak_memory():
    """The most memory that this process held since it started, in MB."""
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


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
        elif sys.argv[1] == "ae":
            ae()
        elif sys.argv[1] == "optimizer":
            optimizer()
        else:
            tagger(sys.argv[1])
            label()

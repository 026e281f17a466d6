"""Trains the demo's autoencoder: the one of FLUX.1 with few channels.

    python autoencoder.py PICTURES ae.safetensors [--steps 2500]

It has the tensors and names of the published `ae.safetensors`. The encoder starts with 32 channels; the decoder
has 64 everywhere: with 32, each of the 32 groups of a norm is one channel, and the norm before the last
convolution would take the colour of the whole picture away.

Latents get noise while it trains, a quarter of their spread, so that the decoder forgives a transformer small
errors. At the end they are moved and scaled to mean 0.1159 and deviation 1 / 0.3611 per channel, as FLUX.1
expects, by changing the two layers around them.
"""

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from pictures import pictures

SCALE, SHIFT = 0.3611, 0.1159
CHANNELS = 16


def swish(x):
    return x * torch.sigmoid(x)


def norm(channels):
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x):
        h = self.conv1(swish(self.norm1(x)))
        h = self.conv2(swish(self.norm2(h)))
        return (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(h)


class Middle(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = ResnetBlock(channels, channels), Attention(channels), ResnetBlock(channels, channels)

    def forward(self, x):
        return self.block_2(self.attn_1(self.block_1(x)))


class Level(nn.Module):
    def __init__(self, inputs, outputs, change):
        super().__init__()
        self.block = nn.ModuleList([ResnetBlock(inputs, outputs)])
        if change:
            layer = nn.Module()
            layer.conv = nn.Conv2d(outputs, outputs, 3, stride=2 if change == "downsample" else 1, padding=0 if change == "downsample" else 1)
            setattr(self, change, layer)

    def forward(self, x):
        x = self.block[0](x)
        if hasattr(self, "downsample"):
            x = self.downsample.conv(F.pad(x, (0, 1, 0, 1)))
        if hasattr(self, "upsample"):
            x = self.upsample.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x


class Encoder(nn.Module):
    def __init__(self, levels):
        super().__init__()
        self.conv_in = nn.Conv2d(3, levels[0], 3, padding=1)
        inputs = [levels[0], *levels]
        self.down = nn.ModuleList([Level(inputs[i], width, "downsample" if i < 3 else None) for i, width in enumerate(levels)])
        self.mid = Middle(levels[-1])
        self.norm_out, self.conv_out = norm(levels[-1]), nn.Conv2d(levels[-1], 2 * CHANNELS, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(swish(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self, levels):
        super().__init__()
        self.conv_in = nn.Conv2d(CHANNELS, levels[-1], 3, padding=1)
        self.mid = Middle(levels[-1])
        inputs = [*levels[1:], levels[-1]]
        self.up = nn.ModuleList([Level(inputs[i], width, "upsample" if i > 0 else None) for i, width in enumerate(levels)])
        self.norm_out, self.conv_out = norm(levels[0]), nn.Conv2d(levels[0], 3, 3, padding=1)

    def forward(self, z):
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(swish(self.norm_out(x)))


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder([32, 32, 64, 64]), Decoder([64, 64, 64, 64])


def standardise(model, images):
    """Moves and scales the latents of every channel, and undoes it where the decoder takes them."""
    with torch.no_grad():
        means = torch.cat([model.encoder(part)[:, :CHANNELS] for part in images.split(64)])
        mean, deviation = means.mean((0, 2, 3)), means.std((0, 2, 3))
        factor = 1 / SCALE / deviation
        out, entry = model.encoder.conv_out, model.decoder.conv_in
        out.weight[:CHANNELS] *= factor[:, None, None, None]
        out.bias[:CHANNELS] = (out.bias[:CHANNELS] - mean) * factor + SHIFT
        # z = (new - SHIFT) / factor + mean. Padding is 0 in the new latents, which is not 0 in the old
        # ones; the decoder is trained on for a while after this.
        weight = entry.weight.clone()
        entry.bias += (weight * (mean - SHIFT / factor)[None, :, None, None]).sum((1, 2, 3))
        entry.weight /= factor[None, :, None, None]
        # The uncertainty that a sample of the latent is drawn with.
        out.weight[CHANNELS:] = 0
        out.bias[CHANNELS:] = 2 * torch.log(torch.tensor(NOISE / 5 / SCALE))


NOISE = 0.25


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("output", type=Path)
    arguments.add_argument("--steps", type=int, default=2500)
    arguments.add_argument("--batch", type=int, default=8)
    options = arguments.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(2)
    model = Autoencoder().to(memory_format=torch.channels_last)
    data = pictures(options.pictures)
    side = data.shape[-1]
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.0)
    # Crops first, whole pictures in the last fifth, on standardised latents.
    whole = options.steps * 4 // 5
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, options.steps, pct_start=0.05)
    begun, smooth = time.time(), None
    for step in range(options.steps):
        if step == whole:
            standardise(model, data[:512].float() / 127.5 - 1)
        batch = data[torch.randint(len(data), (options.batch if step < whole else options.batch // 2,))]
        if step < whole:
            x, y = (int(v) for v in torch.randint(side // 2 + 1, (2,)))
            batch = batch[:, :, y : y + side // 2, x : x + side // 2]
        images = (batch.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encoder(images)[:, :CHANNELS].float()
            spread = latents.detach().std((0, 2, 3), keepdim=True) if step < whole else 1 / SCALE
            pictures_again = model.decoder(latents + NOISE * spread * torch.randn_like(latents)).float()
        difference = pictures_again - images
        # Edges weigh more than the ground, of which there is much.
        loss = difference.abs().mean() + difference.square().mean()
        for axis in (2, 3):
            loss = loss + (difference.diff(dim=axis)).abs().mean()
        if step < whole:
            # Keeps latents from growing without need.
            loss = loss + 1e-3 * latents.square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        error = difference.detach().square().mean().item()
        smooth = error if smooth is None else 0.98 * smooth + 0.02 * error
        if step % 100 == 0:
            print(f"step {step}: error {smooth:.5f}, {time.time() - begun:.0f} s", flush=True)
            save(model, options.output)
    save(model, options.output)


def save(model, output):
    tensors = {name: value.detach().to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, output)


if __name__ == "__main__":
    main()

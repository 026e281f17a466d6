"""The pictures that `fluxpipe demo make` drew, as arrays."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image


def pictures(folder: Path) -> torch.Tensor:
    """All pictures of a folder by name: [N, 3, side, side], bytes."""
    files = sorted(folder.glob("*.png"))
    return torch.from_numpy(np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])).permute(0, 3, 1, 2).contiguous()


def captions(folder: Path) -> list[str]:
    return [file.read_text().strip() for file in sorted(folder.glob("*.caption"))]


def tags(folder: Path) -> list[list[str]]:
    return [file.read_text().strip().split(", ") for file in sorted(folder.glob("*.txt"))]

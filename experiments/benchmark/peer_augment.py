"""Siamese augmentation as an eager PyTorch user writes it, for 32x32 images."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

__all__ = ["chain", "color", "crop", "siamese"]

SIDE = 32


def color(x: torch.Tensor) -> torch.Tensor:
    u = torch.rand(3, device=x.device)
    x = x + (u[0] - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (2 * u[1]) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (u[2] + 0.5) + mean


def crop(x: torch.Tensor) -> torch.Tensor:
    dy, dx = torch.randint(0, 9, (2,)).tolist()
    return functional.pad(x, (4, 4, 4, 4))[..., dy : dy + SIDE, dx : dx + SIDE]


def cutout(x: torch.Tensor) -> torch.Tensor:
    mask = torch.ones(SIDE, SIDE, device=x.device)
    y, z = (int(v) for v in torch.randint(0, SIDE + 1, (2,)))
    mask[max(0, y - 8) : y + 8, max(0, z - 8) : z + 8] = 0
    return x * mask


def affine(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    theta = torch.cat([matrix, torch.zeros(2, 1)], 1).to(x.device).expand(len(x), 2, 3)
    return functional.grid_sample(x, functional.affine_grid(theta, list(x.shape), False), align_corners=False)


def scale(x: torch.Tensor) -> torch.Tensor:
    return affine(x, torch.diag(torch.rand(2) * (1.2 - 1 / 1.2) + 1 / 1.2))


def rotate(x: torch.Tensor) -> torch.Tensor:
    angle = (torch.rand(()) - 0.5) * np.pi / 6
    return affine(x, torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2))


def flip(x: torch.Tensor) -> torch.Tensor:
    return x.flip(3) if torch.rand(()) < 0.5 else x


def siamese(seed: int, x: torch.Tensor) -> torch.Tensor:
    """One operation with one draw, the same for the same seed."""
    torch.manual_seed(seed)
    operations = (color, crop, cutout, flip, scale, rotate)
    return operations[int(torch.randint(0, len(operations), ()))](x)


def chain(x: torch.Tensor) -> torch.Tensor:
    """IDC's: all of color, crop and cutout."""
    return cutout(crop(color(x)))

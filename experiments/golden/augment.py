"""Values of the augmentation operations, and their gradients, from PyTorch in float64.

Run ``python experiments/golden/augment.py`` with torch installed; it writes tests/reference/augment.npz. PyTorch's own
grid sampler gives scale and rotate; the rest is written with PyTorch's padding, indexing and automatic differentiation.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

TARGET = Path(__file__).parents[2] / "tests" / "reference" / "augment.npz"
HEIGHT, WIDTH = 7, 10  # not square, so that a mix-up of the two, or of corner alignments, shows


def per_image(parameters: torch.Tensor) -> torch.Tensor:
    return parameters.reshape(-1, 1, 1, 1)


def brightness(x: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    return x + per_image(offset)


def saturation(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return torch.lerp(x.mean(1, keepdim=True).expand_as(x), x, per_image(factor).expand_as(x))


def contrast(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return torch.lerp(x.mean((1, 2, 3), keepdim=True).expand_as(x), x, per_image(factor).expand_as(x))


def shift(x: torch.Tensor, dy: torch.Tensor, dx: torch.Tensor) -> torch.Tensor:
    padded = functional.pad(x, (4, 4, 4, 4))
    corners = zip((dy + 4).tolist(), (dx + 4).tolist(), strict=True)
    return torch.stack([p[:, a : a + HEIGHT, b : b + WIDTH] for p, (a, b) in zip(padded, corners, strict=True)])


def cutout(x: torch.Tensor, y: torch.Tensor, x_centre: torch.Tensor) -> torch.Tensor:
    mask = torch.ones_like(x)
    for number, (top, left) in enumerate(zip((y - 2).tolist(), (x_centre - 2).tolist(), strict=True)):
        mask[number, :, max(top, 0) : top + 4, max(left, 0) : left + 5] = 0
    return x * mask


def flip(x: torch.Tensor, flipped: torch.Tensor) -> torch.Tensor:
    return torch.where(per_image(flipped), x.flip(3), x)


def sampled(x: torch.Tensor, matrices: torch.Tensor, align_corners: bool) -> torch.Tensor:
    theta = torch.cat([matrices, torch.zeros(len(x), 2, 1, dtype=x.dtype)], dim=2)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=align_corners)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=align_corners)


def scale(x: torch.Tensor, sy: torch.Tensor, sx: torch.Tensor, align_corners: bool) -> torch.Tensor:
    return sampled(x, torch.stack([torch.diag(pair) for pair in torch.stack([sx, sy], 1)]), align_corners)


def rotate(x: torch.Tensor, degrees: torch.Tensor, align_corners: bool) -> torch.Tensor:
    angle = torch.deg2rad(degrees)
    rows = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1)
    return sampled(x, rows.reshape(-1, 2, 2), align_corners)


def main() -> None:
    rng = np.random.default_rng(0)
    images, cotangent = rng.normal(size=(2, 3, HEIGHT, WIDTH, 3))
    cases = {
        "brightness": (brightness, [[-0.4, 0.3, 0.1]]),
        "saturation": (saturation, [[0.0, 1.7, 0.6]]),
        "contrast": (contrast, [[0.5, 1.4, 0.9]]),
        "shift": (shift, [[0, -3, 4], [2, 4, -1]]),
        "cutout": (cutout, [[0, 3, 7], [10, 4, 1]]),
        "flip": (flip, [[True, False, True]]),
        "scale_corners": (lambda *a: scale(*a, align_corners=True), [[0.85, 1.1, 1.2], [1.15, 0.9, 1.0]]),
        "scale_edges": (lambda *a: scale(*a, align_corners=False), [[0.85, 1.1, 1.2], [1.15, 0.9, 1.0]]),
        "rotate_corners": (lambda *a: rotate(*a, align_corners=True), [[-14.0, 3.5, 40.0]]),
        "rotate_edges": (lambda *a: rotate(*a, align_corners=False), [[-14.0, 3.5, 40.0]]),
    }
    arrays = {"images": images, "cotangent": cotangent}
    for name, (operation, parameters) in cases.items():
        x = torch.tensor(images).permute(0, 3, 1, 2).requires_grad_()
        y = operation(x, *(torch.from_numpy(np.array(parameter)) for parameter in parameters))
        (gradient,) = torch.autograd.grad((y * torch.tensor(cotangent).permute(0, 3, 1, 2)).sum(), x)
        arrays[f"{name}/output"], arrays[f"{name}/gradient"] = (
            t.detach().permute(0, 2, 3, 1).numpy() for t in (y, gradient)
        )
        for number, parameter in enumerate(parameters):
            arrays[f"{name}/parameter{number}"] = np.array(parameter)
    np.savez_compressed(TARGET, **arrays)


if __name__ == "__main__":
    main()

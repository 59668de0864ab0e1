"""The same steps as an idiomatic eager PyTorch user writes them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

__all__ = ["CASES"]


def convnet(channels: int = 3, width: int = 128, depth: int = 3, classes: int = 10, side: int = 32) -> nn.Sequential:
    """ConvNet-D3 with instance normalisation, as the field has it."""
    layers: list[nn.Module] = []
    for block in range(depth):
        layers += [
            nn.Conv2d(channels if block == 0 else width, width, 3, padding=1),
            nn.GroupNorm(width, width),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * (side // 2**depth) ** 2, classes))


def train_step(batch: int, device: str):
    """One SGD step (momentum, weight decay) of the network on a batch."""
    rng = np.random.default_rng(0)
    net = convnet().to(device)
    images = torch.tensor(rng.normal(size=(batch, 3, 32, 32)), dtype=torch.float32, device=device)
    labels = torch.tensor(rng.integers(0, 10, batch), device=device)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> float:
        loss = functional.cross_entropy(net(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def dm_step(ipc: int, per_class: int, device: str):
    """One step of distribution matching: a fresh network, all classes' losses, one backward pass."""
    rng = np.random.default_rng(0)
    real = torch.tensor(rng.normal(size=(10, per_class, 3, 32, 32)), dtype=torch.float32, device=device)
    synthetic = torch.tensor(rng.normal(size=(10, ipc, 3, 32, 32)), dtype=torch.float32, device=device)
    synthetic.requires_grad_(True)
    optimiser = torch.optim.SGD([synthetic], lr=1.0, momentum=0.5)

    def step() -> float:
        embed = convnet()[:-1].to(device)
        for parameter in embed.parameters():
            parameter.requires_grad_(False)
        loss = torch.tensor(0.0, device=device)
        for c in range(10):
            target = embed(real[c]).detach().mean(0)
            loss = loss + torch.sum((target - embed(synthetic[c]).mean(0)) ** 2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


CASES = {"train": train_step, "dm": dm_step}

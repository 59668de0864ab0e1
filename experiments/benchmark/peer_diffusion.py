"""The diffusion transformer and what is done with it, as an idiomatic eager PyTorch user writes them."""

from __future__ import annotations

import copy
import math
from collections import defaultdict

import numpy as np
import torch
from torch import nn
from torch.nn import functional

__all__ = ["dit_step", "minimax_step", "sampling"]

SIDE, CHANNELS, CLASSES, TIMES = 32, 3, 10, 1000
PATCH, HIDDEN, LAYERS, HEADS = 4, 128, 4, 4


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.LayerNorm(HIDDEN, elementwise_affine=False, eps=1e-6) for _ in range(2))
        self.qkv, self.out = nn.Linear(HIDDEN, 3 * HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.mlp = nn.Sequential(
            nn.Linear(HIDDEN, 4 * HIDDEN), nn.GELU(approximate="tanh"), nn.Linear(4 * HIDDEN, HIDDEN)
        )
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(HIDDEN, 6 * HIDDEN))

    def forward(self, x, c):
        n, t, _ = x.shape
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(c)[:, None].chunk(6, dim=-1)
        qkv = self.qkv(self.first(x) * (1 + scale) + shift)
        q, k, v = qkv.reshape(n, t, 3, HEADS, HIDDEN // HEADS).permute(2, 0, 3, 1, 4)
        x = x + gate * self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, HIDDEN))
        return x + gate2 * self.mlp(self.second(x) * (1 + scale2) + shift2)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(CHANNELS, HIDDEN, PATCH, stride=PATCH)
        self.register_buffer("positions", torch.randn(1, (SIDE // PATCH) ** 2, HIDDEN))
        self.time = nn.Sequential(nn.Linear(256, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN))
        self.labels = nn.Embedding(CLASSES + 1, HIDDEN)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(HIDDEN, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(HIDDEN, 2 * HIDDEN))
        self.final = nn.Linear(HIDDEN, PATCH**2 * CHANNELS)

    def forward(self, x, times, labels):
        waves = torch.exp(-math.log(10_000) * torch.arange(128, device=x.device) / 128)
        angles = times[:, None] * waves
        c = self.time(torch.cat([angles.cos(), angles.sin()], dim=1)) + self.labels(labels)
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            tokens = block(tokens, c)
        shift, scale = self.modulation(c)[:, None].chunk(2, dim=-1)
        tokens = self.final(self.norm(tokens) * (1 + scale) + shift)
        side = SIDE // PATCH
        tokens = tokens.reshape(-1, side, side, PATCH, PATCH, CHANNELS).permute(0, 5, 1, 3, 2, 4)
        return tokens.reshape(-1, CHANNELS, SIDE, SIDE)


def levels(device: str):
    level = torch.cos((torch.arange(TIMES + 1) / TIMES + 0.008) / 1.008 * math.pi / 2) ** 2
    kept = torch.cumprod(1 - (1 - level[1:] / level[:-1]).clamp(max=0.999), 0).to(device)
    return kept.sqrt(), (1 - kept).sqrt()


def _learner(batch: int, device: str):
    """A network, its average, the batch, and a function of the loss and the images that it saw."""
    rng = np.random.default_rng(0)
    net = Transformer().to(device)
    average = copy.deepcopy(net).requires_grad_(False)
    images = torch.tensor(rng.normal(size=(batch, CHANNELS, SIDE, SIDE)), dtype=torch.float32, device=device)
    labels = torch.tensor(rng.integers(0, CLASSES, batch), device=device)
    signal, sigma = levels(device)

    def loss():
        times = torch.randint(0, TIMES, (batch,), device=device)
        a, s = (part[times][:, None, None, None] for part in (signal, sigma))
        noise = torch.randn_like(images)
        given = torch.where(torch.rand(batch, device=device) < 0.1, CLASSES, labels)
        noisy = a * images + s * noise
        found = net(noisy, times, given)
        return functional.mse_loss(found, a * noise - s * images), a * noisy - s * found

    def follow(hold: float):
        with torch.no_grad():
            for mean, new in zip(average.parameters(), net.parameters(), strict=True):
                mean.mul_(hold).add_(new, alpha=1 - hold)

    return net, images, labels, loss, follow


def dit_step(batch: int, device: str):
    """One step of training a generator from scratch."""
    net, _, _, loss, follow = _learner(batch, device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0)

    def step() -> float:
        value, _ = loss()
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        follow(0.999)
        return value.item()

    return step


def minimax_step(batch: int, device: str, memory: int = 64):
    """One step of fine-tuning biases and the labels' table, with both terms and their memories; it lacks scales."""
    net, images, labels, loss, follow = _learner(batch, device)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_("bias" in name or "labels" in name)
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3, weight_decay=0)
    real, drawn = defaultdict(list), defaultdict(list)

    def step() -> float:
        value, seen = loss()
        present = set(labels.tolist())
        for c in present:
            mine = seen[labels == c].flatten(1)
            if drawn[c]:
                unit = functional.normalize(mine)
                near, apart = (unit @ functional.normalize(torch.cat(kept[c])).T for kept in (real, drawn))
                value = value + (0.002 * (1 - near.min()) + 0.008 * apart.max()) / len(present)
            real[c] = [*real[c], *images[labels == c].flatten(1).split(1)][-memory:]
            drawn[c] = [*drawn[c], *mine.detach().split(1)][-memory:]
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        follow(0.9999)
        return value.item()

    return step


def sampling(count: int, steps: int, device: str):
    """Guided ancestral sampling."""
    net = Transformer().to(device).eval()
    labels = torch.arange(count, device=device) % CLASSES
    both = torch.cat([labels, torch.full_like(labels, CLASSES)])
    signal, _ = levels(device)
    kept = np.linspace(0, TIMES - 1, steps).round().astype(int)
    level = signal[torch.as_tensor(kept, device=device)] ** 2
    before = torch.cat([torch.ones(1, device=device), level[:-1]])
    beta = 1 - level / before

    @torch.no_grad()
    def step() -> float:
        x = torch.randn(count, CHANNELS, SIDE, SIDE, device=device)
        for i in reversed(range(steps)):
            times = torch.full((2 * count,), int(kept[i]), device=device)
            given, free = net(torch.cat([x, x]), times, both).chunk(2)
            v = free + 4.0 * (given - free)
            clean = (level[i].sqrt() * x - (1 - level[i]).sqrt() * v).clamp(-1, 1)
            mean = beta[i] * before[i].sqrt() / (1 - level[i]) * clean
            mean = mean + (1 - before[i]) * (1 - beta[i]).sqrt() / (1 - level[i]) * x
            spread = (beta[i] * (1 - before[i]) / (1 - level[i])).sqrt()
            x = mean + spread * torch.randn_like(x) if i else mean
        return float(x.mean())

    return step

"""The same steps as an idiomatic eager PyTorch user writes them."""

from __future__ import annotations

import numpy as np
import torch
from peer_augment import chain, color, crop, siamese
from peer_diffusion import dit_step, minimax_step, sampling
from torch import nn
from torch.nn import functional

__all__ = ["CASES"]

CLASSES, SIDE = 10, 32


def convnet(width: int = 128, depth: int = 3, norm=lambda width: nn.GroupNorm(width, width)) -> nn.Sequential:
    """ConvNet-D3 with instance normalisation, as the field has it."""
    layers: list[nn.Module] = []
    for block in range(depth):
        layers += [
            nn.Conv2d(width if block else 3, width, 3, padding=1),
            norm(width),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * (SIDE // 2**depth) ** 2, CLASSES))


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


def images(*shape: int, device: str) -> torch.Tensor:
    values = np.random.default_rng(0).normal(size=(CLASSES, *shape, 3, SIDE, SIDE))
    return torch.tensor(values, dtype=torch.float32, device=device)


def gradients(net: nn.Module, x: torch.Tensor, label: int, create_graph: bool = False) -> tuple[torch.Tensor, ...]:
    loss = functional.cross_entropy(net(x), torch.full((len(x),), label, device=x.device))
    return torch.autograd.grad(loss, list(net.parameters()), create_graph=create_graph)


def output_cosine(real: tuple[torch.Tensor, ...], synthetic: tuple[torch.Tensor, ...]) -> torch.Tensor:
    total = torch.zeros((), device=real[0].device)
    for a, b in zip(real, synthetic, strict=True):
        if a.dim() > 1:
            a, b = a.flatten(1), b.flatten(1)
            total = total + torch.sum(1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6))
    return total


def dc_step(ipc: int, per_class: int, device: str, augment: bool = False):
    """One match of all classes with a fresh network: losses summed, one backward pass."""
    real, synthetic = images(per_class, device=device), images(ipc, device=device).requires_grad_(True)
    optimiser = torch.optim.SGD([synthetic], lr=0.1, momentum=0.5)
    rounds = iter(range(10**9))

    def step() -> float:
        net = convnet().to(device)
        first = CLASSES * next(rounds)
        loss = torch.zeros((), device=device)
        for c in range(CLASSES):
            sides = [siamese(first + c, x) for x in (real[c], synthetic[c])] if augment else (real[c], synthetic[c])
            target = gradients(net, sides[0], c)
            loss = loss + output_cosine(target, gradients(net, sides[1], c, create_graph=True))
        optimiser.zero_grad()
        loss.backward(inputs=[synthetic])
        optimiser.step()
        return loss.item()

    return step


def idc_step(ipc: int, per_class: int, real_images: int, device: str):
    """One sweep over the classes with a step for each, then one pass of training on real images."""
    real = images(per_class, device=device)
    synthetic = torch.rand_like(images(ipc, device=device)).requires_grad_(True)
    training = torch.randn(real_images, 3, SIDE, SIDE, device=device)
    labels = torch.randint(0, CLASSES, (real_images,), device=device)
    optimiser = torch.optim.SGD([synthetic], lr=5e-4, momentum=0.5)
    upsample = nn.Upsample(size=(SIDE, SIDE), mode="bilinear")
    net = convnet().to(device)
    trainer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> float:
        total = 0.0
        for c in range(CLASSES):
            half = SIDE // 2
            tiles = [synthetic[c][..., i : i + half, j : j + half] for i in (0, half) for j in (0, half)]
            decoded = (upsample(torch.cat(tiles)) - 0.45) / 0.2
            both = chain(torch.cat([real[c], decoded]))
            target, own = gradients(net, both[:per_class].detach(), c), gradients(net, both[per_class:], c, True)
            loss = sum(((a - b) ** 2).sum() for a, b in zip(target, own, strict=True) if a.dim() == 4)
            optimiser.zero_grad()
            loss.backward(inputs=[synthetic])
            optimiser.step()
            total += loss.item()
        for x, y in zip(training.split(64), labels.split(64), strict=True):
            loss = functional.cross_entropy(net(color(crop(x))), y)
            trainer.zero_grad()
            loss.backward()
            trainer.step()
        return total

    return step


def datadam_step(ipc: int, per_class: int, device: str):
    """One step of attention matching with batch normalisation: a pass for the real and one for the synthetic images."""
    real, synthetic = images(per_class, device=device), images(ipc, device=device).requires_grad_(True)
    optimiser = torch.optim.SGD([synthetic], lr=1.0, momentum=0.5)

    def described(net: nn.Sequential, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for layer in net[:-1]:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x)
        attention = [functional.normalize(m.abs().sum(1).flatten(1), dim=1) for m in maps[:-1]]
        return [v.unflatten(0, (CLASSES, -1)).mean(1) for v in (*attention, x)]

    def step() -> float:
        net = convnet(norm=nn.BatchNorm2d).to(device)
        for parameter in net.parameters():
            parameter.requires_grad_(False)
        target = [v.detach() for v in described(net, real.flatten(0, 1))]
        own = described(net, synthetic.flatten(0, 1))
        terms = [((a - b) ** 2).sum() for a, b in zip(target, own, strict=True)]
        loss = 100 * sum(terms[:-1]) + terms[-1]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def alexcifarnet() -> nn.Sequential:
    """DD's network for CIFAR-10."""
    norm = lambda: nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1)  # noqa: E731
    pool = lambda: nn.MaxPool2d(3, 2, 1)  # noqa: E731
    return nn.Sequential(
        nn.Conv2d(3, 64, 5, padding=2), nn.ReLU(), pool(), norm(), nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), norm(),
        pool(), nn.Flatten(), nn.Linear(4096, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, CLASSES),
    )  # fmt: skip


def dd_step(ipc: int, epochs: int, batch: int, device: str):
    """One outer step: a fresh network takes ipc x epochs steps on the set; the loss goes all the way back."""
    synthetic = images(ipc, device=device).requires_grad_(True)
    raw = torch.full((epochs, ipc), -4.0, device=device, requires_grad=True)
    real = torch.randn(batch, 3, SIDE, SIDE, device=device)
    labels, own = torch.randint(0, CLASSES, (batch,), device=device), torch.arange(CLASSES, device=device)
    optimiser = torch.optim.Adam([synthetic, raw], lr=0.01, betas=(0.5, 0.999))

    def step() -> float:
        net = alexcifarnet().to(device)
        params = dict(net.named_parameters())
        for rates in functional.softplus(raw):
            for i in range(ipc):
                loss = functional.cross_entropy(torch.func.functional_call(net, params, (synthetic[:, i],)), own)
                slopes = torch.autograd.grad(loss, list(params.values()), create_graph=True)
                params = {name: p - rates[i] * g for (name, p), g in zip(params.items(), slopes, strict=True)}
        loss = functional.cross_entropy(torch.func.functional_call(net, params, (real,)), labels)
        optimiser.zero_grad()
        loss.backward(inputs=[synthetic, raw])
        optimiser.step()
        return loss.item()

    return step


def trajectory_step(ipc: int, student_steps: int, device: str, exact: bool = True):
    """A student of some steps on the set, and the gradient of where it ends; TESLA's if not exact."""
    synthetic = images(ipc, device=device).requires_grad_(True)
    rate = torch.tensor(0.01, device=device, requires_grad=True)
    labels = torch.arange(CLASSES, device=device).repeat_interleave(ipc)
    net = convnet().to(device)
    names = [name for name, _ in net.named_parameters()]
    start = [p.detach() for p in net.parameters()]
    target = [p + 0.01 * torch.randn_like(p) for p in start]
    optimiser = torch.optim.SGD([synthetic, rate], lr=1e-5, momentum=0.5)
    apart = sum(((a - b) ** 2).sum() for a, b in zip(start, target, strict=True))

    def slopes(params: list[torch.Tensor], create_graph: bool) -> tuple[torch.Tensor, ...]:
        answers = torch.func.functional_call(net, dict(zip(names, params, strict=True)), (synthetic.flatten(0, 1),))
        return torch.autograd.grad(functional.cross_entropy(answers, labels), params, create_graph=create_graph)

    def ended(create_graph: bool) -> list[torch.Tensor]:
        params = [p.clone().requires_grad_() for p in start]
        for _ in range(student_steps):
            found = slopes(params, create_graph)
            params = [p - rate * g for p, g in zip(params, found, strict=True)]
            params = params if create_graph else [p.detach().requires_grad_() for p in params]
        return params

    def step() -> float:
        optimiser.zero_grad()
        end = ended(create_graph=exact)
        loss = sum(((a - b) ** 2).sum() for a, b in zip(end, target, strict=True)) / apart
        if exact:
            loss.backward(inputs=[synthetic, rate])
        else:
            away = [(2 / apart * (a - b)).detach() for a, b in zip(end, target, strict=True)]
            params = [p.clone().requires_grad_() for p in start]
            for _ in range(student_steps):
                found = slopes(params, create_graph=True)
                sum((-rate * (v * g).sum() for v, g in zip(away, found, strict=True))).backward(
                    inputs=[synthetic, rate]
                )
                params = [(p - rate * g).detach().requires_grad_() for p, g in zip(params, found, strict=True)]
        optimiser.step()
        return loss.item()

    return step


CASES = {
    "train": train_step,
    "dm": dm_step,
    "dc": dc_step,
    "dsa": lambda **options: dc_step(**options, augment=True),
    "idc": idc_step,
    "datadam": datadam_step,
    "dd": dd_step,
    "mtt": trajectory_step,
    "tesla": lambda **options: trajectory_step(**options, exact=False),
    "dit": dit_step,
    "minimax": minimax_step,
    "sampling": sampling,
}

"""Golden values of every network, computed by PyTorch in float64: `tests/reference/networks.npz`.

Run with PyTorch installed: ``python experiments/golden/networks.py``. Weights are not stored: each array is drawn from
a generator seeded by its path in our parameter tree, in our layout (HWIO kernels, [in, out] matrices, flattening in
(h, w, c) order), and brought into PyTorch's layout here. Long arrays are stored as a norm and a random projection.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

CLASSES, IMAGES = 5, 3


def draw(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array called `path`: uniform, scaled so that activations stay of order one."""
    numbers = np.random.default_rng(zlib.crc32(path.encode())).uniform(-1, 1, shape)
    match path.split("/")[-1]:
        case "kernel":
            return numbers * np.sqrt(3 / np.prod(shape[:-1]))
        case "scale" | "var":
            return 1 + numbers / 2
    return numbers / 2


def normalisation(kind: str, channels: int, size: tuple[int, int]) -> nn.Module:
    match kind:
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "batch":
            return nn.BatchNorm2d(channels)
        case "layer":
            return nn.LayerNorm((channels, *size))
        case "group":
            return nn.GroupNorm(4, channels)
    return nn.Identity()


ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "leakyrelu": lambda: nn.LeakyReLU(0.01), "swish": nn.SiLU}
POOLINGS = {
    "avg": lambda: nn.AvgPool2d(2),
    "max": lambda: nn.MaxPool2d(2),
    "none": nn.Identity,
    "overlap, respond": lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1), response()),
    "respond, overlap": lambda: nn.Sequential(response(), nn.MaxPool2d(3, 2, 1)),
}


def response() -> nn.Module:
    return nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1)


class Stack(nn.Module):
    """Convolutional blocks, hidden dense layers, a classifier."""

    def __init__(self, shape, blocks, hidden=(), norm="none", activation="relu"):
        super().__init__()
        *size, channels = shape
        self.blocks, self.pools = nn.ModuleList(), nn.ModuleList()
        for width, kernel, padding, pooling in blocks:
            size = [s + 2 * padding - kernel + 1 for s in size]
            layers = nn.Conv2d(channels, width, kernel, padding=padding), normalisation(norm, width, tuple(size))
            self.blocks.append(nn.Sequential(*layers, ACTIVATIONS[activation]()))
            self.pools.append(POOLINGS[pooling]())
            channels, size = width, [s // 2 for s in size] if pooling != "none" else size
        layers, features = [nn.Flatten()], channels * size[0] * size[1]
        for width in hidden:
            layers += [nn.Linear(features, width), nn.ReLU()]
            features = width
        self.head = nn.Sequential(*layers, nn.Linear(features, CLASSES))
        self.head[1].map_shape = (*size, channels)

    def forward(self, x):
        maps = []
        for block, pool in zip(self.blocks, self.pools, strict=True):
            maps.append(block(x))
            x = pool(maps[-1])
        return self.head(x), maps


class Block(nn.Module):
    called = "Block"

    def __init__(self, inputs, outputs, halve, norm, average, conv=nn.Conv2d):
        super().__init__()
        stride = 2 if halve and not average else 1
        self.conv1 = conv(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = normalisation(norm, outputs, (0, 0))
        self.pool = nn.AvgPool2d(2) if halve and average else nn.Identity()
        self.conv2 = conv(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = normalisation(norm, outputs, (0, 0))
        self.shortcut = nn.Identity()
        if halve:
            convolution = conv(inputs, outputs, 1, stride, bias=False)
            pool = nn.AvgPool2d(2) if average else nn.Identity()
            self.shortcut = nn.Sequential(convolution, pool, normalisation(norm, outputs, (0, 0)))

    def forward(self, x):
        y = self.pool(functional.relu(self.norm1(self.conv1(x))))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class Bottleneck(nn.Module):
    called = "Bottleneck"

    def __init__(self, inputs, outputs, halve, norm, average, conv=nn.Conv2d):
        super().__init__()
        layers = []
        for before, after, size, stride in (
            (inputs, outputs, 1, 1), (outputs, outputs, 3, 1 + halve), (outputs, 4 * outputs, 1, 1)
        ):  # fmt: skip
            layers += [conv(before, after, size, stride, size // 2, bias=False), normalisation(norm, after, (0, 0))]
            layers += [nn.ReLU()]
        self.layers, self.shortcut = nn.Sequential(*layers[:-1]), nn.Identity()
        if halve or inputs != 4 * outputs:
            convolution = conv(inputs, 4 * outputs, 1, 1 + halve, bias=False)
            self.shortcut = nn.Sequential(convolution, normalisation(norm, 4 * outputs, (0, 0)))

    def forward(self, x):
        return functional.relu(self.layers(x) + self.shortcut(x))


class FanOut(nn.Conv2d):
    """What our layer with initial weights by fan-out is called; here weights are drawn anyway."""

    called = "FanOutConv"


class ResNet(nn.Module):
    """With `average` the classifier sees the whole last map: its original pools it by windows of one pixel."""

    def __init__(
        self, shape, width, norm, average=False, stride=1, blocks=(2, 2, 2, 2), block=Block, conv=nn.Conv2d, large=False
    ):
        super().__init__()
        window = (7, 2, 3) if large else (3, stride, 1)
        stem = [conv(shape[2], width, *window, bias=False), normalisation(norm, width, (0, 0)), nn.ReLU()]
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1) if large else nn.Identity())
        self.stages, inputs = nn.ModuleList(), width
        for stage, count in enumerate(blocks):
            layers = []
            for number in range(count):
                halve = stage > 0 and number == 0
                layers.append(block(inputs, width * 2**stage, halve, norm, average, conv))
                inputs = width * 2**stage * (4 if block is Bottleneck else 1)
            self.stages.append(nn.Sequential(*layers))
        size = [side // 8 for side in shape[:2]] if average else (1, 1)
        whole = nn.AvgPool2d(4) if shape[0] == 32 * stride and not large else nn.AdaptiveAvgPool2d(1)
        self.pool = nn.AvgPool2d(1) if average else whole
        self.classifier = nn.Linear(inputs * size[0] * size[1], CLASSES)
        self.classifier.map_shape = (*size, inputs)

    def forward(self, x):
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return self.classifier(self.pool(x).flatten(1)), maps


class DenseLayer(nn.Module):
    called = "DenseLayer"

    def __init__(self, inputs, growth, norm):
        super().__init__()
        self.layers = nn.Sequential(
            normalisation(norm, inputs, (0, 0)), nn.ReLU(), nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            normalisation(norm, 4 * growth, (0, 0)), nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x):
        return torch.cat([self.layers(x), x], 1)


class DenseNet(nn.Module):
    def __init__(self, shape, growth, norm, counts):
        super().__init__()
        channels, self.parts = 2 * growth, nn.ModuleList([nn.Conv2d(shape[2], 2 * growth, 3, padding=1, bias=False)])
        for block, count in enumerate(counts):
            if block:
                halved = nn.Conv2d(channels, channels // 2, 1, bias=False)
                layers = normalisation(norm, channels, (0, 0)), nn.ReLU(), halved, nn.AvgPool2d(2)
                self.parts.append(nn.Sequential(*layers))
                channels //= 2
            self.parts.append(nn.Sequential(*(DenseLayer(channels + i * growth, growth, norm) for i in range(count))))
            channels += count * growth
        self.head = nn.Sequential(normalisation(norm, channels, (0, 0)), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, x):
        x, maps = self.parts[0](x), []
        for number, part in enumerate(self.parts[1:]):
            x = part(x)
            maps += [] if number % 2 else [x]
        return self.classifier(self.head(x).flatten(1)), maps


class Same(nn.Conv2d):
    """Zeros around the image as TensorFlow's SAME has them; each channel on its own if the two numbers are one."""

    def __init__(self, inputs, outputs, size, stride, apart=False):
        super().__init__(inputs, outputs, size, stride, groups=inputs if apart else 1, bias=False)
        self.called = "Depthwise" if apart else "Conv"

    def forward(self, x):
        zeros = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - side, 0)
            zeros += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, zeros))


class Inverted(nn.Module):
    called = "Inverted"

    def __init__(self, inputs, outputs, expansion, size, stride, norm):
        super().__init__()
        wide, layers = expansion * inputs, []
        if expansion > 1:
            layers = [nn.Conv2d(inputs, wide, 1, bias=False), norm(wide), nn.SiLU()]
        self.apart = nn.Sequential(*layers, Same(wide, wide, size, stride, apart=True), norm(wide), nn.SiLU())
        few = max(1, int(inputs * 0.25))
        self.gate = nn.Sequential(nn.Conv2d(wide, few, 1), nn.SiLU(), nn.Conv2d(few, wide, 1), nn.Sigmoid())
        self.project = nn.Sequential(nn.Conv2d(wide, outputs, 1, bias=False), norm(outputs))
        self.beside = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.apart(x)
        y = self.project(y * self.gate(functional.adaptive_avg_pool2d(y, 1)))
        return x + y if self.beside else y


class EfficientNet(nn.Module):
    STAGES = ("k3s1e1o16", "k3s2e6o24", "k5s2e6o40", "k3s2e6o80", "k5s1e6o112", "k5s2e6o192", "k3s1e6o320")

    def __init__(self, shape, width, counts):
        super().__init__()

        def norm(channels):
            return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)

        self.stem = nn.Sequential(Same(shape[2], width, 3, 2), norm(width), nn.SiLU())
        self.stages, inputs = nn.ModuleList(), width
        for stage, count in zip(self.STAGES, counts, strict=True):
            size, stride, expansion, channels = (int(number) for number in re.findall(r"\d+", stage))
            outputs, layers = channels * width // 32, []
            for number in range(count):
                layers.append(Inverted(inputs, outputs, expansion, size, 1 if number else stride, norm))
                inputs = outputs
            self.stages.append(nn.Sequential(*layers))
        wide = 1280 * width // 32
        self.head = nn.Sequential(nn.Conv2d(inputs, wide, 1, bias=False), norm(wide), nn.SiLU())
        self.classifier = nn.Linear(wide, CLASSES)

    def forward(self, x):
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return self.classifier(functional.adaptive_avg_pool2d(self.head(x), 1).flatten(1)), maps


class Attention(nn.Module):
    called = "Attention"

    def __init__(self, width, heads, size):
        super().__init__()
        self.heads, self.size = heads, size
        self.joint, self.out = nn.Linear(width, 3 * heads * size, bias=False), nn.Linear(heads * size, width)

    def forward(self, x):
        parts = (part.unflatten(2, (self.heads, self.size)).transpose(1, 2) for part in self.joint(x).chunk(3, -1))
        return self.out(functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class ViT(nn.Module):
    def __init__(self, shape, width, depth, heads, size):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, width))
        self.places = nn.Parameter(torch.zeros(shape[0] // 4 * (shape[1] // 4) + 1, width))
        self.patches, self.layers = nn.Linear(16 * shape[2], width), nn.ModuleList()
        for _ in range(depth):
            hidden = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            self.layers += [self.norm(width), Attention(width, heads, size), self.norm(width), hidden]
        self.last, self.classifier = self.norm(width), nn.Linear(width, CLASSES)

    @staticmethod
    def norm(width):
        made = nn.LayerNorm(width)
        made.called = "LayerNorm"
        return made

    def forward(self, x):
        n, c, h, w = x.shape
        patches = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(n, -1, 16 * c)
        x = torch.cat([self.token.expand(n, 1, -1), self.patches(patches)], 1) + self.places
        for norm, layer in zip(self.layers[::2], self.layers[1::2], strict=True):
            x = x + layer(norm(x))
        return self.classifier(self.last(x[:, 0])), []


def convnet(shape, width, depth, norm, activation="relu", pooling="avg"):
    first = 3 if shape == (28, 28, 1) else 1
    blocks = [(width, 3, first if block == 0 else 1, pooling) for block in range(depth)]
    return Stack(shape, blocks, norm=norm, activation=activation)


def lenet(shape):
    return Stack(shape, [(6, 5, 2 if shape == (28, 28, 1) else 0, "max"), (16, 5, 0, "max")], hidden=(120, 84))


def alexnet(shape, w, norm="none"):
    first = 4 if shape == (28, 28, 1) else 2
    m = w * 3 // 2
    sizes = [(w, 5, first, "max"), (m, 5, 2, "max"), (2 * w, 3, 1, "none"), (m, 3, 1, "none"), (m, 3, 1, "max")]
    return Stack(shape, sizes, norm=norm)


def alexcifarnet(shape, w):
    first = 4 if shape == (28, 28, 1) else 2
    return Stack(shape, [(w, 5, first, "overlap, respond"), (w, 5, 2, "respond, overlap")], hidden=(6 * w, 3 * w))


def vgg11(shape, width, norm):
    sizes, first = [], 3 if shape == (28, 28, 1) else 1
    for multiple, pool in ((1, 1), (2, 1), (4, 0), (4, 1), (8, 0), (8, 1), (8, 0), (8, 1)):
        sizes.append((multiple * width, 3, 1 if sizes else first, "max" if pool else "none"))
    return Stack(shape, sizes, norm=norm)


CASES = {
    "convnet instance": ((8, 8, 3), lambda s: convnet(s, 4, 2, "instance")),
    "convnet batch": ((8, 8, 3), lambda s: convnet(s, 4, 2, "batch")),
    "convnet layer": ((8, 8, 3), lambda s: convnet(s, 4, 2, "layer")),
    "convnet group": ((8, 8, 3), lambda s: convnet(s, 8, 2, "group")),
    "convnet none": ((8, 8, 3), lambda s: convnet(s, 4, 2, "none")),
    "convnet leakyrelu max odd": ((9, 7, 3), lambda s: convnet(s, 4, 2, "instance", "leakyrelu", "max")),
    "convnet swish none": ((6, 6, 3), lambda s: convnet(s, 4, 2, "instance", "swish", "none")),
    "convnet sigmoid avg odd": ((9, 7, 3), lambda s: convnet(s, 4, 1, "instance", "sigmoid", "avg")),
    "convnet padded": ((28, 28, 1), lambda s: convnet(s, 4, 3, "instance")),
    "mlp": ((6, 5, 2), lambda s: Stack(s, [], hidden=(7, 7))),
    "lenet": ((16, 16, 3), lenet),
    "lenet padded": ((28, 28, 1), lenet),
    "alexnet": ((8, 8, 3), lambda s: alexnet(s, 4)),
    "alexnet padded": ((28, 28, 1), lambda s: alexnet(s, 4)),
    "alexcifarnet": ((12, 8, 3), lambda s: alexcifarnet(s, 8)),
    "alexcifarnet padded": ((28, 28, 1), lambda s: alexcifarnet(s, 4)),
    "vgg11 instance padded": ((28, 28, 1), lambda s: vgg11(s, 2, "instance")),
    "vgg11 batch": ((32, 32, 3), lambda s: vgg11(s, 2, "batch")),
    "resnet18 instance": ((32, 32, 3), lambda s: ResNet(s, 2, "instance")),
    "resnet18 batch odd": ((13, 13, 3), lambda s: ResNet(s, 4, "batch")),
    "resnet18-s2 batch": ((64, 64, 3), lambda s: ResNet(s, 2, "batch", stride=2)),
    "resnet18ap instance": ((32, 32, 3), lambda s: ResNet(s, 2, "instance", average=True)),
    "resnet18ap batch": ((16, 16, 3), lambda s: ResNet(s, 4, "batch", average=True)),
    "resnet18ap grey": ((28, 28, 1), lambda s: ResNet(s, 2, "batch", average=True)),
    "alexnet batch": ((8, 8, 3), lambda s: alexnet(s, 4, "batch")),
    "resnet10 batch": ((16, 16, 3), lambda s: ResNet(s, 4, "batch", blocks=(1, 1, 1, 1), conv=FanOut)),
    "resnet50 instance": ((8, 8, 3), lambda s: ResNet(s, 2, "instance", blocks=(2, 1), block=Bottleneck)),
    "resnet18-imagenet batch odd": (
        (37, 37, 3),
        lambda s: ResNet(s, 2, "batch", blocks=(1, 1), conv=FanOut, large=True),
    ),
    "densenet121 batch": ((8, 8, 3), lambda s: DenseNet(s, 2, "batch", (2, 1))),
    "efficientnet-b0 batch": ((28, 28, 3), lambda s: EfficientNet(s, 8, (1, 2, 1, 0, 0, 0, 1))),
    "vit": ((8, 12, 3), lambda s: ViT(s, 8, 2, 2, 3)),
}


LAYERS = {nn.Conv2d: "Conv", nn.Linear: "Dense"}


def arrays(model: nn.Module) -> dict[str, tuple[torch.Tensor, tuple[int, ...], tuple[int, ...]]]:
    """Path in our tree -> (PyTorch tensor, its shape with flattened axes apart, the permutation of that to ours)."""
    found = {}
    classifier = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]

    def visit(module: nn.Module, prefix: str, counts: Counter) -> None:
        for child in module.children():
            kind = getattr(child, "called", LAYERS.get(type(child), "Norm" if hasattr(child, "eps") else None))
            path = "classifier" if child is classifier else f"{prefix}/{kind}_{counts[kind]}"
            counts[kind] += kind is not None
            if isinstance(getattr(child, "weight", None), torch.Tensor):
                add(path, child, kind)
            else:
                visit(child, prefix if kind is None else path, counts if kind is None else Counter())

    def add(path: str, module: nn.Module, kind: str) -> None:
        weight, bias = module.weight, module.bias
        vector = (1, 2, 0) if bias is not None and bias.ndim == 3 else (0,)
        if "Norm" in kind:
            found[f"{path}/scale"] = weight, weight.shape, vector
        else:
            height, width, channels = getattr(module, "map_shape", (*(*weight.shape, 1, 1)[2:4], weight.shape[1]))
            found[f"{path}/kernel"] = weight, (len(weight), channels, height, width), (2, 3, 1, 0)
        if bias is not None:
            found[f"{path}/bias"] = bias, bias.shape, vector
        if isinstance(module, nn.BatchNorm2d):
            found[f"{path}/mean"] = module.running_mean, module.running_mean.shape, (0,)
            found[f"{path}/var"] = module.running_var, module.running_var.shape, (0,)

    visit(model, "body", Counter())
    for name, tensor in model.named_parameters(recurse=False):
        found[f"body/{name}"] = tensor, tensor.shape, (0, 1)
    return found


def ours(path: str, value: torch.Tensor, split, order) -> np.ndarray:
    value = value.detach().numpy().reshape(split).transpose(order)
    matrix = path.endswith("kernel") and not re.search("Conv|Depthwise", path)
    return value.reshape(-1, value.shape[-1]) if matrix else value


def load(model: nn.Module) -> None:
    for path, (tensor, split, order) in arrays(model).items():
        shape = ours(path, tensor, split, order).shape
        value = draw(path, shape).reshape([split[axis] for axis in order]).transpose(np.argsort(order))
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(value.reshape(tensor.shape)))


def summary(path: str, value: np.ndarray) -> np.ndarray:
    """Norm, and product with a fixed random array."""
    return np.array([np.linalg.norm(value), (value * draw(f"probe {path}", value.shape)).sum()])


def golden(name: str) -> dict[str, np.ndarray]:
    shape, build = CASES[name]
    model = build(shape).double().train()
    load(model)
    images = draw(f"images {name}", (IMAGES, *shape))
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).requires_grad_()
    logits, maps = model(x)
    functional.cross_entropy(logits, torch.arange(IMAGES)).backward()

    long = {"images": x.grad.numpy().transpose(0, 2, 3, 1)}
    for number, value in enumerate(maps):
        long[f"map {number}"] = value.detach().numpy().transpose(0, 2, 3, 1)
    for path, (tensor, split, order) in arrays(model).items():
        statistic = path.endswith(("mean", "var"))
        long[path] = ours(path, tensor if statistic else tensor.grad, split, order)
    evaluated = model.eval()(x)[0]
    return {
        f"{name}: logits": logits.detach().numpy(),
        f"{name}: evaluated": evaluated.detach().numpy(),
        f"{name}: summaries": np.stack([summary(path, long[path]) for path in sorted(long)]),
    }


if __name__ == "__main__":
    target = Path(__file__).parents[2] / "tests/reference/networks.npz"
    values = {key: value for name in CASES for key, value in golden(name).items()}
    np.savez_compressed(target, **values)
    print(f"{len(values)} arrays, {target.stat().st_size / 1000:.0f} kB")

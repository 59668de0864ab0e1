"""Banks that several test files look at (fixtures of conftest.py), and what is looked at."""

import hashlib
import json

import numpy as np

from jaxdistill.cli import main

DATA = ["--dataset", "digits", "--quiet"]
NETWORK = ["--network", "mlp", "--width", "8"]
RECIPE = ["--augment", "none", "--learning-rate", "0.1", "--batch", "256", "--momentum", "0.5"]
TRAIN = ["experts", *DATA, *NETWORK, *RECIPE, "--epochs", "2"]
NORMED = ["experts", *DATA, "--width", "8", "--depth", "1", "--epochs", "2", "--preset", "selmatch", "--zca"]
MTT = ["distill", "mtt", *DATA, "--ipc", "1", "--augment", "none", "--eval-seeds", "0", "--checkpoint-seconds", "0"]
SHORT = ["--max-start", "1", "--expert-epochs", "1", "--student-steps", "2", "--steps", "4", "--log-every", "2"]


def made(out, *words):
    assert main([*words, "--out", str(out)]) == 0
    return out


def three(make_folder):
    """Three experts."""
    return made(make_folder("experts") / "bank", *TRAIN, "--count", "3")


def with_averages(make_folder):
    """One expert with batch normalisation on whitened images."""
    return made(make_folder("experts") / "normed", *NORMED, "--learning-rate", "0.1", "--count", "1")


def experts_of(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def read(path):
    return json.loads((path / "card.json").read_text())


def contents(folder):
    """Every file of the experts but the seconds they took."""
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.np*")}
    cards = {path.name: {k: v for k, v in read(path).items() if k != "seconds"} for path in experts_of(folder)}
    return files, cards


def whole(folder):
    """Every expert that is there is all there."""
    for path in experts_of(folder):
        assert {file.name for file in path.iterdir()} == {"params.npy", "history.npz", "card.json"}
        params = np.load(path / "params.npy")
        assert hashlib.sha256(params.tobytes()).hexdigest() == read(path)["sha256"]
        assert len(np.load(path / "history.npz")["error"]) == len(params) - 1
    return len(experts_of(folder))


def flipped(data):
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]

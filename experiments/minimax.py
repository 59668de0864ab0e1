"""Minimax Diffusion's ablation on small data: plain samples, either term, both, and random real images.

    jaxdistill distill dit --dataset digits --ipc 10 --hidden 96 --steps 3000 --eval-seeds 0 --out runs/dit
    python experiments/minimax.py --dataset digits --generator runs/dit

Every variant is fine-tuned for the same steps from the same generator, plain samples too (with both weights zero). Each
set is drawn from a fine-tuning of its own, or from one of --tunings; smaller sets are the first images of larger ones.
Variants share keys, so that they differ by what they learned. All are judged by one recipe: ConvNet, last iterate.
Printed are mean and deviation over all networks of all sets, and that of sets' means.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np

import jaxdistill as jd
from jaxdistill.commands.workspace import augmentation, generator_of, open_bench
from jaxdistill.io.generators import load_generator
from jaxdistill.settings.config import DataConfig, GeneratorConfig

WEIGHTS = {"generator": None, "plain": (0, 0), "representativeness": (1, 0), "diversity": (0, 1), "both": (1, 1)}


def sets_of(given: argparse.Namespace, bench, generator) -> dict[str, list[jd.SyntheticSet]]:
    """For each variant as many sets as are wanted, of the largest size."""
    largest = max(given.ipc)
    base = jd.Minimax(
        lr=given.lr, real_batch=given.batch, trainable=given.tune, center=True, ema_decay=given.average,
        memory_size=given.memory, sampling=jd.Sampling(guidance=given.guidance),
    )  # fmt: skip
    task = jd.Task(
        network=jd.make_network("convnet", bench.image_shape, bench.num_classes), augment=augmentation("none", bench),
        image_shape=bench.image_shape, num_classes=bench.num_classes, generator=lambda: generator,
    )  # fmt: skip
    draw = jax.jit(jd.minimax(base, task).draw, static_argnums=2)
    found: dict[str, list[jd.SyntheticSet]] = {}
    for name in given.variant:
        weights = WEIGHTS[name] or (0, 0)
        config = dataclasses.replace(
            base, representativeness=weights[0] * given.representativeness, diversity=weights[1] * given.diversity
        )
        method = jd.minimax(config, task)

        @jax.jit
        def tuned(key, state, data, method=method):
            def one(state, key):
                key_feed, key_step = jax.random.split(key)
                return method.step(key_step, state, jd.sample(method.feed, key_feed, 0, data))

            return jax.lax.scan(one, state, jax.random.split(key, given.steps))

        found[name], states = [], []
        for number in range(given.sets):
            key = jax.random.fold_in(jax.random.key(given.seed), number)
            began = time.perf_counter()
            key_params, key_images = jax.random.split(key)
            state = method.init(key_params)
            if WEIGHTS[name] is not None and number < given.tunings:
                state, infos = tuned(jax.random.fold_in(key, 1), state, bench.train)
                said = {field: float(np.mean(values[-50:])) for field, values in infos._asdict().items()}
                print(
                    json.dumps({"variant": name, "set": number, **said, "s": time.perf_counter() - began}), flush=True
                )
            states.append(state)
            learned = states[number % given.tunings]
            found[name].append(jax.device_get(draw(key_images, method.params(learned), largest)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--variant", nargs="+", choices=[*WEIGHTS, "random"], default=[*WEIGHTS, "random"])
    parser.add_argument("--ipc", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--tunings", type=int, help="fine-tunings that the sets are drawn from in turn; one for each")
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--memory", type=int, default=64)
    parser.add_argument("--average", type=float, default=0.98)
    parser.add_argument("--tune", default="all")
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--representativeness", type=float, default=2.0)
    parser.add_argument("--diversity", type=float, default=2.0)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--epochs", type=int, nargs="+", default=[300], help="of networks; for all --ipc, or for each")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.tunings = given.tunings or given.sets
    if len(given.epochs) not in (1, len(given.ipc)):
        parser.error(f"give --epochs once, or for each of {len(given.ipc)} --ipc")

    bench = open_bench(DataConfig(given.dataset, given.data_dir))
    stored = load_generator(given.generator)
    generator = generator_of(GeneratorConfig(architecture=stored.architecture), stored, bench)
    network = jd.make_network("convnet", bench.image_shape, bench.num_classes, width=given.width)
    wanted = given.variant
    given.variant = [name for name in wanted if name != "random"]
    found = sets_of(given, bench, generator)
    for ipc, length in zip(given.ipc, np.resize(given.epochs, len(given.ipc)).tolist(), strict=True):
        protocol = dataclasses.replace(jd.PROTOCOLS["dsa1000"], epochs=length)
        protocol = protocol.bound(partial(augmentation, bench=bench))
        if "random" in wanted:
            keys = jax.random.split(jax.random.key(given.seed + 1), given.sets)
            found["random"] = [jd.SELECTIONS["random"](key, bench.train, max(given.ipc)) for key in keys]
        for name, sets in found.items():
            accuracies = []
            for number, whole in enumerate(sets):
                first = np.arange(whole.count).reshape(bench.num_classes, -1)[:, :ipc].reshape(-1)
                judged = jd.evaluation.evaluate(
                    jax.random.fold_in(jax.random.key(given.seed + 2), number), whole.take(first), network, bench.test,
                    protocol, seeds=given.networks,
                )  # fmt: skip
                accuracies.append(np.asarray(judged.accuracies) * 100)
            means = np.mean(accuracies, axis=1)
            line = {"mean": np.mean(accuracies), "std": np.std(accuracies), "std_of_sets": np.std(means)}
            line = {"set": name, "ipc": ipc} | {k: round(float(v), 2) for k, v in line.items()}
            print(json.dumps(line | {"accuracies": np.round(accuracies, 1).tolist()}), flush=True)


if __name__ == "__main__":
    main()

"""The same steps with jaxdistill, compiled."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdistill.augment import make as make_augment
from jaxdistill.commands.workspace import on_cpu
from jaxdistill.common.sets import class_set
from jaxdistill.data.trajectories import Segment, flatten
from jaxdistill.diffusion import Architecture
from jaxdistill.diffusion import make as make_generator
from jaxdistill.diffusion.sample import Sampling, sample
from jaxdistill.engine.devices import make_mesh, spread
from jaxdistill.methods import METHOD_NAMES, METHODS
from jaxdistill.networks import make as make_network
from jaxdistill.training.gradients import training_gradient
from jaxdistill.training.sgd import sgd
from jaxdistill.types import Batch, Task, Variables

__all__ = ["CASES"]

CLASSES, SHAPE = 10, (32, 32, 3)
STEPS = 3
ALL = "color_crop_cutout_flip_scale_rotate"


def steps_of(update, state, batch, steps=STEPS):
    """A call of a few steps ``update(number, state, batch)`` in one loop on the device, as runs make it."""

    @partial(jax.jit, donate_argnums=0)
    def compiled(carry, batch):
        def body(_, carry):
            number, state = carry
            return number + 1, update(number, state, batch)

        return jax.lax.fori_loop(0, steps, body, carry)

    held = [(jnp.zeros((), int), state)]

    def call() -> None:
        held[0] = jax.block_until_ready(compiled(held[0], batch))

    call.steps = steps
    return call


def train_step(batch: int):
    """One SGD step (momentum, weight decay) of the network on a batch."""
    rng = np.random.default_rng(0)
    network = make_network("convnet", SHAPE, CLASSES)
    images = jnp.asarray(rng.normal(size=(batch, *SHAPE)), jnp.float32)
    labels = jax.nn.one_hot(rng.integers(0, CLASSES, batch), CLASSES)

    def update(_, carry, batch):
        variables, velocity = carry
        images, labels = batch
        gradients, statistics, _ = training_gradient(network, variables, images, labels, "class")
        updates, velocity = optimizer.update(gradients, velocity, variables.params)
        return Variables(optax.apply_updates(variables.params, updates), statistics), velocity

    optimizer = sgd(jnp.float32(0.01), momentum=0.9, decay=5e-4)
    variables = network.init(jax.random.key(0))
    return steps_of(update, (variables, optimizer.init(variables.params)), (images, labels))


def balanced(rng, per_class: int) -> Batch:
    return examples(rng, CLASSES, per_class)


def examples(rng, *lead: int) -> Batch:
    images = jnp.asarray(rng.normal(size=(*lead, *SHAPE)), jnp.float32)
    return Batch(images, jnp.asarray(rng.integers(0, CLASSES, lead), jnp.int32))


def method_step(
    name: str, ipc: int, batch_of, fields: dict, augment: str = "none", network: dict | None = None, steps=STEPS
):
    """Steps of a method itself, on a batch that stays the same, as the peer has it."""
    rng = np.random.default_rng(0)
    mesh = make_mesh()
    options = {"name": "convnet", **(network or {})}
    mapper = spread(mesh, 1 if on_cpu(mesh) else CLASSES)
    pixels = ((-2.0,) * 3, (2.0,) * 3)
    task = Task(
        network=make_network(image_shape=SHAPE, num_classes=CLASSES, **options),
        augment=make_augment(augment),
        image_shape=SHAPE,
        num_classes=CLASSES,
        map_classes=mapper,
        pixel_range=pixels,
    )
    config = METHOD_NAMES[name](**fields)
    method = METHODS[type(config)](config, task)
    initial = class_set(jnp.asarray(rng.normal(size=(CLASSES, ipc * method.images_per_start, *SHAPE)), jnp.float32))
    state = jax.jit(method.init)(jax.random.key(0), initial)
    update = lambda i, state, batch: method.step(jax.random.key(i), state, batch)[0]  # noqa: E731
    return steps_of(update, state, batch_of(rng), steps)


def matching_step(name: str, augment: str, ipc: int, per_class: int, network: dict | None = None):
    fields = {"real_batch": per_class}
    return method_step(name, ipc, partial(balanced, per_class=per_class), fields, augment, network)


def idc_step(ipc: int, per_class: int, real_images: int):
    """A sweep with the settings of SVHN, but for CutMix, which neither side has."""
    fields = {"real_batch": per_class, "inner_real_images": real_images, "image_lr": 5e-4, "factor": 2, "cutmix": 0.0}
    fields |= {"inner_augment": "all:color_crop", "distance": "mse"}
    batch = lambda rng: (balanced(rng, per_class), examples(rng, real_images))  # noqa: E731
    return method_step("idc", ipc, batch, fields, "all:color_crop_cutout")


def dd_step(ipc: int, epochs: int, batch: int):
    network = {"name": "alexcifarnet", "initial": "xavier"}
    return method_step("dd", ipc, lambda rng: examples(rng, batch), {"epochs": epochs, "batch": batch}, network=network)


def trajectory_step(name: str, ipc: int, student_steps: int):
    """A step from random weights to nearby ones, which stay the same."""

    def batch_of(rng) -> Segment:
        start = flatten(make_network("convnet", SHAPE, CLASSES).init(jax.random.key(1)).params)[None]
        return Segment(start, start + jnp.asarray(0.01 * rng.normal(size=start.shape), jnp.float32))

    return method_step(name, ipc, batch_of, {"student_steps": student_steps, "rate": 0.01}, steps=1)


GENERATOR = Architecture(patch_size=4, hidden_size=128, num_layers=4, num_heads=4)
PIXELS = ((-1.0,) * 3, (1.0,) * 3)


def generator_of(params=None):
    return make_generator(GENERATOR, SHAPE, PIXELS, CLASSES, params=params)


def generator_step(name: str, batch: int):
    """A step of a generative method; its set is not drawn."""
    params = generator_of().init(jax.random.key(0)) if name == "minimax" else None
    task = Task(
        network=make_network("mlp", SHAPE, CLASSES),
        augment=make_augment("none"),
        image_shape=SHAPE,
        num_classes=CLASSES,
        generator=lambda: generator_of(params),
    )
    method = METHODS[METHOD_NAMES[name]](METHOD_NAMES[name](batch=batch), task)
    rng = np.random.default_rng(0)
    state = method.init(jax.random.key(0))
    update = lambda i, state, batch: method.step(jax.random.key(i), state, batch)[0]  # noqa: E731
    return steps_of(update, state, examples(rng, batch))


def sampling(count: int, steps: int):
    """Guided ancestral sampling."""
    generator = generator_of()
    config = Sampling(sampling_steps=steps)
    draw = jax.jit(lambda keys, params, classes: sample(keys, generator, params, classes, config))
    params, keys = generator.init(jax.random.key(0)), jax.random.split(jax.random.key(1), count)
    return lambda: draw(keys, params, jnp.arange(count) % CLASSES).block_until_ready()


CASES = {
    "train": train_step,
    "dm": partial(matching_step, "dm", "none"),
    "dc": partial(matching_step, "dc", "none"),
    "dsa": partial(matching_step, "dsa", ALL),
    "idc": idc_step,
    "datadam": partial(matching_step, "datadam", "none", network={"norm": "batch"}),
    "dd": dd_step,
    "mtt": partial(trajectory_step, "mtt"),
    "tesla": partial(trajectory_step, "tesla"),
    "dit": partial(generator_step, "dit"),
    "minimax": partial(generator_step, "minimax"),
    "sampling": sampling,
}

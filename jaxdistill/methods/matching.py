"""What the matching methods share: one pass over the classes that compares real with synthetic images.

Both functions give each class's distance and the gradient of their sum with respect to the synthetic images. Where
classes do not depend on one another they are taken apart, which is the same gradient at a fraction of the memory
(``task.map_classes`` says how many are done at once).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.losses.embeddings import mean_embedding_distance
from jaxdistill.training.gradients import each_image, training_gradient, training_slope
from jaxdistill.types import Features, Key, Network, PyTree, Task, Variables

__all__ = ["gradient_distance", "match_distributions", "match_gradients", "refresh"]

Distance = Callable[[PyTree, PyTree], Float[Array, ""]]


def match_distributions(
    key: Key,
    task: Task,
    variables: Variables,
    synthetic: Float[Array, "classes ipc h w c"],
    real: Float[Array, "classes b h w c"],
    *,
    features: Callable[[Features], tuple[Float[Array, "n _d"], ...]] = lambda features: (features.embedding,),
    distance: Callable[[Float[Array, "b d"], Float[Array, "ipc d"]], Float[Array, ""]] = mean_embedding_distance,
    weights: Sequence[float] = (1.0,),
    view: Callable[[Key, Float[Array, "ipc h w c"]], Float[Array, "n h w c"]] | None = None,
    train: bool = True,
) -> tuple[Float[Array, "classes terms"], Float[Array, "classes ipc h w c"]]:
    """Distance of each class's real and synthetic features, and the gradient of the weighted sum of all distances.

    Each class is augmented with one draw for its real and its synthetic images. Where batch normalisation couples the
    classes, all share one pass for the real and one for the synthetic images.

    Args:
        key: consumed; split into a key for each class.
        task: network, augmentation and shapes.
        variables: the network's, constant.
        synthetic: what the gradient is for.
        real: constant.
        features: vectors of each image from what the network computes for it; a term for each kind of vector. The
            embedding by default.
        distance: of two samples of vectors, the real one first; that of the means by default.
        weights: factor of each term.
        view: see `match_gradients`; by default the stored images are looked at.
        train: let batch normalisation use the statistics of the batch, not its running averages.
    """
    keys = jax.random.split(key, task.num_classes)

    def described(images: Float[Array, "n h w c"], variables: Variables) -> tuple[Float[Array, "n _d"], ...]:
        return features(task.network.features(variables, images, train=train))

    def pair(key: Key, real: Array, synthetic: Array) -> tuple[Array, ...]:
        if view is not None:
            key_view, key = jax.random.split(key)
            synthetic = view(key_view, synthetic)
        return siamese(task, key, real, synthetic)

    def terms(real: Sequence[Array], synthetic: Sequence[Array]) -> Float[Array, " terms"]:
        return jnp.stack([distance(*pair) for pair in zip(real, synthetic, strict=True)])

    def weighted(distances: Float[Array, "*classes terms"]) -> tuple[Float[Array, ""], Float[Array, "*classes terms"]]:
        return jnp.sum(distances * jnp.asarray(weights, distances.dtype)), distances

    def of_class(synthetic, key, real, variables):
        real, synthetic = pair(key, real, synthetic)
        of_real = each_image(lambda images: described(images, variables), real)
        return weighted(terms(of_real, described(synthetic, variables)))

    if not (train and task.network.couples_batch):
        one = jax.grad(of_class, has_aux=True)
        gradient, distances = task.map_classes(
            lambda entry, shared: one(*entry, shared), (synthetic, keys, real), variables
        )
        return distances, gradient

    def of_all(synthetic):
        pairs = task.map_classes(lambda entry: pair(*entry), (keys, real, synthetic))
        both = (described(images.reshape(-1, *task.image_shape), variables) for images in pairs)
        split = ([v.reshape(task.num_classes, -1, v.shape[-1]) for v in vectors] for vectors in both)
        return weighted(jax.vmap(terms)(*split))

    gradient, distances = jax.grad(of_all, has_aux=True)(synthetic)
    return distances, gradient


def siamese(task: Task, key: Key, *batches: Float[Array, "_n h w c"]) -> tuple[Float[Array, "_n h w c"], ...]:
    """Batches of one class under one draw of the augmentation: the key is used again for each, and that is meant."""
    return tuple(task.augment(jax.random.clone(key), images, siamese=True) for images in batches)


def match_gradients(
    key: Key,
    task: Task,
    variables: Variables,
    synthetic: Float[Array, "classes ipc h w c"],
    real: Float[Array, "classes b h w c"],
    distance: Distance,
    view: Callable[[Key, Float[Array, "ipc h w c"]], Float[Array, "n h w c"]] = lambda key, images: images,
) -> tuple[Float[Array, " classes"], Float[Array, "classes ipc h w c"]]:
    """Distance of each class's training gradients, and the gradient of the sum of distances.

    Real and synthetic images of a class are augmented with one draw. Batch normalisation uses its running averages: a
    batch of a single class has no statistics to speak of.

    Args:
        key: consumed; split into a key for each class.
        task: network, augmentation and shapes.
        variables: the network's, constant.
        synthetic: what the gradient is for.
        real: constant.
        distance: of two gradients of the parameters, the real one first (`jaxdistill.losses.gradients`).
        view: a class's stored images as the images, before augmentation, that the network is trained on; the stored
            images themselves by default.
    """

    def of_class(entry, variables):
        synthetic, real, label, key = entry
        key_view, key_augment = jax.random.split(key)
        key_again = jax.random.clone(key_augment)

        def seen(images: Float[Array, "ipc h w c"]) -> Float[Array, "n h w c"]:
            return task.augment(key_again, view(key_view, images), siamese=True)

        real = task.augment(key_augment, real, siamese=True)
        labels = jnp.broadcast_to(label, (real.shape[0], *label.shape))
        target = training_gradient(task.network, variables, real, labels, "class", train=False).gradient
        images, pull_back = jax.vjp(seen, synthetic)
        labels = jnp.broadcast_to(label, (images.shape[0], *label.shape))
        value, gradient = gradient_distance(task.network, variables, images, labels, target, distance)
        return value, pull_back(gradient)[0]

    keys = jax.random.split(key, task.num_classes)
    return task.map_classes(of_class, (synthetic, real, jnp.eye(task.num_classes), keys), variables)


def gradient_distance(
    network: Network,
    variables: Variables,
    images: Float[Array, "n h w c"],
    labels: Float[Array, "n classes"],
    target: PyTree,
    distance: Distance,
) -> tuple[Float[Array, ""], Float[Array, "n h w c"]]:
    """``distance(target, g)`` for the images' training gradient g, and its gradient with respect to the images.

    With G the distance's gradient in g, what is wanted is that of ``<G, g>``: see
    `jaxdistill.training.gradients.training_slope`, which needs no second derivative with respect to kernels.

    Args:
        network: batch normalisation uses its running averages.
        variables: constant.
        images: what the gradient is for.
        labels: hard or soft class labels.
        target: a tree like ``variables.params``.
        distance: of two such trees.
    """
    own = training_gradient(network, variables, images, labels, "class", train=False).gradient
    value, direction = jax.value_and_grad(distance, argnums=1)(target, own)
    slope = training_slope(network, variables, images, labels, "class", direction, train=False, params=False)
    return value, slope.by_images


def refresh(
    network: Network, variables: Variables, real: Float[Array, "classes b h w c"], rule: str
) -> tuple[Variables, Variables]:
    """Running averages for `match_gradients`: the network with them, and what to match with.

    Args:
        network: one without batch normalisation is left as it is.
        variables: what is to be refreshed, by one pass of 16 real images of each class in training mode.
        real: constant.
        rule: ``"faithful"`` to DC's code takes the averages after that pass, which moved a tenth of the way from where
            they were; ``"sensible"`` matches with the statistics of the pass itself.
    """
    if not network.couples_batch:
        return variables, variables
    images = real[:, :16].reshape(-1, *real.shape[2:])
    _, moved = network.apply(variables, images, train=True)
    refreshed = variables._replace(statistics=moved)
    if rule == "faithful":
        return refreshed, refreshed
    whole = jax.tree.map(lambda old, new: old + (new - old) / network.momentum, variables.statistics, moved)
    return refreshed, variables._replace(statistics=whole)

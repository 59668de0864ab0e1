"""Tiles cut out, enlarged and shrunk, against PyTorch's resizing and a NumPy re-derivation."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.augment.formation import decode, decode_images, encode_images, some_tiles
from jaxdistill.types import SyntheticSet, tiles_of

GOLDEN = np.load(Path(__file__).parent / "reference" / "idc.npz")


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


def enlarged(patch, height, width):
    """Bilinear with half-pixel centres; what lies beyond the outermost centres has their value."""

    def weights(length, longer):
        positions = np.clip((np.arange(longer) + 0.5) * length / longer - 0.5, 0, length - 1)
        return np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(length)))

    return np.einsum(
        "yh,xw,hwc->yxc", weights(patch.shape[0], height), weights(patch.shape[1], width), patch, optimize=True
    )


@pytest.mark.parametrize("factor", [2, 3])
def test_tiles_are_pytorchs(factor):
    """Of 7x7 images, which neither divides: mid-grey is added below and to the right."""
    np.testing.assert_allclose(
        decode_images(jnp.asarray(GOLDEN["odd"]), factor, 0.5), GOLDEN[f"cut{factor}"], rtol=1e-9
    )


@pytest.mark.parametrize("shape", [(8, 8), (7, 10), (5, 3)])
@pytest.mark.parametrize("factor", [2, 3])
def test_tiles_are_cut_row_by_row_padded_and_enlarged(shape, factor):
    rng = np.random.default_rng(0)
    images, fill = rng.normal(size=(3, *shape, 2)), np.array([0.25, -1.0])
    height, width = (-(-length // factor) for length in shape)
    expected = []
    for image in images:
        padded = np.broadcast_to(fill, (height * factor, width * factor, 2)).copy()
        padded[: shape[0], : shape[1]] = image
        for top in range(0, height * factor, height):
            for left in range(0, width * factor, width):
                expected.append(enlarged(padded[top : top + height, left : left + width], *shape))
    found = decode_images(jnp.asarray(images), factor, jnp.asarray(fill))
    assert found.dtype == images.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3])
def test_starts_are_shrunk_to_pytorchs_nearest_pixels(factor):
    """The last tile of a side that the factor does not divide is shorter, here 4 + 3 and 3 + 3 + 1."""
    images = jnp.asarray(np.repeat(GOLDEN["odd"], factor**2, axis=0))  # tiles of one image are all alike
    found = encode_images(images, factor)
    assert found.shape == GOLDEN["odd"].shape
    first, last = GOLDEN[f"first{factor}"], GOLDEN[f"last{factor}"]
    long, short = first.shape[1], last.shape[1]
    np.testing.assert_array_equal(found[:, :long, :long], first)
    np.testing.assert_array_equal(found[:, -short:, -short:], last)


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 10, 2), (9, 5, 3)])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_tiles_come_back_in_order_and_at_full_size(shape, factor):
    """Of plain images, whose tiles are plain; where a tile was too short, grey shines through below and right."""
    count = 2 * factor**2
    images = np.arange(count)[:, None, None, None] * np.ones(shape)
    stored = encode_images(jnp.asarray(images), factor)
    assert stored.shape == (2, *shape)
    again = decode_images(stored, factor, 0.5)
    assert again.shape == images.shape
    if all(length % factor == 0 for length in shape[:2]):
        np.testing.assert_allclose(again, images, rtol=1e-12)
    np.testing.assert_allclose(again[:, 0, 0], images[:, 0, 0], rtol=1e-12)


SEVERAL = {
    "multi3": lambda images: decode_images(images, 3, 0.5, "multi"),
    **{
        f"bound{most}": lambda images, most=most: some_tiles(
            jax.random.key(0), images, 3, most, 0.5, decode_type="bound"
        )
        for most in (12, 22, 40)
    },
}


@pytest.mark.parametrize("name", SEVERAL)
def test_tiles_of_several_sizes_and_their_slope_are_pytorchs(name):
    tiles, pull_back = jax.vjp(SEVERAL[name], jnp.asarray(GOLDEN["odd"]))
    np.testing.assert_allclose(tiles, GOLDEN[name], rtol=1e-9)
    (gradient,) = pull_back(jnp.asarray(GOLDEN[f"{name}_weights"]))
    np.testing.assert_allclose(gradient, GOLDEN[f"{name}_gradient"], rtol=1e-9, atol=1e-12)


def test_a_bound_is_kept_and_every_image_is_shown():
    """Whatever it is: images of one value each, of which some tile is among those that come out."""
    for count in range(1, 9):
        images = jnp.arange(count)[:, None, None, None] * jnp.ones((6, 6, 1))
        before = 0
        for most in range(count, 9 * count + 12):
            tiles = some_tiles(jax.random.key(0), images, 3, most, decode_type="bound")
            assert before <= len(tiles) <= most
            assert {*np.round(np.asarray(tiles[:, 0, 0, 0])).astype(int).tolist()} == {*range(count)}
            before = len(tiles)
        assert before == 9 * count
    fewer = some_tiles(jax.random.key(0), images, 3, 4, decode_type="bound")
    assert len({*np.asarray(fewer[:, 0, 0, 0]).tolist()}) == 4, "whole images, of which some are drawn"


def test_images_without_room_for_the_last_tile_are_refused():
    for refused in (decode_images, encode_images):
        with pytest.raises(ValueError, match="images of 9x4 pixels are too small for 3x3 tiles"):
            refused(jnp.zeros((9, 9, 4, 1)), 3)


def test_formation_one_is_the_identity():
    images = jnp.asarray(GOLDEN["odd"])
    assert decode_images(images, 1) is images
    assert encode_images(images, 1) is images
    synthetic = SyntheticSet(images, jnp.eye(4))
    assert decode(synthetic) is synthetic


def test_a_set_repeats_labels_and_weights_for_its_tiles():
    images = jnp.asarray(GOLDEN["odd"])
    synthetic = SyntheticSet(images, jnp.eye(4), weights=jnp.arange(4.0), learning_rate=jnp.ones(()), formation=2)
    found = decode(synthetic, 0.5)
    assert found.formation == 1
    np.testing.assert_allclose(found.images, GOLDEN["cut2"], rtol=1e-9)
    np.testing.assert_array_equal(found.labels.argmax(-1), np.arange(16) // 4)
    np.testing.assert_array_equal(found.weights, np.arange(16) // 4)
    assert found.learning_rate is synthetic.learning_rate


def test_a_set_of_tiles_of_several_sizes_keeps_the_order_of_its_classes():
    images = jnp.asarray(GOLDEN["odd"])
    synthetic = SyntheticSet(images, jnp.eye(4), weights=jnp.arange(4.0), formation=3, decode_type="multi")
    assert "decode_type='multi'" in repr(synthetic)
    found = decode(synthetic, 0.5)
    assert (found.formation, found.decode_type) == (1, "single")
    assert [tiles_of(3), tiles_of(3, "multi"), tiles_of(1, "multi")] == [9, 14, 1]
    np.testing.assert_allclose(found.images, GOLDEN["multi3"], rtol=1e-9)
    np.testing.assert_array_equal(found.images[::14], images)
    np.testing.assert_array_equal(found.labels.argmax(-1), np.arange(56) // 14)
    np.testing.assert_array_equal(found.weights, np.arange(56) // 14)


def test_padding_is_black_and_white_for_each_channel():
    """What is not the image's: the last row and column of the last tile, in units of the preprocessed space."""
    fill = jnp.array([2.0, -3.0])
    last = decode_images(jnp.zeros((1, 3, 3, 2)), 2, fill)[3]
    np.testing.assert_allclose(last[-1, -1], fill)
    np.testing.assert_allclose(last[0, 0], 0)

"""Preprocessing against NumPy written out, and back again."""

import itertools

import numpy as np
import pytest

from jaxdistill.data import preprocess
from jaxdistill.data.preprocess import STATISTICS, fit
from jaxdistill.errors import UsageError
from jaxdistill.methods import METHOD_NAMES
from jaxdistill.presets import find, readings
from jaxdistill.presets.experts import EXPERTS, expert_preset

RNG = np.random.default_rng(0)
# Neighbouring pixels depend on each other, so that there is something to whiten.
SMOOTH = np.cumsum(np.cumsum(RNG.normal(size=(70, 5, 5, 3)), 1), 2)
FLOATS = ((SMOOTH - SMOOTH.min()) / (SMOOTH.max() - SMOOTH.min())).astype(np.float32)
BYTES = (FLOATS * 255).round().astype(np.uint8)
UNIT = {"uint8": (BYTES, BYTES / 255.0), "float32": (FLOATS, FLOATS.astype(np.float64))}
both = pytest.mark.parametrize("kind", UNIT)


@both
def test_mean_and_deviation_are_those_of_the_channels(kind):
    stored, unit = UNIT[kind]
    transform = fit(stored)
    np.testing.assert_allclose(transform.mean, unit.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(transform.std, unit.std((0, 1, 2)), rtol=1e-5)
    result = transform.apply(stored)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, (unit - unit.mean((0, 1, 2))) / unit.std((0, 1, 2)), atol=1e-5)
    scale, shift = transform.affine(stored.dtype)
    np.testing.assert_allclose(stored * scale + shift, result, atol=1e-5)
    assert set(transform.arrays()) == {"mean", "std"}


@both
@pytest.mark.parametrize("zca", [False, True])
def test_invert_undoes_apply(kind, zca):
    stored, unit = UNIT[kind]
    transform = fit(stored, zca=zca)
    np.testing.assert_allclose(transform.invert(transform.apply(stored)), unit, atol=1e-4)
    outside = RNG.normal(size=(4, 5, 5, 3)).astype(np.float32) * 3  # as synthetic images are
    unit_outside = transform.invert(outside)
    np.testing.assert_allclose(transform.apply(unit_outside), outside, atol=1e-4)


@both
def test_whitening_is_zca_of_the_flattened_images(kind):
    stored, unit = UNIT[kind]
    flat = unit.reshape(len(unit), -1)
    transform = fit(stored, zca=True)
    np.testing.assert_allclose(transform.center, flat.mean(0), atol=1e-6)
    vectors, values, _ = np.linalg.svd(np.cov(flat, rowvar=False))
    np.testing.assert_allclose(transform.whiten, vectors @ np.diag(1 / np.sqrt(values + 0.1)) @ vectors.T, atol=1e-5)
    whitened = transform.apply(stored).reshape(len(unit), -1)
    np.testing.assert_allclose(whitened.mean(0), 0, atol=1e-5)
    expected = vectors @ np.diag(values / (values + 0.1)) @ vectors.T
    np.testing.assert_allclose(np.cov(whitened, rowvar=False), expected, atol=1e-4)
    assert values.max() > 0.1, "else whitening would hardly do a thing"
    assert set(transform.arrays()) == {"mean", "std", "center", "whiten", "unwhiten"}


@pytest.mark.parametrize("shape", [(128, 128, 3), (256, 256, 3), (74, 74, 3), (129, 128, 1)])
def test_images_too_large_to_be_whitened_are_refused_before_anything_is_computed(shape, monkeypatch):
    def computed(*given):
        raise AssertionError("it has begun")

    monkeypatch.setattr(preprocess, "_chunks", computed)
    images = np.broadcast_to(np.zeros((), np.uint8), (20, *shape))
    with pytest.raises(UsageError, match=f"{shape[0]}x{shape[1]}x{shape[2]} have .* switch `zca` off"):
        fit(images, zca=True)
    with pytest.raises(AssertionError, match="it has begun"):
        fit(images[:, :64, :64], zca=True)  # as the papers' images of Tiny-ImageNet


def test_presets_whiten_no_images_of_128_pixels():
    subsets = ("imagenette", "imagewoof", "imagefruit", "imagemeow", "imagesquawk", "imageyellow")
    for config in METHOD_NAMES.values():
        for dataset, ipc, name in itertools.product(subsets, (1, 10, 50), readings(config)):
            assert not find(config, dataset, ipc, name).zca
    for papers, dataset in itertools.product(EXPERTS, subsets):
        assert not expert_preset(papers, dataset).zca


def test_published_statistics_replace_fitted_ones_where_the_channels_agree():
    transform = fit(BYTES, statistics=STATISTICS["cifar10"])
    np.testing.assert_array_equal(transform.mean, np.float32([0.4914, 0.4822, 0.4465]))
    np.testing.assert_array_equal(transform.std, np.float32([0.2023, 0.1994, 0.2010]))
    grey = fit(BYTES[..., :1], statistics=STATISTICS["cifar10"])
    np.testing.assert_allclose(grey.mean, (BYTES[..., 0] / 255).mean(), rtol=1e-5)


@pytest.mark.parametrize("zca", [False, True])
def test_a_constant_channel_stays_finite(zca):
    stored = BYTES.copy()
    stored[..., 1] = 77
    transform = fit(stored, zca=zca)
    result = transform.apply(stored)
    np.testing.assert_allclose(result[..., 1], 0, atol=1e-4)
    np.testing.assert_allclose(transform.invert(result), stored / 255, atol=1e-4)


@pytest.mark.parametrize("zca", [False, True])
def test_the_size_of_chunks_does_not_matter(zca, monkeypatch):
    whole = fit(BYTES, zca=zca)
    applied = whole.apply(BYTES)
    monkeypatch.setattr(preprocess, "_CHUNK", 16)
    parts = fit(BYTES, zca=zca)
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(parts.arrays()[name], array, atol=1e-4)
    np.testing.assert_allclose(whole.apply(BYTES), applied, atol=1e-5)
    np.testing.assert_allclose(whole.invert(applied), BYTES / 255, atol=1e-4)


@pytest.mark.parametrize("scale", [1 / 255, 1e-3, 1e-5], ids=str)
def test_faint_images_keep_their_contrast(scale):
    """As black and white ones that are stored as 0 and 1 of 255."""
    faint = (0.5 + scale * (FLOATS - 0.5)).astype(np.float32)
    transform = fit(faint)
    np.testing.assert_allclose(transform.std, faint.astype(np.float64).std((0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(transform.apply(faint).std((0, 1, 2)), 1, rtol=0.01)
    whitened = [fit(images, zca=True).apply(images) for images in (FLOATS, faint)]
    ratio = whitened[1].std() / whitened[0].std()
    assert 0.5 < ratio < 2, "whitening flattens them no more than others"


def test_sparse_images_are_not_taken_for_constant_ones():
    for white in (1, 255):
        sparse = np.zeros((60, 28, 28, 1), np.uint8)
        sparse[::10, 3, 3] = white  # 6 of 47,040 pixels
        transform = fit(sparse)
        np.testing.assert_allclose(transform.std, (sparse / 255).std(), rtol=1e-5)
        np.testing.assert_allclose(transform.apply(sparse).std(), 1, rtol=1e-3)
        np.testing.assert_allclose(transform.invert(transform.apply(sparse)), sparse / 255, atol=1e-6)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7, 1.0])
def test_a_constant_channel_of_floats_is_constant(value):
    images = FLOATS.copy()
    images[..., 2] = value
    transform = fit(images)
    assert transform.std[2] == 1
    np.testing.assert_allclose(transform.apply(images)[..., 2], 0, atol=1e-6)

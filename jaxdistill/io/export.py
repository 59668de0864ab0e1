"""A set in the formats that others read."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from jaxdistill.augment.formation import decode
from jaxdistill.data.source import silence
from jaxdistill.io import files
from jaxdistill.io.artifact import PREFIX, ArtifactError, Stored
from jaxdistill.io.pictures import png

__all__ = ["FORMATS", "export"]

WHITENING = {PREFIX + name for name in ("center", "whiten", "unwhiten")}


def export(stored: Stored, form: str, out: Path, *, decoded: bool = False) -> None:
    """Write a set in another format; what is there already is never overwritten.

    Args:
        stored: from `jaxdistill.io.artifact.load_set`.
        form: ``npz``: ``images`` (preprocessed), ``pixels`` (in [0, 1], clipped), ``labels`` (as stored), ``classes``
            (integers), ``label_kind`` and ``formation`` (and ``decode_type``, if that is not ``single``; of textures
            ``canvas`` and ``windows``), and where there are some ``weights`` and ``learning_rate``; also the arrays
            that preprocess other images, ``preprocess/mean`` and so on; ``torch``: the same, channels first, as a
            safetensors file for ``safetensors.torch.load_file`` (kind, formation and what is of textures are its
            metadata);
            ``folder``: a PNG for each image in a folder for each class; ``tfds``: a folder for
            ``tensorflow_datasets.builder_from_directory``, split ``train``, ``soft_label`` being the labels as stored.
            Neither of the last two holds what exceeds 8 bits of [0, 1].
        out: the file or folder.
        decoded: cut out the tiles of a set that has some, and enlarge them, or the windows that tile its canvases,
            first; a folder and tfds, which could not say that there are any, always are.

    Raises:
        ArtifactError: if `out` exists, its folder does not, there is no such format, tiles are to be cut out of a set
            that has none, or TFDS is missing.
    """
    if form not in FORMATS:
        raise ArtifactError(f"unknown format '{form}'; choose one of {', '.join(FORMATS)}")
    out = Path(out)
    if out.exists():
        raise ArtifactError(f"{out} exists; choose another --out")
    if not out.parent.is_dir():
        raise ArtifactError(f"there is no folder {out.parent}; make it first")
    if decoded and stored.synthetic.tiles == 1:
        raise ArtifactError("the images of this set have no tiles to be cut out; leave `decoded` out")
    if decoded or form in ("folder", "tfds"):
        grey = (0.5 - stored.preprocess.mean) / stored.preprocess.std
        stored = stored._replace(synthetic=decode(stored.synthetic, grey))
    FORMATS[form](stored, out)


def _arrays(stored: Stored) -> dict[str, np.ndarray]:
    images = np.asarray(stored.synthetic.images)
    labels = np.asarray(stored.synthetic.labels)
    pixels = np.clip(stored.preprocess.invert(images), 0, 1)
    arrays = {"images": images, "pixels": pixels, "labels": labels, "classes": labels.argmax(-1).astype(np.int64)}
    arrays |= {name: np.asarray(value) for name, value in stored.synthetic.arrays.items() if name != "selected"}
    return arrays | {PREFIX + name: value for name, value in stored.preprocess.arrays().items()}


def _kind(stored: Stored) -> dict[str, str | int]:
    """What the arrays do not say of the set."""
    synthetic = stored.synthetic
    of_tiles = () if synthetic.decode_type == "single" else ("decode_type",)
    names = ("label_kind", "formation", *of_tiles, *(("canvas", "windows") if synthetic.canvas > 1 else ()))
    return {name: getattr(synthetic, name) for name in names}


def _npz(stored: Stored, out: Path) -> None:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = _arrays(stored) | {name: np.array(value) for name, value in _kind(stored).items()}
    np.savez_compressed(buffer, **arrays)
    files.write_bytes(out, buffer.getvalue())


def _torch(stored: Stored, out: Path) -> None:
    arrays = _arrays(stored)
    shape = arrays["images"].shape[1:]
    order = np.arange(np.prod(shape)).reshape(shape).transpose(2, 0, 1).ravel()
    first = {}
    for name, value in arrays.items():
        if value.ndim == 4:
            value = value.transpose(0, 3, 1, 2)
        elif name in WHITENING:  # acts on flattened images, and those are channels first now
            value = value[np.ix_(*[order] * value.ndim)]
        first[name] = np.asarray(value, order="C")
    files.write_bytes(out, save(first, {name: str(value) for name, value in _kind(stored).items()}))


def _bytes(stored: Stored) -> tuple[np.ndarray, np.ndarray]:
    arrays = _arrays(stored)
    return (arrays["pixels"] * 255).round().astype(np.uint8), arrays["classes"]


def _safe_names(stored: Stored) -> list[str]:
    """Names for folders. A stranger's class name is text, not a path; the number keeps two that look alike apart."""
    names = stored.card["class_names"]
    digits = len(str(len(names) - 1))
    letters = ("".join(c if c.isalnum() or c in "-_ " else "_" for c in name[:40]) for name in names)
    return [f"{i:0{digits}d}_{name}" for i, name in enumerate(letters)]


def _single_lines(stored: Stored) -> list[str]:
    """Names for TFDS, which keeps them in a file, one to a line, and refuses to read two of a kind."""
    names = stored.card["class_names"]
    plain = all(name.strip() == name != "" and name.isprintable() for name in names)
    return names if plain and len(set(names)) == len(names) else _safe_names(stored)


def _folder(stored: Stored, out: Path) -> None:
    names = _safe_names(stored)
    with files.write_folder(out) as temporary:
        for i, (image, label) in enumerate(zip(*_bytes(stored), strict=True)):
            folder = temporary / names[label]
            folder.mkdir(exist_ok=True)
            (folder / f"{i:06d}.png").write_bytes(png(image))


def _tfds(stored: Stored, out: Path) -> None:
    with silence():
        try:
            import tensorflow  # noqa: F401  (without it the next import still succeeds)
            import tensorflow_datasets as tfds
        except ImportError:
            raise ArtifactError("exporting to TFDS needs it; run pip install 'jaxdistill[tfds]'") from None
        images, classes = _bytes(stored)
        labels = np.asarray(stored.synthetic.labels)
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=images.shape[1:], encoding_format="png"),
                "label": tfds.features.ClassLabel(names=_single_lines(stored)),
                "soft_label": tfds.features.Tensor(shape=labels.shape[1:], dtype=np.float32),
            }
        )
        rows = [
            (i, {"image": image, "label": int(label), "soft_label": soft})
            for i, (image, label, soft) in enumerate(zip(images, classes, labels, strict=True))
        ]
        tfds.disable_progress_bar()
        with files.write_folder(out) as temporary:
            try:
                builder = tfds.dataset_builders.store_as_tfds_dataset(
                    name="distilled",
                    version="1.0.0",
                    features=features,
                    split_datasets={"train": rows},
                    data_dir=temporary,
                    download_config=tfds.download.DownloadConfig(try_download_gcs=False),
                    disable_shuffling=True,
                )
            except Exception as error:
                raise files.os_error(error, out) from error
            written = Path(builder.data_dir)
            for path in written.iterdir():
                path.rename(temporary / path.name)
            shutil.rmtree(temporary / "distilled")
            shutil.rmtree(temporary / "downloads", ignore_errors=True)


FORMATS: dict[str, Callable[[Stored, Path], None]] = {
    "npz": _npz,
    "torch": _torch,
    "folder": _folder,
    "tfds": _tfds,
}
"""Format name -> writer."""

"""Pre-trained weights in safetensors files as a generator's folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from jaxdistill.data.imagenet import IDS
from jaxdistill.diffusion import Architecture, make
from jaxdistill.diffusion.autoencoder import STABLE_DIFFUSION_FACTOR
from jaxdistill.diffusion.convert import autoencoder_parameters, dit_parameters
from jaxdistill.diffusion.sample import PAPERS
from jaxdistill.io.generators import Drawn, GeneratorError, save_generator
from jaxdistill.presets.dit import EVAL_SIZE, JUDGES
from jaxdistill.settings.options import Convert

__all__ = ["convert"]


def convert(config: Convert) -> None:
    """Read the files and write the generator.

    Raises:
        UsageError: if they hold something else.
        OSError: if a file cannot be read or written.
    """
    if config.out.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(config.out))
    module, model = dit_parameters(_read(config.weights), config.heads)
    sizes = {
        "patch_size": module.patch_size,
        "hidden_size": module.hidden_size,
        "num_layers": module.depth,
        "num_heads": module.num_heads,
    }
    params, channels = (
        {"model": model, "autoencoder": {}},
        model["patch_embed"]["kernel"].shape[0] // module.patch_size**2,
    )
    if config.autoencoder is not None:
        autoencoder, found = autoencoder_parameters(_read(config.autoencoder), config.groups)
        if autoencoder.latent_channels != channels:
            raise GeneratorError(
                f"the transformer takes {channels} channels and the autoencoder makes {autoencoder.latent_channels}; "
                "give one that it was trained with"
            )
        if config.decoder is not None:
            other, decoding = autoencoder_parameters(_read(config.decoder), config.groups)
            if other != autoencoder:
                raise GeneratorError(f"{config.decoder} is another kind of autoencoder than {config.autoencoder}")
            found = {**found, "decoder": decoding["decoder"]}
        params["autoencoder"] = {**found, "factor": np.float32(STABLE_DIFFUSION_FACTOR)}
        channels = autoencoder.channels
        sizes |= {"latents": autoencoder.widths, "latent_channels": autoencoder.latent_channels}
        sizes |= {"latent_blocks": autoencoder.blocks, "latent_groups": autoencoder.groups}
    architecture = Architecture(**sizes, schedule="linear", prediction="noise", learned_variance=module.variance)  # pyright: ignore[reportArgumentType]
    shape = (config.image_size, config.image_size, channels)
    make(architecture, shape, ((0.0,) * channels, (1.0,) * channels), module.classes, params=params)  # if it can be
    said: dict[str, Any] = {"source": config.weights.name}
    if module.classes == len(IDS):
        said["label_names"] = list(IDS)
    drawn = Drawn(PAPERS, "minimax", JUDGES, EVAL_SIZE if config.image_size > EVAL_SIZE else None)
    save_generator(config.out, params, architecture, shape, module.classes, said, drawn, new=True)


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise GeneratorError(f"{path} is not a file; give weights in a .safetensors file")
    try:
        return {name: np.asarray(array, np.float32) for name, array in load_file(path).items()}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise GeneratorError(
            f"{path} is damaged or not a safetensors file of float16 or float32 ({str(error)[:100]}); give one"
        ) from None

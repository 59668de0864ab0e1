"""Values of DiT, of Stable Diffusion's autoencoder and of Gaussian diffusion, from the original code in float64.

    python experiments/golden/diffusion.py DIT MINIMAX        writes tests/reference/{dit,autoencoder,diffusion}.npz

Needs torch, timm and diffusers, and two folders with the authors' code: DIT has models.py of facebookresearch/DiT,
MINIMAX has models.py and diffusion/ of vimar-gu/MinimaxDiffusion. All parameters are drawn, those too that are zero at
first, and rounded to float16, so that the files are small and every type holds them. Where the original computes in
float32 whatever it is given (waves of the time, the schedule's numbers), float64 is put in the place of float32.
Images are stored as n h w c.
"""

import contextlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel

REFERENCE = Path(__file__).parents[2] / "tests" / "reference"
CLASSES, HIDDEN, HEADS, SIDE, CHANNELS = 5, 32, 4, 8, 4


@contextlib.contextmanager
def in_double():
    kept = torch.float32, torch.Tensor.float
    torch.float32, torch.Tensor.float = torch.float64, torch.Tensor.double
    yield
    torch.float32, torch.Tensor.float = kept


def models_of(folder):
    spec = importlib.util.spec_from_file_location("models", Path(folder) / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(model, rng, fixed=("pos_embed",)):
    """The model in float64 with new parameters of a size that lets each of them matter, and their dictionary."""
    weights = {}
    for name, value in model.state_dict().items():
        if name in fixed:
            weights[name] = value.numpy()
            continue
        fan_in = int(np.prod(value.shape[1:])) if value.ndim > 1 else 16
        centre = float(("norm" in name and name.endswith("weight") and value.ndim == 1) or "gamma" in name)
        size = 1.0 if "embedding_table" in name else fan_in**-0.5
        weights[name] = (centre + size * rng.normal(size=value.shape)).astype(np.float16)
    return filled(model, weights), weights


def filled(model, weights):
    model = model.double().eval()
    model.load_state_dict({name: torch.tensor(value.astype(np.float64)) for name, value in weights.items()})
    return model


def last(images):
    return images.detach().permute(0, 2, 3, 1).numpy()


def first(images):
    return torch.tensor(images).permute(0, 3, 1, 2)


def dit(original, minimax, rng):
    """One with and one without scales, which share all other weights, and a smaller one of diffusers."""
    times, labels = np.array([0, 37, 999]), np.array([4, 0, CLASSES])
    noisy = rng.normal(size=(3, SIDE, SIDE, CHANNELS))
    stored = {"noisy": noisy, "times": times, "labels": labels}
    sizes = {"input_size": SIDE, "hidden_size": HIDDEN, "depth": 2, "num_heads": HEADS, "num_classes": CLASSES}
    scaled, weights = drawn(minimax.DiT(**sizes), rng)
    plain = {name: value for name, value in weights.items() if "gamma" not in name}
    with in_double(), torch.no_grad():
        inputs = first(noisy), torch.tensor(times), torch.tensor(labels)
        stored["scaled"] = last(scaled(*inputs))
        stored["plain"] = last(filled(original.DiT(**sizes), plain)(*inputs))
    stored |= {f"weights/{name}": value for name, value in weights.items()}

    model = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=CHANNELS, out_channels=2 * CHANNELS, num_layers=2,
        sample_size=SIDE, num_embeds_ada_norm=CLASSES, norm_elementwise_affine=False, norm_eps=1e-6,
    )  # fmt: skip
    model, weights = drawn(model, rng)
    embedder = "transformer_blocks.0.norm1.emb."
    weights |= {name.replace("s.0.", "s.1."): value for name, value in weights.items() if name.startswith(embedder)}
    model = filled(model, weights)
    for block in model.transformer_blocks:  # diffusers spaces frequencies otherwise; this is the original's way
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    with in_double(), torch.no_grad():
        stored["diffusers"] = last(model(*inputs[:1], timestep=inputs[1], class_labels=inputs[2]).sample)
    np.savez_compressed(REFERENCE / "dit.npz", **stored, **{f"diffusers/{n}": w for n, w in weights.items()})


def autoencoder(rng):
    widths = (8, 16)
    model = AutoencoderKL(
        block_out_channels=widths, layers_per_block=2, norm_num_groups=4, latent_channels=CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    model, weights = drawn(model, rng)
    weights["quant_conv.bias"][-2:] = 40, -50  # two channels of log variances that are cut off
    model = filled(model, weights)
    images, latents = rng.uniform(-1, 1, (2, 16, 16, 3)), rng.normal(size=(2, 8, 8, CHANNELS))
    with torch.no_grad():
        posterior = model.encode(first(images)).latent_dist
        decoded = model.decode(first(latents)).sample
    np.savez_compressed(
        REFERENCE / "autoencoder.npz", images=images, latents=latents, mean=last(posterior.mean),
        log_variance=last(posterior.logvar), decoded=last(decoded),
        **{f"weights/{name}": value for name, value in weights.items()},
    )  # fmt: skip


def diffusion(folder, rng):
    """With a fixed output of the model, whatever it is given: four images at different times, first and last too."""
    sys.path.insert(0, str(folder))
    from diffusion import create_diffusion

    shape = (4, SIDE, SIDE, CHANNELS)
    clean, noise = 0.7 * rng.normal(size=shape), rng.normal(size=shape)
    output = np.concatenate([noise + 0.3 * rng.normal(size=shape), rng.uniform(-1.2, 1.2, shape)], axis=3)
    times, steps = np.array([0, 1, 500, 999]), np.array([0, 1, 24, 49])
    stored = {"clean": clean, "noise": noise, "output": output, "times": times, "steps": steps}
    asked = []

    def model(noisy, times):
        asked.append(times.numpy())
        return first(output)

    full, short = create_diffusion(""), create_diffusion("50")
    for name, process in (("full", full), ("short", short)):
        for number in ("betas", "alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped"):
            stored[f"{name}_{number}"] = getattr(process, number)
    stored["short_times"] = np.array(short.timestep_map)
    with in_double():
        losses = full.training_losses(model, first(clean), torch.tensor(times), noise=first(noise))
        noisy = full.q_sample(first(clean), torch.tensor(times), first(noise))
        stored |= {name: losses[name].numpy() for name in ("mse", "vb", "loss")}
        stored |= {"noisy": last(noisy), "predicted": last(losses["output"])}
        steps = torch.tensor(steps)
        # Fixed noise in the samplers; the noisy images of the full schedule are any input to the short one.
        torch.randn_like = lambda images: first(noise)
        asked.clear()
        moments = short.p_mean_variance(model, noisy, steps, clip_denoised=False)
        stored["asked"] = asked[0]
        ancestral = short.p_sample(model, noisy, steps, clip_denoised=False)
        stored |= {f"step_{name}": last(moments[name]) for name in ("mean", "log_variance", "pred_xstart")}
        stored["step_sample"] = last(ancestral["sample"])
        for eta in (0.0, 0.6):
            sample = short.ddim_sample(model, noisy, steps, clip_denoised=False, eta=eta)["sample"]
            stored[f"ddim_{eta}"] = last(sample)
        clipped = short.ddim_sample(model, noisy, steps, clip_denoised=True)
        stored |= {"ddim_clipped": last(clipped["sample"]), "clipped": last(clipped["pred_xstart"])}
    np.savez_compressed(REFERENCE / "diffusion.npz", **stored)


def main(dit_folder, minimax_folder):
    dit(models_of(dit_folder), models_of(minimax_folder), np.random.default_rng(0))
    autoencoder(np.random.default_rng(1))
    diffusion(minimax_folder, np.random.default_rng(2))


if __name__ == "__main__":
    main(*sys.argv[1:])

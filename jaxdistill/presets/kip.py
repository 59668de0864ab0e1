"""What KIP's notebook and papers set, and what the notebook printed."""

from jaxdistill.methods.kip import KIP
from jaxdistill.presets.base import Paper, Preset, printed

_GREY = ("mnist", "fashion_mnist", "digits")
_PUBLISHED = {"notebook": printed({"authors' notebook, one set": {"cifar10": {10: 46.7}}})}
_WHITENED = ("cifar10", "cifar100", "svhn_cropped")


def settings(dataset: str, ipc: int, reading: str) -> Preset:
    """The settings of the authors' notebook with its kernel of one hidden layer, or ``"conv"``.

    ``"conv"`` is Nguyen, Novak, Xiao & Lee (NeurIPS 2021, arXiv:2107.13034): a convolutional kernel, whitened
    colour images, 50,000 steps; its step size could not be verified and is the notebook's. Nor could any of its
    accuracies. A step has 5,000 real images, however many classes there are. Images are normalised by their
    own statistics, as in the notebook; whitened as everywhere here, where the paper has another whitening (of
    images of length 1, with a relative penalty).
    """
    conv = reading == "conv"
    return Preset(
        config=KIP(image_lr=0.01 if dataset in _GREY else 0.04),
        steps=50_000 if conv else 300,
        init="real",
        protocol="krr",
        augment="none",
        statistics="default" if conv else "fitted",
        zca=conv and dataset in _WHITENED,
        network={"kernel": "convnet" if conv else "fc1"},
    )


PAPER = Paper({**_PUBLISHED, "conv": {}}, settings, _PUBLISHED)

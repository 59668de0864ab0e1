"""How long networks are trained on a set of photographs, by its size (IDC, Kim et al., ICML 2022, arXiv:2205.14959)."""

from __future__ import annotations

__all__ = ["epochs_for"]

_EPOCHS = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500))
_MORE = 300


def epochs_for(count: int, classes: int) -> int:
    """Epochs on ImageNet's classes, by the code of IDC, which Minimax Diffusion's evaluation took over.

    Two thirds of them, in whole hundreds, for 100 classes, as there.

    Args:
        count: images that are trained on; those of a set with several tiles in each count by their tiles.
        classes: among which they are shared out.
    """
    epochs = next((epochs for most, epochs in _EPOCHS if count <= most * classes), _MORE)
    return epochs * 2 // 3 // 100 * 100 if classes == 100 else epochs

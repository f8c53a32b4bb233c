"""Pictures of measurements."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.adapters.files import published_file

_MOST_NAMES = 40


def confusion_picture(confusion: npt.NDArray[np.int64], names: Sequence[str], target: Path) -> None:
    """Draw how often each class (rows: the truth) was taken for each other, as shares of the row, and publish it."""
    from matplotlib.figure import Figure

    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = min(16.0, 3.5 + 0.3 * len(names))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="truth")
    if len(names) <= _MOST_NAMES:
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
        axes.set_yticks(range(len(names)), names)
        for row, column in np.argwhere(confusion > 0):
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=colour, fontsize=8)
    with published_file(target) as scratch:
        figure.savefig(scratch, dpi=120)

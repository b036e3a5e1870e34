"""What a file of converted weights does not say: how its numbers lie and what its net expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from minnet.errors import unknown_name


@dataclass(frozen=True)
class Convention:
    """How kernels lie in a file, and what surrounds them in the net that they come from.

    ``kernels``: the axes of a convolution's. ``turned``: by 180°, as Theano needs them. ``dense``:
    the axes of a dense one's. ``flatten``: the order in which the first dense layer sees the last
    feature maps. ``preprocessing``: as Keras calls it: 'caffe', BGR with the means
    (103.939, 116.779, 123.68) subtracted; 'torch', RGB from 0 to 1, standardized with ImageNet's
    means and deviations; None where nobody knows. ``output``: what the last layer gives.
    """

    kernels: Literal["HWIO", "OIHW"]
    dense: Literal["(in, out)", "(out, in)"]
    flatten: Literal["HWC", "CHW"]
    turned: bool = False
    preprocessing: Literal["caffe", "torch"] | None = None
    output: Literal["probabilities", "logits"] = "probabilities"

    @property
    def channels(self) -> str | None:
        """In which order the images' colours come: 'RGB', 'BGR', or None where nobody knows."""
        return {"caffe": "BGR", "torch": "RGB", None: None}[self.preprocessing]

    def __str__(self) -> str:
        turned = ", turned by 180°" if self.turned else ""
        images = f"{self.channels} ({self.preprocessing})" if self.preprocessing else "not known"
        return (
            f"convolutions {self.kernels}{turned}; dense {self.dense}; flattened {self.flatten}; "
            f"images {images}; gives {self.output}"
        )


#: By the name of the library whose files are like that.
CONVENTIONS = {
    "keras": Convention("HWIO", "(in, out)", "HWC", False, "caffe", "probabilities"),
    "theano": Convention("OIHW", "(in, out)", "CHW", True, "caffe", "probabilities"),
    "torchvision": Convention("OIHW", "(out, in)", "CHW", False, "torch", "logits"),
}


def get(convention: str | Convention) -> Convention:
    """A convention by its name.

    Raises :class:`~minnet.errors.ArgumentError` for an unknown one.
    """
    if isinstance(convention, Convention):
        return convention
    if convention not in CONVENTIONS:
        raise unknown_name("convention", convention, CONVENTIONS)
    return CONVENTIONS[convention]

"""What a file of converted weights does not say: how its numbers lie and what its net expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from minnet.checks import whole
from minnet.errors import FileError, mismatch, unknown_name
from minnet.layers import ImagePreprocessing, Layer, preprocessing
from minnet.layers.preprocessing import convention_of


@dataclass(frozen=True)
class Convention:
    """How kernels lie in a file, and what surrounds them in the net that they come from.

    ``kernels``: the axes of a convolution's. ``turned``: by 180°, as Theano needs them. ``dense``:
    the axes of a dense one's. ``flatten``: the order in which the first dense layer sees the last
    feature maps. ``preprocessing``: a mode of :func:`minnet.vgg16.preprocess_input`, None where
    nobody knows. ``output``: what the last layer gives. ``size``: (height, width) of the images,
    None where that is not said.
    """

    kernels: Literal["HWIO", "OIHW"]
    dense: Literal["(in, out)", "(out, in)"]
    flatten: Literal["HWC", "CHW"]
    turned: bool = False
    preprocessing: str | None = None
    output: Literal["probabilities", "logits"] = "probabilities"
    size: tuple[int, int] | None = None

    @property
    def channels(self) -> str | None:
        """In which order the images' colours come: 'RGB', 'BGR', or None where nobody knows."""
        if self.preprocessing is None:
            return None
        return "BGR" if convention_of(self.preprocessing).reverse else "RGB"

    def __str__(self) -> str:
        turned = ", turned by 180°" if self.turned else ""
        images = f"{self.channels} ({self.preprocessing})" if self.preprocessing else "not known"
        if self.size:
            images += " of {} × {}".format(*self.size)
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


def ours(convention: Convention) -> Convention:
    """That of the same net once its arrays lie as ours do."""
    return replace(convention, kernels="HWIO", dense="(in, out)", flatten="HWC", turned=False)


def of_model(layers: Sequence[Layer]) -> dict[str, Any] | None:
    """What a file of a model's weights has to say, so that nobody takes its images for others.

    None for a model that does not begin with :class:`~minnet.layers.ImagePreprocessing`.
    """
    if not layers or not isinstance(layers[0], ImagePreprocessing):
        return None
    shape = layers[0].output_shape
    size = None if shape is None else (shape[0], shape[1])
    return asdict(replace(CONVENTIONS["keras"], preprocessing=layers[0].mode, size=size))


def from_settings(file: str, settings: Mapping[str, Any]) -> Convention:
    """The convention that a file states.

    Raises :class:`~minnet.errors.FileError` for one that nobody wrote.
    """
    try:
        found = Convention(**settings)
        for name, known in _KNOWN.items():
            if getattr(found, name) not in known:
                raise ValueError(f"{name} {getattr(found, name)!r:.40}")
        if found.size is not None:
            height, width = (whole("size", n, 1) for n in found.size)
            found = replace(found, size=(height, width))
        return found
    except (TypeError, ValueError) as error:
        expected = "a convention in the metadata"
        raise FileError(mismatch(file, expected, f"another: {error}")) from None


#: What a file may say.
_KNOWN = {
    "kernels": ("HWIO", "OIHW"),
    "dense": ("(in, out)", "(out, in)"),
    "flatten": ("HWC", "CHW"),
    "turned": (False, True),
    "preprocessing": (None, *preprocessing.CONVENTIONS),
    "output": ("probabilities", "logits"),
}

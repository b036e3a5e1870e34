"""The files of weights that Keras publishes, for those who have none yet."""

from __future__ import annotations

from pathlib import Path

from minnet.downloads import fetch, has_checksum
from minnet.files import PathLike
from minnet.vgg16.names import KERAS_CACHE

#: What stands for them where a file of weights may be named, as in Keras.
IMAGENET = "imagenet"
#: Where Keras itself gets them.
SOURCE = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16"
NAME = "vgg16_weights_tf_dim_ordering_tf_kernels.h5"
NAME_NOTOP = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
#: As Keras's sources state them.
CHECKSUMS = {
    NAME: "md5:64373286793e3c8b2b4e3219cbf3544b",
    NAME_NOTOP: "md5:6d6bbae143d832006294945121d1f1fc",
}


def download(
    include_top: bool = True,
    mirror: str | None = None,
    directory: PathLike | None = None,
    verbose: int = 1,
) -> Path:
    """ImageNet's weights as Keras publishes them: the path of the file, downloaded if need be.

    ``include_top``: all of it, 553 MB; without, the convolutions alone, 59 MB. ``mirror``: the
    address of a directory that has the files too. ``directory``: where to keep the file; if None,
    minnet's own among the user's caches, unless Keras has it in its own.

    Raises what :func:`minnet.downloads.fetch` raises.
    """
    name = NAME if include_top else NAME_NOTOP
    if directory is None:
        kept = KERAS_CACHE.expanduser() / name
        if has_checksum(kept, CHECKSUMS[name]):
            return kept
    address = f"{(mirror or SOURCE).rstrip('/')}/{name}"
    advice = (
        "Without a network, download it elsewhere and use it by its path; --mirror names another "
        "address."
    )
    return fetch(address, CHECKSUMS[name], directory, advice, verbose)


def located(weights: PathLike | None, include_top: bool = True) -> PathLike | None:
    """The file that is meant: for 'imagenet' that of :func:`download`."""
    return download(include_top) if weights == IMAGENET else weights

"""Files that are as they were, or whole: nothing that interrupts a save leaves half of one."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minnet.errors import ArgumentError, FileError, MinnetError, mismatch

PathLike = str | os.PathLike[str]


#: How the name ends of what a killed process leaves beside a file that it was writing.
LEFTOVER = ".part"


@contextmanager
def replacing(
    path: PathLike, content: str, error_kind: type[MinnetError] = FileError
) -> Iterator[Path]:
    """A temporary name beside ``path``; what is written there takes its place.

    The move comes last, after the bytes are on the disk, and is one step: whoever looks, or starts
    again after a crash, finds the former file or the new one. If anything is raised inside, the
    former file stays. Of a symbolic link it is the file that the link points to. ``content``: what
    is written, in words, for the error.

    Raises ``error_kind``, naming the file, where there is no place for it: a full disk, no
    permission, a directory or a device of that name.
    """
    try:
        target = _followed(path)
        if obstacle := _no_file(target):
            raise FileExistsError(None, f"{obstacle} of this name")
        # A directory of its own: libraries may want temporary files too, and two who save at once
        # do not write into each other's.
        beside = tempfile.mkdtemp(LEFTOVER, target.name[:100], target.parent)
        temporary = Path(beside) / Path(path).name  # with the ending that says how to write
        try:
            yield temporary
            os.chmod(temporary, 0o666 & ~_umask())
            _flush(temporary)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        with suppress(OSError):  # a directory one may not read
            _flush(target.parent)
    except OSError as error:
        received = f"{error.strerror or error}."
        expected = f"{path}: expected a place to write {content}, received: "
        raise error_kind(expected + received) from None


def workbook_name(where: str, path: PathLike) -> Path:
    """The name of a workbook to be written; under another a file of another kind may be replaced.

    Raises :class:`~minnet.errors.ArgumentError`, naming ``where``, unless it ends in .xlsx.
    """
    if Path(path).suffix.lower() != ".xlsx":
        received = repr(os.fspath(path))
        raise ArgumentError(mismatch(where, "a name that ends in .xlsx", received))
    return Path(path)


def remove_leftovers(path: PathLike) -> None:
    """Remove what processes that were killed left beside a file that nobody is writing now."""
    target = _followed(path)
    for leftover in target.parent.glob(f"{glob.escape(target.name[:100])}*{LEFTOVER}"):
        shutil.rmtree(leftover, ignore_errors=True)


def require_new(path: PathLike, force: bool = False) -> Path:
    """The path of a file to be written; asked for before the work whose result it will hold.

    Raises :class:`~minnet.errors.FileError` where there is a file of this name already, unless it
    may be replaced by ``force``; a directory or a device of this name; or no directory to write it
    to.
    """
    file = Path(path)
    obstacle = _no_file(file)
    if obstacle or not file.parent.is_dir():
        received = obstacle or f"no directory {str(file.parent)!r}"
        advice = "Choose another name." if obstacle else "Make that directory first."
        raise FileError(mismatch(str(file), "the name of a file to write", received, advice))
    if file.exists() and not force:
        advice = "Choose another name, or add --force to replace it."
        raise FileError(mismatch(str(file), "a new file", "one that exists", advice))
    return file


def require_file(path: PathLike, content: str) -> Path:
    """The path of a file that can be read.

    Raises :class:`~minnet.errors.FileError`, naming it, where there is none.
    """
    file = Path(path)
    try:
        if _no_file(file) and not file.is_dir():  # a pipe might be waited for for ever
            raise OSError(None, "a device, a pipe or the like")
        with file.open("rb"):
            return file
    except OSError as error:
        expected = f"a file with {content}"
        raise FileError(mismatch(str(file), expected, f"{error.strerror or error}")) from None


def _followed(path: PathLike) -> Path:
    """The file itself, where the path is a symbolic link, or goes through some.

    Raises :class:`OSError` for links in a circle, and for a name that no file can have.
    """
    try:
        target = Path(os.path.realpath(path))
    except ValueError as error:  # of a character NUL
        raise OSError(str(error)) from None
    if target.is_symlink():
        target.stat()
    return target


def _no_file(path: Path) -> str:
    """What stands there and is no file, in words; else nothing."""
    if not path.exists() or path.is_file():
        return ""
    return "a directory" if path.is_dir() else "a device, pipe or socket"


def _flush(path: Path) -> None:
    """Wait until a file's bytes, or a directory's names, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no directories, and moves files in one step without it
    # For writing, as Windows flushes nothing else; a directory is opened for reading.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

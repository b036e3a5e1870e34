"""Files from the network: whole and checked, or not there at all; what was interrupted goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from minnet.errors import FileError, MinnetError, mismatch, missing
from minnet.files import PathLike
from minnet.progress import Progress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: How the name ends of what an interrupted download leaves, for the next one to go on with.
UNFINISHED = ".unfinished"
CHUNK = 1 << 16  # bytes; less than that is lost when a connection breaks
TIMEOUT = 30  # seconds without an answer
MEGABYTE = 10**6


def fetch(
    url: str, checksum: str, directory: PathLike | None = None, advice: str = "", verbose: int = 1
) -> Path:
    """The path of the file behind ``url``, downloaded unless it is there already.

    ``checksum``: 'md5:…' or 'sha256:…' with hexadecimal digits. ``directory``: None for minnet's
    own among the user's caches. ``advice``: what to do where it cannot be had. ``verbose``: as in
    ``fit``, but on stderr.

    A download that was interrupted goes on where it was, if the server can do that. A file takes
    its name once all of it has arrived and its checksum is right; another one is deleted.

    Raises :class:`~minnet.errors.FileError` where there is no answer, the connection is lost, the
    checksum is another, or the directory cannot be written, and
    :class:`~minnet.errors.MissingDependencyError` without the package pooch.
    """
    pooch = _pooch()
    from requests.exceptions import RequestException

    place = Path(pooch.os_cache("minnet") if directory is None else directory)
    name = url.rpartition("/")[2]
    downloader = _Resuming(place / f"{name}{UNFINISHED}", verbose)
    try:
        return Path(pooch.retrieve(url, checksum, name, place, downloader=downloader))
    except MinnetError:
        raise
    except RequestException as error:
        received = f"{type(error).__name__}: {_reason(error)}"
        raise FileError(mismatch(url, "an answer", received, advice)) from None
    except ValueError:  # pooch's word for another checksum; it has deleted the file
        expected, received = f"a file with {checksum}", "another one, which was deleted"
        raise FileError(mismatch(url, expected, received, advice)) from None
    except OSError as error:
        received = error.strerror or str(error)
        raise FileError(mismatch(str(place), "a place to write a download", received)) from None


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether this is a file with that checksum."""
    kind, _, digits = checksum.partition(":")
    return path.is_file() and _pooch().file_hash(str(path), kind) == digits


def _reason(error: Exception) -> str:
    """What went wrong, without the pools of connections and the retries that it went through."""
    reason = getattr(error.args[0] if error.args else None, "reason", error)
    return str(reason).rpartition("): ")[2]


def _pooch() -> Any:
    try:
        import pooch
    except ImportError:
        raise missing("pooch", "vgg", "Downloading weights") from None
    return pooch


class _Resuming:
    """A downloader for pooch that asks only for the bytes that are not here yet (RFC 9110, 14.2).

    They are kept in the file ``unfinished`` until all of them have come.
    """

    def __init__(self, unfinished: Path, verbose: int):
        self._unfinished, self._verbose = unfinished, verbose

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        with _claimed(self._unfinished) as file:
            try:
                self._download(url, file)
            finally:
                if not file.tell():
                    with suppress(OSError):  # Windows removes no open files
                        self._unfinished.unlink()
        os.replace(self._unfinished, output_file)

    def _download(self, url: str, file: IO[bytes]) -> None:
        import requests

        have = file.seek(0, os.SEEK_END)
        headers = {"Accept-Encoding": "identity"}  # sizes and ranges are those of the file itself
        if have:
            headers["Range"] = f"bytes={have}-"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if have and answer.status_code == requests.codes.range_not_satisfiable:
                return  # nothing is left to send: the checksum will tell whether that is right
            answer.raise_for_status()
            if answer.status_code != requests.codes.partial_content:
                have = file.truncate(0)
            self._receive(answer, file, have)

    def _receive(self, answer: Any, file: IO[bytes], have: int) -> None:
        from requests.exceptions import RequestException

        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        size = None if total is None else max(total // MEGABYTE, 1)
        progress = Progress(size, 1, self._verbose, sys.stderr, unit="MB")
        progress.begin(0, self._unfinished.name.removesuffix(UNFINISHED), have // MEGABYTE)
        lost: Exception | None = None
        try:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress.update(have // MEGABYTE, dict)
        except RequestException as error:
            lost = error
        finally:
            progress.close()
        if lost is not None or have != (total or have):
            received = f"{have:,} of them before the connection was lost"
            advice = "The same command goes on from there."
            expected = f"{total:,} bytes" if total else "all bytes"
            raise FileError(mismatch(answer.url, expected, received, advice))
        progress.end({})


@contextmanager
def _claimed(path: Path) -> Iterator[IO[bytes]]:
    """The file, for appending, which nobody else has claimed; a process that ends gives it back.

    Raises :class:`~minnet.errors.FileError` where another process has. Windows, which has no such
    claims, lets nobody move the file then.
    """
    with path.open("ab") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                advice = "Wait for it, and repeat the command."
                expected, received = "a download of one's own", "one by another process"
                raise FileError(mismatch(str(path), expected, received, advice)) from None
        yield file

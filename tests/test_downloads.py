"""Downloads from a server of our own: whole, interrupted, wrong, unreachable."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from minnet import cli, downloads
from minnet.errors import FileError, MissingDependencyError
from minnet.vgg16 import official

pytest.importorskip("pooch")

CONTENT = np.random.default_rng(0).bytes(3_000_000)
CHECKSUM = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Gives CONTENT under every name but 'none'; notes the ranges that it is asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut: int | None = None  # the connection ends after so many bytes
        self.knows_ranges = True
        self.ranges: list[str | None] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.ranges.append(wanted)
        start = int(wanted[len("bytes=") : -1]) if wanted and server.knows_ranges else 0
        if self.path.endswith("none"):
            return self.send_error(404)
        if start >= len(server.content):
            return self.send_error(416)
        part = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[: server.cut])
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch(server: Server, directory: Path, name: str = "file.h5") -> Path:
    return downloads.fetch(f"{server.address}/{name}", CHECKSUM, directory, "Ask.", verbose=0)


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        path = fetch(server, tmp_path / "new" / "cache")
        assert path == (tmp_path / "new" / "cache" / "file.h5").resolve()
        assert path.read_bytes() == CONTENT
    assert server.ranges == [None]
    assert [file.name for file in path.parent.iterdir()] == ["file.h5"]


def test_a_file_that_is_damaged_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.h5").write_bytes(CONTENT[:-1] + b"?")
    assert fetch(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("cut", [1, 1_000_000, 2_999_999])
def test_an_interrupted_download_goes_on(server: Server, tmp_path: Path, cut: int) -> None:
    server.cut = cut
    with pytest.raises(FileError, match=r"3,000,000 bytes.*lost\. The same command goes on"):
        fetch(server, tmp_path)
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    have = len(left)
    assert cut - downloads.CHUNK < have <= cut and left == CONTENT[:have]
    server.cut = None
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={have}-" if have else None]
    assert [file.name for file in tmp_path.iterdir()] == ["file.h5"]


def test_two_downloads_at_once(server: Server, tmp_path: Path) -> None:
    """The second one would write between the bytes of the first."""
    pytest.importorskip("fcntl")
    server.cut = 2_000_000
    with pytest.raises(FileError, match="lost"):
        fetch(server, tmp_path)
    server.cut = None
    unfinished = tmp_path / f"file.h5{downloads.UNFINISHED}"
    before = unfinished.read_bytes()
    refused = pytest.raises(FileError, match=r"unfinished: .* another process\. Wait for it")
    with downloads._claimed(unfinished), refused:
        fetch(server, tmp_path)
    assert unfinished.read_bytes() == before
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_server_that_knows_no_ranges(server: Server, tmp_path: Path) -> None:
    server.cut, server.knows_ranges = 1_000_000, False
    with pytest.raises(FileError, match="lost"):
        fetch(server, tmp_path)
    server.cut = None
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_killed_between_the_last_byte_and_the_end(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"file.h5{downloads.UNFINISHED}").write_bytes(CONTENT)
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=3000000-"]
    assert [file.name for file in tmp_path.iterdir()] == ["file.h5"]


@pytest.mark.parametrize("before", [b"", b"?" * 10, b"?" * 4_000_000])
def test_another_checksum_leaves_nothing(server: Server, tmp_path: Path, before: bytes) -> None:
    """A wrong file, and what does not fit the beginning of another one that is here."""
    if before:
        (tmp_path / f"file.h5{downloads.UNFINISHED}").write_bytes(before)
    else:
        server.content = b"login page"
    with pytest.raises(FileError, match=rf"{CHECKSUM}, received another.*deleted\. Ask\."):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_answer(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"404.* Ask\."):
        fetch(server, tmp_path, "none")
    server.shutdown()  # else it may still take the call, and drop it
    server.server_close()
    with pytest.raises(
        FileError, match=r"file\.h5: expected an answer, received Connect\w+: F[^(]* Ask\."
    ):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_place(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="a place to write a download"):
        fetch(server, tmp_path / "file")


def test_without_pooch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "minnet\[vgg\]"'):
        downloads.fetch("http://127.0.0.1/x", CHECKSUM, tmp_path)


# -- the command -----------------------------------------------------------------------------------


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, list(map(str, arguments)), prog_name="minnet")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's own caches."""
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return home


@pytest.mark.parametrize(("options", "name"), [((), "NAME"), (("--notop",), "NAME_NOTOP")])
def test_the_command_prints_the_path(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch, options: Any, name: str
) -> None:
    file = getattr(official, name)
    monkeypatch.setitem(official.CHECKSUMS, file, CHECKSUM)
    told = []
    for mirror in (server.address, f"{server.address}/"):
        code, out, err = run("weights", "vgg16", *options, "--mirror", mirror)
        path = Path(out.rstrip("\n"))
        assert code == 0 and path.name == file and path.read_bytes() == CONTENT
        assert home.resolve() in path.parents
        told.append(f"{file} - 0s - " in err and "MB/s" in err)
    assert told == [True, False]
    assert server.ranges == [None]


def test_a_file_that_keras_has_is_used(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(official.CHECKSUMS, official.NAME, CHECKSUM)
    kept = home / ".keras" / "models" / official.NAME
    kept.parent.mkdir(parents=True)
    kept.write_bytes(CONTENT)
    assert run("weights", "vgg16", "--mirror", server.address)[:2] == (0, f"{kept}\n")
    assert server.ranges == []
    kept.write_bytes(CONTENT[1:])
    assert run("weights", "vgg16", "--mirror", server.address)[1] != f"{kept}\n"


def test_the_command_refuses(server: Server, tmp_path: Path) -> None:
    """A file that is not the official one; a net that nobody publishes here; no network."""
    code, out, err = run("weights", "vgg16", "--mirror", server.address, "-o", tmp_path)
    assert (code, out) == (2, "") and "another one, which was deleted" in err
    assert list(tmp_path.iterdir()) == []
    code, _, err = run("weights", "vgg19")
    assert code == 2 and "unknown net: expected one of vgg16" in err
    server.server_close()
    code, _, err = run("weights", "vgg16", "--mirror", server.address)
    assert code == 2 and "use it by its path; --mirror names another address" in err

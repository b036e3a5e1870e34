"""Compiling once, sharing work among threads, surviving what happens to caches and processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from together import together

from minnet.kernels import jit
from minnet.kernels.jit import kernel, next_task, workers_for

numba = pytest.importorskip("numba")
prange = numba.prange

#: A program of its own that doubles an array with the number of workers it is told.
PROGRAM = """
import sys
import numpy as np
from numba import prange
from minnet.kernels.jit import kernel, next_task, workers_for

@kernel
def double(workers, counters, x, y):
    for worker in prange(workers):
        task = next_task(counters, worker, len(x))
        while task < len(x):
            y[task] = 2 * x[task]
            task = next_task(counters, worker, len(x))

def check(workers):
    x = np.arange(1000.0)
    y = np.zeros_like(x)
    double(workers, x, y)
    assert (y == 2 * x).all()
"""


def run(
    directory: Path, code: str, cache: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    (directory / "program.py").write_text(PROGRAM + code, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "program.py"],
        cwd=directory,
        env={**os.environ, "MINNET_CACHE_DIR": str(cache or directory / "cache"), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def succeeded(result: subprocess.CompletedProcess[str]) -> bool:
    assert result.returncode == 0, result.stderr
    return True


@kernel
def squares(workers, counters, x, y):  # type: ignore[no-untyped-def]
    for worker in prange(workers):
        task = next_task(counters, worker, len(x))
        while task < len(x):
            y[task] = x[task] * x[task]
            task = next_task(counters, worker, len(x))


def test_tasks_are_shared_and_each_is_done_once() -> None:
    x = np.arange(10_000.0)
    for workers in (1, 2, 3):
        y = np.zeros_like(x)
        squares(workers, x, y)
        np.testing.assert_array_equal(y, x * x)


def test_several_python_threads_at_once() -> None:
    x = np.arange(50_000.0)
    wrong = []

    def work(k: int) -> None:
        for _ in range(20):
            y = np.zeros_like(x)
            squares(2, x, y)
            if not (y == x * x).all():
                wrong.append(k)

    together(work, range(6))
    assert not wrong


def test_small_work_stays_in_one_thread() -> None:
    assert workers_for(jit.SMALL - 1) == 1


def test_threadpoolctl_limits_the_workers() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    if workers_for(10**9) == 1 or jit._Threads.openmp is None:
        pytest.skip("one core, or no OpenMP")
    with threadpoolctl.threadpool_limits(1):
        assert workers_for(10**9) == 1
    assert workers_for(10**9) > 1


@pytest.mark.skipif(jit.config.DISABLE_JIT, reason="nothing is compiled")
class TestProcesses:
    def test_numba_num_threads_is_respected(self, tmp_path: Path) -> None:
        code = "print(workers_for(10**9))"
        result = run(tmp_path, code, NUMBA_NUM_THREADS="1")
        assert succeeded(result)
        assert result.stdout == "1\n"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
    def test_a_forked_child_goes_on_in_one_thread(self, tmp_path: Path) -> None:
        code = """
import os
check(max(2, workers_for(10**9)))
child = os.fork()
if not child:
    assert workers_for(10**9) == 1
    check(workers_for(10**9))
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
check(2)
"""
        assert succeeded(run(tmp_path, code))

    def test_a_second_process_compiles_nothing(self, tmp_path: Path) -> None:
        code = "import sys; check(1); check(2); print('numba.np.linalg' in sys.modules)"
        first, second = run(tmp_path, code), run(tmp_path, code)
        assert succeeded(first) and succeeded(second)
        assert first.stderr.startswith("minnet: compiling kernels for this machine")
        assert str(tmp_path / "cache") in first.stderr
        assert second.stderr == ""
        # Nor does it import what Numba compiles with, which takes longer than the kernels.
        assert (first.stdout, second.stdout) == ("True\n", "False\n")

    @pytest.mark.parametrize("suffix", ["nbi", "nbc"])
    def test_a_damaged_cache_is_rebuilt(self, tmp_path: Path, suffix: str) -> None:
        assert succeeded(run(tmp_path, "check(1)"))
        files = list((tmp_path / "cache").glob(f"*.{suffix}"))
        assert files
        for path in files:
            path.write_bytes(b"damaged" + path.read_bytes()[7:])
        second, third = run(tmp_path, "check(1)"), run(tmp_path, "check(1)")
        assert succeeded(second) and succeeded(third)
        assert "compiling" in second.stderr
        assert third.stderr == ""

    def test_without_a_writable_directory_it_still_works(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("a file, so no directory can be made here")
        result = run(tmp_path, "check(1)", cache=tmp_path / "file" / "cache")
        assert succeeded(result)
        assert "not kept" in result.stderr


def test_a_read_only_installation_uses_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("MINNET_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "file" / "jit.py"))
    assert jit.cache_dir.__wrapped__() == tmp_path / "minnet"

"""Compiling kernels: once per machine, for one thread and for many.

A *kernel* is a function that loops over tasks with Numba's ``prange``. Its first argument is the
number of workers, which divide the tasks among themselves; the second, counters, is not passed:

    @kernel
    def double(workers, counters, x, y):
        for worker in prange(workers):
            task = next_task(counters, worker, len(x))
            while task < len(x):
                y[task] = 2 * x[task]
                task = next_task(counters, worker, len(x))

    double(workers_for(len(x)), x, y)

It is compiled when first called, as two twins: one runs in Numba's threads, the other in the
caller's. The second one serves small tasks, callers that find the threads busy with the work of
another Python thread, and processes that were forked while the threads were running, which GNU
OpenMP does not survive. Helpers that kernels call are decorated with ``compiled``.

The machine code is stored on disk, so another process need not compile again; :func:`cache_dir`
says where. With ``NUMBA_DISABLE_JIT=1`` everything runs as plain Python.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import os
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache
from numba.core.runtime import rtsys
from numba.extending import overload

from minnet.kernels import vector_ir
from minnet.kernels.vector import count_up
from minnet.program import WRITING, Team

#: Multiply-adds below which starting the threads costs more than it saves.
SMALL = 100_000
PORTIONS = 8  # of the tasks, for each worker
LINE = 8  # counters in a cache line, of which one is used: cores pass each other whole lines

_OPTIONS = {"nogil": True, "error_model": "numpy"}

#: Helpers are called by kernels alone, so they need no door for Python to come in by.
_HELPERS = {**_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

compiled: Any = numba.njit(**_HELPERS)
#: For helpers that are called from one place: compiling them there alone takes less time.
inlined: Any = numba.njit(inline="always", **_OPTIONS)


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like ``compiled``, for a large helper that is called with many a constant.

    Numba compiles a helper anew for each combination of constants that it is given, since 1 has
    another type than an integer has; an overload it compiles for the types alone.
    """
    if not config.DISABLE_JIT:

        @overload(function, jit_options=_HELPERS)
        @functools.wraps(function)
        def choose(*_: Any) -> Callable[..., Any]:
            return function

    return function


# -- the cache on disk -----------------------------------------------------------------------------


@functools.cache
def cache_dir() -> Path | None:
    """Where compiled kernels are kept; None where no directory can be written to.

    The first of these that is writable: ``MINNET_CACHE_DIR``, ``__pycache__`` beside the kernels'
    source, and the user's own cache.
    """
    wish = os.environ.get("MINNET_CACHE_DIR")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    choices = [Path(wish)] if wish else [Path(__file__).parent / "__pycache__", user / "minnet"]
    for choice in choices:
        try:
            choice.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=choice):
                return choice
        except OSError:
            continue
    return None


@functools.cache
def _stamp() -> str:
    """Changes whenever compiled code may: one kernel's code holds that of many helpers."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    digest.update(f"{numba.__version__} {llvmlite.__version__} {vector_ir.BYTES}".encode())
    return digest.hexdigest()


class _Locator:
    """Tells Numba's cache where files go and when they are out of date."""

    def __init__(self, function: Any, directory: Path):
        self._py_file = function.__code__.co_filename  # the name Numba's warnings look for
        self._directory = directory

    @classmethod
    def from_function(cls, function: Any, path: str) -> _Locator | None:
        directory = cache_dir()
        return None if directory is None else cls(function, directory)

    def ensure_cache_path(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(self._directory)

    def get_source_stamp(self) -> str:
        return _stamp()

    def get_disambiguator(self) -> str:
        return "minnet"


class _CacheImpl(CompileResultCacheImpl):
    _locator_classes: ClassVar[list[Any]] = [_Locator]


class _Cache(FunctionCache):
    """Numba's cache, which a damaged file or a full disk cannot break: we compile instead."""

    _impl_class = _CacheImpl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = None
        try:
            # What Numba does here first, importing all that compiling could need, takes a second;
            # finished code needs no more than the runtime.
            rtsys.initialize(target_context)
            with self._guard_against_spurious_io_errors():
                found = self._load_overload(sig, target_context)
        except Exception:  # unpickling damaged bytes may raise anything
            self._start_again()
        if found is None:
            _announce()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception:  # a full disk, or the damaged index again
            self._start_again()

    def _start_again(self) -> None:
        try:
            self.flush()
        except OSError:
            self.disable()


class _NoCache(NullCache):
    """Where nothing can be kept: says that a kernel is being compiled."""

    def load_overload(self, sig: Any, target_context: Any) -> None:
        _announce()


@functools.cache
def _announce() -> None:
    where = cache_dir()
    kept = "they are not kept, as no cache directory can be written to" if where is None else where
    print(
        f"minnet: compiling kernels for this machine, once; a few seconds each (kept: {kept})",
        file=sys.stderr,
        flush=True,
    )


# -- kernels and their twins ----------------------------------------------------------------------


class Kernel:
    """A function with a serial and a parallel compiled form; see the module's docstring."""

    def __init__(self, function: Callable[..., None]):
        functools.update_wrapper(self, function)
        self._serial = _twin(function, "serial", parallel=False)
        self._parallel = _twin(function, "parallel", parallel=True)

    def __call__(self, workers: int, *arguments: Any) -> None:
        if workers > 1 and Team.lock.acquire(blocking=False):
            try:
                self._run(self._parallel, workers, *arguments)
            finally:
                Team.lock.release()
        else:
            self._run(self._serial, 1, *arguments)

    def _run(self, twin: Any, workers: int, *arguments: Any) -> None:
        counters = np.zeros(workers * LINE, np.int64)
        twin(workers, counters, *arguments)
        program = WRITING.program
        if program is not None:
            program.note(twin, (workers, counters, *arguments))
            program.count(counters)


kernel = Kernel


def _twin(function: Callable[..., None], suffix: str, parallel: bool) -> Any:
    if config.DISABLE_JIT:
        return function
    twin = types.FunctionType(
        function.__code__,
        function.__globals__,
        f"{function.__name__}_{suffix}",
        function.__defaults__,
    )
    # Numba files compiled code under this name, and would otherwise confuse the twins.
    twin.__qualname__ = f"{function.__module__.rpartition('.')[2]}.{twin.__name__}"
    dispatcher = numba.njit(parallel=parallel, **_OPTIONS)(twin)
    dispatcher._cache = _NoCache() if cache_dir() is None else _Cache(twin)
    return dispatcher


# -- threads ---------------------------------------------------------------------------------------


class _Threads:
    """What is known about Numba's threads in this process."""

    forked = False  # true in the child of a process whose threads were running
    started = False
    count: Any = numba.get_num_threads
    openmp: Any = None  # asks GNU OpenMP for its limit, which threadpoolctl sets
    openmp_default = 0


def threads_are_running() -> bool:
    """Whether this process has begun to use Numba's threads."""
    return _Threads.started


def start_threads() -> None:
    """Begin to use Numba's threads, unless that has been done or nothing is compiled."""
    if _Threads.started or config.DISABLE_JIT:
        return
    from numba.np.ufunc import parallel

    parallel._launch_threads()
    # What numba.get_num_threads asks, after two locks that only matter before there are threads.
    _Threads.count = staticmethod(getattr(parallel, "_get_num_threads", numba.get_num_threads))
    if numba.threading_layer() == "omp":
        omppool = importlib.import_module("numba.np.ufunc.omppool")
        # A library's symbols include those of the libraries it was linked with.
        ask = getattr(ctypes.CDLL(omppool.__file__), "omp_get_max_threads", None)
        if ask is not None:
            _Threads.openmp, _Threads.openmp_default = ask, ask()
    _Threads.started = True


def _after_fork() -> None:
    Team.lock = threading.RLock()  # another thread of the parent may have held it
    _Threads.forked = _Threads.started


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)


def workers_for(work: int) -> int:
    """How many workers should share so many multiply-adds (or their like).

    At most ``numba.get_num_threads()``, which ``NUMBA_NUM_THREADS`` and ``numba.set_num_threads``
    set, and at most what threadpoolctl allows; one where the task is small.
    """
    if work < SMALL or _Threads.forked or config.DISABLE_JIT:
        return 1
    start_threads()
    count = int(_Threads.count())
    if _Threads.openmp is not None:
        allowed = _Threads.openmp()
        if allowed != _Threads.openmp_default:
            return min(count, allowed)
    return count


def portion(tasks: int, workers: int) -> int:
    """How many neighbouring tasks to take at a time, where single ones are too small.

    A few portions for each worker are enough for all to end at the same time.
    """
    return max(1, tasks // (PORTIONS * workers))


@compiled
def next_task(counters: Any, worker: int, tasks: int) -> int:
    """The number of the next task for a worker, or ``tasks`` when all are taken.

    Each worker has a share of neighbouring tasks and a counter for them. With the same share of
    the images in every kernel, it finds what it wrote before in its core's own cache. Whoever has
    finished takes from the others' shares.
    """
    workers = len(counters) // LINE
    for k in range(workers):
        owner = (np.int64(worker) + k) % workers
        task = owner * tasks // workers + count_up(counters, owner * LINE)
        if task < (owner + 1) * tasks // workers:
            return task
    return tasks


@compiled
def start_again(counters: Any) -> None:
    """Let the tasks be counted from 0 again; while no worker works."""
    for i in range(0, len(counters), LINE):
        counters[i] = 0

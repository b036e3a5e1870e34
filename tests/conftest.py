"""How the whole suite runs: which minnet is tested, and how hypothesis looks for examples."""

import os

# Several processes share the cores: threads that wait give them up. OpenMP reads this at its start.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from hypothesis import settings

import minnet

# Examples that recalculate a workbook take their time; how long says nothing about right or wrong.
# A user's run is short; each draws other examples, and CI draws more of them.
settings.register_profile("default", deadline=None, max_examples=10)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True, print_blob=True)
# Where every example takes long: kernels as plain Python, or compiled for another machine.
settings.register_profile("few", settings.get_profile("ci"), max_examples=8)
FEW = "few" if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0" else None
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or FEW or ("ci" if os.environ.get("CI") else "default")
)


def pytest_report_header() -> str:
    return f"minnet {minnet.__version__} from {os.path.dirname(minnet.__file__)}"

"""How the whole suite runs: which minnet is tested, and how hypothesis looks for examples."""

import os

from hypothesis import settings

import minnet

# Examples that recalculate a workbook take their time; how long says nothing about right or wrong.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_report_header() -> str:
    return f"minnet {minnet.__version__} from {os.path.dirname(minnet.__file__)}"

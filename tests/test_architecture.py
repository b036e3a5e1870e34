"""The house as a whole: imports flow one way, modules stay small, importing minnet stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import minnet

ROOT = Path(minnet.__file__).parent

#: From the bottom to the top: a module imports from lines above its own only. Names leave out
#: ``minnet.``; a package's own name is its ``__init__``, and "" is minnet's.
LAYERS = [
    ["console", "errors", "interrupts"],
    ["configs", "files", "tensor"],
    ["kernels.memory"],
    ["bundles", "plots", "program"],
    ["checks", "several"],
    [
        "kernels.geometry",
        "kernels.vector_ir",
        "kernels.winograd_matrices",
    ],
    ["kernels.prepared", "kernels.reference", "kernels.vector"],
    ["kernels.codes", "kernels.jit"],
    ["kernels.tile"],
    ["kernels.microkernel"],
    ["kernels.panels", "kernels.places", "kernels.winograd_transforms"],
    [
        "kernels.depthwise",
        "kernels.direct",
        "kernels.gemm",
        "kernels.pointwise",
        "kernels.pool",
        "kernels.streamed",
    ],
    [
        "kernels.depthwise_gradients",
        "kernels.pool_means",
        "kernels.scattered",
        "kernels.winograd_tiles",
    ],
    ["kernels.direct_gradients", "kernels.pool_gradients", "kernels.products"],
    ["kernels.winograd", "kernels.winograd_weights"],
    ["kernels.conv"],
    ["kernels"],
    ["recording"],
    ["autodiff"],
    ["ops.base"],
    ["ops.periodic", "ops.pointwise", "ops.shape"],
    ["ops.reduce", "ops.windows"],
    ["ops.activation", "ops.embedding", "ops.norm", "ops.penalty"],
    ["ops.loss", "ops.matmul", "ops.pad", "ops.pool", "ops.update"],
    ["ops.conv"],
    ["ops.conv_relu"],
    ["ops"],
    ["problem"],
    ["gradcheck", "initializers", "losses", "metrics", "random"],
    ["regularizers"],
    ["layers.activations", "layers.symbol"],
    ["layers.base"],
    ["layers.chain", "layers.dense", "layers.dropout", "layers.embedding", "layers.image"],
    ["layers.input", "layers.merge", "layers.naming", "layers.normalization", "layers.reshape"],
    ["layers.preprocessing"],
    ["layers.pool"],
    ["layers.conv"],
    ["layers"],
    ["graph", "inputs", "plots"],
    ["drawing"],
    ["summary"],
    ["objectives"],
    [
        "weights.hdf5_heaps",
        "weights.layouts",
        "weights.pickled",
        "weights.protobuf",
        "weights.report",
        "weights.stored",
    ],
    ["weights.conventions", "weights.match", "weights.onnx_file"],
    ["weights.keras_h5", "weights.npz", "weights.onnx_layers"],
    ["weights.safetensors", "weights.torch_pth"],
    ["weights.formats"],
    ["weights.vgg16"],
    ["weights.convert"],
    ["weights"],
    ["schedules"],
    ["optimizers.base"],
    ["optimizers.adagrad", "optimizers.adam", "optimizers.rmsprop", "optimizers.sgd"],
    ["data.batches", "data.preparation", "data.readers", "divergence"],
    ["data.images", "optimizers", "progress", "saving", "steady"],
    ["replay"],
    ["data.files"],
    ["data", "callbacks.base", "callbacks.curves", "downloads", "training"],
    [
        *("callbacks.backup", "callbacks.excel", "callbacks.history", "callbacks.loggers"),
        *("callbacks.monitor", "callbacks.progress_bar", "sources"),
    ],
    ["callbacks.checkpoint", "callbacks.rates", "callbacks.stopping"],
    ["callbacks"],
    ["features", "fitting", "lr_finder"],
    ["model"],
    ["functional", "sequential"],
    ["folding"],
    ["loading"],
    # The workbook: tensors to cells on the left, files and programs on the right.
    ["spreadsheet.activity", "spreadsheet.mosaic", "spreadsheet.names", "spreadsheet.style"],
    ["spreadsheet.trace"],
    ["spreadsheet.neuron", "spreadsheet.pictures"],
    ["spreadsheet.operands", "spreadsheet.formula", "spreadsheet.package", "spreadsheet.xlsx"],
    ["spreadsheet.blocks"],
    ["spreadsheet.plan", "spreadsheet.formula_check", "spreadsheet.sheet_xml", "spreadsheet.tiles"],
    ["spreadsheet.chain"],
    ["spreadsheet.formulas", "spreadsheet.input_pictures", "spreadsheet.labels"],
    ["spreadsheet.explanations", "spreadsheet.reader"],
    ["spreadsheet.layout", "spreadsheet.lint", "spreadsheet.passes", "spreadsheet.recalculate"],
    ["spreadsheet.answers", "spreadsheet.draws", "spreadsheet.lesson_layout"],
    ["spreadsheet.page", "spreadsheet.readback", "spreadsheet.steps", "spreadsheet.verify"],
    ["spreadsheet.book", "spreadsheet.diff"],
    ["spreadsheet.chain_sheet", "spreadsheet.worked_out"],
    ["spreadsheet.check_sheet", "spreadsheet.curves", "spreadsheet.ledger", "spreadsheet.overview"],
    ["spreadsheet.board"],
    ["spreadsheet.wishes"],
    ["spreadsheet.live", "spreadsheet.probe"],
    ["spreadsheet.giant_contents"],
    ["spreadsheet.giant"],
    ["spreadsheet.export"],
    ["spreadsheet"],
    [""],
    ["vgg16.loading", "vgg16.names"],
    ["vgg16.official"],
    ["vgg16.architecture"],
    ["vgg16.stated"],
    ["vgg16.lesson"],
    ["vgg16.commands", "vgg16.finetuning", "vgg16"],
    ["demos.output"],
    ["demos.digits", "demos.entropy", "demos.layers", "demos.linear"],
    ["demos.collab", "demos.conv", "demos.graddesc", "demos.universal", "demos.xor"],
    ["demos"],
    ["cli_demos", "cli_models"],
    ["cli_export", "cli_vgg16"],
    ["cli"],
    ["__main__"],
    ["testing"],
]
#: A verb of the model, and a callback, that need all built on them; imported when called.
AGAINST_THE_FLOW = {
    ("model", "spreadsheet.export"),
    ("callbacks.excel", "spreadsheet.curves"),
}
PLACE = {name: number for number, names in enumerate(LAYERS) for name in names}

LONGEST = 360  # lines of a module: about 350, for room to edit

#: Packages that a user may not have, or that take long to load; imported where they are used.
OPTIONAL = {
    *("h5py", "hypothesis", "ironcalc", "keras", "matplotlib", "pandas", "safetensors"),
    *("PIL", "pooch", "requests", "sklearn", "torch"),
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def parse(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"), str(MODULES[name]))


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def statements(node: ast.AST, inside_functions: bool = True) -> Iterator[ast.AST]:
    """All nodes that run, when imported or (``inside_functions``) when called."""
    for child in ast.iter_child_nodes(node):
        function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if is_for_types_only(child) or (function and not inside_functions):
            continue
        yield child
        yield from statements(child, inside_functions)


def imported(node: ast.AST, module: str) -> Iterator[str]:
    """The full names of the modules that an import statement asks for."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert not node.level, f"minnet.{module}, line {node.lineno}: an import that is relative"
        source = node.module or ""
        for alias in node.names:
            full = f"{source}.{alias.name}"
            yield full if full.removeprefix("minnet.") in MODULES else source


def within(full_name: str) -> str | None:
    """The name within minnet, or None for other packages."""
    if full_name == "minnet":
        return ""
    return full_name.removeprefix("minnet.") if full_name.startswith("minnet.") else None


def test_every_module_has_its_place() -> None:
    assert set(MODULES) <= set(PLACE), "add them to LAYERS, where they belong"


@pytest.mark.parametrize("module", MODULES)
def test_imports_flow_one_way(module: str) -> None:
    own_place = PLACE.get(module, -1)
    for node in statements(parse(module)):
        for full_name in imported(node, module):
            other = within(full_name)
            if other is None or (module, other) in AGAINST_THE_FLOW:
                continue
            assert other in PLACE, f"minnet.{module} imports {full_name}, which is not in LAYERS"
            assert PLACE[other] < own_place, (
                f"minnet.{module}, line {node.lineno}, imports {full_name}: "
                "imports go from the top of the house to the bottom, never back or sideways"
            )


@pytest.mark.parametrize("module", MODULES)
def test_modules_stay_small(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines < LONGEST


@pytest.mark.parametrize("module", MODULES)
def test_optional_packages_are_imported_where_they_are_used(module: str) -> None:
    for node in statements(parse(module), inside_functions=False):
        packages = {full_name.partition(".")[0] for full_name in imported(node, module)}
        assert not packages & OPTIONAL, f"line {node.lineno}"
        assert module.startswith("cli") or "typer" not in packages, f"line {node.lineno}"
        assert not {(module, within(n)) for n in imported(node, module)} & AGAINST_THE_FLOW


def test_importing_minnet_is_light(tmp_path: Path) -> None:
    """Checked in a new process, outside the source tree so that it finds the same minnet."""
    heavy = sorted(OPTIONAL | {"numba", "typer"})
    code = f"import sys, minnet; print([m for m in {heavy} if m in sys.modules], minnet.__file__)"
    environment = {"PYTHONPATH": str(ROOT.parent)}
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    assert run.stdout.split(" ", 1) == ["[]", f"{minnet.__file__}\n"]

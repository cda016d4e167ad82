"""Files are data: nothing in the package reads one in a way that could run what stands in it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("wcr_med", "pipelines") for path in (ROOT / folder).rglob("*.py"))

_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "torch.load",
    "torch.jit.load",
    "pandas.read_pickle",
    "pd.read_pickle",
}
_SAFE_YAML = {
    ("wcr_med/documents.py", "_Loader"),  # yaml.SafeLoader with one more number format; see the test below
}
_UNPICKLING = {"broadcast_object_list", "all_gather_object", "gather_object", "scatter_object_list", "recv_object_list"}
# Torch pickles what processes of one training tell one another. They are ours, and started together.
_BETWEEN_OUR_PROCESSES = {"wcr_med/training/distributed.py"}


def faults(source: str, name: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"import {alias.name}" for alias in node.names if alias.name.split(".")[0] in _MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")[0]
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (f"from {found}" for found in whole if module in _MODULES or found in _CALLS)
        elif isinstance(node, ast.Call):
            yield from _call_faults(node, name)


def _call_faults(node: ast.Call, name: str) -> Iterator[str]:
    called = ast.unparse(node.func)
    last = called.rsplit(".", 1)[-1]
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if called in _CALLS:
        yield called
    allowed = keywords.get("allow_pickle")
    if allowed is not None and not (isinstance(allowed, ast.Constant) and allowed.value is False):
        yield f"{called} with allow_pickle"
    if called in ("yaml.load", "yaml.load_all"):
        loader = keywords.get("Loader", node.args[1] if len(node.args) > 1 else None)
        written = ast.unparse(loader) if loader else "none"
        if (name, written) not in _SAFE_YAML and written not in ("yaml.SafeLoader", "yaml.CSafeLoader"):
            yield f"yaml.load with loader {written}"
    if called in ("yaml.unsafe_load", "yaml.full_load"):
        yield called
    if last in _UNPICKLING and name not in _BETWEEN_OUR_PROCESSES:
        yield called


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(ROOT).as_posix() for path in FILES])
def test_no_file_is_run(path: Path) -> None:
    assert list(faults(path.read_text("utf-8"), path.relative_to(ROOT).as_posix())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "from torch import load",
        "import torch\ntorch.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text)",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "dist.broadcast_object_list(box)",
    ],
)
def test_what_would_run_is_found(source: str) -> None:
    assert len(list(faults(source, "wcr_med/other.py"))) == 1


def test_our_yaml_loader_is_a_safe_one() -> None:
    yaml = pytest.importorskip("yaml")
    from wcr_med import documents

    assert issubclass(documents._Loader, yaml.SafeLoader)
    with pytest.raises(yaml.YAMLError):
        yaml.load("!!python/object/apply:os.getcwd []", documents._Loader)

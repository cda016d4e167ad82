"""What the command line and the runtime import, on which the time to start depends."""

import json
import subprocess
import sys

import pytest

HEAVY = {"numpy", "onnxruntime", "nibabel", "PIL", "torch", "monai", "scipy", "pandas", "matplotlib", "onnx"}
"""None of them is needed to say how a command is used."""

TRAINING = {"torch", "monai", "scipy", "onnx", "pandas", "matplotlib", "sklearn", "skimage", "pydantic", "yaml"}


def imported(program: str, *arguments: str) -> set[str]:
    """Top-level modules that a program has at its end."""
    ending = "import json, sys; sys.stderr.write(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    text = f"import atexit\ndef tell():\n    {ending}\natexit.register(tell)\n{program}"
    done = subprocess.run([sys.executable, "-c", text, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("infer", "--help"), ("info", "--help"), ("bench", "--help"), ("version",)])
def test_help_imports_little(arguments: tuple[str, ...]) -> None:
    found = imported("from wcr_med.cli import main; main()", *arguments)
    assert "typer" in found
    assert not found & HEAVY
    assert "rich" not in found  # it takes longer to import than all else


def test_the_runtime_imports_nothing_of_training() -> None:
    found = imported("import wcr_med.runtime")
    assert {"numpy", "onnxruntime"} <= found
    assert not found & TRAINING


@pytest.mark.parametrize("module", ["info_text", "bench_text", "peak_memory"])
def test_no_part_of_the_runtime_does(module: str) -> None:
    assert not imported(f"import wcr_med.runtime.{module}") & TRAINING

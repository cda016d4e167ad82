"""The lowest versions that pyproject.toml allows, and the command that tests them."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [
    *PROJECT["dependencies"],
    *(entry for part in PROJECT["optional-dependencies"].values() for entry in part),
]


@pytest.mark.parametrize("requirement", sorted(set(REQUIREMENTS)))
def test_every_dependency_has_a_lowest_version(requirement: str) -> None:
    assert re.search(r">=\d", requirement)


def test_one_package_has_one_lowest_version() -> None:
    bounds: dict[str, set[str]] = {}
    for requirement in REQUIREMENTS:
        name, bound = re.fullmatch(r"([\w-]+)(?:\[\w+\])?(>=.*)", requirement).groups()
        bounds.setdefault(name, set()).add(bound)
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_command_takes_the_lowest_and_runs_the_fast_tests() -> None:
    done = subprocess.run(["make", "-n", "test-minimum"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--resolution lowest-direct" in done.stdout
    assert '.venv-minimum/bin/python -m pytest -m "not slow"' in done.stdout

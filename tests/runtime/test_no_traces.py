"""Segmenting leaves its results and nothing else: no cache, no database, no identifier, and needs no home folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.test_infer import write_slices

_COMMAND = "from wcr_med.cli import main; main()"
_TURNED_OFF_BY = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
_BUILD_SERVERS = """
    APPVEYOR BITBUCKET_BUILD_NUMBER BUILDKITE CI CIRCLECI CODEBUILD_BUILD_ID GITHUB_ACTIONS GITLAB_CI JENKINS_URL
    TEAMCITY_VERSION TF_BUILD TRAVIS
"""


def segment(
    model: Path, images: Path, out: Path, *options: str, cwd: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    # ONNX Runtime is silent by itself where these say that it is being tested.
    silencing = {*_TURNED_OFF_BY, *_BUILD_SERVERS.split()}
    environment = {name: value for name, value in os.environ.items() if name not in silencing} | variables
    command = [sys.executable, "-c", _COMMAND, "infer", str(model), str(images), "-o", str(out), *options]
    return subprocess.run(command, cwd=cwd, env=environment, check=False, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_no_file_outside_the_output_folder(model_file: Path, tmp_path: Path, processes: str) -> None:
    for name in ("p1", "p2"):
        write_slices(tmp_path / "in" / name, ["s1.png", "s2.png"])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "in").rglob("*")}
    places = {name: tmp_path / "places" / name for name in ("home", "cache", "config", "data", "temporary", "cwd")}
    for place in places.values():
        place.mkdir(parents=True)
    done = segment(
        model_file,
        tmp_path / "in",
        tmp_path / "out",
        "--processes",
        processes,
        cwd=places["cwd"],
        HOME=str(places["home"]),
        XDG_CACHE_HOME=str(places["cache"]),
        XDG_CONFIG_HOME=str(places["config"]),
        XDG_DATA_HOME=str(places["data"]),
        TMPDIR=str(places["temporary"]),
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").rglob("*_mask.png"))) == 4
    assert sorted((tmp_path / "places").rglob("*")) == sorted(places.values())
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "in").rglob("*")} == before


def test_no_home_folder_is_needed(model_file: Path, tmp_path: Path) -> None:
    """As in a container whose root file system is read-only."""
    write_slices(tmp_path / "in" / "p1", ["s1.png", "s2.png"])
    nowhere = "/dev/null/nowhere"
    done = segment(
        model_file,
        tmp_path / "in",
        tmp_path / "out",
        cwd=tmp_path,
        HOME=nowhere,
        XDG_CACHE_HOME=nowhere,
        USERPROFILE=nowhere,
    )
    assert done.returncode == 0, done.stderr
    assert "nowhere" not in done.stderr


@pytest.mark.parametrize("module", ["wcr_med.runtime", "wcr_med.native.sessions", "wcr_med.export.sessions"])
def test_it_is_off_before_onnxruntime_is_imported(module: str) -> None:
    """Whatever the environment said."""
    program = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(os.environ["ORT_DISABLE_TELEMETRY"])
sys.meta_path.insert(0, Watch())
import {module}
"""
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["1"]

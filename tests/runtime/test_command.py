"""`wcr-med infer` as it is typed."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.exported import small_volume
from tests.runtime.test_infer import write_slices


def wcr_med(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wcr_med", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_everything_at_once(model_file: Path, tmp_path: Path) -> None:
    for number in range(3):
        write_slices(tmp_path / "in" / "site" / f"p{number}", ["s1.png", "s2.png"], seed=number)
    (tmp_path / "in" / "site" / "p1" / "s2.png").write_bytes(b"damaged")
    common = (model_file, tmp_path / "in" / "site", "-o", tmp_path / "out", "--processes", 2, "--threads", 2)
    options = ("--format", "nifti", "--overlays", "--probabilities", "--threshold", 0.4, "--spacing", 5, 0.9, 0.9)
    done = wcr_med("infer", *common, *options)
    assert done.returncode == 101, done.stderr
    assert "2 volumes segmented" in done.stdout
    table = done.stderr.split("1 could not be segmented:")[1]
    assert table.strip().startswith("p1 ")
    assert "s2.png: cannot be read" in table
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        ".wcr-med", "volumes.csv", "failures.csv", "p0_mask.nii.gz", "p0_probability.nii.gz", "p0_overlays",
        "p2_mask.nii.gz", "p2_probability.nii.gz", "p2_overlays",
    }  # fmt: skip
    rows = list(csv.DictReader((out / "volumes.csv").open()))
    assert [row["volume"] for row in rows] == ["p0", "p2", "p1"]
    assert all(float(row["lesion_ml"]) > 0 for row in rows[:2])

    Image.fromarray(small_volume(n_slices=1).image_SHWC[0]).save(tmp_path / "in" / "site" / "p1" / "s2.png")
    again = wcr_med("infer", *common, *options, "--resume")
    assert again.returncode == 0, again.stderr
    assert "2 of 3 volumes are done already" in again.stderr
    assert "3 volumes segmented" in again.stdout
    assert list(csv.DictReader((out / "failures.csv").open())) == []


def test_a_quoted_pattern_and_a_dry_run(model_file: Path, tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write_slices(tmp_path / "in" / f"p{number}", ["s1.png", "s2.png"])
    listed = wcr_med("infer", model_file, f"{tmp_path}/in/p?", "-o", tmp_path / "out", "--dry-run")
    assert (listed.returncode, listed.stdout.split()) == (0, ["p1", "p2"])
    nothing = wcr_med("infer", model_file, f"{tmp_path}/in/q*", "-o", tmp_path / "out")
    assert nothing.returncode == 101
    assert "no image or folder matches" in nothing.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--threshold", 1.5), "threshold 1.5"),
        (("--spacing", 1, 0, 1), "three positive numbers"),
        (("--format", "png"), "png"),
        (("--batch-size", 0), "--batch-size"),
    ],
)
def test_bad_usage_is_told_before_anything(
    model_file: Path, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    write_slices(tmp_path / "p", ["s1.png"])
    done = wcr_med("infer", model_file, tmp_path / "p", "-o", tmp_path / "out", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stop_and_going_on(model_file: Path, tmp_path: Path, number: signal.Signals, processes: int) -> None:
    names = [f"p{k}" for k in range(40)]
    for seed, name in enumerate(names):
        write_slices(tmp_path / "in" / name, [f"s{k}.png" for k in range(8)], seed=seed)
    common = (model_file, tmp_path / "in", "-o", tmp_path / "out", "--threads", 1, "--processes", processes)
    running = subprocess.Popen(
        [sys.executable, "-m", "wcr_med", "infer", *map(str, common)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    records = tmp_path / "out" / ".wcr-med" / "done"
    while running.poll() is None and len(list(records.glob("[!.]*.json"))) < 3:
        time.sleep(0.01)
    running.send_signal(number)
    running.communicate()
    n_done = len(list(records.glob("[!.]*.json")))
    assert n_done >= 3
    again = wcr_med("infer", *common, "--resume")
    assert again.returncode == 0, again.stderr
    assert f"{n_done} of 40 volumes are done already" in again.stderr or n_done == 40
    assert len(list((tmp_path / "out").rglob("*_mask.png"))) == 40 * 8
    assert not list((tmp_path / "out" / ".wcr-med").glob("partial/*"))

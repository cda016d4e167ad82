"""Table, files and figure of a sensitivity scan."""

import csv
import json
from pathlib import Path

import pytest

from wcr_med.report.sensitivity import (
    LayerSensitivity,
    Sensitivity,
    SensitivityPoint,
    draw_sensitivity,
    sensitivity_table,
    sparsity_label,
    write_sensitivity,
)


def made_up(*, repair: tuple[str, ...] = (), layers: int = 3, layer_floor: float = 0.001) -> Sensitivity:
    return Sensitivity(
        dice_patient=0.8,
        f1_pooled=0.9,
        layers=tuple(
            LayerSensitivity(
                name=f"down.{number}.weight",
                shape=(10**number, 3, 3, 3),
                n=27 * 10**number,
                points=tuple(
                    SensitivityPoint(
                        sparsity=sparsity,
                        n_removed=round(27 * sparsity),
                        dice_patient=0.8 - 0.4 * sparsity**2 / (number + 1) + 0.0001,
                        f1_pooled=0.9 - 0.1 * sparsity,
                    )
                    for sparsity in (0.0, 0.5, 1.0)
                ),
            )
            for number in range(layers)
        ),
        layer_floor=layer_floor,
        repair=repair,
        n_patients=4,
        n_slices=40,
        slices_per_patient=12,
        threshold=0.4,
        split_hash="0123abcd",
        data_hash="4567",
        provenance={"seed": 0},
    )


def test_the_table_has_a_line_a_layer_and_a_column_a_sparsity() -> None:
    lines = sensitivity_table(made_up()).splitlines()
    assert lines[0].split() == ["layer", "weights", "share", "0", "%", "50", "%", "all", "but", "0.1", "%"]
    assert lines[1].split() == ["down.0", "27", "0.90", "%", "0.000", "0.100", "0.400"]
    assert lines[3].split()[:4] == ["down.2", "2700", "90.09", "%"]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(("floor", "label"), [(0.001, "all but 0.1 %"), (0.0, "all")])
def test_the_last_column_says_what_stays(floor: float, label: str) -> None:
    assert sparsity_label(1.0, floor) == label
    assert sparsity_label(0.95, floor) == "95 %"


def test_files_hold_the_same(tmp_path: Path) -> None:
    scan = made_up()
    paths = write_sensitivity(tmp_path / "scan", scan)
    assert [path.name for path in paths] == [f"sensitivity.{suffix}" for suffix in ("json", "csv", "svg", "png")]
    document = json.loads(paths[0].read_text())
    assert document["schema_version"] == 1
    assert document["partition"] == "validation"
    assert document["split_hash"] == "0123abcd"
    assert document["layers"][1]["points"][2]["n_removed"] == 27
    rows = list(csv.DictReader(paths[1].open()))
    assert len(rows) == 9
    assert [row["layer"] for row in rows[::3]] == ["down.0.weight", "down.1.weight", "down.2.weight"]
    for row in rows:
        assert float(row["dice_patient"]) + float(row["dice_patient_drop"]) == pytest.approx(scan.dice_patient)
        assert float(row["f1_pooled"]) + float(row["f1_pooled_drop"]) == pytest.approx(scan.f1_pooled)
    assert sum({row["layer"]: float(row["share"]) for row in rows}.values()) == pytest.approx(1)


@pytest.mark.parametrize("repair", [(), ("reestimate_statistics",)])
def test_the_same_scan_gives_the_same_figure(tmp_path: Path, repair: tuple[str, ...]) -> None:
    first, png = draw_sensitivity(made_up(repair=repair), tmp_path / "first")
    second, _ = draw_sensitivity(made_up(repair=repair), tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()
    assert png.read_bytes()[:4] == b"\x89PNG"


def test_a_network_of_one_layer_that_nothing_hurts_can_be_drawn(tmp_path: Path) -> None:
    svg, _ = draw_sensitivity(made_up(layers=1), tmp_path / "one")
    assert svg.stat().st_size > 1000

"""The command line: useful help, clear one-line errors, no traceback."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.small import small_config
from wcr_med import cli
from wcr_med.stages.workspace import Workspace

COMMANDS = [
    ["run"], ["train"], ["prune"], ["evaluate"], ["export"], ["infer"], ["config"], ["version"],
    ["data"], ["data", "check"], ["data", "make-phantom"],
]  # fmt: skip


@pytest.fixture
def wcr_med(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command in this process: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wcr-med", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def config_path(phantom_root: Path, run_cache: Path, tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(small_config(phantom_root, run_cache).to_yaml())
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(wcr_med, command: list[str]) -> None:
    code, out, _ = wcr_med(*command, "--help")
    assert code == 0
    assert len(out.splitlines()) > 4


def test_config_lists_every_field(wcr_med) -> None:
    code, out, _ = wcr_med("config")
    assert code == 0
    assert "regularizer.strength" in out


def test_dry_run_prints_configuration_and_plan(wcr_med, config_path: Path, tmp_path: Path) -> None:
    code, out, _ = wcr_med(
        "run", "--config", config_path, "--set", "training.epochs=5", "--out", tmp_path / "r", "--dry-run"
    )
    assert code == 0
    assert "epochs: 5" in out
    assert "5 epochs" in out
    assert not (tmp_path / "r").exists()


def test_run_takes_designs_as_options(wcr_med, config_path: Path, tmp_path: Path) -> None:
    run = ("run", "--config", config_path, "--out", tmp_path / "r")
    code, out, _ = wcr_med(*run, "--folds", 3, "--dry-run")
    assert code == 0
    assert "fold: null" in out
    assert out.count("of 3, split") == 3
    code, out, _ = wcr_med(*run, "--set", "split.institution_min=2", "--leave-one-institution-out", "--dry-run")
    assert code == 0
    assert "institution CS left out" in out
    code, _, err = wcr_med(*run, "--folds", 3, "--leave-one-institution-out", "--dry-run")
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = wcr_med("train", *run[1:], "--set", "split.folds=3", "--set", "split.fold=null")
    assert code == 2
    assert "stands for every partition in turn" in err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("command", ["train", "prune", "evaluate", "export"])
def test_dry_run_of_a_station_prints_its_own_step(wcr_med, finished: Workspace, command: str) -> None:
    code, out, _ = wcr_med(command, "--out", finished.out, "--dry-run")
    assert code == 0
    assert out.rstrip().splitlines()[-1].startswith(f"{command}:")


def test_export_takes_its_forms_as_options(wcr_med, finished: Workspace) -> None:
    code, out, _ = wcr_med("export", "--out", finished.out, "--storage", "rice", "--values", "int8", "--dry-run")
    assert code == 0
    assert "storage rice, values int8" in out.rstrip().splitlines()[-1]


def test_the_stations_one_by_one(wcr_med, finished: Workspace, tmp_path: Path) -> None:
    out_folder = tmp_path / "run"
    shutil.copytree(finished.out, out_folder)
    commands = (
        ["train"],
        ["prune", "--sparsity", "0.8"],
        ["evaluate", "--model", "pruned-80"],
        ["export", "--model", "pruned-80"],
        ["evaluate", "--model", "pruned-80", "--onnx"],
    )
    for command in commands:
        code, out, err = wcr_med(*command, "--out", out_folder)
        assert code == 0, err
    assert "pruned-80: dice_patient" in out


def test_run_says_where_the_results_are(wcr_med, finished: Workspace, tmp_path: Path) -> None:
    shutil.copytree(finished.out, tmp_path / "run")
    code, out, _ = wcr_med("run", "--out", tmp_path / "run")
    assert code == 0
    assert f"Open {tmp_path / 'run' / 'report' / 'report.html'}" in out


def test_the_report_is_written_again_from_what_is_stored(wcr_med, finished: Workspace, tmp_path: Path) -> None:
    shutil.copytree(finished.out, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "models")
    code, _, err = wcr_med("report", tmp_path / "run", "--set", "card.contact=nobody@example.org")
    assert code == 0, err
    assert "nobody@example.org" in (tmp_path / "run" / "report" / "report.html").read_text()
    code, _, err = wcr_med("report", tmp_path / "nowhere")
    assert code != 0
    assert len(err.strip().splitlines()) == 1
    code, _, err = wcr_med("report", "--compare", tmp_path / "run")
    assert code != 0
    assert "give two run folders" in err


def test_infer_writes_masks_of_a_patient_folder(
    wcr_med, finished: Workspace, phantom_root: Path, tmp_path: Path
) -> None:
    patient = next(path for path in sorted(phantom_root.iterdir()) if path.is_dir())
    code, _, err = wcr_med("infer", finished.onnx_path("pruned-90"), patient, "--out", tmp_path / "masks")
    assert code == 0, err
    masks = list((tmp_path / "masks").rglob("*_mask.tif"))
    assert len(masks) == sum("_mask" not in path.name for path in patient.glob("*.tif"))
    assert list((tmp_path / "masks").glob("*.csv"))


def test_make_phantom_and_check(wcr_med, tmp_path: Path) -> None:
    root = tmp_path / "kaggle_3m"
    assert wcr_med("data", "make-phantom", root, "--patients", 2)[0] == 0
    code, out, _ = wcr_med("data", "check", root, "--json", tmp_path / "audit.json")
    assert code == 0
    assert "2 patients" in out or "TCGA" in out
    assert (tmp_path / "audit.json").exists()
    code, _, err = wcr_med("data", "make-phantom", root)
    assert code == 2
    assert "exists already" in err
    corrupt = next(path for path in sorted(root.rglob("*.tif")) if "_mask" not in path.name)
    corrupt.write_bytes(corrupt.read_bytes()[:100])
    code, out, _ = wcr_med("data", "check", root)
    assert code == 1
    assert corrupt.name in out


def test_run_refuses_data_with_errors(wcr_med, phantom_root: Path, config_path: Path, tmp_path: Path) -> None:
    root = tmp_path / "broken"
    shutil.copytree(phantom_root, root)
    mask = next(iter(sorted(root.rglob("*_mask.tif"))))
    Image.new("L", (10, 10)).save(mask)
    code, _, err = wcr_med("run", "--config", config_path, "--set", f"data.root={root}", "--out", tmp_path / "run")
    assert code == 2
    assert mask.name in err
    assert len(err.strip().splitlines()[-1]) < 600
    assert not (tmp_path / "run" / "models").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--config", "absent.yaml", "--out", "{tmp}/r"], "absent.yaml: no such file"),
        (["run", "--out", "{tmp}/r"], "give --config the first time"),
        (
            ["run", "--config", "{config}", "--set", "training.epoch=1", "--out", "{tmp}/r"],
            "did you mean training.epochs",
        ),
        (["run", "--config", "{config}", "--set", "data.root={tmp}/none", "--out", "{tmp}/r"], "none"),
        (["run", "--config", "{config}", "--set", "data.root={tmp}", "--out", "{tmp}/r"], "{tmp}"),
        (
            ["run", "--config", "{config}", "--set", "data.root={tmp}/none", "--out", "{tmp}/r", "--dry-run"],
            "no such folder",
        ),
        (
            ["train", "--config", "{config}", "--set", "split.test_patients=50", "--out", "{tmp}/r"],
            "split.test_patients",
        ),
        (["prune", "--out", "{run}", "--sparsity", "1.0"], "pruning.sparsity"),
        (["prune", "--out", "{run}", "--sparsity", "-0.1"], "pruning.sparsity"),
        (["export", "--out", "{run}", "--storage", "zip"], "export.storage"),
        (["export", "--out", "{run}", "--values", "fp8"], "export.values"),
        (["evaluate", "--out", "{run}", "--model", "absent"], "there are dense"),
        (["data", "check"], "give a folder"),
        (["data", "check", "{tmp}/none"], "none"),
        (["infer", "{tmp}/none.onnx", "{tmp}", "--out", "{tmp}/o"], "none.onnx"),
        (["infer", "{config}", "{tmp}", "--out", "{tmp}/o"], "small.yaml"),
    ],
)
def test_bad_input_gets_one_clear_line(
    wcr_med, finished: Workspace, config_path: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    places = {"tmp": tmp_path, "config": config_path, "run": finished.out}
    code, _, err = wcr_med(*[argument.format(**places) for argument in arguments])
    lines = [line for line in err.strip().splitlines() if line]
    assert code == 2
    assert lines[-1].startswith("error: ")
    assert message.format(**places) in lines[-1]
    assert "Traceback" not in err
    assert not (tmp_path / "o").exists()
    assert not (tmp_path / "r" / "models").exists()


def test_a_missing_training_package_is_named(wcr_med, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    for name in [name for name in sys.modules if name.startswith(("wcr_med.config", "wcr_med.stages"))]:
        monkeypatch.delitem(sys.modules, name)
    code, _, err = wcr_med("config")
    assert code == 2
    assert "pip install 'wcr-med[train]'" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_in_order_and_says_how_to_go_on(
    wcr_med, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("wcr_med.documents.describe_fields", lambda _kind: os.kill(os.getpid(), number))
    try:
        code, _, err = wcr_med("config")
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert code == 130
    assert err == "stopped; give the same command to go on from what is finished\n"


def test_off_a_terminal_the_log_is_json_and_errors_are_text(
    wcr_med, finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WCR_MED_LOG_FORMAT", raising=False)
    shutil.copytree(finished.out, tmp_path / "run")
    run = ("run", "--out", tmp_path / "run")
    _, _, err = wcr_med(*run)
    lines = [json.loads(line) for line in err.splitlines()]
    assert lines
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    _, _, text = wcr_med("--log-format", "text", *run)
    assert text.splitlines()[0] == lines[0]["message"]
    monkeypatch.setenv("WCR_MED_LOG_FORMAT", "text")
    assert wcr_med(*run)[2] == text
    code, _, err = wcr_med("--log-format", "xml", *run)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: --log-format")


def test_the_command_and_the_module_are_the_same() -> None:
    outputs = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for command in (
            [sys.executable, "-m", "wcr_med", "version"],
            [str(Path(sys.executable).with_name("wcr-med")), "version"],
        )
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].strip()

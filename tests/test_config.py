"""The configuration: complete, strict, frozen, and helpful when it is wrong."""

import time
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from wcr_med.config import Config, load_config, parse_config
from wcr_med.documents import describe_fields, field_names
from wcr_med.errors import UserError

CONFIGS = sorted(
    path for path in (Path(__file__).parents[1] / "configs").glob("*.yaml") if not path.name.startswith("compare_")
)
MINIMAL = """
data: {root: /data}
split: {validation_patients: 10, test_patients: 14}
training: {epochs: 3}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL)
    return path


def leaves(document: dict[str, object], prefix: str = "") -> set[str]:
    names: set[str] = set()
    for key, value in document.items():
        names.add(prefix + key)
        if isinstance(value, dict) and prefix + key != "data.nifti.channels":  # that is a value: names and patterns
            names |= leaves(value, f"{prefix}{key}.")
    return names


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid_and_complete(config: Path) -> None:
    load_config(config)
    assert leaves(yaml.safe_load(config.read_text())) == set(field_names(Config))


def test_the_resolved_file_reads_back_to_the_same_configuration(path: Path, tmp_path: Path) -> None:
    config = load_config(path, ["pruning.ladder=[0.5, 0.9]", "regularizer.strength=3e-7", "evaluation.threshold=0.4"])
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(config.to_yaml())
    assert load_config(resolved) == config
    assert config.regularizer.strength == 3e-7


def test_it_is_frozen(path: Path) -> None:
    config = load_config(path)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3  # type: ignore[misc]


def test_a_number_without_a_point_is_a_number(path: Path) -> None:
    assert load_config(path, ["regularizer.strength=1e-5"]).regularizer.strength == 1e-5


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epoch=3", "training.epoch is not a field; did you mean training.epochs"),
        ("epochs=3", "did you mean training.epochs"),
        ("trainning.epochs=3", "did you mean training"),
        ("pruning.sparsity=1.0", "pruning.sparsity: input should be less than 1"),
        ("pruning.sparsity=-0.1", "pruning.sparsity"),
        ("pruning.ladder=[0.5, 1.5]", "pruning.ladder"),
        ("training.epochs=many", "training.epochs: input should be a valid integer, not 'many'"),
        ("training.epochs=1.5", "training.epochs"),
        ("augment.flip=1", "augment.flip"),
        ("model.name=unet", "model.name: input should be 'buda_unet'"),
        ("evaluation.threshold=2.0", "threshold is 2.0"),
        ("split.folds=1", "folds is 1"),
        ("split.fold=4", "fold is 4"),
        ("split.fold=null", "fold is null, but folds is 0"),
        ("split={validation_patients: 1, test_patients: 1, folds: 2, leave_out: CS}", "set folds to 0"),
        ("data={root: a, format: nifti, spacing_mm: [4, 1, 1]}", "whose files hold their own spacing: set it to null"),
        ("data={root: a, channels: [a, b]}", "data.channels gives 2 names, but model.in_channels is 3"),
        ("data={root: a, channels: [FLAIR, flair, T1]}", "data: the name 'flair' stands twice"),
        ("data={root: a, channels: [a=1, b, c]}", "'a=1' is no name of a channel"),
        ("data.nifti.channels={t1: 3}", "data.nifti.channels.t1"),
        ("data.nifti.channels=[a.nii, '*.nii']", "write a name for each pattern"),
        ("data={root: a, format: nifti, channels: [a, b, c]}", "set channels to null"),
        ("loss={dice: 0, cross_entropy: 0}", "nothing is left to train on"),
        ("regularizer.strength=.inf", "regularizer.strength"),
        ("training.epochs", "write it as field.subfield=value"),
        ("seed.x=1", "seed"),
        ("training.epochs=[", "not valid YAML"),
    ],
)
def test_mistakes_are_named_with_the_remedy(path: Path, assignment: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(path, ["seed=0", assignment])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no fields"),
        ("- 1\n", "holds no fields"),
        ("a: [", "not valid YAML"),
        ("seed: 1\nseed: 2\n", "stands twice"),
        ("seed: 1\n", "data is missing"),
        ("\x00", "not valid YAML"),
        ("seed: 1\ndata: {root: a\n", "in line 3; mend that line"),
        ("? [a, b]\n: 1\n", "key ['a', 'b'] is not text in line 1"),
        ("? {a: b}\n: 1\n", "is not text"),
        ("1: 2\n", "key 1 is not text"),
        ("seed: &a [*a]\n", "an alias (*a) is not taken; write the value out in line 1"),
    ],
)
def test_broken_files_are_named(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(UserError, match=str(path)) as caught:
        load_config(path)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_config(tmp_path / "absent.yaml")


def test_every_field_is_described() -> None:
    assert [name for name, text in describe_fields(Config) if not text] == []
    assert "training.epochs" in field_names(Config)
    assert set(Config.model_fields) <= set(field_names(Config))


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("{root: a}", ("pre-contrast", "FLAIR", "post-contrast")),
        ("{root: a, channels: [T2, T1, ADC]}", ("T2", "T1", "ADC")),
        ("{root: a, format: nifti}", ("t1", "flair", "t1ce")),
        ("{root: a, format: nifti, nifti: {channels: {b: b.nii, a: a.nii, c: c.nii}}}", ("b", "a", "c")),
        (
            "{root: a, format: nifti, nifti: {channels: [S_*_T2.nii, 'S_*_t1[!c].nii.gz', S_*_x.nii]}}",
            ("T2", "t1", "x"),
        ),
        ("{root: a, format: nifti, channels: [T2, T1, ADC], nifti: {channels: ['*.nii.gz']}}", ("T2", "T1", "ADC")),
        ("{root: a, format: nifti, nifti: {channels: ['*.nii.gz']}}", None),
    ],
)
def test_channels_have_names_in_the_networks_order(path: Path, data: str, names: tuple[str, ...] | None) -> None:
    config = load_config(path, [f"data={data}"])
    assert config.channel_names == names
    assert parse_config(yaml.safe_load(config.to_yaml()), source="resolved") == config


def test_one_pattern_can_be_changed_by_its_name(path: Path) -> None:
    path.write_text(MINIMAL.replace("{root: /data}", "{root: /data, nifti: {channels: {t1: a, flair: b, t1ce: c}}}"))
    assert load_config(path, ["data.nifti.channels.flair=d"]).data.nifti.patterns == ("a", "d", "c")


def test_aliases_that_multiply_are_refused_at_once_with_a_short_message(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    path.write_text("\n".join([*lines, "seed: *a8"]) + "\n")
    started = time.monotonic()
    with pytest.raises(UserError, match=r"an alias \(\*a0\) is not taken; write the value out in line 2") as caught:
        load_config(path)
    assert time.monotonic() - started < 5
    assert len(str(caught.value)) < 500


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    for value in ("x" * 100_000, "[" + "7, " * 50_000 + "7]", "{a: {b: {c: {d: " + "y" * 9000 + "}}}}"):
        path.write_text(f"seed: {value}\n")
        with pytest.raises(UserError, match=r"run\.yaml: seed: ") as caught:
            load_config(path)
        assert len(str(caught.value)) < 1000
    assert len(str(UserError("long " * 10_000 + "advice"))) < 2100
    assert str(UserError("long " * 10_000 + "advice")).endswith("advice")


def test_deep_nesting_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("seed: " + "[" * 5000 + "]" * 5000 + "\n")
    with pytest.raises(UserError, match="nested too deeply"):
        load_config(path)

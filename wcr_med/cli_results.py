"""Commands beyond one run: a comparison of methods, and reports."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from wcr_med.cli_options import OutOption, SetOption, typed_command
from wcr_med.errors import UserError
from wcr_med.terminal import say


def compare(
    out: OutOption,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="YAML file of the comparison; default: the config.yaml saved in --out.",
            show_default=False,
        ),
    ] = None,
    assignments: SetOption = None,
    max_trials: Annotated[
        int | None, typer.Option(min=1, help="Train and score at most this many cells.", show_default=False)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Begin no new cell after this time.", show_default=False)
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Train nothing; make table and figures from what is there.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Take cells anew that failed in an earlier call.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the methods and the plan, do nothing.")] = False,
) -> None:
    """Compare training methods fairly: methods x seeds x folds, one table with intervals.

    Strengths are tuned on validation patients, with as many trials for every method. Each training is resumable; give
    the same command several times, on one machine or many (study.storage), to share the work.

    Example: wcr-med compare --config configs/compare_lgg.yaml --set run.data.root=/data/kaggle_3m --out runs/compare
    """
    from wcr_med.compare.config import CompareConfig, load_compare_config
    from wcr_med.compare.stage import compare_stage, plan_text
    from wcr_med.stages.saved_config import check_saved

    saved = out / "config.yaml"
    if config is None and not saved.exists():
        raise UserError(f"{out}: holds no config.yaml; give --config the first time")
    if config is None:
        check_saved(saved, CompareConfig)
    comparison = load_compare_config(config or saved, assignments or ())
    if dry_run:
        say(plan_text(comparison))
        return
    say(
        compare_stage(
            comparison,
            out,
            max_trials=max_trials,
            minutes=minutes,
            table_only=table,
            retry_failed=retry_failed,
            command=typed_command(),
        )
    )


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="The run folder; with --compare two of them.", show_default=False),
    ] = None,
    compare_runs: Annotated[
        bool, typer.Option("--compare", help="Set two runs side by side on the patients that both tested.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="With --compare: the folder to write.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="With --compare: the network of each run; default: the one of its pruning.sparsity."),
    ] = None,
    assignments: SetOption = None,
) -> None:
    """Write the clinical-style report of a finished run into its folder: one page, tables, masks. Needs no network.

    Sections report and card of the configuration may be changed with --set, and margin, worse_by, confidence and
    resamples of evaluation; nothing is predicted. What was frozen before training and differs now is shown as
    exploration, without a verdict.

    Example: wcr-med report runs/lgg --set "card.intended_use=Research on pruning"

    Example: wcr-med report --compare runs/a runs/b -o runs/a-against-b
    """
    folders = runs or []
    if compare_runs:
        from wcr_med.stages.side_by_side import side_by_side_stage

        if len(folders) != 2 or out is None:
            raise UserError("report --compare: give two run folders and --out for the result")
        say(side_by_side_stage(folders[0], folders[1], out, model=model))
        return
    if len(folders) != 1:
        raise UserError("report: give one run folder; or two of them with --compare")
    if out is not None or model is not None:
        raise UserError("--out and --model belong to --compare; the report of one run is written into its folder")
    from wcr_med.stages.report import report_stage
    from wcr_med.stages.workspace import open_workspace

    if not (folders[0] / "config.yaml").is_file():
        raise UserError(f"{folders[0]}: holds no config.yaml; give the folder of a run")
    _require_of_report(assignments or ())
    workspace = open_workspace(folders[0], config_path=None, assignments=assignments or ())
    say(report_stage(workspace, command=typed_command()))


_OF_REPORT = ("report.", "card.", "data.", "evaluation.", "pruning.sparsity=", "pruning.also=")


def _require_of_report(assignments: Sequence[str]) -> None:
    """Refuse --set of what a report cannot change: it would only print another value than the networks were made with.

    Raises:
        UserError: naming the field.
    """
    for assignment in assignments:
        if not assignment.strip().startswith(_OF_REPORT):
            name = assignment.partition("=")[0].strip()
            raise UserError(
                f"--set {name}: a report shows networks as they were made; it changes the sections report and card, of"
                " evaluation margin, worse_by, confidence and resamples, and where the images are (data.root)"
            )

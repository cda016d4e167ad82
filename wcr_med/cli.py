"""The `wcr-med` command: thin, and lazy, so that `infer` starts without torch."""

import logging
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from wcr_med.cli_data import data_app
from wcr_med.cli_options import ConfigOption, DryRunOption, ModelOption, OutOption, SetOption, typed_command
from wcr_med.cli_results import compare, report
from wcr_med.cli_runtime import bench, infer, info
from wcr_med.errors import Stopped, UserError
from wcr_med.log_format import VARIABLE, configure_logging
from wcr_med.openmp import wait_politely
from wcr_med.terminal import lacks_memory, replace_missing_letters, say

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich takes longer than all else together
    help="Train segmentation networks that survive pruning, prune them once, show what it cost,"
    " ship a small ONNX file.\n\n"
    "For research use only; not a medical device.",
)
app.add_typer(data_app, name="data")


@app.callback()
def _log_options(
    log_format: Annotated[
        str,
        typer.Option(
            "--log-format",
            metavar="auto|text|json",
            envvar=VARIABLE,
            help="Lines on standard error: text, or one JSON object a line; auto: text on a terminal, json elsewhere.",
        ),
    ] = "auto",
) -> None:
    configure_logging(log_format)


@app.command()
def run(
    out: OutOption,
    config: ConfigOption = None,
    assignments: SetOption = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Cross-validate: every patient is tested once, by a network that never saw it.",
            show_default=False,
        ),
    ] = None,
    leave_one_institution_out: Annotated[
        bool,
        typer.Option("--leave-one-institution-out", help="Test each institution with a network trained on the others."),
    ] = False,
    show_leak: Annotated[
        bool,
        typer.Option("--show-leak", help="Also train on a split of slices, as a warning of what that would claim."),
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Do the whole job: check the data, train, prune, evaluate on unseen patients, export to ONNX, report.

    Stages that are done already are kept, so an interrupted run goes on where it stopped.

    Example: wcr-med run --config configs/lgg_small.yaml --set data.root=/data/kaggle_3m --out runs/lgg_small
    """
    from wcr_med.stages.run import plan, run_stages
    from wcr_med.stages.workspace import open_workspace
    from wcr_med.training.distributed import is_launched

    if folds is not None and leave_one_institution_out:
        raise UserError("--folds and --leave-one-institution-out exclude each other; give one of them")
    chosen = [] if folds is None else [f"split.folds={folds}", "split.fold=null", "split.leave_out=null"]
    chosen += ["split.folds=0", "split.fold=0", "split.leave_out=all"] if leave_one_institution_out else []
    workspace = open_workspace(out, config_path=config, assignments=[*(assignments or ()), *chosen])
    if dry_run:
        say(plan(workspace, show_leak=show_leak))
        return
    if is_launched():
        raise UserError("run: several processes can only train; give `train` to torchrun, and `run` afterwards without")
    run_stages(workspace, command=typed_command(), show_leak=show_leak)
    say(f"Done. Open {out / 'report' / 'report.html'}.")


@app.command()
def train(
    out: OutOption, config: ConfigOption = None, assignments: SetOption = None, dry_run: DryRunOption = False
) -> None:
    """Train the dense network with the regularizer of the configuration; writes models/dense.safetensors.

    An interrupted training goes on from its last checkpoint and ends with the same weights. SIGTERM and Ctrl-C let the
    step finish, save, and exit with code 75.

    Several processes train one network when torchrun starts them; training.batch_size is what they share.

    Example: torchrun --nproc-per-node 4 -m wcr_med train --config configs/lgg.yaml --out runs/lgg
    """
    from wcr_med.stages.run import plan
    from wcr_med.stages.train import train_stage
    from wcr_med.stages.workspace import open_workspace
    from wcr_med.training import join_group

    workspace = open_workspace(out, config_path=config, assignments=assignments or ())
    if dry_run:
        say(plan(workspace, stages=("train",)))
        return
    with join_group(workspace.config.training.device) as group:
        if not group.is_main:
            logging.getLogger("wcr_med").setLevel(logging.WARNING)  # the main process speaks for all
        train_stage(workspace, group)


@app.command()
def prune(
    out: OutOption,
    sparsity: Annotated[
        float | None, typer.Option(help="Share of prunable weights to remove, in [0, 1); default: pruning.sparsity.")
    ] = None,
    max_dice_drop: Annotated[
        float | None,
        typer.Option(
            help="Search the largest sparsity that loses at most this much dice_patient on validation patients."
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(help="Search the smallest sparsity whose ONNX file is not larger: 1MB, 850kB, 1.5MiB."),
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(help="Search the smallest sparsity whose accelerated file takes no longer here: 40ms, 0.1s."),
    ] = None,
    scan: Annotated[
        bool, typer.Option("--scan", help="Only measure: prune each layer alone, write scan/sensitivity.*, no network.")
    ] = False,
    repair: Annotated[
        bool | None,
        typer.Option(
            "--repair/--no-repair",
            help="With --scan: re-estimate batch-norm statistics each time, or not (the default).",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Prune the dense network once; writes models/pruned-90.safetensors and its mask.

    The score and the repair afterwards are fields of the configuration (section pruning). Nothing is retrained unless
    pruning.finetune_epochs asks for it, and then the result says so.

    Targets (--max-dice-drop, --max-size, --max-latency), alone or together, search for the sparsity and write
    targets.json too. Test patients take no part.

    Example: wcr-med prune --out runs/lgg --max-size 1MB --max-dice-drop 0.01
    """
    from wcr_med.stages.prune import prune_stage
    from wcr_med.stages.run import plan
    from wcr_med.stages.targets import parse_bounds, plan_of_targets, target_stage
    from wcr_med.stages.workspace import open_workspace

    bounds = parse_bounds(max_dice_drop=max_dice_drop, max_size=max_size, max_latency=max_latency)
    if sparsity is not None and bounds is not None:
        raise UserError("--sparsity and --max-dice-drop, --max-size, --max-latency exclude each other; give one kind")
    if scan and (sparsity is not None or bounds is not None):
        raise UserError(
            "--scan writes no network; give it without --sparsity, --max-dice-drop, --max-size, --max-latency"
        )
    if repair is not None and not scan:
        raise UserError("--repair and --no-repair belong to --scan; what pruning repairs is --set pruning.repair=[...]")
    chosen = [f"pruning.sparsity={sparsity}"] if sparsity is not None else []
    workspace = open_workspace(out, config_path=config, assignments=[*(assignments or ()), *chosen])
    if scan:
        from wcr_med.stages.scan import plan_of_scan, scan_stage

        if dry_run:
            say(plan(workspace, stages=()) + f"\n{plan_of_scan(workspace, repair=bool(repair))}")
        else:
            say(scan_stage(workspace, repair=bool(repair)))
    elif bounds is not None:
        if dry_run:
            say(plan(workspace, stages=()) + f"\n{plan_of_targets(workspace, bounds)}")
        else:
            say(target_stage(workspace, bounds))
    else:
        say(plan(workspace, stages=("prune",)) if dry_run else prune_stage(workspace))


@app.command()
def evaluate(
    out: OutOption,
    model: ModelOption = "dense",
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Score the exported ONNX file instead of the PyTorch network.")
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Score a network on the test patients; writes scores, masks and probabilities under evaluation/.

    A network that saw one of these patients while it was trained is refused.
    """
    from wcr_med.stages.evaluate import evaluate_stage
    from wcr_med.stages.run import plan
    from wcr_med.stages.workspace import open_workspace

    workspace = open_workspace(out, config_path=config, assignments=assignments or ())
    if dry_run:
        say(plan(workspace, stages=("evaluate",)))
        return
    say(evaluate_stage(workspace, model, onnx=onnx))


@app.command()
def export(
    out: OutOption,
    model: ModelOption = "dense",
    storage: Annotated[
        str | None,
        typer.Option(
            help="How positions of weights are stored: auto (by tensor, what saves 1 kB at least), dense, gap8, rice,"
            " sparse_value (which most other programs cannot read); default: export.storage."
        ),
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(help="How their values are stored: fp32 (bit-exact), fp16, int8; default: export.values."),
    ] = None,
    accelerate: Annotated[
        bool | None,
        typer.Option(
            "--accelerate/--portable",
            help="Also write NAME.accelerated.onnx, for machines with the accelerator, after timing every layer here;"
            " or not; default: export.accelerate.",
            show_default=False,
        ),
    ] = None,
    standalone: Annotated[
        bool,
        typer.Option(
            "--standalone",
            help="Also write NAME.standalone.onnx, for programs without this package: raw 8-bit slices of a patient in,"
            " the mask out.",
        ),
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Also write NAME.int8.onnx, which computes in INT8, quantised with training patients. Not --values"
            " int8, which stores weights so and computes in float32.",
        ),
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Write a network as ONNX with sparse storage, after checking it against PyTorch on real slices.

    Nothing is written when the outputs differ by more than export.logit_tolerance or export.dice_tolerance; for fp16
    and int8 export.lossy_dice_tolerance or export.lossy_voxel_tolerance; for the file that computes in INT8
    export.quantised_dice_tolerance or export.quantised_voxel_tolerance.
    """
    from wcr_med.stages.export import export_stage
    from wcr_med.stages.run import plan
    from wcr_med.stages.workspace import open_workspace

    chosen = [f"export.{name}={value}" for name, value in (("storage", storage), ("values", values)) if value]
    chosen += [] if accelerate is None else [f"export.accelerate={str(accelerate).lower()}"]
    workspace = open_workspace(out, config_path=config, assignments=[*(assignments or ()), *chosen])
    if dry_run:
        say(plan(workspace, stages=("export",)))
        return
    say(export_stage(workspace, model, standalone=standalone, quantised=int8))


app.command()(compare)
app.command()(report)
app.command()(infer)
app.command()(info)
app.command()(bench)


@app.command("config")
def config_fields() -> None:
    """List every field of the configuration with its meaning."""
    from wcr_med.config import Config
    from wcr_med.documents import describe_fields

    for name, description in describe_fields(Config):
        say(f"{name:36} {description}")


@app.command()
def version() -> None:
    """Print the version."""
    from wcr_med import __version__

    say(__version__)


_INTERRUPTED = 130  # what typer makes of Ctrl-C


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point: one clear line for what the user can mend, a traceback only for our own faults."""
    wait_politely()
    replace_missing_letters()
    # `docker stop` and batch systems send this: leave as after Ctrl-C, with unfinished files removed.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(prog_name="wcr-med")
    except UserError as error:
        say(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except Stopped as stopped:
        say(str(stopped), err=True)
        sys.exit(stopped.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("wcr_med"):
            raise
        say(f"error: this command needs the package {error.name}: pip install 'wcr-med[train]'", err=True)
        sys.exit(UserError.exit_code)
    except (MemoryError, ImportError, RuntimeError, SystemError) as error:
        if not lacks_memory(error):
            raise
        say("error: not enough memory; raise the limit of the process, or give less at a time", err=True)
        sys.exit(UserError.exit_code)
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:
            say("stopped; give the same command to go on from what is finished", err=True)
        raise

"""The command line: parses, calls one plain function, prints. Heavy imports wait until a command runs."""

from __future__ import annotations

import errno
import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from diffcli import __version__, peers
from diffcli.errors import DiffcliError, UserError, explain
from diffcli.output import console, one_line, prepare, print_table

app = typer.Typer(
    help="Train, sample, evaluate and compare small diffusion models: hot (Gaussian noise) and cold (Gaussian blur).",
    epilog="Start with: diffcli train --preset quickstart, then diffcli sample --out grid.png",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

DataDir = Annotated[
    Path,
    typer.Option(envvar="DIFFCLI_DATA", help="Folder of the data sets (MNIST/raw/... below it).", show_default=True),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]
RunOption = Annotated[
    str | None,
    typer.Option("--run", help="Run folder, preset name (its newest run), or last.", show_default="the newest run"),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(help="Checkpoint file, in place of a run's best one.", show_default=False),
]
SamplerOption = Annotated[
    str | None,
    typer.Option(
        help="On noise: ancestral, ddim, dpm-solver++ or heun; on either: cold (the improved one; DDIM on noise) or "
        "cold-naive. With parameters: '{name: ddim, eta: 0.5}'.",
        show_default="the preset's",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(help="Sampler steps, 1..T; fewer are faster.", show_default="the preset's, else T"),
]
SeedOption = Annotated[int, typer.Option(help="Same seed, same images, whatever the batch size.")]
BatchOption = Annotated[int, typer.Option(help="Images at a time.")]
ExtractorOption = Annotated[str, typer.Option(help="Features of the distances: auto, inception or classifier.")]
InceptionOption = Annotated[Path | None, typer.Option(help="Local copy of the Inception weights.", show_default=False)]
AcceleratorOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
DevicesOption = Annotated[str, typer.Option(help="Lightning's: a number, a list, or auto.")]
NodesOption = Annotated[int, typer.Option(help="Machines.")]
StrategyOption = Annotated[str, typer.Option(help="auto or ddp; train takes others of Lightning's, too.")]
PrecisionOption = Annotated[str, typer.Option(help="Of the training, Lightning's: 32-true, bf16-mixed, 16-mixed, ...")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one preset key, e.g. training.lr=1e-3; repeatable."),
]
DEFAULT_DATA = Path("data")
BESIDE = {"direct": "direct (one step)", "floor": "real training images", "test": "test images"}
"""Scores that stand beside another one: the suffix of the key, and how a table names it."""


def _is_beside(key: str) -> bool:
    return key.endswith(tuple(f"_{suffix}" for suffix in BESIDE))


def _version(value: bool) -> None:
    if value:
        print(f"diffcli {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of diffcli itself."""


@app.command(epilog="Examples: `diffcli train --preset quickstart` · `diffcli train --preset ddpm-linear --epochs 10` · "
             "`diffcli train --resume last`")  # fmt: skip
def train(
    preset: Annotated[str | None, typer.Option(help="Preset name or YAML file.", show_default=False)] = None,
    set_: SetOption = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs in all.", show_default="the preset's")] = None,
    max_time: Annotated[
        str | None,
        typer.Option(
            help="End after this time, 90s, 10m or 2h, the learning rate decayed.", show_default="the preset's"
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.", show_default="the preset's")] = None,
    lr: Annotated[float | None, typer.Option(help="AdamW's learning rate.", show_default="the preset's")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything drawn.", show_default="the preset's")] = None,
    data_dir: DataDir = DEFAULT_DATA,
    on_bad_image: Annotated[
        str | None,
        typer.Option(help="Of a folder of images: refuse or skip what cannot be used.", show_default="the preset's"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="runs/PRESET/TIME")] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on with a run: its folder, a preset name, or last.", show_default=False),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning's: auto, cpu, gpu, mps, ...")] = "auto",
    devices: DevicesOption = "auto",
    num_nodes: NodesOption = 1,
    strategy: StrategyOption = "auto",
    precision: PrecisionOption = "32-true",
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the network with torch.compile.")] = False,
    limit_batches: Annotated[
        int | None,
        typer.Option(help="Batches per epoch, for a quick look.", show_default="all"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved preset and its sizes; write nothing.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train a preset's model; the run folder is printed at the end."""
    assignments = list(set_ or [])
    given = {"epochs": epochs, "max_time": max_time, "batch_size": batch_size, "lr": lr, "seed": seed}
    for key, value in given.items():
        if value is not None:
            assignments.append(f"training.{key}={value}")
    if on_bad_image is not None:
        assignments.append(f"data.on_bad_image={on_bad_image}")
    if (preset is None) == (resume is None):
        raise UserError("give one of --preset NAME and --resume RUN; 'diffcli presets' lists the presets")
    from diffcli.experiments import train as command
    from diffcli.runs import find_run
    from diffcli.training.trainer import Hardware

    run = None
    if preset is not None:
        plan = command.plan_new(preset, assignments, data_dir, limit_batches, download=not dry_run)
    else:
        if out is not None:
            raise UserError("--out does not go with --resume: the run stays in its folder")
        run = find_run(str(resume))
        plan = command.plan_resumed(run, assignments, data_dir, limit_batches)
    if dry_run:
        print(plan.describe(), end="")
        return
    hardware = Hardware(accelerator, devices, num_nodes, strategy, precision)
    print(command.train(plan, run, out, hardware, compile_, quiet).folder)


@app.command(epilog="Examples: `diffcli sample --n 64 --out grid.png` · `diffcli sample --run quickstart --steps 50 --sampler cold "
             "--out images.npz` · `diffcli sample --trajectory walk.gif`")  # fmt: skip
def sample(
    n: Annotated[int | None, typer.Option(help="Images.", show_default="64; 8 with --conditional")] = None,
    out: Annotated[
        Path, typer.Option(help=".png (a grid), .npz (uint8 NHWC under 'images'), or a folder (a PNG each).")
    ] = Path("samples.png"),
    run: RunOption = None,
    checkpoint: CheckpointOption = None,
    prior: Annotated[
        str | None,
        typer.Option(
            help="Start of a blur model: uniform, gaussian, mixture, blurred-data.", show_default="the preset's"
        ),
    ] = None,
    sampler: SamplerOption = None,
    steps: StepsOption = None,
    seed: SeedOption = 0,
    batch_size: BatchOption = 128,
    conditional: Annotated[
        bool, typer.Option("--conditional", help="Reconstruct test images (report Figures 2 and 9).")
    ] = False,
    trajectory: Annotated[
        Path | None, typer.Option(help="Also write the walk from x_T as a .gif.", show_default=False)
    ] = None,
    data_dir: DataDir = DEFAULT_DATA,
    accelerator: AcceleratorOption = "auto",
    devices: DevicesOption = "1",
    num_nodes: NodesOption = 1,
    strategy: StrategyOption = "auto",
    quiet: Quiet = False,
) -> None:
    """Sample from a trained model; the files written are printed."""
    from diffcli.devices import Devices
    from diffcli.experiments.models import Choice
    from diffcli.experiments.sample import sample as command

    hardware = Devices(accelerator, devices, num_nodes, strategy)
    choice = Choice(run, checkpoint, prior, sampler, steps, seed, batch_size, hardware, data_dir)
    for path in command(choice, n, out, conditional, trajectory, quiet):
        print(path)


@app.command(name="eval", epilog="Examples: `diffcli eval` · `diffcli eval --fid --ssim --n-test 500` · "
             "`diffcli eval --run quickstart --json`")  # fmt: skip
def evaluate(
    fid: Annotated[bool, typer.Option("--fid", help="Frechet distance of samples to test images.")] = False,
    kid: Annotated[bool, typer.Option("--kid", help="Kernel distance of samples to test images.")] = False,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Median distance of samples to their nearest training image.")
    ] = False,
    ssim: Annotated[bool, typer.Option("--ssim", help="Structural similarity of reconstructions.")] = False,
    psnr: Annotated[bool, typer.Option("--psnr", help="Peak signal-to-noise ratio of reconstructions, dB.")] = False,
    rmse: Annotated[bool, typer.Option("--rmse", help="Root mean squared error of reconstructions.")] = False,
    loss: Annotated[bool, typer.Option("--loss", help="Training loss on the test images.")] = False,
    class_kept: Annotated[
        bool, typer.Option("--class-kept", help="Share of reconstructions read as their original's digit.")
    ] = False,
    run: RunOption = None,
    checkpoint: CheckpointOption = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(help="Start of a blur model; repeatable, a row for each.", show_default="the preset's"),
    ] = None,
    sampler: SamplerOption = None,
    steps: StepsOption = None,
    seed: SeedOption = 0,
    batch_size: BatchOption = 250,
    n_test: Annotated[int | None, typer.Option(help="Test images to reconstruct.", show_default="all")] = None,
    n_fid: Annotated[int, typer.Option(help="Samples for --fid and --kid.")] = 1000,
    extractor: ExtractorOption = "auto",
    inception_weights: InceptionOption = None,
    data_dir: DataDir = DEFAULT_DATA,
    accelerator: AcceleratorOption = "auto",
    devices: DevicesOption = "1",
    num_nodes: NodesOption = 1,
    strategy: StrategyOption = "auto",
    json_: Annotated[bool, typer.Option("--json", help="Print the content of eval.json instead of a table.")] = False,
    quiet: Quiet = False,
) -> None:
    """Score a trained model (no metric named: all of them); eval.json goes into its run folder."""
    from diffcli.devices import Devices
    from diffcli.experiments.evaluate import evaluate as command
    from diffcli.experiments.models import Choice
    from diffcli.experiments.protocol import Request

    flags = {
        "fid": fid,
        "kid": kid,
        "nearest": nearest,
        "ssim": ssim,
        "psnr": psnr,
        "rmse": rmse,
        "loss": loss,
        "class_kept": class_kept,
    }
    request = Request(
        [name for name, on in flags.items() if on], n_test, n_fid, extractor, inception_weights, prior or []
    )
    hardware = Devices(accelerator, devices, num_nodes, strategy)
    choice = Choice(run, checkpoint, None, sampler, steps, seed, batch_size, hardware, data_dir)
    result = command(choice, request, quiet)
    if json_:
        print(json.dumps(result.as_dict(), indent=2))
    else:
        _print_evaluation(result)


def _print_evaluation(result: Any) -> None:
    settings, scores = result.settings, result.scores
    used = settings["extractor"]
    rows = []

    def add_row(key: str, values: dict[str, float], n: int, prior: str) -> None:
        beside = {suffix: values.get(f"{key}_{suffix}") for suffix in BESIDE}
        note = ", ".join(f"{BESIDE[suffix]}: {number:.4g}" for suffix, number in beside.items() if number is not None)
        rows.append((key, f"{values[key]:.4g}", note, str(n), prior))

    drawn: dict[str, dict[str, float]] = result.by_prior
    for key in (key for key in scores if not _is_beside(key) and not any(key in values for values in drawn.values())):
        add_row(key, scores, settings["n_test"], "")
    for prior, values in drawn.items():
        for key in (key for key in values if not _is_beside(key)):
            label = f"{prior} (restoration)" if prior == "blurred-data" else prior
            add_row(key, values, settings["n_nearest" if key == "nearest" else "n_fid"], label)
    title = f"{settings['preset']}, epoch {settings['epoch']}, {settings['sampler']['name']}, {settings['sampler']['steps']} steps"
    print_table(("metric", "value", "beside it", "n", "prior"), rows, title)
    if used:
        weights = used.get("weights") or used["weights_sha256"][:8]
        known = "" if used.get("official_weights", True) else ", not the official ones: compare with nothing published"
        console().print(one_line(f"features: {used['name']} ({used['features']}-d, weights {weights}{known})"))
    for note in result.notes:
        console().print(one_line(note), style="yellow")
    if result.file:
        print(result.file)


@app.command(name="schedule-plot", epilog="Example: `diffcli schedule-plot --preset ddpm-const-lowbeta --preset ddpm-const-highbeta "
             "--out schedules.png`")  # fmt: skip
def schedule_plot(
    preset: Annotated[list[str], typer.Option(help="Preset name or YAML file; repeatable.")],
    out: Annotated[Path, typer.Option(help=".png, .svg, .pdf, or .csv for the numbers.")] = Path("schedule.png"),
    set_: SetOption = None,
) -> None:
    """Plot beta, alpha and log SNR of presets over t/T (report Figure 5)."""
    from diffcli.experiments.schedule_plot import schedule_plot as command

    print(command(preset, list(set_ or []), out))


@app.command(epilog="Examples: `diffcli compare ddpm-const-lowbeta ddpm-const-highbeta` · `diffcli compare quickstart "
             "quickstart-blur --out compare.html`")  # fmt: skip
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders, or preset names (newest run).")],
    out: Annotated[
        Path | None, typer.Option(help=".html (one self-contained page), .md or .json.", show_default="only the table")
    ] = None,
    n_test: Annotated[int | None, typer.Option(help="Test images to reconstruct.", show_default="all")] = None,
    n_fid: Annotated[int, typer.Option(help="Samples for the distances.")] = 1000,
    steps: StepsOption = None,
    extractor: ExtractorOption = "auto",
    inception_weights: InceptionOption = None,
    data_dir: DataDir = DEFAULT_DATA,
    accelerator: AcceleratorOption = "auto",
    devices: DevicesOption = "1",
    num_nodes: NodesOption = 1,
    strategy: StrategyOption = "auto",
    json_: Annotated[bool, typer.Option("--json", help="Print what a .json holds instead of a table.")] = False,
    quiet: Quiet = False,
) -> None:
    """Lay runs side by side, with the report's own numbers; what is not evaluated with these settings is, first."""
    from diffcli.devices import Devices
    from diffcli.experiments.compare import Settings
    from diffcli.experiments.compare import compare as command
    from diffcli.experiments.protocol import Request

    request = Request((), n_test, n_fid, extractor, inception_weights)
    settings = Settings(request, steps, data_dir, Devices(accelerator, devices, num_nodes, strategy))
    comparison = command(runs, out, settings, quiet)
    if json_:
        print(json.dumps(comparison.as_dict(), indent=2))
    else:
        _print_comparison(comparison)
    if comparison.file:
        print(comparison.file, file=sys.stderr if json_ else sys.stdout)


def _print_comparison(comparison: Any) -> None:
    scores, best = comparison.scores, comparison.best
    # Runs across, metrics down: a terminal is narrower than the list of metrics.
    rows = []
    for metric in best:
        cells = [
            f"{values[metric]:.4g}{' *' if name in best[metric] else ''}" if metric in values else "-"
            for name, values in scores.items()
        ]
        rows.append((metric, *cells))
    print_table(("metric", *scores), rows, "the best value of each metric is marked *")
    for remark in comparison.remarks:
        console().print(one_line(remark))
    for claim in comparison.claims:
        if claim.holds is not None:
            console().print(one_line(f"{claim.verdict}: {claim.text} {claim.evidence}"))


@app.command(epilog="Example: `diffcli study report --budget quick --out study`")
def study(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="report: the source report's four models.")] = "report",
    budget: Annotated[
        str, typer.Option(help="quick (half an hour on two cores) or report (50 epochs each).")
    ] = "quick",
    out: Annotated[Path, typer.Option(help="Folder of the runs and the page; name it again to go on.")] = Path("study"),
    data_dir: DataDir = DEFAULT_DATA,
    extractor: ExtractorOption = "auto",
    inception_weights: InceptionOption = None,
    accelerator: AcceleratorOption = "auto",
    devices: DevicesOption = "auto",
    num_nodes: NodesOption = 1,
    strategy: StrategyOption = "auto",
    precision: PrecisionOption = "32-true",
    quiet: Quiet = False,
) -> None:
    """Train the report's models and compare them; interrupted, it goes on where it was."""
    from diffcli.experiments.study import study as command
    from diffcli.training.trainer import Hardware

    hardware = Hardware(accelerator, devices, num_nodes, strategy, precision)
    comparison = command(name, budget, out, data_dir, hardware, extractor, inception_weights, quiet)
    _print_comparison(comparison)
    print(comparison.file)


@app.command(epilog="Examples: `diffcli presets` · `diffcli presets quickstart > mine.yaml`")
def presets(
    name: Annotated[str | None, typer.Argument(help="Print this preset's YAML.", show_default=False)] = None,
    json_: Annotated[bool, typer.Option("--json", help="A list of names and descriptions.")] = False,
) -> None:
    """List the presets, or print one."""
    from diffcli.experiments import listing
    from diffcli.presets import find_preset

    if name is not None:
        content = find_preset(name).read_bytes()
        if sys.stdout.isatty():
            print(content.decode("utf-8", "replace"), end="")
        else:  # a copy is the same file, whatever the encoding here
            sys.stdout.buffer.write(content)
        return
    rows = listing.presets()
    if json_:
        print(json.dumps([{"name": row[0], "description": row[1]} for row in rows], indent=2))
        return
    print_table(("preset", "description"), rows, framed=False)


@app.command()
def runs(json_: Annotated[bool, typer.Option("--json", help="One object per run.")] = False) -> None:
    """List the runs: preset, date, epochs done, best validation loss, scores."""
    from diffcli.experiments import listing
    from diffcli.runs import runs_root

    rows = listing.runs()
    if json_:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print(f"no runs in {runs_root()}/ yet; make one with: diffcli train --preset quickstart")
        return
    cells = []
    for row in rows:
        best = "-" if row["best_val_loss"] is None else f"{row['best_val_loss']:.5f}"
        shown = {key: value for key, value in row["scores"].items() if not _is_beside(key)}
        scores = ", ".join(f"{key} {value:.4g}" for key, value in shown.items()) or "not evaluated"
        cells.append(
            (
                row["run"],
                datetime.fromisoformat(row["started"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
                str(row["epochs"]),
                best,
                scores,
            )
        )
    print_table(("run", "started", "epochs", "best val loss", "scores"), cells, framed=False)


def _fail(message: str, code: int) -> NoReturn:
    peers.end()
    speaker = "" if peers.is_first() else f"{peers.name_of(peers.rank())}: "
    print(f"error: {speaker}{one_line(message)}", file=sys.stderr)
    raise SystemExit(code)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line: exit code 2 and one line for bad input, 1 for what failed at run time, 130 for Ctrl-C."""
    prepare()
    try:
        code = app(args=arguments, standalone_mode=False, prog_name="diffcli")
        sys.stdout.flush()
    except DiffcliError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        if not peers.is_first():
            raise SystemExit(130) from None
        _fail("interrupted; nothing was left half written", 130)
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except Exception as error:
        # The parser's own errors know their exit code and their one line; anything else is a bug and shows itself.
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            _fail(f"{error.format_message()} See 'diffcli --help'.", error.exit_code)
        if type(error).__name__ == "Abort":
            _fail("interrupted", 130)
        if peers.is_loss(error):
            _fail(peers.explain_loss(error), 1)
        explained = explain(error)
        if explained is None:
            peers.end()
            raise
        _fail("; ".join(filter(None, explained)), 2 if getattr(error, "errno", None) == errno.ENAMETOOLONG else 1)
    raise SystemExit(code or 0)

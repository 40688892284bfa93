"""``diffcli eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcli.cli.app import MEASURE, app, examples
from diffcli.cli.flags import batch_size_of
from diffcli.cli.metric_flags import metric_flags
from diffcli.cli.options import (
    EFFORT,
    METRICS,
    SAMPLING,
    AcceleratorOption,
    AutoguidanceOption,
    BatchOption,
    CheckpointOption,
    CompileOption,
    DataDir,
    DataOption,
    DevicesOption,
    ExtractorOption,
    GuidanceOption,
    InceptionOption,
    LabelOption,
    NCasOption,
    NFidOption,
    NodesOption,
    NTestOption,
    PrecisionOption,
    Progress,
    Quiet,
    ReconstructionT,
    RunOption,
    SamplerOption,
    SeedOption,
    StepsOption,
    StrategyOption,
    ZtBitsOption,
    ZtNoiseOption,
    chosen,
    path_option,
    silent,
)
from diffcli.cli.tables import print_evaluation
from diffcli.utils.files import json_text


@app.command(
    name="eval",
    rich_help_panel=MEASURE,
    epilog=examples(
        "diffcli eval",
        "diffcli eval --fid --ssim --n-test 500",
        "diffcli eval --rmse --t 10 --zt-bits 8",
        "diffcli eval --run quickstart --json",
        "diffcli eval --model mnist-fast --loss --out scores.json",
    ),
)
@metric_flags
def evaluate(
    metrics: list[str],
    run: RunOption = None,
    checkpoint: CheckpointOption = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(
            help="Start of a blur model; repeatable, a row for each.",
            show_default="the preset's",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    sampler: SamplerOption = None,
    steps: StepsOption = None,
    per_label: Annotated[
        bool,
        typer.Option("--per-label", help="Also the Frechet distance of each label's samples.", rich_help_panel=METRICS),
    ] = False,
    nll_steps: Annotated[
        int | None,
        typer.Option(
            help="Network evaluations for each image of --nll, 2..T: an unbiased estimate, with T the exact sum.",
            show_default="20, or T if less",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    label: LabelOption = None,
    guidance: GuidanceOption = None,
    autoguidance: AutoguidanceOption = None,
    seed: SeedOption = 0,
    batch_size: BatchOption = "250",
    n_test: NTestOption = None,
    n_fid: NFidOption = 1000,
    n_cas: NCasOption = None,
    t: ReconstructionT = None,
    zt_bits: ZtBitsOption = None,
    zt_noise: ZtNoiseOption = 0.0,
    extractor: ExtractorOption = "auto",
    inception_weights: InceptionOption = None,
    data_dir: DataDir = None,
    data: DataOption = None,
    accelerator: AcceleratorOption = "auto",
    devices: DevicesOption = "1",
    num_nodes: NodesOption = 1,
    strategy: StrategyOption = "auto",
    precision: PrecisionOption = "32-true",
    compile_: CompileOption = False,
    out: Annotated[
        Path | None,
        path_option(help=".json, the file of the scores.", show_default="eval.json in the run folder, if there is one"),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the content of eval.json instead of a table.")] = False,
    quiet: Quiet = False,
    progress: Progress = False,
) -> None:
    """Score a trained model (no metric named: all but --cas); eval.json goes into its run folder, or into --out."""
    from diffcli.evaluation.evaluate import evaluate as measure
    from diffcli.utils.devices import Devices

    result = measure(
        chosen(run, checkpoint),
        metrics,
        n_test,
        n_fid,
        extractor,
        inception_weights,
        prior or (),
        per_label,
        data_dir,
        Devices(accelerator, devices, num_nodes, strategy, precision, compile_),
        sampler=sampler,
        steps=steps,
        nll_steps=nll_steps,
        n_cas=n_cas,
        t=t,
        zt_bits=zt_bits,
        zt_noise=zt_noise,
        label=label,
        guidance=guidance,
        autoguidance=autoguidance,
        seed=seed,
        batch_size=batch_size_of(batch_size),
        data=data,
        out=out,
        quiet=silent(quiet, progress),
    )
    if json_:
        print(json_text(result.as_dict()))
    else:
        print_evaluation(result)

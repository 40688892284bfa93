"""``diffcli play``."""

from __future__ import annotations

from typing import Annotated

import typer

from diffcli.cli.app import MAKE, app, examples
from diffcli.cli.completion import model_names
from diffcli.cli.options import AcceleratorOption, Quiet


@app.command(
    rich_help_panel=MAKE,
    epilog=examples(
        "diffcli play",
        "diffcli play quickstart quickstart-blur",
        "diffcli play digits.safetensors --port 8000",
    ),
)
def play(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|MODEL]...",
            help="Run folders, preset names (their newest runs), last, ready models, or model files.",
            show_default="the ready models",
            autocompletion=model_names,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines of the network in.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port to listen on.", show_default="the first free from 7860")
    ] = None,
    accelerator: AcceleratorOption = "auto",
    quiet: Quiet = False,
) -> None:
    """Open a page in the browser that draws, restores and explains with trained models; Ctrl-C ends it."""
    from diffcli.play.server import check_packages

    check_packages()

    from diffcli.play.choices import opened
    from diffcli.play.server import listening, serve
    from diffcli.utils.devices import Devices

    with listening(host, port) as listener:
        serve(opened(models or [], Devices(accelerator, "1")), listener, lambda address: _tell(address, quiet))


def _tell(address: str, quiet: bool) -> None:
    print(address if quiet else f"{address}\nOpen it in a browser; Ctrl-C ends it.", flush=True)

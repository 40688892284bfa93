"""``diffcli play``."""

from __future__ import annotations

from collections.abc import Sequence

from diffcli.cli.app import MAKE, command
from diffcli.play.server import FIRST_PORT
from diffcli.utils.devices import ONE_DEVICE, Devices, devices_option
from diffcli.utils.options import option


@command(
    MAKE,
    "diffcli play",
    "diffcli play quickstart quickstart-blur",
    "diffcli play digits.safetensors --port 8000",
)
def play(
    *,
    models: Sequence[str] = option(
        (),
        argument=True,
        metavar="[RUN|MODEL]...",
        help="Run folders, preset names (their newest runs), last, ready models, or model files.",
        default_text="the ready models",
        complete="models",
    ),
    host: str = option("127.0.0.1", help="Address to listen on; 0.0.0.0 lets other machines of the network in."),
    port: int | None = option(None, help="Port to listen on.", default_text=f"the first free from {FIRST_PORT}"),
    devices: Devices = devices_option(ONE_DEVICE, {"accelerator": None}),
    quiet: bool = option(False, also="q", help="No progress, only the result."),
) -> None:
    """Open a page in the browser that draws, restores and explains with trained models; Ctrl-C ends it."""
    from diffcli.play.server import check_packages, listening_socket, serve

    check_packages()  # before anything heavy is loaded
    from diffcli.play.choices import load_models

    def show(address: str) -> None:
        print(address if quiet else f"{address}\nOpen it in a browser; Ctrl-C ends it.", flush=True)

    with listening_socket(host, port) as listener:
        serve(load_models(models, devices), listener, show)

"""Messages that name a prior which is possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from diffcli.diffusion.priors import Prior

NamedPriors = Callable[[], Iterator[tuple[str, Prior]]]
"""Makes priors, each with its name; for messages, so that nothing is made before one is written."""


def no_priors() -> Iterator[tuple[str, Prior]]:
    """None: of a sampler without a model around it nothing else is known."""
    return iter(())


def suggestion(priors: NamedPriors, condition: Callable[[Prior], bool], fallback: str) -> str:
    """The end of a message: those priors that a condition holds for, ``take `prior` gaussian or uniform``.

    Args:
        fallback: the name of one that it would hold for; it is suggested, with what it needs, where there is none.
    """
    names = [name for name, prior in priors() if condition(prior)]
    choices = " or ".join(names)
    return (
        f"take `prior` {choices}" if names else f"take `prior` {fallback}, which is fitted to the training images first"
    )

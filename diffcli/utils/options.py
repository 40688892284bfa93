"""Keyword arguments written once: the fields of a dataclass are the parameters of the function that takes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from diffcli.utils.errors import UserError, unknown

P = ParamSpec("P")
Options = TypeVar("Options")
Result = TypeVar("Result")


def takes(options: Callable[P, Options]) -> Callable[[Callable[[Options], Result]], Callable[P, Result]]:
    """Makes a function of an options dataclass one that is called with the dataclass's fields.

    The function itself stays at hand as ``__wrapped__``.

    Raises:
        UserError: (when called) an argument is unknown or missing.
    """

    def decorate(function: Callable[[Options], Result]) -> Callable[P, Result]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            _check(options, args, kwargs)
            return function(options(*args, **kwargs))

        call.__signature__ = inspect.signature(options)  # type: ignore[attr-defined]
        return call

    return decorate


def _check(options: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    signature = inspect.signature(options)
    for name in kwargs:
        if name not in signature.parameters:
            raise UserError(unknown("argument", name, signature.parameters))
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UserError(str(error)) from None

"""What tells things of one name apart."""

from __future__ import annotations

from pathlib import Path

from diffcli.utils.unique_labels import unique_labels


def test_a_label_is_the_name_and_what_tells_it_apart() -> None:
    for names, paths, expected in [
        (["a", "b"], ["x/run", "y/run"], ["a", "b"]),
        (["a", "a", "b"], ["x/run", "y/run", "z/run"], ["a (x/run)", "a (y/run)", "b"]),
        (["a", "a"], ["x/1", "x/2"], ["a (1)", "a (2)"]),
        (["a", "a", "a"], ["p/x/run", "q/x/run", "q/y/run"], ["a (p/x/run)", "a (q/x/run)", "a (q/y/run)"]),
        (["a", "a"], ["/run", "/x/run"], ["a (/run)", "a (x/run)"]),
        # A preset may be named like the label of another.
        (["a", "a", "a (1)"], ["/x/1", "/x/2", "/x/3"], ["/x/1", "/x/2", "/x/3"]),
    ]:
        assert unique_labels(names, [Path(path) for path in paths]) == expected

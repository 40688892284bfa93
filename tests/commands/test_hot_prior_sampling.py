"""Sampling a hot model from a fitted prior."""

from __future__ import annotations


def test_a_hot_model_samples_from_a_fitted_prior(cli, hot_run) -> None:
    words = ["--run", hot_run, "--n", 2, "--steps", 3, "--quiet", "--accelerator", "cpu"]
    for prior in ("mixture", "gaussian", "uniform"):
        result = cli("sample", *words, "--prior", prior, "--out", f"{prior}.png")
        assert result.code == 0, result.err

"""diffcli: train, sample, evaluate and compare small diffusion models, hot and cold."""

__version__ = "0.1.0"

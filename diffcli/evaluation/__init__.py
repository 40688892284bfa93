"""Metrics, feature extractors and the digit classifier."""

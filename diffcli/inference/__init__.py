"""Trained models at work: loading, sampling, restoring, exporting, and their pictures."""

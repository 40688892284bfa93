"""Pictures and figures: pure functions from results to files."""

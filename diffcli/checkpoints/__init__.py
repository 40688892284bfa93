"""Files of trainings and models: run folders, their records, checkpoints and model files."""

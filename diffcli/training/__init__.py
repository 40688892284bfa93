"""The LightningModule, its callbacks, and the Trainer."""

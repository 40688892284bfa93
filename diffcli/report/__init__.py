"""What is known of the source report alone: its findings, its numbers, the models that it compares."""

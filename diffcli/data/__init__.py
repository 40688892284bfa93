"""Data sets held in memory as uint8 tensors, and how they are split, batched and scaled."""

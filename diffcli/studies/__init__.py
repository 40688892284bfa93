"""Studies as data: which models are trained, on which budget, how they are measured, and what is claimed of them."""

"""A local page for trained models: what its tabs compute, the page, and what serves it."""

"""Presets: their schema, the registry of components and plug-ins, and the objects that they stand for."""

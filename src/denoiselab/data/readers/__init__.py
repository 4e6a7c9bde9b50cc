"""Readers: one module for each `data.name` in params.yaml, with `images(data, sources) -> list[Source]`."""

"""One module a data set, named as `data.name` in params.yaml: `images(data, sources) -> list[Source]`."""

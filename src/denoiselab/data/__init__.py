"""Data sets: a reader lists a set's images by split, `fetch` decodes, checks and stores them.

To add a data set: a module here with `images(data, sources) -> list[Source]`, named as its `name` in params.yaml, its
block in config/data.py, its licence and citation in sources.py and a file in conf/data/.
"""

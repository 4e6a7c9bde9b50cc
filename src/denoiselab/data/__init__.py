"""Data sets: readers list the images of each split, `fetch` decodes, checks and stores them, `patches` cuts them.

To add a data set: a module `readers/<name>.py` with `images(data, sources) -> list[Source]`, its block in
config/data.py, its licence and citation in readers/sources.py, and conf/data/<name>.yaml.
"""

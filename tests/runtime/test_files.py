"""Atomic writes: whole files under every name that the file system allows."""

import pytest

from denoiselab.runtime import files


@pytest.mark.parametrize("name", ["a" * 255, "я" * 127, "写" * 85, ".hidden", "a b.c.tmp"])
def test_every_name_that_a_file_may_have_can_be_written(tmp_path, name):
    files.write_text(tmp_path / name, "whole")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "whole")]


def test_a_failed_write_leaves_the_earlier_file_alone(tmp_path):
    path = tmp_path / ("a" * 255)
    files.write_text(path, "earlier")
    with pytest.raises(RuntimeError), files.atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(path.name, "earlier")]

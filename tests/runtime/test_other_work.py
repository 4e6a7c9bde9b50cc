"""The CPU time of other processes, and which costs it is stored with."""

import time

import pytest

from denoiselab.runtime import other_work


def test_the_own_work_is_not_counted(monkeypatch):
    readings = iter([(100.0, 10.0), (130.0, 16.0)])
    busy, own = zip(*readings, strict=True)
    monkeypatch.setattr(other_work, "_busy", iter(busy).__next__)
    monkeypatch.setattr(other_work, "_own", iter(own).__next__)
    clock = iter([50.0, 70.0])
    monkeypatch.setattr(time, "perf_counter", clock.__next__)
    assert other_work.Watch().load()["other_cores"] == pytest.approx((30 - 6) / 20)


def test_a_load_is_not_negative_and_of_this_machine():
    watch = other_work.Watch()
    sum(n * n for n in range(300_000))
    load = watch.load()
    assert 0 <= load["other_cores"] <= load["cores"] + 0.5


def test_the_load_of_a_resumed_training_is_unknown():
    for seconds, known in ((1e-3, True), (1e9, False)):
        assert ("other_cores" in other_work.since_start(seconds)) == known

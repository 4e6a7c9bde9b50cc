"""The page's parts that need no browser: its line, limits, noises and samples."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

from denoiselab import metrics, noise
from denoiselab.page import limits, noises
from denoiselab.page.limits import Limits
from denoiselab.page.line import Line
from denoiselab.page.samples import SAMPLES


def nothing(ahead: int) -> None:
    pass


def test_one_at_a_time_in_the_order_they_came_and_each_is_told_its_place():
    line, order, inside, told = Line(10), [], 0, {number: [] for number in range(5)}
    most = 0
    may_go = threading.Event()

    def visit(number: int) -> None:
        nonlocal inside, most
        with line.turn(told[number].append):
            inside += 1
            most = max(most, inside)
            may_go.wait(60)
            order.append(number)
            inside -= 1

    visitors = [threading.Thread(target=visit, args=(number,)) for number in told]
    for number, visitor in enumerate(visitors):
        visitor.start()
        while number and not told[number]:
            time.sleep(0.01)
    may_go.set()
    for visitor in visitors:
        visitor.join(60)
    assert order == [0, 1, 2, 3, 4]
    assert most == 1
    assert told[0] == []
    assert [places[0] for places in told.values() if places] == [1, 2, 3, 4]
    assert all(places == sorted(places, reverse=True) for places in told.values())


def test_a_full_line_says_so_at_once():
    line = Line(1)
    refused = []

    def third(ahead: int) -> None:
        with pytest.raises(ValueError, match="1 pictures are waiting already"), line.turn(nothing):
            pass
        refused.append(ahead)
        raise InterruptedError  # and leaves

    with line.turn(nothing), pytest.raises(InterruptedError), line.turn(third):
        pass
    assert refused == [1]
    with line.turn(nothing):
        pass


def test_who_leaves_or_fails_holds_up_nobody():
    line = Line(3)
    with pytest.raises(RuntimeError), line.turn(nothing):
        raise RuntimeError

    def leaves(ahead: int) -> None:
        raise InterruptedError

    with line.turn(nothing):
        for _ in range(10):  # more than fit
            with pytest.raises(InterruptedError), line.turn(leaves):
                pass
    with line.turn(leaves):  # nobody ahead, so it is not called
        pass


def test_a_file_and_a_picture_have_limits(monkeypatch):
    Limits(megabytes=5).check_file(5_000_000)
    with pytest.raises(ValueError, match=r"the file has 5\.1 MB; this page takes at most 5 MB"):
        Limits(megabytes=5).check_file(5_100_000)
    with pytest.raises(ValueError, match="--max-megapixels: must be at least 1, not 0"):
        Limits(megapixels=0)
    monkeypatch.setattr(limits.devices, "free_bytes", lambda device: 2 * 10**9)
    limits.check_memory(10**7)
    with pytest.raises(ValueError, match=r"20.0 megapixels needs 2\.5 GB of memory here, and only 2\.0 GB"):
        limits.check_memory(2 * 10**7)


def test_the_page_has_every_noise_of_the_project():
    assert noises.KINDS.keys() == noise.NOISES.keys()
    assert all(kind.spec(kind.start).kind == name for name, kind in noises.KINDS.items())


@pytest.mark.parametrize("name", noises.KINDS)
def test_the_slider_of_a_noise_changes_the_picture_the_more_the_further(name, astronaut):
    clean = astronaut[100:228, 180:340].astype(np.float32) / 255
    kind = noises.KINDS[name]
    assert kind.low < kind.start < kind.high and (kind.high - kind.low) / kind.step > 5
    results = [noises.added(clean, name, level) for level in (kind.low, kind.start, kind.high)]
    assert all(noisy.shape == clean.shape and noisy.dtype == np.float32 for noisy in results)
    errors = [metrics.mse(clean, noisy, data_range=1) for noisy in results]
    assert errors in (sorted(errors), sorted(errors, reverse=True)) and min(errors) > 0
    assert max(errors) > 3 * min(errors)
    assert np.array_equal(results[1], noises.added(clean, name, kind.start))


def test_noise_for_colour_alone_says_so_of_a_gray_picture(astronaut):
    gray = astronaut[:64, :64, :1].astype(np.float32) / 255
    assert noises.added(gray, "gaussian", 25).shape == gray.shape
    with pytest.raises(ValueError, match="for colour pictures, and the picture is gray"):
        noises.added(gray, "iso", 0.5)


def test_the_samples_are_there_in_colour_and_in_gray():
    modes = {name: Image.open(sample.path).mode for name, sample in SAMPLES.items()}
    assert set(modes.values()) == {"RGB", "L"}
    assert all(("gray" in SAMPLES[name].title) == (mode == "L") for name, mode in modes.items())
    assert all(sample.credit for sample in SAMPLES.values())

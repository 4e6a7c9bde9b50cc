"""Figures: nothing is drawn outside, and the same numbers give the same bytes."""

from pathlib import Path

import pandas as pd
import pytest

from denoiselab.report.figures import scores


@pytest.mark.parametrize(
    "sets", [["CBSD68"], ["CBSD68", "BSDS500-val"], ["CBSD68", "a test set with a rather long name"]]
)
def test_the_legend_fits_above_the_figure(sets, monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(scores, "save", lambda figure, path: kept.append(figure))
    rows = [(model, name, f"sigma{level}") for model in ("unet", "nlm") for name in sets for level in (15, 25, 50)]
    table = pd.DataFrame(rows, columns=["model", "set", "condition"])
    table = table.assign(title=table.set + ", " + table.condition)
    scores.means(table.assign(psnr_mean=30.0, psnr_low=29.0, psnr_high=31.0, protocol_sha256="0"), Path(tmp_path))
    figure = kept[0]
    figure.draw_without_rendering()
    legend = figure.axes[0].get_legend().get_window_extent()
    assert figure.bbox.x0 <= legend.x0
    assert legend.x1 <= figure.bbox.x1


def test_plots_are_the_same_bytes_in_every_run_with_text_as_text(tmp_path, monkeypatch):
    rows = [("unet", s, 40 - s / 4, 0.9) for s in (5, 25, 50)] + [("nlm", s, 38 - s / 4, 0.8) for s in (5, 25, 50)]
    table = pd.DataFrame(rows, columns=["model", "sigma_255", "psnr", "ssim"])
    looks = scores.lines(["unet", "nlm"])
    found = {}
    for name, now in (("a", "1"), ("b", "1000000000")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", now)
        paths = scores.levels(table, {"unet": (25, 25)}, looks, tmp_path / name)
        assert [path.name for path in paths] == ["levels-psnr.svg", "levels-ssim.svg"]
        found[name] = [path.read_bytes() for path in paths]
    assert found["a"] == found["b"]
    assert b">noise level sigma (of 255)</text>" in found["a"][0] and b">nlm</text>" in found["a"][0]
    width = float(found["a"][0].split(b'width="')[1].split(b"pt")[0])
    assert width < 380  # a letter of 10 points is at least 9 pixels high on a screen of 390

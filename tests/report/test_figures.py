"""Figures: nothing is drawn outside."""

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
    scores.means(table.assign(psnr_mean=30.0, psnr_low=29.0, psnr_high=31.0, protocol_sha256="0"), Path(tmp_path))
    figure = kept[0]
    figure.draw_without_rendering()
    legend = figure.axes[0].get_legend().get_window_extent()
    assert figure.bbox.x0 <= legend.x0
    assert legend.x1 <= figure.bbox.x1

"""Tables of the stages: numbers come back as they were written."""

import numpy as np
import pandas as pd

from denoiselab.runtime import stage_outputs


def test_numbers_are_read_to_the_last_bit(tmp_path):
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.normal(30, 3, 20_000), rng.normal(size=20_000) * 10.0 ** rng.integers(-300, 300, 20_000)]
    )
    pd.DataFrame({"psnr": values}).to_csv(tmp_path / "table.csv", index=False)
    assert np.array_equal(stage_outputs.read_table(tmp_path / "table.csv")["psnr"], values)

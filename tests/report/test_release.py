"""Released weights equal the trained ones, and their model card has the measured scores."""

from pathlib import Path

import pytest
import torch
import yaml

from denoiselab import config
from denoiselab.comparison import aggregate
from denoiselab.config import Params
from denoiselab.evaluation import scoring
from denoiselab.models import model_store
from denoiselab.report import release
from denoiselab.runtime import files, paths
from denoiselab.runtime.errors import UserError
from tests.conftest import ROOT, composed, many_photos, run_stages, small, trained

NET = {"arch": "dncnn", "needs": "data/patches", "channels": 3, "depth": 3, "features": 4, "batch_norm": True}
CARD = f"# net\n\nWritten by hand.\n\n{release.BEGIN}old\n{release.END}\nEnd.\n"


def with_models(params: Params, **models: dict) -> Params:
    tree = params.model_dump(mode="json", exclude_unset=True)
    tree["models"] |= models
    tree["train"] |= {"steps": 2, "validate_every": 1, "crop": 32, "warmup_steps": 0}
    return config.Params.model_validate(tree)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> tuple[Path, Params]:
    """A run that trained one small network."""
    root = tmp_path_factory.mktemp("release")
    many_photos(root / "photos")
    params = with_models(small(root / "photos", "data.drop_leaks=true"), net=NET)
    run_stages(root, params)
    return root, params


def test_released_weights_are_the_trained_ones(root, monkeypatch):
    folder, params = root
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    release.publish(params, "tiny")
    published, own = model_store.load(Path("models/released/tiny")), model_store.load(Path("models/net"))
    for name, tensor in own.state_dict().items():
        assert torch.equal(published.state_dict()[name], tensor), name
    block = yaml.safe_load(Path("conf/model/released/tiny.yaml").read_text())
    imported = with_models(params, tiny=block)
    trained(imported, "tiny")
    scoring.evaluate(imported, "tiny")
    Path("models/released/tiny/README.md").write_text(CARD)
    card = release.describe(imported, "tiny").read_text()
    assert card.startswith("# net\n\nWritten by hand.\n") and card.endswith("\n\nEnd.\n") and "\nold\n" not in card
    table = aggregate.table(aggregate.read(imported), imported)
    rows = table[table.model == "tiny"]
    assert len(rows) == 3
    trained_rows = table[table.model == "net"]
    assert list(rows.psnr_mean) == pytest.approx(list(trained_rows.psnr_mean), abs=1e-4)
    for row in rows.itertuples():
        assert f"{row.psnr_mean:.2f} [{row.psnr_low:.2f}, {row.psnr_high:.2f}]" in card
    assert release.describe(imported, "tiny").read_text() == card


def test_only_an_entry_that_imports_the_release_is_described(root, monkeypatch):
    folder, params = root
    monkeypatch.chdir(folder)
    release.publish(params, "tiny")
    with pytest.raises(UserError, match=r"models.tiny: does not import models/released/tiny"):
        release.describe(params, "tiny")


def test_exactly_one_network_is_published(root, monkeypatch):
    folder, params = root
    monkeypatch.chdir(folder)
    alone = params.model_copy(update={"models": {k: v for k, v in params.models.items() if k != "net"}})
    with pytest.raises(UserError, match="found: none"):
        release.publish(alone, "tiny")


@pytest.mark.parametrize("name", ["colour", "gray", "real"])
def test_entries_import_the_released_weights(name):
    params = composed(f"recipe=released_{name}")
    entry, folder = params.models[name], ROOT / paths.released(name)
    assert entry.sha256 == files.sha256(folder / "best_psnr.safetensors")
    card = model_store.read_card(folder)
    assert card["architecture"] == params.entry(name).architecture()
    assert model_store.parameters(model_store.load(folder)) == card["parameters"]
    assert f"recipe={card['recipe']}" in (folder / "README.md").read_text(encoding="utf-8")
    retrained = composed(f"recipe={card['recipe']}")
    assert card["train"].items() <= retrained.training("unet").model_dump(mode="json").items()

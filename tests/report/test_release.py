"""Released weights equal the trained ones, and their model card has the measured scores."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from denoiselab import config
from denoiselab.app import model_catalogue
from denoiselab.comparison import aggregate
from denoiselab.config import Params
from denoiselab.data import manifest
from denoiselab.evaluation import scoring
from denoiselab.models import model_store
from denoiselab.report import release
from denoiselab.runtime import files, paths
from denoiselab.runtime.errors import UserError
from tests.conftest import ROOT, composed, many_photos, photograph, run_stages, small, trained

NET = {"arch": "dncnn", "needs": "data/patches", "channels": 3, "depth": 3, "features": 4, "batch_norm": True}
NETS = {"net": NET, "fast": NET | {"depth": 2}, "best": NET | {"depth": 4}}
CARD = f"# net\n\nWritten by hand.\n\n{release.BEGIN}old\n{release.END}\nEnd.\n"


def with_models(params: Params, **models: dict) -> Params:
    tree = params.model_dump(mode="json", exclude_unset=True)
    tree["models"] |= models
    tree["train"] |= {"steps": 2, "validate_every": 1, "crop": 32, "warmup_steps": 0}
    return config.Params.model_validate(tree)


def only(params: Params, *networks: str) -> Params:
    """Without the other networks."""
    left = {name: entry for name, entry in params.models.items() if name not in NETS or name in networks}
    return params.model_copy(update={"models": left})


def imported(params: Params, *names: str) -> Params:
    """With entries of released weights, trained and evaluated."""
    blocks = {name: yaml.safe_load(Path(f"conf/model/released/{name}.yaml").read_text()) for name in names}
    params = with_models(params, **blocks)
    for name in names:
        trained(params, name)
        scoring.evaluate(params, name)
    return params


@pytest.fixture(scope="module")
def params(tmp_path_factory) -> Iterator[Params]:
    """A run that trained three small networks; its folder is the working directory."""
    root = tmp_path_factory.mktemp("release")
    many_photos(root / "photos")
    (root / "tests").mkdir()
    for top in (320, 400):
        Image.fromarray(photograph()[top : top + 96, 300:428]).save(root / "tests" / f"{top}.png")
    noise = ["noise.train.clip=half", "noise.train.quantise=true"]
    data = ["data.drop_leaks=true", f"data.test_folder={root / 'tests'}"]
    params = with_models(small(root / "photos", *noise, *data), **NETS)
    run_stages(root, params)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("DVC_ROOT", str(root))
        yield params


def test_released_weights_are_the_trained_ones_in_float16(params):
    (folder,) = release.publish(only(params, "net"), "tiny")
    assert folder == Path("models/released/tiny")
    published, own = model_store.load(folder), model_store.load(Path("models/net"))
    for name, tensor in own.state_dict().items():
        rounded = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(published.state_dict()[name], rounded), name
    evaluated = imported(params, "tiny")
    assert evaluated.models["tiny"].licence == "MIT"
    assert evaluated.models["tiny"].trained_on == "your own images (yours)"
    (folder / "README.md").write_text(CARD)
    (path,) = release.describe(evaluated, "tiny")
    card = path.read_text()
    assert card.startswith("# net\n\nWritten by hand.\n") and card.endswith("\n\nEnd.\n") and "\nold\n" not in card
    table = aggregate.table(aggregate.read(evaluated), evaluated)
    rows = table[table.model == "tiny"]
    assert len(rows) == 3 * rows.set.nunique()
    trained_rows = table[table.model == "net"]
    assert list(rows.psnr_mean) == pytest.approx(list(trained_rows.psnr_mean), abs=1e-4)
    for row in rows.itertuples():
        assert f"{row.psnr_mean:.2f} [{row.psnr_low:.2f}, {row.psnr_high:.2f}]" in card
    release.describe(evaluated, "tiny")
    assert path.read_text() == card


def test_the_data_line_names_what_was_trained_on_only(params):
    release.publish(only(params, "net"), "tiny")
    (path,) = release.describe(imported(params, "tiny"), "tiny")
    (line,) = [line for line in path.read_text().splitlines() if line.startswith("- **Data**")]
    used = manifest.dataset(paths.RAW)["sources"]
    assert set(used) == {"folder", "test_folder"}
    assert used["folder"]["title"] in line and used["test_folder"]["title"] not in line


def test_fast_and_best_networks_are_sizes_of_a_family(params):
    folders = release.publish(only(params, "fast", "best"), "photos")
    assert folders == [Path("models/released/photos_fast"), Path("models/released/photos_best")]
    for folder, name in zip(folders, ("fast", "best"), strict=True):
        card = model_store.read_card(folder)
        assert (card["name"], card["noise"]["train"]["clip"]) == (folder.name, "half")
        assert card["architecture"]["depth"] == NETS[name]["depth"]
    both = imported(params, "photos_fast", "photos_best")
    one = both.model_copy(update={"models": {k: v for k, v in both.models.items() if k != "photos_fast"}})
    assert release.describe(one, "photos") == [folders[1] / "README.md"]
    assert release.describe(both, "photos") == [folder / "README.md" for folder in folders]
    for folder in folders:
        text = (folder / "README.md").read_text()
        assert text.startswith(f"---\nlicense: not stated\n---\n# {folder.name}: dncnn\n")
        assert f"| **{folder.name}** |" in text and "half of them clipped" in text
        entry = model_catalogue.described(folder, name=folder.name, origin="released")
        assert {one.noise for one in model_catalogue.measured(entry)} == {"sigma 15", "sigma 25", "sigma 50"}


def test_the_card_states_the_depth_of_the_training_data(params):
    deep = params.model_copy(update={"data": params.data.model_copy(update={"depth": 16})})
    for trained_at, bits in ((params, 8), (deep, 16)):
        release.publish(only(trained_at, "net"), "deep")
        (path,) = release.describe(imported(params, "deep"), "deep")
        (line,) = [line for line in path.read_text().splitlines() if line.startswith("- **Noise**")]
        assert f"half of them clipped, {bits} bits" in line


def test_a_size_is_published_alone_and_keeps_its_card(params):
    (folder,) = release.publish(only(params, "best"), "alone")
    assert folder == Path("models/released/alone_best")
    (folder / "README.md").write_text(CARD)
    release.publish(only(params, "best"), "alone")
    assert (folder / "README.md").read_text() == CARD


def test_only_an_entry_that_imports_the_release_is_described(params):
    release.publish(only(params, "net"), "tiny")
    with pytest.raises(UserError, match="no released weights of tiny were evaluated; run `dvc exp run"):
        release.describe(params, "tiny")
    with pytest.raises(UserError, match=r"models\.tiny: does not import models/released/tiny"):
        release.describe(with_models(params, tiny=NET), "tiny")


@pytest.mark.parametrize(("networks", "said"), [((), "none"), (("net", "fast"), "net, fast")])
def test_other_networks_are_not_published(params, networks, said):
    with pytest.raises(UserError, match=f"one trained network to publish, or fast and best; found: {said}$"):
        release.publish(only(params, *networks), "tiny")


RELEASED = sorted(path.stem for path in (ROOT / "conf/model/released").glob("*.yaml"))


@pytest.mark.parametrize("name", RELEASED)
def test_entries_import_the_released_weights(name):
    params = composed(f"recipe=released_{name.partition('_')[0]}")
    entry, folder = params.models[name], ROOT / paths.released(name)
    assert entry.sha256 == files.sha256(folder / "best_psnr.safetensors")
    card = model_store.read_card(folder)
    assert card["architecture"] == params.entry(name).architecture()
    assert model_store.parameters(model_store.load(folder)) == card["parameters"]
    assert f"recipe={card['recipe']}" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RELEASED)
def test_released_weights_were_trained_by_their_recipe(name):
    card = model_store.read_card(ROOT / paths.released(name))
    retrained = composed(f"recipe={card['recipe']}")
    settings = retrained.training(name.partition("_")[2] or "unet").model_dump(mode="json")
    used = card["train"] | {"precision": settings["precision"]}  # auto: as the device allows
    assert {key: settings[key] for key in used} == used


@pytest.mark.parametrize("family", ["colour", "gray"])
def test_a_family_is_evaluated_and_trained_in_every_size(family):
    sizes = {quality: name for quality, name in paths.sizes(family).items() if name in RELEASED}
    assert [*composed(f"recipe=released_{family}").models] == ["noisy", "nlm", *sizes.values()]
    assert [*composed(f"recipe=train_released_{family}").models] == ["noisy", "nlm", *sizes]

"""dvc.yaml against the code: dependencies, outputs, parameters."""

from pathlib import Path

import pytest
import yaml

from denoiselab import config, models, paths
from tests.imports import ROOT, walk

TREE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = {
    "fetch": "fetch",
    "patchify": "patchify",
    "add-noise": "add_noise",
    "train": "train",
    "evaluate": "evaluate",
    "compare": "compare",
}
NEEDED = {
    "cnn_unet": "classifier_cnn",
    "resnet_unet": "classifier_resnet",
    "guided_shuffled": "classifier_cnn",
    "sr_finetuned": "sr_denoiser",
}
EXEMPT = {p.relative_to(ROOT).as_posix() for p in (ROOT / "src/denoiselab/tracking").iterdir()}  # change no output


def body(stage: str) -> dict:
    return TREE["stages"][stage].get("do", TREE["stages"][stage])


def flat(items: list) -> list[str]:
    return [next(iter(item)) if isinstance(item, dict) else item for item in items]


def test_the_stages_are_those_of_pipeline():
    assert set(TREE["stages"]) == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_deps_list_every_imported_module(stage):
    listed = {dep for dep in body(stage)["deps"] if dep.startswith(("src/", "pipeline/"))}
    needed = walk(ROOT / "pipeline" / f"{STAGES[stage]}.py") - EXEMPT
    if stage == "fetch":  # readers are imported by name
        assert {p.name for p in (ROOT / "src/denoiselab/data").glob("*.py")} and "src/denoiselab/data" in listed
        needed = {path for path in needed if not path.startswith("src/denoiselab/data/")}
        listed -= {"src/denoiselab/data"}
        for reader in (ROOT / "src/denoiselab/data").glob("*.py"):
            needed |= {path for path in walk(reader) if not path.startswith("src/denoiselab/data/")}
    if stage in ("train", "evaluate"):  # architectures are imported by name
        assert "src/denoiselab/models/${item.arch}.py" in listed
        listed -= {"src/denoiselab/models/${item.arch}.py"}
        for arch in models.known():
            needed |= walk(ROOT / "src/denoiselab/models" / f"{arch}.py") - {f"src/denoiselab/models/{arch}.py"}
    if stage == "compare":
        folders = {"src/denoiselab/templates", "src/denoiselab/tables"}
        assert folders <= listed
        listed -= folders
    assert listed == needed


def test_outputs_are_those_of_paths():
    def outs(stage: str) -> set[str]:
        block = body(stage)
        return set(flat(block.get("outs", []) + block.get("metrics", []) + block.get("plots", [])))

    key = "${key}"
    assert outs("fetch") == {paths.RAW.as_posix()}
    assert outs("patchify") == {paths.PATCHES.as_posix()}
    assert outs("add-noise") == {paths.NOISY.as_posix()}
    made = (paths.model, paths.history, paths.training_cost, paths.progress)
    assert outs("train") == {p(key).as_posix() for p in made}
    assert outs("evaluate") == {
        (paths.evaluation(key) / "metrics.json").as_posix(),
        (paths.evaluation(key) / "alarms.json").as_posix(),
        (paths.evaluation(key) / "per_image.csv").as_posix(),
        (paths.evaluation(key) / "curve.csv").as_posix(),
        paths.samples(key).as_posix(),
        paths.inference_cost(key).as_posix(),
    }
    reports = (
        paths.COMPARISON,
        paths.PAIRS,
        paths.REPORT_MD,
        paths.REPORT_HTML,
        paths.REPORT_COST,
        paths.COST_FIGURE,
        paths.FIGURES,
    )
    assert outs("compare") == {path.as_posix() for path in reports}


def test_conf_composes_to_params_yaml(tmp_path):
    from dvc.utils.hydra import compose_and_dump

    composed = tmp_path / "params.yaml"
    compose_and_dump(str(composed), str(ROOT / "conf"), None, "config", None, [])
    assert yaml.safe_load(composed.read_text()) == yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.mark.parametrize("override", [f"{p.parent.name}={p.stem}" for p in sorted((ROOT / "conf").glob("*/*.yaml"))])
def test_every_option_composes_to_valid_params(override, tmp_path):
    from dvc.utils.hydra import compose_and_dump

    needs = {"data=folder": ["data.path=/photos"], "data=pairs": ["data.path=/pairs"], "data=ffhq": ["data.path=/ffhq"]}
    needs |= {"data=noisy_folder": ["data.path=/photos"], "noise=as_is": ["data=noisy_folder", "data.path=/photos"]}
    needs |= {key: ["data=polyu"] for key in ("noise=real", "noise=hair_mix")}
    group, _, option = override.partition("=")
    if group == "settings":  # they belong to a recipe and a train option
        recipe, _, train = option.rpartition("_")
        override = f"recipe={recipe}"
        needs[override] = [f"train={train}"]
    if group == "model" and (needed := NEEDED.get(option)):  # a guided or fine-tuned model goes with what it builds on
        override = f"model=[{needed},{option}]"
    overrides = [override, *needs.get(override, [])]
    composed = tmp_path / "params.yaml"
    compose_and_dump(str(composed), str(ROOT / "conf"), None, "config", None, overrides)
    params = config.load(Path(composed))
    for name, entry in params.models.items():
        models.outline(entry.architecture())
        params.training(name)
    if override.startswith("recipe=") and option not in ("none", "smoke", "published_dncnn"):
        assert params.recipe == override.removeprefix("recipe=")

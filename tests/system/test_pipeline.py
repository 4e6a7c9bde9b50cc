"""dvc.yaml against the code: dependencies, outputs, parameters."""

from pathlib import Path

import pytest
import yaml

from denoiselab import architectures, config
from denoiselab.runtime import paths
from denoiselab.training import jobs
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
EXEMPT = {"src/denoiselab/tracking", "src/denoiselab/__init__.py"}  # do not affect outputs
# Modules used in training that cannot affect weights: files, names, messages, checksums.
HARMLESS = {
    "data/manifest",
    "imaging/arrays",
    "imaging/boxes",
    "imaging/dataset_images",
    "imaging/decoded",
    "imaging/decoders",
    "imaging/encoders",
    "imaging/exif",
    "imaging/metadata",
    "imaging/photos",
    "imaging/pillow_images",
    "imaging/raw",
    "imaging/stacks",
    "imaging/tiff_reader",
    "imaging/tiff_segments",
    "imaging/white_level",
    "metrics/protocols",
    "models/device_choice",
    "models/metadata",
    "runtime/download",
    "runtime/errors",
    "runtime/files",
    "runtime/other_work",
    "runtime/parallel",
    "runtime/paths",
    "runtime/processes",
    "runtime/progress",
    "runtime/sanitize",
    "runtime/sealed_json",
    "runtime/stage_outputs",
    "training/checkpoint",
}


def body(stage: str) -> dict:
    return TREE["stages"][stage].get("do", TREE["stages"][stage])


def flat(items: list) -> list[str]:
    return [next(iter(item)) if isinstance(item, dict) else item for item in items]


def test_every_stage_has_a_module_in_pipeline():
    assert set(TREE["stages"]) == set(STAGES)


def dep(path: str) -> str:
    """Entry of dvc.yaml for a source file: its package, or the file itself if only part of the package matters."""
    parts = path.split("/")
    return "/".join(parts[:3]) if path.startswith("src/denoiselab/") and parts[2] != "architectures" else path


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_imported_packages(stage):
    listed = {path for path in body(stage)["deps"] if path.startswith(("src/", "pipeline/"))}
    needed = {dep(path) for path in walk(ROOT / "pipeline" / f"{STAGES[stage]}.py")} - EXEMPT
    if stage == "fetch":  # readers are imported by name; architectures only check their settings
        needed = {"pipeline/__init__.py", "pipeline/fetch.py"}
        for reader in (ROOT / "src/denoiselab/data/readers").glob("*.py"):
            needed |= {dep(path) for path in walk(reader)} - EXEMPT
    if stage in ("train", "evaluate"):  # architectures are imported by name
        assert "src/denoiselab/architectures/${item.arch}.py" in listed
        listed -= {"src/denoiselab/architectures/${item.arch}.py"}
        for arch in architectures.known():
            own = f"src/denoiselab/architectures/{arch}.py"
            needed |= {dep(path) for path in walk(ROOT / own) - {own}} - EXEMPT
    assert listed == needed


def test_checkpoints_depend_on_the_code_that_affects_weights():
    """jobs.SOURCES lists the modules that the training runner imports, except HARMLESS ones."""
    decide = {f"src/denoiselab/{name}" for name in jobs.SOURCES}
    imported = {
        path
        for path in walk(ROOT / "src/denoiselab/training/runner.py")
        if not path.startswith(("src/denoiselab/config/", "src/denoiselab/tracking/"))  # the card holds their values
        and not path.endswith("/__init__.py")
    }
    harmless = {f"src/denoiselab/{name}.py" for name in HARMLESS}
    architecture = {"src/denoiselab/architectures/__init__.py"}
    assert not decide & harmless
    assert decide - architecture == imported - harmless


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
        paths.COMPARISON_TEX,
        paths.REFERENCES,
        paths.PAIRS,
        paths.REPORT_MD,
        paths.REPORT_HTML,
        paths.REPORT_COST,
        paths.TRADEOFFS,
        paths.FIGURES,
        paths.PHOTOS,
        paths.SUMMARY,
    )
    assert outs("compare") == {path.as_posix() for path in reports}


def test_conf_composes_to_params_yaml(tmp_path):
    from dvc.utils.hydra import compose_and_dump

    composed = tmp_path / "params.yaml"
    compose_and_dump(str(composed), str(ROOT / "conf"), None, "config", str(ROOT / "conf"), [])
    assert yaml.safe_load(composed.read_text()) == yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.mark.parametrize("override", [f"{p.parent.name}={p.stem}" for p in sorted((ROOT / "conf").glob("*/*.yaml"))])
def test_every_option_composes_to_valid_params(override, tmp_path):
    from dvc.utils.hydra import compose_and_dump

    needs = {"data=folder": ["data.path=/photos"], "data=pairs": ["data.path=/pairs"], "data=ffhq": ["data.path=/ffhq"]}
    needs |= {"data=noisy_folder": ["data.path=/photos"], "noise=as_is": ["data=noisy_folder", "data.path=/photos"]}
    needs["recipe=camera"] = ["data.path=/photos"]
    needs |= {key: ["data=polyu"] for key in ("noise=real", "noise=hair_mix")}
    group, _, option = override.partition("=")
    if group == "settings":  # only used with a recipe and a train option
        recipe, _, train = option.rpartition("_")
        override = f"recipe={recipe}"
        needs[override] = [f"train={train}"]
    if group == "model" and (needed := NEEDED.get(option)):  # guided and fine-tuned models need another model
        override = f"model=[{needed},{option}]"
    overrides = [override, *needs.get(override, [])]
    composed = tmp_path / "params.yaml"
    compose_and_dump(str(composed), str(ROOT / "conf"), None, "config", str(ROOT / "conf"), overrides)
    params = config.load(Path(composed))
    for name, entry in params.models.items():
        architectures.outline(entry.architecture())
        params.training(name)
    if override.startswith("recipe=") and option not in ("none", "smoke", "published_dncnn"):
        assert params.recipe == override.removeprefix("recipe=")

"""Batches: functions of (seed, step), the same crops and turns for both images of a pair."""

import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
import yaml

from denoiselab.config import Albumentations, NoAugmentation, Turns
from denoiselab.config.noise import Gaussian
from denoiselab.data.patches import Stack
from denoiselab.noise import synthesis
from denoiselab.runtime import devices
from denoiselab.runtime.errors import UserError
from denoiselab.training import batches
from tests.conftest import ROOT

CPU = torch.device("cpu")
D4, NONE = Turns(kind="d4"), NoAugmentation(kind="none")
HAIR = Albumentations.model_validate(yaml.safe_load((ROOT / "conf" / "augment" / "hair.yaml").read_text("utf-8")))


@pytest.fixture
def patches(astronaut) -> np.ndarray:
    return np.stack([astronaut[y : y + 48, x : x + 48] for y in range(0, 400, 90) for x in range(0, 400, 90)])


def build(clean, noisy=None, *, batch=4, crop=32, augment=D4, seed=0):
    return batches.build(batches.TrainingPatches(clean, noisy), batch, crop, augment, seed, CPU)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("kind", [batches.ResidentBatches, batches.StreamedBatches])
def test_deeper_patches_give_the_same_batches(patches, tmp_path, kind, dtype):
    """Patches of 8 bits as 16 bits or float, from files: the same images, with white 1."""
    peak = 65535 if dtype == np.uint16 else 1
    deep = stack(tmp_path, (patches * (peak / 255)).round(0 if dtype == np.uint16 else 9).astype(dtype), "train")
    made = [kind(batches.TrainingPatches(clean), 4, 32, True, 0, CPU)(3).clean for clean in (patches, deep)]
    assert made[1].dtype == torch.float32
    assert torch.allclose(*made, atol=1e-6)


def pipeline(*transforms: dict, workers: int = 0) -> Albumentations:
    return Albumentations.model_validate({"kind": "albumentations", "workers": workers, "transforms": transforms})


def in_process(augment: Albumentations) -> Albumentations:
    return augment.model_copy(update={"workers": 0})


def pixels(images: torch.Tensor) -> np.ndarray:
    """(B, H, W, C) uint8."""
    return (images * 255).round().byte().permute(0, 2, 3, 1).numpy()


def orientations(patch: np.ndarray) -> list[bytes]:
    """The eight orientations of a square, itself first."""
    return [np.rot90(mirrored, n).tobytes() for mirrored in (patch, patch[:, ::-1]) for n in range(4)]


def stack(folder, patches: np.ndarray, name: str, rows: int = 7) -> Stack:
    """The patches in files of `rows` patches each."""
    parts = [patches[start : start + rows] for start in range(0, len(patches), rows)]
    files = [folder / f"{name}-{n:05d}.npy" for n in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        np.save(file, part)
    return Stack(files)


AUGMENTS = pytest.mark.parametrize("augment", [D4, NONE, in_process(HAIR)], ids=["d4", "none", "hair"])


@AUGMENTS
def test_a_batch_is_a_function_of_seed_and_step(patches, augment):
    a, b = build(patches, augment=augment), build(patches, augment=augment)
    for step in (7, 0, 100):
        one, two = a(step), b(step)
        assert one.clean.shape == (4, 3, 32, 32)
        assert one.clean.dtype == torch.float32
        assert one.recorded is None
        assert torch.equal(one.clean, two.clean)
        assert torch.equal(one.generator.get_state(), two.generator.get_state())
    for step in range(5):
        a(step)
    assert torch.equal(a(5).clean, build(patches, augment=augment)(5).clean)
    assert not torch.equal(a(0).clean, a(1).clean)
    assert not torch.equal(a(0).clean, build(patches, augment=augment, seed=1)(0).clean)


@AUGMENTS
def test_steps_have_noise_of_their_own(patches, augment):
    spec = Gaussian(kind="gaussian", sigma_255=25, per_channel=True, clip=False, quantise=False)
    source = build(patches, augment=augment)
    fields = []
    for step in (0, 1, 0):
        clean, _, _, generator = source(step)
        fields.append(synthesis.add(torch.zeros_like(clean), generator, spec))
    assert not torch.equal(fields[0], fields[1])
    assert torch.equal(fields[0], fields[2])


@AUGMENTS
def test_batches_leave_torchs_own_generator_alone(patches, augment):
    before = torch.get_rng_state()
    build(patches, augment=augment)(3)
    assert torch.equal(torch.get_rng_state(), before)


@AUGMENTS
def test_an_epoch_has_every_patch_once(patches, augment):
    if augment.kind == "albumentations":
        augment = pipeline({"name": "HorizontalFlip"})
    numbered = np.zeros_like(patches[:13]) + np.arange(13, dtype=np.uint8)[:, None, None, None]
    source = build(numbered, crop=None, augment=augment)
    assert source.steps_per_epoch == 3
    epochs = [
        [int(x) for step in range(3) for x in pixels(source(3 * epoch + step).clean)[:, 0, 0, 0]] for epoch in (0, 1)
    ]
    assert len(set(epochs[0])) == len(set(epochs[1])) == 12  # the smaller batch at the end is dropped
    assert epochs[0] != epochs[1]


def test_a_batch_is_never_larger_than_the_data(patches):
    source = build(patches[:3], batch=8)
    assert source.steps_per_epoch == 1
    assert len(source(0).clean) == 3


@AUGMENTS
@pytest.mark.parametrize("crop", [None, 48, 200])
def test_a_crop_larger_than_the_patch_is_the_whole_patch(patches, augment, crop):
    source = build(patches[:1], batch=1, crop=crop, augment=augment)
    crops = [pixels(source(step).clean)[0] for step in range(3)]
    assert all(one.shape == patches[0].shape for one in crops)
    if augment is NONE:
        assert all(np.array_equal(one, patches[0]) for one in crops)
    if augment is D4:
        assert all(one.tobytes() in orientations(patches[0]) for one in crops)


@pytest.mark.parametrize(("augment", "count"), [(D4, 8), (NONE, 1)], ids=["d4", "none"])
def test_d4_has_eight_orientations_alike_and_none_has_one(astronaut, augment, count):
    patch = astronaut[100:110, 100:110]
    source = build(patch[None], batch=1, crop=None, augment=augment)
    expected = orientations(patch)[:count]
    assert len(set(expected)) == count
    seen = [expected.index(pixels(source(step).clean)[0].tobytes()) for step in range(400)]
    assert np.bincount(seen, minlength=count).min() > 400 / count * 0.6


@pytest.mark.parametrize(("augment", "count"), [(D4, 72), (NONE, 9)], ids=["d4", "none"])
def test_crops_are_windows_of_the_patch(astronaut, augment, count):
    patch = astronaut[100:110, 100:110]
    windows = [patch[top : top + 8, left : left + 8] for top in range(3) for left in range(3)]
    known = {code for window in windows for code in orientations(window)[: count // 9]}
    source = build(patch[None], batch=1, crop=8, augment=augment)
    assert {pixels(source(step).clean)[0].tobytes() for step in range(500)} == known


@pytest.mark.parametrize("augment", [D4, NONE], ids=["d4", "none"])
def test_partners_get_the_same_crop_and_turn(patches, augment):
    clean = np.minimum(patches, 254)
    source = build(clean, clean + 1, augment=augment)
    for step in range(20):
        batch = source(step)
        assert batch.recorded is not None
        assert np.array_equal(pixels(batch.clean) + 1, pixels(batch.recorded))
        assert torch.equal(batch.clean, build(clean, augment=augment)(step).clean)


@pytest.mark.parametrize("augment", [D4, NONE], ids=["d4", "none"])
def test_streamed_batches_have_the_bytes_of_resident_ones(patches, augment, tmp_path):
    """In any order of steps, over the end of an epoch, from several files."""
    whole = batches.TrainingPatches(patches, 255 - patches, np.arange(len(patches)))
    files = batches.TrainingPatches(
        stack(tmp_path, patches, "train"), stack(tmp_path, 255 - patches, "noisy"), whole.labels
    )
    resident = batches.ResidentBatches(whole, 4, 32, augment.kind == "d4", 3, CPU)
    streamed = batches.StreamedBatches(files, 4, 32, augment.kind == "d4", 3, CPU)
    from_files = batches.ResidentBatches(files, 4, 32, augment.kind == "d4", 3, CPU)
    assert streamed.steps_per_epoch == resident.steps_per_epoch == 6
    for step in (0, 1, 2, 5, 6, 7, 8, 20, 3, 4):
        expected = resident(step)
        for source in (streamed, from_files):
            found = source(step)
            assert torch.equal(found.clean, expected.clean)
            assert found.clean.stride() == expected.clean.stride()
            assert torch.equal(found.recorded, expected.recorded)
            assert torch.equal(found.labels, expected.labels)
            assert torch.equal(found.generator.get_state(), expected.generator.get_state())


def test_the_next_steps_are_gathered_while_one_computes(patches):
    gathered = threading.Semaphore(0)

    class Watched(np.ndarray):
        def __getitem__(self, rows):
            gathered.release()
            return np.asarray(self)[rows]

    source = batches.StreamedBatches(batches.TrainingPatches(patches.view(Watched)), 4, 32, True, 0, CPU)
    source(0)
    for _ in range(1 + batches.STEPS_AHEAD):
        assert gathered.acquire(timeout=30)
    assert not gathered.acquire(blocking=False)
    source(1)
    assert gathered.acquire(timeout=30)


def test_a_file_that_cannot_be_read_ends_the_training(patches):
    class Broken(np.ndarray):
        def __getitem__(self, rows):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        batches.StreamedBatches(batches.TrainingPatches(patches.view(Broken)), 4, 32, True, 0, CPU)(0)


def test_patches_are_streamed_where_they_would_fill_half_of_the_free_memory(patches, monkeypatch):
    def kind(free: int, *stock) -> type:
        monkeypatch.setattr(devices, "free_bytes", lambda device: free)
        return type(build(*stock))

    assert kind(2 * patches.nbytes, patches) is batches.ResidentBatches
    assert kind(2 * patches.nbytes - 1, patches) is batches.StreamedBatches
    assert kind(2 * patches.nbytes, patches, patches) is batches.StreamedBatches


@pytest.mark.parametrize("channels", [1, 3])
def test_albumentations_treats_partners_alike(patches, channels):
    """What becomes of the noisy image is what would become of it as a clean one."""
    clean, noisy = patches[..., :channels], 255 - patches[::-1, ..., :channels]
    both, one, other = (build(*x, augment=in_process(HAIR)) for x in ((clean, noisy), (clean,), (noisy,)))
    for step in (0, 7):
        batch = both(step)
        assert batch.clean.shape == (4, channels, 32, 32)
        assert batch.recorded is not None
        assert torch.equal(batch.clean, one(step).clean)
        assert torch.equal(batch.recorded, other(step).clean)
        assert not torch.equal(batch.clean, batch.recorded)


def test_the_hair_pipeline_turns_and_shifts(patches):
    white = np.full_like(patches, 255)
    images = torch.cat([build(white, crop=None, augment=in_process(HAIR))(step).clean for step in range(10)])
    assert 0.05 < (images == 0).float().mean() < 0.6  # black corners
    assert len({image.numpy().tobytes() for image in images}) > 30


def test_workers_change_nothing_but_the_time(patches, tmp_path):
    np.save(tmp_path / "patches.npy", patches)
    mapped = np.load(tmp_path / "patches.npy", mmap_mode="r")
    alone, helped = build(patches, mapped, augment=in_process(HAIR)), build(mapped, mapped, augment=HAIR)
    for step in (5, 6, 7, 5, 0):  # on, and back
        expected, batch = alone(step), helped(step)
        assert torch.equal(batch.clean, expected.clean)
        assert torch.equal(batch.recorded, expected.recorded)
        assert torch.equal(batch.generator.get_state(), expected.generator.get_state())
    loaded = helped._loaded
    helped(1)
    assert helped._loaded is loaded  # the same workers go on


def test_workers_may_be_spawned(patches):
    """macOS and Windows pickle what they hand to a worker."""
    steps = build(patches, augment=HAIR).steps
    assert torch.equal(pickle.loads(pickle.dumps(steps))[3][0], steps[3][0])


def test_a_worker_is_handed_names_of_files_not_patches(patches, tmp_path):
    files = stack(tmp_path, patches, "train")
    handed = pickle.dumps(build(files, augment=HAIR).steps)
    assert len(handed) < patches.nbytes / 10
    assert torch.equal(pickle.loads(handed)[3][0], build(patches, augment=HAIR).steps[3][0])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("transform", "said"),
    [
        ({"name": "Turn"}, "augment.transforms: albumentations has no transform 'Turn'"),
        ({"name": "np"}, "augment.transforms: albumentations has no transform 'np'"),
        ({"name": "Compose"}, "augment.transforms: albumentations has no transform 'Compose'"),
        ({"name": "DualTransform"}, "augment.transforms: NotImplementedError"),
        ({"name": "Affine", "rotat": 3}, "augment.transforms: Affine has no argument rotat; allowed: balanced_scale,"),
        ({"name": "Affine", "rotate": "far"}, "augment.transforms: Affine: "),
        ({"name": "RandomCrop"}, "augment.transforms: RandomCrop: "),
        ({"name": "RandomCrop", "height": 64, "width": 64}, "augment.transforms: Crop size"),
        ({"name": "Normalize"}, "augment.transforms: must give (H, W, 3) uint8 images, not float32 (48, 48, 3)"),
        ({"name": "ToTensorV2"}, "augment.transforms: must give (H, W, 3) uint8 images, not torch.uint8 (3, 48, 48)"),
    ],
)
def test_a_wrong_transform_is_named_in_one_line(patches, transform, said, workers):
    with pytest.raises(UserError) as error:
        build(patches, augment=pipeline({"p": 1.0} | transform, workers=workers))
    assert str(error.value).startswith(said)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_patch_that_becomes_too_small_is_told_in_one_line(patches, workers):
    """Whenever it happens, in a worker, too."""
    shrink = {"name": "Resize", "height": 16, "width": 16, "p": 0.2}

    def several() -> None:
        source = build(patches, augment=pipeline(shrink, workers=workers))
        for step in range(40):
            source(step)

    with pytest.raises(UserError, match=r"a patch became 16x16, smaller than the 32-pixel crop") as error:
        several()
    assert len(str(error.value).splitlines()) == 1 and str(error.value).startswith("augment.transforms: ")


def test_albumentations_does_not_look_at_the_network():
    script = """
import socket, sys
asked = []
def refuse(*address, **options):
    asked.append(address)
    raise OSError("no network")
socket.getaddrinfo = socket.create_connection = refuse
import denoiselab.imaging.albumentations_adapter
assert "albumentations" in sys.modules
sys.exit(f"asked for {asked[0]}" if asked else 0)
"""
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("augment", [D4, in_process(HAIR)], ids=["d4", "hair"])
def test_every_patch_keeps_its_label(patches, augment):
    """Patches of one gray level each, which no turn changes: level n has the label n."""
    flat = np.broadcast_to(np.arange(12, dtype=np.uint8)[:, None, None, None], (12, 16, 16, 3)).copy()
    labelled = batches.TrainingPatches(flat, labels=np.arange(12))
    augment = augment if augment is D4 else pipeline({"name": "HorizontalFlip", "p": 0.5})
    source = batches.build(labelled, 5, 8, augment, 0, CPU)
    seen = set()
    for step in range(4):
        batch = source(step)
        assert pixels(batch.clean)[:, 0, 0, 0].tolist() == batch.labels.tolist()
        seen |= {*batch.labels.tolist()}
    assert len(seen) > 8
    assert build(flat)(0).labels is None

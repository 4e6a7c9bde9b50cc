"""The commands denoise, estimate and models, with their output and exit codes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from denoiselab.app import batch_denoise, batch_plan, cli, denoisers, model_catalogue
from denoiselab.app.cli import _options
from denoiselab.imaging import photos
from denoiselab.imaging.metadata import Metadata
from denoiselab.metrics import image_quality
from denoiselab.runtime import files
from denoiselab.runtime.errors import UserError
from tests.conftest import ROOT, photograph

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CI": "1"}
COMMAND = [sys.executable, "-m", "denoiselab.app.cli"]
COLOUR = denoisers.resolved("colour")


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], env=ENVIRONMENT, cwd=cwd, capture_output=True, text=True)


def called(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command line, run in this process, which is faster."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, arguments)])
    said = capsys.readouterr()
    code = ended.value.code
    return (1, said.out, f"{said.err}{code}") if isinstance(code, str) else (code or 0, said.out, said.err)


def clean(side: int = 96) -> np.ndarray:
    return photograph("chelsea")[20 : 20 + side, 120 : 120 + side]


def noisy(side: int = 96, sigma_255: float = 25, seed: int = 0) -> np.ndarray:
    """uint8 (side, side, 3)."""
    noise = np.random.default_rng(seed).normal(0, sigma_255, (side, side, 3))
    return np.clip(np.rint(clean(side) + noise), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three noisy images, one of them in a subfolder."""
    place = tmp_path / "in"
    (place / "deep").mkdir(parents=True)
    for n, name in enumerate(("a.png", "b.tif", "deep/c.png")):
        Image.fromarray(noisy(seed=n)).save(place / name)
    return place


def test_a_photo_is_denoised_and_the_model_is_named(tmp_path):
    Image.fromarray(noisy(192)).save(tmp_path / "in.png")
    done = run("denoise", "in.png", "out.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"out.png: {COLOUR} (white noise of level 2") and done.stderr.count("\n") == 1
    restored = np.asarray(Image.open(tmp_path / "out.png"))
    before, after = (image_quality.psnr(clean(192), image, data_range=255) for image in (noisy(192), restored))
    assert after > before + 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]


@pytest.mark.parametrize(("suffix", "dtype"), [("png", "uint16"), ("tif", "uint16"), ("tif", "float32")])
def test_bit_depth_and_transparency_are_kept(tmp_path, capsys, suffix, dtype):
    scale = {"uint16": 257, "float32": 1 / 255}[dtype]
    values = (noisy() * np.array(scale, dtype)).astype(dtype)
    alpha = values[::-1, :, 0].copy()
    photo = photos.Photo((noisy() / 255).astype(np.float32), alpha, values.dtype, 255 * scale, Metadata(b"profile"))
    photos.write(tmp_path / f"in.{suffix}", photo, photo.pixels)
    code, _, said = called(capsys, "denoise", tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}")
    assert code == 0, said
    restored = photos.read(tmp_path / f"out.{suffix}")
    assert (restored.dtype, restored.metadata.icc) == (values.dtype, b"profile")
    assert np.array_equal(restored.alpha, alpha)
    assert len(np.unique(restored.pixels)) > 1000  # more than 8 bits allow
    assert image_quality.psnr(clean() / 255, restored.pixels, data_range=1) > 28


def test_only_force_overwrites(tmp_path, capsys):
    Image.fromarray(noisy()).save(tmp_path / "in.png")
    (tmp_path / "out.png").write_bytes(b"mine")
    code, _, said = called(capsys, "denoise", tmp_path / "in.png", tmp_path / "out.png")
    assert code == 1 and "already exists; use --force to overwrite it" in said
    assert (tmp_path / "out.png").read_bytes() == b"mine"
    assert called(capsys, "denoise", tmp_path / "in.png", tmp_path / "out.png", "--force")[0] == 0
    assert Image.open(tmp_path / "out.png").size == (96, 96)
    code, _, said = called(capsys, "denoise", "--force", tmp_path / "in.png", tmp_path / "in.png")
    assert code == 1 and "would be overwritten by the output" in said
    assert np.array_equal(np.asarray(Image.open(tmp_path / "in.png")), noisy())


def test_a_bad_file_does_not_stop_the_others(folder, tmp_path, capsys):
    (folder / "bad.png").write_bytes(b"hello")
    (folder / "line\nbreak \udcff.png").write_bytes(b"")
    Image.fromarray(noisy()).convert("CMYK").save(folder / "print.jpg")
    code, out, said = called(capsys, "denoise", folder, tmp_path / "out", "--json", "--model", "colour")
    assert code == 1
    assert f"error: {folder}/bad.png: not an image" in said and "is CMYK without a colour profile" in said
    assert "line\\nbreak \\udcff.png: the file is empty" in said
    assert said.splitlines()[-1] == f"3 denoised ({COLOUR} 3), 3 failed"
    assert {row["status"] for row in json.loads(out)} == {"denoised", "failed"}
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert made == ["a.png", "b.tif", "deep/c.png"]


def test_existing_outputs_are_skipped(folder, capsys):
    out = folder / "out"  # inside the folder: outputs are not denoised again
    assert called(capsys, "denoise", folder, out, "-m", "colour")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    (out / "b.tif").unlink()
    code, _, said = called(capsys, "denoise", folder, out, "-m", "colour")
    assert (code, said) == (0, f"1 denoised ({COLOUR} 1), 2 already there (use --force to redo)\n")
    assert {path for path in before if path.stat().st_mtime_ns != before[path]} == {out / "b.tif"}


def test_a_folder_with_one_image_is_done_once(folder, tmp_path, capsys):
    """Files of the folder that are not images are named, and the exit code says so."""
    (folder / "b.tif").unlink(), (folder / "deep" / "c.png").unlink()
    first, again = (called(capsys, "denoise", folder, tmp_path / "out", "-m", "colour") for _ in range(2))
    assert first == (0, "", f"{tmp_path}/out/a.png: {COLOUR}\n")
    assert again == (0, "", "1 already there (use --force to redo)\n")
    for name in ("notes.txt", ".hidden", "deep/raw.cr2"):
        (folder / name).write_bytes(b"")
    code, _, said = called(capsys, "denoise", folder, tmp_path / "new", "-m", "colour")
    assert code == 1 and said.startswith(
        f"{folder}/notes.txt: ignored: not an image by its suffix\nerror: {folder}/deep"
    )
    assert said.endswith(f"1 denoised ({COLOUR} 1), 1 failed, 1 ignored (not images)\n")
    code, _, said = called(capsys, "denoise", f"{folder}/*", tmp_path / "new")
    assert code == 3 and said.endswith(", 1 ignored (not images)\n")


@pytest.mark.slow
def test_a_killed_run_continues_where_it_stopped(tmp_path):
    (tmp_path / "in").mkdir()
    for n in range(24):
        Image.fromarray(noisy(256, seed=n)).save(tmp_path / "in" / f"{n:02d}.png")
    command = [*COMMAND, "denoise", "in", "out", "--model", "colour"]
    started = subprocess.Popen(command, env=ENVIRONMENT, cwd=tmp_path, stderr=subprocess.PIPE)
    while len(list((tmp_path / "out").glob("*.png"))) < 4:
        assert started.poll() is None
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    started.communicate()
    left = tmp_path / "out" / f".23.png.{files.HOST}.{started.pid}.tmp"
    left.write_bytes(b"half")  # as if it had been writing
    kept = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.png")}
    assert 4 <= len(kept) < 24
    done = run("denoise", "in", "out", "--model", "colour", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"{24 - len(kept)} denoised ({COLOUR} {24 - len(kept)}), {len(kept)} already there " + (
        "(use --force to redo)\n"
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{n:02d}.png" for n in range(24)]
    assert all(path.read_bytes() == content for path, content in kept.items())
    for path in (tmp_path / "out").iterdir():
        assert Image.open(path).size == (256, 256)


def test_images_wait_for_memory():
    """As many in parallel as fit; one that exceeds the budget runs alone."""
    memory, in_progress, seen = batch_denoise._Memory(100), [], []

    def take(wanted: int) -> None:
        with memory.taken(wanted):
            in_progress.append(wanted)
            time.sleep(0.01)
            seen.append(tuple(in_progress))
            in_progress.remove(wanted)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [40, 60, 30, 500, 30, 30, 90, 20]))
    assert all(sum(sizes) <= 100 or sizes == (500,) for sizes in seen)
    assert any(len(sizes) > 1 for sizes in seen) and memory.free == 100


def test_a_model_without_tiling_needs_memory_for_the_whole_image():
    pixels = 24 * 10**6
    tiled, whole = (batch_denoise._bytes(pixels, denoisers.load(name)) for name in ("colour", "nlm"))
    assert tiled == pixels * 64 + 1024**3
    assert whole > pixels * (64 + 60)
    assert batch_denoise._bytes(pixels, None) == max(tiled, whole), "impulses get the median filter"
    assert batch_denoise._bytes(10**6, None) == batch_denoise._bytes(10**6, denoisers.load("colour"))


def test_patterns_keep_the_folder_structure(folder, tmp_path):
    found = batch_plan.tasks([f"{folder}/**/*.png"], str(tmp_path / "out"))
    assert [str(task.target.relative_to(tmp_path)) for task in found] == ["out/a.png", "out/deep/c.png"]
    found = batch_plan.tasks([str(folder / "a.png"), str(folder / "b.tif")], str(tmp_path / "out"))
    assert [task.target.name for task in found] == ["a.png", "b.tif"]


@pytest.mark.parametrize(
    ("output", "target"), [("out", "out/a.png"), ("out.d/", "out.d/a.png"), ("x.png", "x.png"), ("in", None)]
)
def test_the_output_of_a_single_image(folder, tmp_path, monkeypatch, output, target):
    monkeypatch.chdir(tmp_path)
    if target is None:
        with pytest.raises(UserError, match="would be overwritten"):
            batch_plan.tasks([str(folder / "a.png")], output)
    else:
        (task,) = batch_plan.tasks([str(folder / "a.png")], output)
        assert task.target == Path(target)


def test_two_images_are_not_written_to_one_file(folder, tmp_path):
    Image.fromarray(noisy()).save(folder / "deep" / "a.png")
    with pytest.raises(UserError, match="would both be written to"):
        batch_plan.tasks([str(folder / "a.png"), str(folder / "deep" / "a.png")], str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["denoise", "none.png", "out.png"], 1, "error: none.png: no such file or folder"),
        (["denoise", "*.png", "out"], 1, "error: *.png: no images found; supported: png"),
        (["denoise", "in/a.png", "out.png", "--model", "best"], 1, "error: unknown model 'best'; choose from: colour"),
        (["denoise", "in", "out", "--quality", "good"], 1, "error: unknown quality 'good'; choose from: fast, best"),
        (["denoise", "in/a.png", "out.gif"], 1, "cannot write .gif; choose from: .png, .jpg, .jpeg, .tif, .tiff"),
        (["denoise", "in/a.png", "out.png", "--device", "tpu"], 2, "choose from: auto, cpu, cuda"),
        (["denoise", "in/a.png", "out.png", "--device", "cuda"], 1, "error: --device: cuda was requested, but torch"),
        (["denoise", "in", "in/a.png/out/"], 1, "in/a.png is not a folder"),
        (["denoise", "in/a.png"], 2, "Missing argument 'OUT'"),
        (["noise", "in/a.png", "--kind", "jpeg"], 2, "Missing argument 'OUT'"),
        (["denoise", "--json"], 2, "Missing argument 'IN...'"),
        (["estimate"], 2, "Missing argument 'IN...'"),
        (["polish"], 2, "No such command"),
    ],
)
def test_mistakes_give_one_line(folder, tmp_path, monkeypatch, capsys, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = called(capsys, *arguments)
    assert found[0] == code and said in found[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_a_write_protected_folder_is_refused_before_anything_is_computed(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path or not mode & os.W_OK)  # as root
    monkeypatch.setattr(batch_denoise, "run", lambda *_: pytest.fail("computed for nothing"))
    code, _, said = called(capsys, "denoise", folder, tmp_path / "deep" / "out")
    assert code == 1 and said.endswith(f"cannot be written: no write permission in {tmp_path}")


def test_dots_go_to_the_median_and_clean_images_are_unchanged(tmp_path, capsys):
    struck, chance = clean(192).copy(), np.random.default_rng(0).random((192, 192))
    struck[chance < 0.05], struck[chance > 0.95] = 0, 255
    Image.fromarray(struck).save(tmp_path / "dots.png")
    code, _, said = called(capsys, "denoise", tmp_path / "dots.png", tmp_path / "out.png")
    assert code == 0 and "median (" in said and "isolated black or white" in said
    restored = np.asarray(Image.open(tmp_path / "out.png"))
    before, after = (image_quality.psnr(clean(192), image, data_range=255) for image in (struck, restored))
    assert after > before + 13
    smooth = np.add.outer(np.arange(128), np.arange(128)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "smooth.jpg")
    code, _, said = called(capsys, "denoise", tmp_path / "smooth.jpg", tmp_path / "same.jpg")
    assert code == 0 and "needs no denoising, saved unchanged" in said
    assert (tmp_path / "same.jpg").read_bytes() == (tmp_path / "smooth.jpg").read_bytes()


def test_a_given_level_is_used_or_reported_as_ignored(tmp_path, capsys):
    smooth = np.add.outer(np.arange(128), np.arange(128)).astype(np.uint8)
    Image.fromarray(np.dstack([smooth] * 3)).save(tmp_path / "smooth.png")
    arguments = ["denoise", tmp_path / "smooth.png", tmp_path / "out.png", "--force", "--sigma", 10]
    code, _, said = called(capsys, *arguments)
    assert code == 0 and f"{COLOUR} (given noise level 10 of 255)" in said, "though it looks clean"
    assert said.startswith(f"--sigma: ignored by {COLOUR}: no noise level needed\n")
    assert "ignored" not in called(capsys, *arguments, "--model", "nlm")[2]
    Image.fromarray(smooth).save(tmp_path / "smooth.png")
    assert "ignored by gray_" in called(capsys, *arguments)[2]
    assert "ignored" not in called(capsys, *arguments, "--model", "colour")[2], "the level serves to convert gray"


def test_images_of_twelve_bits_are_not_too_dark(tmp_path, capsys):
    """They are scaled by their own white, and not mistaken for clean images."""
    values = noisy(192, sigma_255=8).astype(np.uint16) * 16
    tifffile.imwrite(tmp_path / "in.tif", values, photometric="rgb")
    code, _, said = called(capsys, "denoise", tmp_path / "in.tif", tmp_path / "out.tif")
    assert code == 0 and f"{COLOUR} (white noise of level " in said
    restored = tifffile.imread(tmp_path / "out.tif") / 16
    assert (
        image_quality.psnr(clean(192), restored, data_range=255)
        > image_quality.psnr(clean(192), values / 16, data_range=255) + 3
    )


def test_estimate_reports_level_kind_and_model(folder, tmp_path, capsys):
    code, out, _ = called(capsys, "estimate", folder, "--json")
    rows = json.loads(out)
    assert code == 0 and len(rows) == 3
    assert all(abs(row["sigma_255"] - 25) < 2 and row["kind"] == "gaussian" for row in rows)
    assert {row["model"] for row in rows} == {"colour"}
    counts = np.random.default_rng(0).poisson(clean(270)[:, :, 1] / 255 * 30) * 2000
    tifffile.imwrite(tmp_path / "photons.tif", counts.clip(0, 65535).astype(np.uint16))
    code, out, _ = called(capsys, "estimate", tmp_path / "photons.tif", "--white", 60000)
    assert code == 0 and "grows with brightness" in out and "; gray:" in out
    assert called(capsys, "estimate", folder, tmp_path / "none.png")[0] == 1


def test_estimate_draws_the_noise_by_brightness(tmp_path, capsys):
    lit = clean(270) / 255
    counts = np.random.default_rng(0).poisson(lit * 100) / 100
    tifffile.imwrite(tmp_path / "in.tif", counts.astype(np.float32), photometric="rgb")
    code, out, _ = called(capsys, "estimate", tmp_path / "in.tif", "--white", 1, "--curve")
    _, head, *bins = out.splitlines()
    assert code == 0 and "correlation length 0.6 pixels" in head and len(bins) == 8
    brightness, sigma = np.array([line.split()[:2] for line in bins], float).T
    assert sigma == pytest.approx(255 * (brightness / 100) ** 0.5, rel=0.15)
    (row,) = json.loads(called(capsys, "estimate", tmp_path / "in.tif", "--white", 1, "--curve", "--json")[1])
    assert [len(curve["variance"]) for curve in row["curves"]] == [8, 8, 8]


def test_models_are_listed_with_their_scores(capsys):
    code, out, _ = called(capsys, "models")
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("colour_fast")]
    assert re.search(r" CBSD68, sigma 25: \d\d\.\d\d \(\+\d+\.\d\d\) ", line) and line.rstrip().endswith("MIT")
    rows = {row["name"]: row for row in json.loads(called(capsys, "models", "--json")[1])}
    assert set(rows) == {entry.name for entry in denoisers.known()}
    assert rows["real"]["measured"] == [{"test_set": "PolyU", "noise": "real", "psnr": 38.16, "gain": 2.54}]
    assert rows["nlm"]["origin"] == "classical"


@pytest.mark.parametrize("model", ["auto", "colour"])
@pytest.mark.parametrize("quality", ["fast", "best"])
def test_the_quality_chooses_the_size(quality, model, tmp_path, monkeypatch, capsys):
    """Where both exist: copies of one network."""
    for size in ("fast", "best"):
        shutil.copytree(ROOT / "models/released/colour_fast", tmp_path / f"models/released/colour_{size}")
    monkeypatch.setattr(model_catalogue, "PROJECT", tmp_path)
    Image.fromarray(noisy()).save(tmp_path / "in.png")
    arguments = ("denoise", tmp_path / "in.png", tmp_path / "out.png", "--model", model, "--quality", quality, "--json")
    code, out, _ = called(capsys, *arguments)
    assert code == 0 and json.loads(out)[0]["model"] == f"colour_{quality}"


@pytest.fixture
def trained(tmp_path, monkeypatch) -> Path:
    """A working directory whose experiment has a model called median: a copy of the gray network."""
    shutil.copytree(ROOT / "models/released/gray_fast", tmp_path / "models/median")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_models_trained_in_this_folder_are_listed_apart_by_path(trained, capsys):
    _, out, _ = called(capsys, "models")
    shipped, _, apart = out.partition("\nIn this folder:\n")
    assert "models/median" not in shipped and "wavelet" in shipped
    (line,) = [line for line in apart.splitlines() if line.startswith("models/")]
    assert line.split()[:3] == ["models/median", "trained", "gray"]
    names = [row["name"] for row in json.loads(called(capsys, "models", "--json")[1])]
    assert names[-1] == "models/median" and names.count("median") == 1
    assert _options.model_names("m") == ["median", "models/median"]


def test_models_trained_in_this_folder_are_used_only_by_path(trained, capsys):
    struck, chance = clean(192).copy(), np.random.default_rng(0).random((192, 192))
    struck[chance < 0.05], struck[chance > 0.95] = 0, 255
    Image.fromarray(struck).save("dots.png")
    assert "median (" in called(capsys, "denoise", "dots.png", "auto.png")[2]
    for out, model in (("named.png", "median"), ("trained.png", "models/median")):
        assert called(capsys, "denoise", "dots.png", out, "--model", model) == (0, "", f"{out}: {model}\n")
    automatic, named, other = (np.asarray(Image.open(trained / f"{n}.png")) for n in ("auto", "named", "trained"))
    assert np.array_equal(automatic, named) and not np.array_equal(named, other)
    shutil.move(trained / "models/median", trained / "models/unet")
    said = called(capsys, "denoise", "dots.png", "out.png", "--model", "unet")
    assert said == (1, "", "error: model 'unet' is not shipped; for the one trained here, use models/unet")
    assert called(capsys, "compare", "dots.png", "out.png", "--json", "--models", "median,models/unet")[0] == 0


def test_help_imports_nothing_slow():
    code = "import sys; sys.argv = ['denoiselab', '--help']\nfrom denoiselab.app import cli\ntry:\n cli.main()\n"
    code += "except SystemExit: pass\nprint(*{n.partition('.')[0] for n in sys.modules}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert "denoise" in done.stdout and done.returncode == 0
    assert not {"torch", "numpy", "cv2", "mlflow", "pandas", "scipy", "skimage", "pydantic"} & {*done.stderr.split()}


def test_models_need_no_torch():
    code = "import sys; from denoiselab.app import denoisers; denoisers.known(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_what_the_output_cannot_hold_is_named_and_sets_the_exit_code(tmp_path, capsys):
    Image.fromarray(noisy()).save(tmp_path / "in.jpg", comment=b"a note", quality=95)
    code, out, said = called(capsys, "denoise", tmp_path / "in.jpg", tmp_path / "out.webp", "-m", "gaussian", "--json")
    assert code == 3 and json.loads(out)[0]["dropped"] == ["comment"]
    assert said.startswith(f"{tmp_path}/out.webp: without comment, which it cannot hold\n")
    assert called(capsys, "denoise", tmp_path / "in.jpg", tmp_path / "out.tif", "-m", "gaussian")[0] == 0


def test_libraries_say_nothing_beside_our_line(tmp_path):
    """libtiff and libpng write to stderr themselves."""
    stream = BytesIO()
    Image.fromarray(noisy()).save(stream, "TIFF", compression="tiff_lzw")
    content = bytearray(stream.getvalue())
    content[300:900] = bytes(range(200)) * 3
    (tmp_path / "bad.tif").write_bytes(content)
    done = run("denoise", "bad.tif", "out.tif", "-m", "gaussian", cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"error: bad\.tif: damaged image: .*\n1 failed\n", done.stderr), done.stderr


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["a.gif.png", "a.png", "b.tif", "c.jfif", "d.png"]),
        (["--format", "tif"], ["a.png.tif", "a.tif", "b.tif", "c.tif", "d.tif"]),
        (["--suffix", "_x"], ["a.gif_x.png", "a_x.png", "b_x.tif", "c_x.jfif", "d_x.png"]),
    ],
)
def test_names_of_outputs(tmp_path, options, names):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.gif", "b.tif", "c.jfif", "d.jp2"):
        (tmp_path / "in" / name).touch()
    chosen = dict(zip(options[::2], options[1::2], strict=True))
    form, suffix = chosen.get("--format", ""), chosen.get("--suffix", "")
    planned = batch_plan.tasks([str(tmp_path / "in")], str(tmp_path / "out"), form=form, suffix=suffix)
    assert sorted(task.target.name for task in planned) == names
    with pytest.raises(UserError, match="--format: unknown format 'gif'; choose from: png, jpg"):
        batch_plan.tasks([str(tmp_path / "in")], str(tmp_path / "out"), form="gif")
    with pytest.raises(UserError, match=r"out\.png: is named like a file; several images need a folder"):
        batch_plan.tasks([f"{tmp_path}/in/*"], str(tmp_path / "out.png"))


def test_the_suffix_sets_the_format(tmp_path, capsys):
    Image.fromarray(noisy()).save(tmp_path / "in.webp", lossless=True)
    assert called(capsys, "denoise", tmp_path / "in.webp", tmp_path / "out.tif", "-m", "colour")[0] == 0
    assert Image.open(BytesIO((tmp_path / "out.tif").read_bytes())).format == "TIFF"


def test_strength_blends_and_says_what_is_kept(tmp_path, capsys):
    Image.fromarray(noisy(192)).save(tmp_path / "in.png")
    results = {}
    for share in (0, 0.5, 1):
        target = tmp_path / f"{share}.png"
        code, _, said = called(capsys, "denoise", tmp_path / "in.png", target, "-m", "gray", "--strength", share)
        assert code == 0 and ("strength 0" in said) == (share < 1)
        results[share] = np.asarray(Image.open(target)).astype(float)
    assert (
        "strength 0.5: noise "
        in called(capsys, "denoise", tmp_path / "in.png", tmp_path / "0.5.png", "-f", "-m", "gray", "--strength", 0.5)[
            2
        ]
    )
    assert np.array_equal(results[0], noisy(192))
    assert np.abs(results[0.5] - (results[0] + results[1]) / 2).max() <= 1


def test_shifted_tones_are_warned_of(tmp_path, capsys, monkeypatch):
    Image.fromarray(noisy(192)).save(tmp_path / "in.png")
    assert "warning" not in called(capsys, "denoise", tmp_path / "in.png", tmp_path / "a.png", "-m", "gray")[2]
    restore = denoisers.Denoiser.restore
    monkeypatch.setattr(
        denoisers.Denoiser, "restore", lambda self, pixels, **given: 0.9 * restore(self, pixels, **given)
    )
    code, _, said = called(capsys, "denoise", tmp_path / "in.png", tmp_path / "b.png", "-m", "gray")
    assert code == 0 and re.match(rf"warning: {tmp_path}/in.png: tones shifted: \w+ -\d+\.\d of 255 \[", said)

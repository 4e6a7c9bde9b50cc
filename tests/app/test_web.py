"""The web page without a browser: queue, limits, noise, samples and computation."""

import base64
import gc
import io
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from bench._project import environment
from denoiselab.app import batch_denoise, cli, denoisers, memory
from denoiselab.app.web import computation, limits, noise_choices, server, texts
from denoiselab.app.web.limits import Limits
from denoiselab.app.web.samples import SAMPLES
from denoiselab.app.web.waiting_line import Line
from denoiselab.config import noise_presets
from denoiselab.imaging import photos
from denoiselab.metrics import image_quality
from denoiselab.noise import synthesis
from denoiselab.runtime.errors import BusyError, UserError

COLOUR = denoisers.resolved("colour")


def nothing(_: object) -> None:
    pass


def quick(step) -> str:
    step("quick")
    return "done"


def test_the_queue_serves_one_at_a_time_in_order_and_tells_everyone_their_place():
    line, order, told = Line(10), [], {number: [] for number in range(5)}
    inside, most, threads, may_go = 0, 0, set(), threading.Event()

    def visit(number: int) -> None:
        def job(step) -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            threads.add(threading.get_ident())
            may_go.wait(60)
            order.append(number)
            inside -= 1

        line.do(job, told[number].append, nothing)

    visitors = [threading.Thread(target=visit, args=(number,)) for number in told]
    for number, visitor in enumerate(visitors):
        visitor.start()
        while not (told[number] or threads):
            time.sleep(0.01)
        while number and not told[number]:
            time.sleep(0.01)
    may_go.set()
    for visitor in visitors:
        visitor.join(60)
    assert order == [0, 1, 2, 3, 4]
    assert (most, len(threads)) == (1, 1)
    assert told[0] == []
    assert [places[0] for places in told.values() if places] == [1, 2, 3, 4]
    assert all(places == sorted(places, reverse=True) for places in told.values())


def test_a_job_returns_its_result_and_reports_its_steps():
    told, continued = [], threading.Event()

    def job(step) -> int:
        step("first")
        continued.wait(60)
        return 7

    def tell(text: str) -> None:
        told.append(text)
        continued.set()

    assert Line(1).do(job, nothing, tell) == 7
    assert told[0] == "first"


def test_a_full_queue_refuses_at_once():
    line, refused = Line(1), []

    def second(ahead: int) -> None:
        with pytest.raises(UserError, match="1 images are waiting already"):
            line.do(quick, nothing, nothing)
        refused.append(ahead)
        raise InterruptedError  # and leaves

    def first(step) -> None:
        with pytest.raises(InterruptedError):
            line.do(quick, second, nothing)

    line.do(first, nothing, nothing)
    assert refused == [1]
    assert line.do(quick, nothing, nothing) == "done"


def test_leaving_or_failing_does_not_block_others_and_stops_the_computation():
    line, ended, gone = Line(3), [], threading.Event()

    def fails(step) -> None:
        raise RuntimeError("it failed")

    def long(step) -> None:
        gone.wait(60)
        try:
            step("second")
            ended.append("finished")
        except InterruptedError:
            ended.append("interrupted")

    def leaves(_: object) -> None:
        raise InterruptedError

    with pytest.raises(RuntimeError, match="it failed"):
        line.do(fails, nothing, nothing)
    with pytest.raises(InterruptedError):
        line.do(long, nothing, leaves)
    gone.set()
    assert line.do(quick, leaves, nothing) == "done"  # nobody is ahead
    assert ended == ["interrupted"]


def test_file_size_image_size_and_memory_are_limited(monkeypatch):
    Limits(megabytes=5).check_file(5_000_000)
    with pytest.raises(UserError, match=r"^5\.1 MB; the limit is 5 MB"):
        Limits(megabytes=5).check_file(5_100_000)
    with pytest.raises(UserError, match="--max-megapixels: must be at least 1, not 0"):
        Limits(megapixels=0)
    monkeypatch.setattr(memory.devices, "free_bytes", lambda device: 2 * 10**9)
    tiled, whole = map(denoisers.load, ("colour", "nlm"))
    memory.check_memory(10**7, [tiled])
    with pytest.raises(UserError, match=r"20.0 megapixels need 2\.5 GB of memory, 2\.0 GB are free"):
        memory.check_memory(2 * 10**7, [])
    with pytest.raises(UserError, match=r"10.0 megapixels need 2\.3 GB of memory, 2\.0 GB are free"):
        memory.check_memory(10**7, [tiled, whole])


def test_the_page_has_every_noise_of_the_project():
    assert noise_choices.KINDS.keys() == synthesis.NOISES.keys()


@pytest.mark.parametrize("name", noise_choices.KINDS)
def test_the_page_adds_the_noise_of_the_command_line(name, astronaut):
    clean, level = astronaut[:64, :64].astype(np.float32) / 255, noise_choices.KINDS[name].start
    planar = torch.from_numpy(clean).permute(2, 0, 1)[None]
    drawn = synthesis.add(planar, torch.Generator().manual_seed(noise_choices.SEED), noise_presets.of_kind(name, level))
    assert np.array_equal(noise_choices.added(clean, name, level), drawn[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("name", noise_choices.KINDS)
def test_the_slider_of_a_noise_sets_its_strength(name, astronaut):
    clean = astronaut[100:228, 180:340].astype(np.float32) / 255
    kind = noise_choices.KINDS[name]
    assert kind.low < kind.start < kind.high and (kind.high - kind.low) / kind.step > 5
    results = [noise_choices.added(clean, name, level) for level in (kind.low, kind.start, kind.high)]
    assert all(noisy.shape == clean.shape and noisy.dtype == np.float32 for noisy in results)
    errors = [image_quality.mse(clean, noisy, data_range=1) for noisy in results]
    assert errors in (sorted(errors), sorted(errors, reverse=True)) and min(errors) > 0
    assert max(errors) > 3 * min(errors)
    assert np.array_equal(results[1], noise_choices.added(clean, name, kind.start))


def test_colour_noise_is_refused_for_a_gray_image(astronaut):
    gray = astronaut[:64, :64, :1].astype(np.float32) / 255
    assert noise_choices.added(gray, "gaussian", 25).shape == gray.shape
    with pytest.raises(UserError, match="this noise is for colour images only; choose another kind for a gray image"):
        noise_choices.added(gray, "iso", 0.5)


def test_there_are_samples_in_colour_and_in_gray():
    modes = {name: Image.open(sample.path).mode for name, sample in SAMPLES.items()}
    assert set(modes.values()) == {"RGB", "L"}
    assert all(("gray" in SAMPLES[name].title) == (mode == "L") for name, mode in modes.items())
    assert all(sample.credit for sample in SAMPLES.values())


@pytest.fixture
def started(monkeypatch) -> list:
    """Arguments with which the page would have been started."""
    calls = []
    monkeypatch.setattr(server, "run", lambda *arguments, **options: calls.append((arguments, options)))
    return calls


def test_the_page_is_local_unless_another_host_is_given(started, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["serve"])
    assert started == [(("127.0.0.1", 8501, Limits(50, 24)), {"name": "", "token": "", "browser": False})]
    assert capsys.readouterr().err == ""
    with pytest.raises(SystemExit, match="0"):
        cli.main(["serve", "--host", "0.0.0.0", "--port", "80", "--max-megabytes", "3"])
    assert started[1][0] == ("0.0.0.0", 80, Limits(3, 24))
    assert len(started[1][1]["token"]) > 30
    assert capsys.readouterr().err == ""
    with pytest.raises(SystemExit, match="0"):
        cli.main(["serve", "--host", "0.0.0.0", "--token", ""])
    assert "warning: 0.0.0.0 is open to the network without a token" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="error: --max-megapixels: must be at least 1, not 0"):
        cli.main(["serve", "--max-megapixels", "0"])
    assert len(started) == 3


def test_streamlit_sends_no_statistics_and_listens_locally():
    here = server.environment("127.0.0.1", 8501, Limits(7), "", browser=False)
    assert here["STREAMLIT_BROWSER_GATHER_USAGE_STATS"] == "false"
    assert (here["STREAMLIT_SERVER_ADDRESS"], here["STREAMLIT_SERVER_MAX_UPLOAD_SIZE"]) == ("127.0.0.1", "7")
    assert here["STREAMLIT_SERVER_ALLOWED_HOSTS"].split() == ["127.0.0.1", "::1", "localhost"]
    assert "STREAMLIT_SERVER_ALLOWED_HOSTS" not in server.environment("0.0.0.0", 80, Limits(), "", browser=False)
    named = server.environment("127.0.0.1", 8501, Limits(), "photos.example.org", browser=False)
    assert named["STREAMLIT_SERVER_ALLOWED_HOSTS"].split()[-1] == "photos.example.org"


@pytest.fixture
def page(monkeypatch) -> AppTest:
    """The page before its script first runs."""
    monkeypatch.setattr("sys.argv", ["app.py", "50", "24"])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # AppTest leaves its script there
    monkeypatch.setattr(computation, "_samples", {})
    return AppTest.from_file(server.MAIN.with_name("app.py"), default_timeout=120)


def test_after_a_full_queue_the_visitor_can_try_again(page, monkeypatch):
    """A full queue is not kept as the result of the image."""

    def full(*_: object, **__: object) -> None:
        raise BusyError("20 images are waiting already")

    with monkeypatch.context() as patch:
        patch.setattr(Line, "do", full)
        page.run()
        assert not page.exception
        assert [error.value for error in page.error] == ["20 images are waiting already"]
    page.button[0].click().run()
    assert not page.exception and not page.error and not page.button
    assert any("Noise found" in text.value for text in page.markdown)


def test_a_sample_is_computed_once_for_all_visitors(page, monkeypatch):
    page.run()
    shown = [text.value for text in page.markdown]
    assert any("Noise found" in text for text in shown)
    monkeypatch.setattr(Line, "do", None)
    other = AppTest.from_file(server.MAIN.with_name("app.py"), default_timeout=120).run()
    assert not other.exception
    assert [text.value for text in other.markdown] == shown
    other.slider[0].set_value(30).run()
    assert other.exception  # it would have to be computed


def test_auto_has_a_quality(page, monkeypatch):
    """Other denoisers are listed with every size."""
    tasks = []

    def run(task: computation.Task, *_: object) -> None:
        tasks.append(task)
        raise BusyError("stop")

    monkeypatch.setattr(computation, "run", run)
    page.run()
    (quality,) = [radio for radio in page.radio if radio.label == texts.QUALITY]
    quality.set_value("fast").run()
    assert [(task.models, task.quality) for task in tasks] == [(("auto",), "best"), (("auto",), "fast")]
    assert {"auto", "colour_fast", "gray_fast"} <= {*page.multiselect[0].options}
    page.multiselect[0].set_value(["gray_fast"]).run()
    assert [radio.label for radio in page.radio] == ["Image"]


@pytest.mark.parametrize("quality", ["fast", "best"])
def test_auto_chooses_a_size_by_its_quality(quality, monkeypatch, astronaut):
    asked = []
    monkeypatch.setattr(denoisers, "resolved", lambda *what: asked.append(what) or "median")
    task = computation.Task(png(astronaut[:64, :64]), "me.png", ("gaussian", 25), ("auto",), quality)
    assert done(task).results[0].model == "median" and asked[0] == ("colour", quality)


def test_outcomes_are_kept_for_samples_only(monkeypatch, astronaut):
    monkeypatch.setattr(computation, "_samples", {})
    monkeypatch.setattr(limits, "SAMPLES", 2)
    own = computation.Task(png(astronaut[:64, :64]), "me.png", None, ("colour",))
    done(own)
    assert computation.kept(own) is None
    tasks = [replace(own, name=name, sample=True) for name in ("a.png", "b.png", "c.png")]
    outcomes = [done(task) for task in tasks]
    assert done(tasks[2]) is outcomes[2]
    assert [computation.kept(task) for task in tasks] == [None, *outcomes[1:]]


def test_errors_visible_in_the_header_are_reported_without_queueing(page, monkeypatch):
    page.run().radio[0].set_value("Your own").run()
    monkeypatch.setattr(Line, "do", None)
    wide = io.BytesIO()
    Image.new("1", (5000, 4801)).save(wide, "PNG")
    for file, reason in {
        b"no picture": "not an image that can be read",
        wide.getvalue(): "5000x4801 pixels are too many; the limit is 24 megapixels",
    }.items():
        page.file_uploader[0].set_value(("me.png", file, "image/png")).run()
        assert not page.exception
        assert [re.sub(r"\\(.)", r"\1", error.value).split(" (")[0] for error in page.error] == [f"me.png: {reason}"]


def test_several_images_are_shown_one_at_a_time_and_denoised_together(page, astronaut):
    page.run().radio[0].set_value("Your own").run()
    page.multiselect[0].set_value(["gaussian"])
    one, two = png(astronaut[:64, :64]), png(astronaut[:40, :80])
    files = [("me.png", one, "image/png"), ("bad.png", b"no picture", "image/png"), ("me.png", two, "image/png")]
    page.file_uploader[0].set_value(files).run()
    assert not page.exception
    assert [error.value.startswith("bad") for error in page.error] == [True]
    (shown,) = [box for box in page.selectbox if box.label == texts.IMAGE]
    assert shown.options == ["1. me.png", "2. me.png"]
    assert any("80 × 40 pixels" in text.value for text in page.markdown)
    shown.set_value(0).run()
    assert any("64 × 64 pixels" in text.value for text in page.markdown)
    page.button[0].click().run()
    assert not page.exception
    assert any("Download all (2 files, ZIP)" in html.body for html in page.get("html"))


def test_too_many_images_are_named(page, monkeypatch, astronaut):
    monkeypatch.setattr(limits, "FILES", 1)
    page.run().radio[0].set_value("Your own").run()
    page.multiselect[0].set_value(["gaussian"])
    files = [(name, png(astronaut[:64, :64]), "image/png") for name in ("first.png", "second.png")]
    page.file_uploader[0].set_value(files).run()
    assert [re.sub(r"\\(.)", r"\1", error.value) for error in page.error] == ["second.png: only 1 images at a time"]


def test_a_busy_machine_does_not_cost_the_results_so_far(astronaut):
    tasks = [computation.Task(png(astronaut[:64, :64]), f"{n}.png", None, ("median",)) for n in range(3)]
    archive, asked = computation.Archive(tasks), []

    def compute(task, *_):
        asked.append(task.name)
        if len(asked) == 2:
            raise BusyError("try again")
        return done(task), ""

    with pytest.raises(BusyError):
        archive.fill(compute)
    assert (archive.done, archive.files, archive.left) == (1, 1, tasks[1:])
    archive.fill(compute)
    assert asked == ["0.png", "1.png", "1.png", "2.png"] and archive.files == 3 and not archive.left


def test_a_new_training_is_loaded(monkeypatch, tmp_path):
    card, loaded = tmp_path / "model.json", []
    monkeypatch.setattr(denoisers, "load", lambda name: loaded.append(name) or len(loaded))
    card.write_text("{}")
    os.utime(card, ns=(1, 1))
    assert [computation.model(str(tmp_path)) for _ in range(2)] == [1, 1]
    os.utime(card, ns=(2, 2))
    assert computation.model(str(tmp_path)) == 2


def test_an_archive_has_all_results_and_the_reasons_of_failures(astronaut):
    task = computation.Task(png(astronaut[:64, :64]), "me.png", None, ("gaussian", "median"))
    archive = computation.Archive([task, task, task])
    for _ in range(2):
        archive.add(task, done(task), "")
    archive.add(replace(task, name="you.png"), None, "damaged image")
    with zipfile.ZipFile(archive.download.file) as made:
        assert made.namelist() == ["me-gaussian.png", "me-median.png", "3-me-gaussian.png", "4-me-median.png"]
        assert {Image.open(made.open(name)).size for name in made.namelist()} == {(64, 64)}
    assert archive.files == 4 and archive.failures == ["you.png: damaged image"]
    file = archive.download.file
    del archive
    assert not file.exists()


def test_the_time_left_of_a_large_image_is_told(monkeypatch, astronaut):
    monkeypatch.setattr(denoisers, "TILE", 64)
    told = []
    task = computation.Task(png(astronaut[:128, :192]), "me.png", None, ("gray_fast",))
    computation.run(task, 10**6, told.append)
    steps = [re.fullmatch(r"Denoising: gray_fast, (\d+) % done, \d+ s left", text) for text in told]
    shares = [int(step[1]) for step in steps if step]
    assert shares[-1] == 100 and len(shares) == 3 * 6 and shares == sorted(shares)


def test_the_garbage_collector_skips_the_loaded_modules():
    loaded = "import gc; from denoiselab.app.web import computation, main"
    code = f"{loaded}; print(gc.get_freeze_count(), len(gc.get_objects()))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    frozen, searched = map(int, done.stdout.split())
    assert frozen > 100 * searched


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def done(task: computation.Task, max_pixels: int = 10**6) -> computation.Outcome:
    return computation.run(task, max_pixels, lambda step: None)


def test_a_task_is_scored_and_its_files_keep_the_format_and_are_deleted_with_it(astronaut):
    outcome = done(
        computation.Task(png(astronaut[:128, 150:300]), "me.png", ("gaussian", 25), ("auto", COLOUR, "gray_fast"))
    )
    assert (outcome.size, outcome.depth) == ((150, 128), "8-bit")
    assert outcome.chosen and outcome.chosen[0] == COLOUR
    assert [result.model for result in outcome.results] == [COLOUR, "gray_fast"]  # once, though chosen twice
    assert [view.name for view in outcome.views.views] == ["noisy", COLOUR, "gray_fast", "clean"]
    for result in outcome.results:
        file = photos.read(result.download.file).pixels
        clean = astronaut[:128, 150:300].astype(np.float32) / 255
        assert result.download.name == f"me-{result.model}.png"
        assert result.score and outcome.noisy
        assert result.score.psnr == pytest.approx(image_quality.psnr(clean, file, data_range=1), abs=1e-4)
        assert result.score.ssim == pytest.approx(image_quality.ssim(clean, file, data_range=1), abs=1e-5)
        assert result.score.psnr > outcome.noisy.psnr + 5
    folder = outcome.results[0].download.file.parent
    assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
    del outcome, result
    gc.collect()
    assert not folder.exists()


def test_an_image_without_added_noise_has_an_estimate_and_no_scores(astronaut):
    outcome = done(computation.Task(png(astronaut[:64, :64]), "me.png", None, ("colour",)))
    assert outcome.noisy is outcome.chosen is outcome.results[0].score is None
    assert [view.name for view in outcome.views.views] == ["original", "colour"]
    assert "PSNR" not in texts.table(outcome)


def test_an_image_smaller_than_the_ssim_window_has_only_a_psnr(astronaut):
    outcome = done(computation.Task(png(astronaut[:8, :9]), "me.png", ("gaussian", 25), ("colour",)))
    assert outcome.noisy and outcome.noisy.psnr > 0 and outcome.noisy.ssim is None
    assert "| noisy |" in texts.table(outcome)


def test_a_large_image_is_reduced_and_has_a_detail_at_full_resolution(monkeypatch, astronaut):
    monkeypatch.setattr("denoiselab.app.web.views.WHOLE", 128 * 128)
    monkeypatch.setattr("denoiselab.app.web.views.DETAIL", 100)
    outcome = done(computation.Task(png(astronaut), "me.png", None, ("colour",)))
    assert (outcome.views.whole, outcome.views.detail) == ((128, 128), (100, 100))
    for view in outcome.views.views:
        sizes = [Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).size for uri in (view.whole, view.detail)]
        assert sizes == [(128, 128), (100, 100)]


def test_too_many_pixels_are_refused_before_anything_is_computed(astronaut):
    steps = []
    task = computation.Task(png(astronaut[:50, :50]), "me.png", None, ("colour",))
    with pytest.raises(UserError, match=r"me\.png: 50x50 pixels are too many; the limit is 0\.0025 megapixels"):
        computation.run(task, 2499, steps.append)
    assert steps == ["Reading the image"]


@pytest.mark.parametrize(
    ("fail", "told"),
    [
        (lambda: torch.empty(2**60), texts.NO_MEMORY),
        (lambda: (_ for _ in ()).throw(MemoryError), texts.NO_MEMORY),
        (lambda: photos.read(b"", name="a.png"), "a.png: the file is empty"),
        (lambda: Path("/dev/full").write_text("x"), "The result cannot be saved (No space left on device)"),
        (lambda: cv2.resize(np.zeros((0, 1)), (2, 2)), "This image cannot be processed"),
    ],
)
def test_failures_are_explained_to_the_visitor(fail, told):
    with pytest.raises(batch_denoise.FAULTS) as failed:
        list(fail() or [])
    assert texts.failure(failed.value).startswith(told)
    with pytest.raises(RuntimeError, match="of the program"):
        texts.failure(RuntimeError("a fault of the program"))


@pytest.mark.parametrize("name", ["![x](http://a.b/c.png)", "<b>", "*a*_b_`c`", "$x$ :red[y]", "a|b\n# c", "[1] ~~d~~"])
def test_file_names_are_escaped_in_markdown(name):
    from markdown_it import MarkdownIt

    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(texts.plain(name))
    assert re.fullmatch(r"<p>[^<]*</p>\n", html)
    assert ":red[" not in texts.plain(name) and not re.search(r"(?<!\\)\$", texts.plain(name))


def test_strength_blends_the_result_with_the_input(astronaut):
    task = computation.Task(png(astronaut[:96, :96]), "me.png", ("gaussian", 25), ("gray",), strength=0.25)
    weak, full = done(task), done(replace(task, strength=1.0))
    assert "strength 0\\.25\\: noise " in texts.kept(weak) and not texts.kept(full)
    assert weak.results[0].score.psnr < full.results[0].score.psnr

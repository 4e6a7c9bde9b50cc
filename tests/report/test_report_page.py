"""report.html in a real browser."""

import json
import os
import re

import numpy as np
import pandas as pd
import pytest

from denoiselab import config, report
from denoiselab.comparison import aggregate
from denoiselab.data import noisy_sets
from denoiselab.imaging import dataset_images
from denoiselab.metrics import image_quality
from denoiselab.report import samples, slider_images
from denoiselab.report.rendering import address, page
from denoiselab.runtime import files, paths
from tests.browser import browse
from tests.conftest import photograph, small

TABLE = """# Which?

| name | value | note |
|:--|--:|:--|
| a2 | **30.28 [29.9, 30.6]** | x |
| a10 | 1,942,608 | 3 |
| b | | 20 |
| c | −0.86 | |
| d | +5.5 % | y |
| e | not run | z |
"""
SORT = """
const column = (n) => all("tbody tr").map((row) => row.cells[n].textContent);
const seen = [];
for (const n of [0, 1, 2]) {
  for (let click = 0; click < 3; click++) {
    one(`th:nth-child(${n + 1}) button`).click();
    seen.push([one(`th:nth-child(${n + 1})`).ariaSort, column(n)]);
  }
}
return seen;
"""


def slider(params, rows) -> list[dict]:
    return slider_images.encode(
        [slider_images.detail(one, one.test.image) for one in samples.read(params, rows) if one.outputs]
    )


@pytest.mark.parametrize("name", ["für Test", "a)b", "(a", "100%", "%41", "a[1]", "what?#x", "<x>", '"', "a+b,c=d@e"])
def test_figures_may_have_any_name(tmp_path, monkeypatch, name):
    """Test sets are named after the user's folders."""
    monkeypatch.chdir(tmp_path)
    figure = paths.FIGURES / f"pairs-{name}-sigma25.png"
    figure.parent.mkdir(parents=True)
    dataset_images.write_png(figure, np.zeros((8, 8, 3), np.uint8))
    assert '<img src="data:image/png;base64,' in page(f"# Which?\n\n![Pairs]({address(figure)})\n")


def test_headings_have_unique_ids_and_a_table_of_contents():
    html = page("# Which?\n\nThis.\n\n## By noise, `x`\n\n## Same\n\n## Same\n\n### Below\n")
    assert re.findall(r'<h[123] id="([^"]+)"', html) == ["which", "by-noise-x", "same", "same-2", "below"]
    assert re.findall(r'<a href="#([^"]+)">([^<]+)', html) == [
        ("by-noise-x", "By noise, x"),
        ("same", "Same"),
        ("same-2", "Same"),
    ]
    assert html.index("This.") < html.index("<nav") < html.index('id="by-noise-x"')


def test_html_in_markdown_stays_text():
    html = page("# <b>Q</b>\n\n> **Alarm: stop**\n\n> Go\n\n<script>alert(1)</script>\n")
    assert "<title>&lt;b&gt;Q&lt;/b&gt;</title>" in html
    assert "&lt;script&gt;alert(1)" in html
    assert html.count('<blockquote class="alarm">') == 1
    assert "<nav" not in html
    assert 'class="slider"' not in html


def test_what_is_folded_is_below_its_title():
    html = page(
        "# Q\n\n```fold warning\n**2** <b>\n```\n\n- a\n\n```end\n```\n\n## S\n\n```fold\nT\n```\n\nb\n\n```end\n```\n"
    )
    folded = re.findall(r'<details class="(\w+)">\n<summary>([^\n]*)</summary>\n(.*?)</details>', html, re.DOTALL)
    assert [(kind, title) for kind, title, _ in folded] == [("warning", "<strong>2</strong> &lt;b&gt;"), ("more", "T")]
    assert [re.sub(r"<[^>]+>|\s", "", inside) for *_, inside in folded] == ["a", "b"]


def test_image_data_cannot_end_its_script():
    view = {"name": "</script><b>", "psnr": "30.00 dB", "src": "data:,"}
    images = [{"name": "a&b", "width": 2, "height": 2, "views": [view, view, view]}]
    html = page("# Q\n\n```slider\n```\n", images)
    stored = re.search(r'<script type="application/json">(.*?)</script>', html)
    assert stored and json.loads(stored[1]) == images


@pytest.mark.slow
def test_without_samples_or_models_there_is_no_slider(finished, monkeypatch):
    root, params = finished
    monkeypatch.chdir(root)
    rows = aggregate.read(params)
    assert len(slider(params, rows)) == 6
    assert slider(params, rows[rows.model == "noisy"]) == []
    tree = params.model_dump(mode="json", exclude_unset=True)
    tree["evaluate"]["samples"] = 0
    unsampled = config.Params.model_validate(tree)
    assert slider(unsampled, rows) == []
    monkeypatch.setattr(paths, "REPORT_HTML", root / "reports/unsampled.html")
    monkeypatch.setattr(paths, "REPORT_MD", root / "reports/unsampled.md")
    monkeypatch.setattr(paths, "FIGURES", root / "reports/other")
    monkeypatch.setattr(paths, "PHOTOS", root / "reports/other photos")
    report.write(unsampled)
    text = paths.REPORT_HTML.read_text(encoding="utf-8")
    assert "example-images" not in text and 'class="slider"' not in text


@pytest.mark.slow
def test_the_summary_has_the_best_model_of_each_condition(finished, written):
    root, _ = finished
    table = pd.read_csv(root / paths.COMPARISON)
    for key, best in files.read_json(root / paths.SUMMARY).items():
        set_name, condition = key.split()
        here = table[(table.set == set_name) & (table.condition == condition)].set_index("model")
        assert best["psnr_mean"] == here.psnr_mean.max() == here.psnr_mean[best["best"]]


@pytest.mark.slow
def test_the_slider_is_in_the_html_page_only(finished, written):
    assert written.index("<h1") < written.index('class="slider"') < written.index("<h2")
    text = (finished[0] / paths.REPORT_MD).read_text(encoding="utf-8")
    assert "## Example images" in text
    assert "slider" not in text


@pytest.mark.slow
def test_many_large_images_are_reduced_to_the_limit(tmp_path, monkeypatch):
    """Twenty models, five conditions, three photos; the outputs are noisier than real ones."""
    monkeypatch.chdir(tmp_path)
    tree = small(tmp_path).model_dump(mode="json", exclude_unset=True)
    tree["evaluate"]["samples"] = 3
    tree["models"] = {"noisy": tree["models"]["noisy"]} | {f"m{n}": tree["models"]["median"] for n in range(20)}
    params = config.Params.model_validate(tree)
    names, rng = ("astronaut", "coffee", "motorcycle_left"), np.random.default_rng(0)
    tests, rows = {}, []
    for condition, sigma in {f"sigma{s}": s for s in (15, 25, 35, 50, 75)}.items():
        tests[condition] = []
        for n, name in enumerate(names):
            clean = photograph(name)[:400, :500]
            noisy = clean / 255 + sigma / 255 * rng.standard_normal(clean.shape)
            test = noisy_sets.TestImage(name, "", name, (), 0, clean, noisy.astype(np.float32), 20.0)
            tests[condition].append(test)
            output = clean / 255 + 0.2 * (noisy - clean / 255)
            for model in params.models:
                path = paths.samples(model) / condition / f"{n:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                first = paths.samples("noisy") / condition / path.name
                dataset_images.write_png(path, image_quality.to_uint8(output)) if path == first else os.link(
                    first, path
                )
                rows.append({"model": model, "condition": condition, "image": name, "draw": 0, "psnr": 30.0})
    monkeypatch.setattr(noisy_sets, "names", lambda root: list(tests))
    monkeypatch.setattr(noisy_sets, "test", lambda raw, root, condition, channels, draw: iter(tests[condition]))
    images = slider(params, pd.DataFrame(rows))
    assert [len(image["views"]) for image in images] == [22] * 15
    ((width, height),) = {(image["width"], image["height"]) for image in images}
    assert slider_images.SMALLEST < width < 500 and width / height == pytest.approx(slider_images.SHAPE, rel=0.01)
    assert len(json.dumps(images)) < 1.02 * slider_images.MOST
    paths.PHOTOS.mkdir(parents=True)
    (paths.PHOTOS / "pictures.webp").write_bytes(bytes(9_700_000))
    images = slider(params, pd.DataFrame(rows))
    assert len(json.dumps(images)) + 9_700_000 * 4 / 3 < 15_000_000


@pytest.mark.slow
def test_tables_sort_by_the_number_at_the_start_of_a_cell(tmp_path):
    seen = browse(page(TABLE), SORT, tmp_path)
    names, values, notes = seen[:3], seen[3:6], seen[6:]
    assert [direction for direction, _ in values] == ["ascending", "descending", None]
    assert names[0][1] == ["a2", "a10", "b", "c", "d", "e"]
    assert names[1][1] == ["e", "d", "c", "b", "a10", "a2"]
    assert values[0][1] == ["−0.86", "+5.5 %", "30.28 [29.9, 30.6]", "1,942,608", "", "not run"]
    assert values[1][1] == ["1,942,608", "30.28 [29.9, 30.6]", "+5.5 %", "−0.86", "", "not run"]
    assert values[2][1] == ["30.28 [29.9, 30.6]", "1,942,608", "", "−0.86", "+5.5 %", "not run"]
    assert notes[0][1] == ["3", "20", "x", "y", "z", ""]
    assert notes[1][1] == ["z", "y", "x", "20", "3", ""]


@pytest.mark.slow
def test_every_table_of_a_report_sorts(written, tmp_path):
    script = """
    all("details").forEach((folded) => { folded.open = true; });
    return all("table").map((table) => {
      all("th:first-child button", table).forEach((button) => { button.focus(); button.click(); });
      const names = all("tbody td:first-child", table).map((cell) => cell.innerText);
      return [document.activeElement.closest("table") === table, names];
    });
    """
    tables = browse(written, script, tmp_path)
    assert len(tables) == written.count("<table>") >= 4
    assert all(focused and names == sorted(names) for focused, names in tables)


@pytest.mark.slow
def test_the_slider_shows_two_images_and_their_scores(finished, written, tmp_path):
    script = """
    const [stage, range] = [one(".stage"), one(".stage input")];
    stage.setPointerCapture = () => {};  // a synthetic pointer cannot be captured
    const {x, width} = stage.getBoundingClientRect();
    const state = () => ({
      clip: getComputedStyle(one("img.left")).clipPath,
      divider: one(".divider").getBoundingClientRect().x + 1 - x,
      text: range.ariaValueText ?? range.getAttribute("aria-valuetext"),
      scores: all(".scores output").map((output) => output.textContent),
      sources: all(".stage img").map((image) => image.src),
      sizes: all(".stage img").map((image) => [image.naturalWidth, image.naturalHeight]),
    });
    const choose = async (name, value) => {
      one(`select[name=${name}]`).value = value;
      one(`select[name=${name}]`).dispatchEvent(new Event("change", {bubbles: true}));
      await pause();
    };
    const states = [state()];
    range.value = 20;
    range.dispatchEvent(new Event("input", {bubbles: true}));
    states.push(state());
    stage.dispatchEvent(new PointerEvent("pointerdown", {clientX: x + 0.75 * width, bubbles: true, cancelable: true}));
    states.push(state());
    await choose("right", one("select[name=right]").options[1].value);
    states.push(state());
    await choose("left", "clean");
    states.push(state());
    await choose("image", 1);
    states.push(state());
    await choose("left", one("select[name=right]").options[0].value);
    await choose("right", one("select[name=right]").options[0].value);
    states.push(state());
    const options = all("select").map((select) => all("option", select).map((option) => option.textContent));
    return {states, options, width, rendering: getComputedStyle(one("img.left")).imageRendering};
    """
    found = browse(written, script, tmp_path)
    files = [finished[0] / paths.evaluation(name) / "per_image.csv" for name in ("noisy", "gaussian", "median")]
    rows = pd.concat(map(pd.read_csv, files))
    scores = rows[rows.condition == "sigma15"].set_index(["model", "image"]).psnr.map("{:.2f} dB".format)
    images_shown = [name.removesuffix(", sigma 15") for name in found["options"][0][:2]]
    first, second = found["options"][2]
    assert len(found["options"][0]) == 6  # three conditions, two images
    assert found["options"][1] == ["noisy input", "clean", first, second]
    assert {first, second} == {"gaussian", "median"}
    states = found["states"]
    width = found["width"]
    assert width == 4 * 128
    assert [state["clip"] for state in states[:3]] == [f"inset(0px {share}% 0px 0px)" for share in (50, 80, 25)]
    assert [state["divider"] / width for state in states[:3]] == pytest.approx([0.5, 0.2, 0.75], abs=0.01)
    assert states[1]["text"] == f"20 % noisy input, the rest {first}"
    noisy = [f"noisy input: {scores['noisy', image]}" for image in images_shown]
    here = [[f"{model}: {scores[model, image]}" for model in (first, second)] for image in images_shown]
    assert [state["scores"] for state in states[2:]] == [
        [noisy[0], here[0][0]],
        [noisy[0], here[0][1]],
        ["clean: the reference", here[0][1]],
        ["clean: the reference", here[1][1]],
        [noisy[1], here[1][0]],  # a model beside itself is replaced by the noisy input
    ]
    assert all(len({*state["sources"]}) == 2 for state in states)
    assert len({tuple(state["sources"]) for state in states}) == 5
    assert states[0]["sizes"] == [[128, 96]] * 2
    assert found["rendering"] == "pixelated"


@pytest.mark.slow
def test_a_figure_enlarges_and_closes(written, tmp_path):
    script = """
    const dialog = one("dialog");
    return all(".figure").map((button) => {
      button.click();
      const {width, height} = one("img", dialog).getBoundingClientRect();
      const open = [dialog.matches(":modal"), one("img", dialog).src === one("img", button).src];
      const large = width > 0.85 * innerWidth || height > 0.85 * innerHeight;
      one("img", dialog).click();
      return [...open, large, dialog.open, document.activeElement === button, button.ariaLabel];
    });
    """
    figures = browse(written, script.replace("button.click();", "button.focus(); button.click();", 1), tmp_path)
    assert len(figures) == written.count('<img src="data:')
    assert [figure[:5] for figure in figures] == [[True, True, True, False, True]] * len(figures)
    assert all(label.startswith("Enlarge: ") for *_, label in figures)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_itself_does_not_scroll_sideways(written, tmp_path, width):
    script = """
    const [scores, stage] = [one(".scores"), one(".stage")].map((part) => part.getBoundingClientRect());
    return {
      inner: innerWidth, scroll: document.documentElement.scrollWidth, scores: scores.bottom, stage: stage.width,
      header: one("header").clientWidth, open: all("details").filter((part) => part.open).length,
      links: all("nav a").map((a) => !!one(a.getAttribute("href"))),
      boxes: all(".table").map((box) => [box.className, getComputedStyle(box).overflowX]),
    };
    """
    found = browse(written, script, tmp_path, width)
    assert found["inner"] == width
    assert found["scroll"] <= width
    assert len(found["links"]) > 5 and all(found["links"])
    assert found["boxes"][0] == (["table fits", "visible"] if width == 1440 else ["table", "auto"])
    assert found["scores"] < 844  # title, headline, warnings and slider on the first screen
    assert found["stage"] == min(found["header"], 4 * 128) and found["open"] == 0


@pytest.mark.slow
def test_nothing_can_be_fetched(written, tmp_path):
    script = """
    const blocked = [];
    console.error = () => {};
    document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
    const image = new Image();
    image.src = "http://127.0.0.1:9/a.png";
    const outcome = await fetch("http://127.0.0.1:9/").catch((error) => error.name);
    await pause(200);
    return [outcome, blocked.sort()];
    """
    assert browse(written, script, tmp_path, blocked=True) == ["TypeError", ["connect-src", "img-src"]]

"""Untrusted inputs: the targets of bench.fuzz on mutations of valid inputs (hypothesis), and earlier findings."""

import io
import json
import struct
import subprocess
import sys
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench._project import environment
from bench.fuzz import __main__ as fuzzer
from bench.fuzz import seeds, targets
from denoiselab.runtime.errors import UserError

EXAMPLES = {  # a few seconds per target
    **{"exif": 400, "containers": 300, "manifest": 300, "image": 150, "photo": 150, "stack": 100},
    **{"archive": 150, "tables": 80, "weights": 60, "params": 60, "model": 25, "upload": 15, "words": 25},
    "arguments": 8,
}
LAUGHS = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


def changed(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Apply edits (position as a share of the length, number of bytes to remove, bytes to insert)."""
    for place, gone, new in edits:
        at = int(place * len(data))
        data = data[:at] + new + data[at + gone :]
    return data


def inputs(target: targets.Target) -> st.SearchStrategy[bytes]:
    new = st.one_of(st.sampled_from(seeds.FRAGMENTS), st.binary(max_size=8))
    edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), new), min_size=1, max_size=4)
    return st.one_of(st.builds(changed, st.sampled_from(target.seeds()), edits), st.binary(max_size=200))


def tried(name: str, data: bytes) -> None:
    with targets.scratch() as folder:
        targets.check(targets.TARGETS[name], data, folder)


def tree(**changes: object) -> bytes:
    """params.yaml with changed values."""
    return json.dumps(json.loads(seeds.params()[1]) | changes).encode()


def card(**changes: object) -> bytes:
    """Input of target `model`: a card with changed values."""
    return b"\0" + json.dumps(seeds.card() | changes).encode()


def row(old: bytes, new: bytes) -> bytes:
    assert old in seeds.manifest()[0]
    return seeds.manifest()[0].replace(old, new)


def unnamed() -> bytes:
    """A zip that contains an empty file without a name."""
    content, member = io.BytesIO(), zipfile.ZipInfo()
    member.filename = ""
    with zipfile.ZipFile(content, "w") as container:
        container.writestr(member, b"")
    return content.getvalue()


def of_three_widths() -> bytes:
    """A TIFF whose header gives three widths."""
    tiff = bytearray(seeds.images()[2])
    at = struct.unpack_from("<I", tiff, 4)[0] + 2
    assert struct.unpack_from("<HHI", tiff, at) == (256, 4, 1)
    struct.pack_into("<I", tiff, at + 4, 3)
    return bytes(tiff)


def test_hypothesis_and_the_fuzzer_cover_every_target():
    assert targets.TARGETS.keys() == EXAMPLES.keys() == fuzzer.SHARES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_mutated_inputs_are_accepted_or_rejected_in_one_line(name):
    @settings(
        max_examples=EXAMPLES[name],
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(inputs(targets.TARGETS[name]))
    def run(data: bytes) -> None:
        tried(name, data)

    run()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_seeds_are_mostly_accepted(name):
    """Otherwise the mutations would only test rejections."""
    target, accepted = targets.TARGETS[name], 0
    for data in target.seeds():
        with targets.scratch() as folder:
            try:
                target.run(data, folder)
                accepted += 1
            except targets.REFUSALS:
                pass
    assert accepted >= len(target.seeds()) / 2


FOUND = {
    "YAML nested too deep": ("params", b"[" * 5000),
    "YAML that repeats itself": ("params", f"{LAUGHS}recipe: *a8\n".encode()),
    "YAML that contains itself": ("params", b"recipe: &a [*a]"),
    "an invalid date": ("params", b"seed: 2001-13-45"),
    "a number of too many digits": ("params", b"seed: " + b"9" * 5000),
    "invalid UTF-8": ("params", b"\xff\xfe"),
    "an invalid integer": ("params", b"a: !!int _"),
    "a value too long for a message": ("params", tree(recipe=["x" * 10_000])),
    "too many mistakes to list": ("params", tree(train={f"key{n}": 0 for n in range(100)})),
    "a path outside the folder of a manifest": ("manifest", row(b"train/im0.png", b"../im0.png")),
    "an absolute path in a manifest": ("manifest", row(b"train/im0.png", b"/etc/passwd")),
    "an unknown split": ("manifest", row(b"im0,train", b"im0,other")),
    "an image of negative width": ("manifest", row(b"64,48", b"-64,0")),
    "a row with missing fields": ("manifest", row(b",64,48,folder", b"")),
    "a field that is too long": ("manifest", seeds.manifest()[0] + b"x" * 200_000),
    "a binary manifest": ("manifest", b"\xff"),
    "a binary label": ("tables", b"\1\xff"),
    "a TIFF without dimensions": ("image", b"\3II*\0\x08\0\0\0\x01\0\x0e\x01\x02\0\x01\0\0\0\0\0\0\0\0\0\0\0"),
    "an image of 10^18 pixels": ("image", b"\0" + seeds.bomb(10**9, 10**9)),
    "an image too large for the page": ("upload", b"\0\5a.png" + seeds.bomb(1 << 12, 1 << 12)),
    "an image of three widths": ("upload", b"\1\5a.tif" + of_three_widths()),
    "an image resource of 4 GB": ("containers", b"8BIM\x04\x04\0\0\xff\xff\xff\xffx"),
    "JSON nested too deep": ("model", b"\0" + b"[" * 100_000),
    "a network of ten million layers": ("model", card(architecture={**seeds.NET, "depth": 10**7})),
    "a network larger than memory": ("model", card(architecture={**seeds.NET, "depth": 3, "features": 10_000})),
    "a card without weights": ("model", card(weights=[])),
    "weights of another folder": ("model", card(weights=["../../x"])),
    "a card with an impossible import": ("model", card(adopted=seeds.NET)),
    "an empty noise level": ("model", card(noise={"train": {"kind": "gaussian", "sigma_255": []}})),
    "a numeric kind of noise": ("model", card(noise={"train": {"kind": 1}})),
    "a number of parameters as text": ("model", card(parameters="many")),
    "a binary README": ("model", b"\1\xff"),
    "a score that is not a number": ("model", b"\1" + seeds.README.replace(b"30.1 [29", b"x [29")),
    "weights of another shape": ("model", card(architecture={**seeds.NET, "depth": 3})),
    "a file without a name in a zip": ("archive", unnamed()),
    "a name that begins with a space": ("words", b" \xbc"),
    "an unprintable name": ("arguments", b"\1\0a.p\xfang"),
    "an unprintable option": ("arguments", b"\2\0a.png\0p.png\0-\xff\xffd\0gaussian"),
}


@pytest.mark.parametrize(("name", "data"), FOUND.values(), ids=FOUND.keys())
def test_earlier_findings_stay_fixed(name, data):
    tried(name, data)


def test_reading_an_image_starts_no_program(tmp_path, monkeypatch):
    """Pillow would pass PostScript to Ghostscript, whatever the suffix."""
    from denoiselab.imaging import dataset_images

    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: started.append(args))
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n%%EOF\n")
    with pytest.raises(UserError, match="not an image that can be read"):
        dataset_images.read(tmp_path / "a.png", 3)
    assert not started


def test_the_check_detects_bad_error_messages(tmp_path):
    """Messages that are empty, of several lines, too long, or without the file; other exceptions pass through."""

    def fails(run, named: bool = False) -> str:
        with pytest.raises(targets.FindingError) as found:
            targets.check(targets.Target(run, list, named), b"", tmp_path)
        return str(found.value)

    def raising(error: Exception):
        def run(data, folder):
            raise error

        return run

    assert "empty error message" in fails(raising(UserError()))
    assert "several lines" in fails(raising(UserError("a\nb")))
    assert "10000 characters" in fails(raising(UserError("a" * 10_000)))
    assert "does not name the file" in fails(raising(UserError("a")), named=True)
    with pytest.raises(KeyError):
        targets.check(targets.Target(raising(KeyError("a")), list), b"", tmp_path)


def test_the_fuzzer_names_its_requirements():
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['atheris'] = None; import bench.fuzz.__main__ as m; m.main()"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith("pip install atheris (Linux, Python 3.11 or later)")

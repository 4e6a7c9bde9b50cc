"""No unpickling and no execution of input as code: checked in the source and by an audit hook at run time."""

import ast
import io
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch

from denoiselab import architectures
from denoiselab.app import cli
from denoiselab.models import pretrained
from denoiselab.training import checkpoint
from tests.conftest import ROOT

PLACES = ("src", "pipeline", "bench", "docs/make")
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "jsonpickle"}
NAMES = {"eval", "exec", "compile", "__import__", "read_pickle", "to_pickle", "load_model", "unsafe_load", "full_load"}
NAMES |= {"UnsafeLoader", "FullLoader", "Unpickler", "system", "popen"}
NET = {"arch": "dncnn", "channels": 1, "depth": 2, "features": 2, "batch_norm": False}


def faults(text: str) -> list[str]:
    """Calls in a module that unpickle or execute input, as `line: call`."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append((node, node.module))
        elif isinstance(node, ast.ImportFrom):
            found += [(node, alias.name) for alias in node.names if alias.name in NAMES]
        elif isinstance(node, ast.Call):
            found += [(node, what) for what in _called(node)]
    return [f"{node.lineno}: {what}" for node, what in found]


def _called(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {key.arg: ast.unparse(key.value) for key in call.keywords}
    last = name.rpartition(".")[2]
    of_module = last == "eval" and isinstance(call.func, ast.Attribute) and not call.args  # nn.Module.eval
    own = of_module or name in ("re.compile", "torch.compile", "platform.system")
    if last in NAMES and not own:
        yield name
    if name == "torch.load" and given.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if name in ("yaml.load", "yaml.load_all", "joblib.load", "torch.hub.load", "torch.jit.load", "torch.package"):
        yield name
    if given.get("allow_pickle", "False") != "False" or given.get("shell", "False") != "False":
        yield f"{name} with allow_pickle or shell"


@pytest.mark.parametrize(
    "path", sorted(path for place in PLACES for path in (ROOT / place).rglob("*.py")), ids=lambda p: p.stem
)
def test_no_module_unpickles_or_executes_input(path):
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        *("import pickle", "from marshal import loads", "import dill as d", "pd.read_pickle(p)", "eval(x)", "exec(x)"),
        *("torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p, allow_pickle=True)", "yaml.load(t, L)"),
        *("joblib.load(p)", "mlflow.pytorch.load_model(u)", "subprocess.run(c, shell=True)", "os.system(c)"),
        *("from pandas import read_pickle", "torch.jit.load(p)", "yaml.unsafe_load(t)", "frame.eval(text)"),
    ],
)
def test_unpickling_calls_are_found(text):
    assert faults(text)


@pytest.mark.parametrize(
    "text", ["model.eval()", "torch.load(p, weights_only=True)", "np.load(p)", "yaml.safe_load(t)", "re.compile(x)"]
)
def test_harmless_calls_are_accepted(text):
    assert faults(text) == []


class Trap:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


_heard: list[str] | None = None


def _hook(event: str, arguments: tuple) -> None:
    if _heard is not None and event in ("pickle.find_class", "os.system", "marshal.loads"):
        _heard.append(f"{event} {arguments}"[:200])


@pytest.fixture(scope="module")
def listening():
    """heard(): context with the list of names looked up by Python's unpickler. Audit hooks cannot be removed."""
    sys.addaudithook(_hook)

    @contextmanager
    def heard() -> Iterator[list[str]]:
        global _heard
        _heard = []
        try:
            yield _heard
        finally:
            _heard = None

    return heard


def test_the_audit_hook_notices_unpickling(listening, tmp_path):
    with listening() as heard:
        pickle.loads(pickle.dumps(Trap(tmp_path / "made")))
    assert heard and (tmp_path / "made").is_dir()


def hostile(folder: Path, trap: Path) -> dict[str, Path]:
    """Files of all kinds that the project reads, which create the folder `trap` if they are unpickled."""
    stream = io.BytesIO()
    torch.save({"weight": Trap(trap)}, stream)
    contents = {
        "zipped.pth": stream.getvalue(),
        "plain.pth": pickle.dumps(Trap(trap)),
        "old.pt": pickle.dumps(Trap(trap), protocol=2),
        "a.safetensors": pickle.dumps(Trap(trap)),
        "a.npy": b"\x93NUMPY\1\0\x46\0" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(70)
        + pickle.dumps([Trap(trap)]),
        "a.yaml": f"!!python/object/apply:os.mkdir ['{trap}']".encode(),
        "a.png": pickle.dumps(Trap(trap)),
        "model.json": pickle.dumps(Trap(trap)),
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def test_hostile_files_are_refused_and_run_nothing(listening, tmp_path, monkeypatch):
    """All functions that read weights, arrays, settings, cards and images, and the command line."""
    from denoiselab import config
    from denoiselab.config import yaml_files
    from denoiselab.data import patches
    from denoiselab.runtime import files

    trap = tmp_path / "trap"
    there = hostile(tmp_path, trap)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.pt").write_bytes(there["zipped.pth"].read_bytes())
    readers = [
        *(
            lambda n=n: pretrained.load_weights(architectures.build(NET), NET, there[n])
            for n in ("zipped.pth", "plain.pth", "old.pt")
        ),
        *(lambda: pretrained.read(there["a.safetensors"]), lambda: config.load(there["a.yaml"])),
        *(lambda: yaml_files.read(there["a.yaml"]), lambda: files.read_json(there["model.json"])),
        lambda: patches.Stack([there["a.npy"]]),
    ]
    commands = [
        ["denoise", "a.png", "out.png"],
        ["denoise", "a.png", "out.png", "--model", str(tmp_path)],
        ["denoise", "a.png", "out.png", "--model", "zipped.pth"],
        ["estimate", "a.png"],
        ["models"],
    ]
    with listening() as heard, redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        assert checkpoint.Checkpoint(tmp_path, "state").load() is None
        for read in readers:
            with pytest.raises((ValueError, OSError)):
                read()
        for command in commands:
            with pytest.raises(SystemExit) as ended:
                cli.main(command)
            assert ended.value.code == 0 if command == ["models"] else ended.value.code
    assert not trap.exists()
    assert [one for one in heard if "pickle" in one or "system" in one] == []

"""unpack: valid archives, and hostile or damaged ones."""

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from denoiselab.data.readers import archives
from denoiselab.runtime.errors import UserError

FILES = {"top/a.txt": b"alpha" * 3000, "top/deep/b.bin": os.urandom(200_000), "c.txt": b"", "top/d.txt": b"x" * 1024}
LIMIT = 1_000_000


def make_zip(path: Path, members: dict[str, bytes], mode: int = 0o100777, **changes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as container:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = changes.get("method", zipfile.ZIP_DEFLATED)
            container.writestr(info, content)
    return path


def make_tar(path: Path, members: dict[str, bytes], mode: str = "w", **changes) -> Path:
    """A tar; `changes`: attributes of every TarInfo."""
    with tarfile.open(path, mode, format=changes.pop("format", tarfile.PAX_FORMAT)) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o777
            for key, value in changes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return path


def make_repository(path: Path) -> Path:
    """A tar as made by GitHub: global pax header, folders."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": "a" * 40}) as tar:
        for name in ("./", "top", "top/deep", "top/empty"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o700
            tar.addfile(info)
        for name, content in FILES.items():
            info = tarfile.TarInfo("./" + name)
            info.size, info.mode = len(content), 0o4777
            tar.addfile(info, io.BytesIO(content))
    return path


def contents(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def refusal(archive: Path, limit: int = LIMIT) -> str:
    """Message of the error: one line that names the archive. No files may be left."""
    out = archive.parent / "out"
    before = set(archive.parent.rglob("*"))
    with pytest.raises(UserError) as error:
        archives.unpack(archive, out, limit=limit)
    text = str(error.value)
    assert set(archive.parent.rglob("*")) == before
    assert text.startswith(f"{archive}: ") and text.isprintable()
    return text


@pytest.fixture
def unwritten(monkeypatch):
    """Fails if a file is written before the archive is rejected."""

    def write(*_args: object) -> None:
        raise AssertionError("written before all was checked")

    monkeypatch.setattr(archives, "_write", write)


@pytest.mark.parametrize("kind", ["zip", "stored", "bzip2", "tar", "gz", "bz2", "xz", "gnu", "repository"])
def test_valid_archives_are_unpacked_completely(tmp_path, kind):
    archive = tmp_path / "archive.dat"  # the type is detected by content
    methods = {"zip": zipfile.ZIP_DEFLATED, "stored": zipfile.ZIP_STORED, "bzip2": zipfile.ZIP_BZIP2}
    if kind in methods:
        make_zip(archive, FILES | {"top/empty/": b""}, method=methods[kind])
    elif kind == "repository":
        make_repository(archive)
    elif kind == "gnu":
        make_tar(archive, FILES, format=tarfile.GNU_FORMAT)
    else:
        make_tar(archive, FILES, "w" if kind == "tar" else f"w:{kind}")
    out = tmp_path / "new" / "out"
    umask = os.umask(0o077)
    try:
        archives.unpack(archive, out, limit=sum(map(len, FILES.values())))
    finally:
        os.umask(umask)
    assert contents(out) == FILES
    assert list(out.parent.iterdir()) == [out]
    for path in (out, *out.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_long_and_unicode_names_are_unpacked(tmp_path, make):
    members = {"a" * 120 + "/" + "b" * 120 + ".txt": b"1", "übung/猫 1.txt": b"2"}
    archives.unpack(make(tmp_path / "x", members), tmp_path / "out", limit=LIMIT)
    assert contents(tmp_path / "out") == members


@pytest.mark.parametrize("make", [make_zip, make_tar, lambda path, _: make_repository(path)])
def test_only_wanted_files_are_unpacked(tmp_path, make):
    seen = []

    def wanted(name: str) -> bool:
        seen.append(name)
        return name.endswith("b.bin")

    archives.unpack(make(tmp_path / "x", FILES), tmp_path / "out", limit=LIMIT, wanted=wanted)
    assert contents(tmp_path / "out") == {"top/deep/b.bin": FILES["top/deep/b.bin"]}
    assert sorted(seen) == sorted(FILES)


def test_unwanted_files_are_checked_too(tmp_path):
    archive = make_tar(tmp_path / "x", {"good": b"", "../bad": b""})
    with pytest.raises(UserError, match=r"'\.\./bad'"):
        archives.unpack(archive, tmp_path / "out", limit=LIMIT, wanted=lambda name: name == "good")


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "an absolute path"),
        ("C:/file", "an absolute path"),
        ("c:file", "an absolute path"),
        ("top\\file", "an absolute path or a Windows path"),
        ("../file", "'..' in the path"),
        ("top/../../file", "'..' in the path"),
        ("top/..", "'..' in the path"),
        ("top/a\nb", "a control character"),
        ("top/a\x1b[2Jb", "a control character"),
        ("top/a\x9bb", "a control character"),
        ("a/" * 70 + "b", "too long"),
        ("a" * 1100, "too long"),
        (".", "no file name"),
    ],
)
def test_bad_names_are_refused(tmp_path, unwritten, make, name, reason):
    assert reason in refusal(make(tmp_path / "x", {"good": b"good", name: b"bad"}))


def test_a_nul_in_a_name_is_refused(tmp_path, unwritten):
    archive = make_zip(tmp_path / "x.zip", {"good": b"", "a!b.txt": b""})
    archive.write_bytes(archive.read_bytes().replace(b"a!b.txt", b"a\0b.txt"))
    assert "a control character" in refusal(archive)
    assert "a control character" in refusal(
        make_tar(tmp_path / "x.tar", {"a": b""}, pax_headers={"path": "a\0b"}),
    )


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_long_name_is_shortened_in_the_error(tmp_path, unwritten, make):
    assert len(refusal(make(tmp_path / "x", {"a" * 5000: b""}))) < len(str(tmp_path)) + 200


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "neither a file nor a folder"),
        (tarfile.BLKTYPE, "neither a file nor a folder"),
        (tarfile.FIFOTYPE, "neither a file nor a folder"),
        (b"V", "neither a file nor a folder"),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, unwritten, kind, reason):
    archive = tmp_path / "x.tar.gz"
    make_tar(archive, {"odd": b""}, "w:gz", type=kind, linkname="good")
    assert f"member 'odd': {reason}" in refusal(archive)


def test_sparse_files_in_a_tar_are_refused(tmp_path, unwritten):
    headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1", "GNU.sparse.realsize": "1"}
    assert "neither a file" in refusal(make_tar(tmp_path / "x", {"odd": b"1"}, pax_headers=headers))


@pytest.mark.parametrize(
    ("mode", "reason"),
    [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "neither a file"), (stat.S_IFCHR, "neither a file")],
)
def test_links_and_devices_in_a_zip_are_refused(tmp_path, unwritten, mode, reason):
    assert f"member 'odd': {reason}" in refusal(make_zip(tmp_path / "x", {"odd": b"/etc"}, mode | 0o777))


def patch_zip(archive: Path, offset: int, value: bytes, *, local: int | None = None) -> Path:
    """Overwrite a field of the last entry in the central directory and, at `local`, of the only local header."""
    content = bytearray(archive.read_bytes())
    at = content.rindex(b"PK\1\2") + offset
    content[at : at + len(value)] = value
    if local is not None:
        content[local : local + len(value)] = value
    archive.write_bytes(content)
    return archive


def test_encrypted_and_oddly_packed_members_of_a_zip_are_refused(tmp_path, unwritten):
    assert "encrypted" in refusal(patch_zip(make_zip(tmp_path / "x.zip", FILES), 8, b"\1"))
    assert "compression method 99" in refusal(patch_zip(make_zip(tmp_path / "y.zip", FILES), 10, b"\x63"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a", "b", "a"], "twice"),
        (["a/b", "a//./b"], "twice"),
        (["a", "a/b"], "a file and a folder"),
        (["a/b", "a"], "twice"),
        (["a", "a/"], "a file and a folder"),
    ],
)
def test_a_name_twice_is_refused(tmp_path, unwritten, names, reason):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as container:
        for name in names:
            container.writestr(name, b"")
    assert reason in refusal(tmp_path / "x.zip")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            tar.addfile(info)
    assert reason in refusal(tmp_path / "x.tar")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_too_many_bytes_or_members_are_refused(tmp_path, unwritten, make, monkeypatch):
    archive = make(tmp_path / "x", FILES)
    size = sum(map(len, FILES.values()))
    assert f"more than the limit of {size - 1}" in refusal(archive, size - 1)
    monkeypatch.setattr(archives, "MEMBERS", 3)
    assert "more than 3 members" in refusal(archive)


def counted(monkeypatch) -> list[int]:
    """Numbers of bytes read from gzip streams."""
    pieces: list[int] = []
    read = gzip.GzipFile.read

    def count(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        data = read(self, size)
        pieces.append(len(data))
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", count)
    return pieces


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


BOMB = 50_000_000
ZEROS = bytes(BOMB)
PAX = b"11 size=10\n".ljust(512, b"\0")


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (header("bomb", BOMB), "more than the limit"),
        (header("bomb", BOMB, tarfile.XHDTYPE), "a header has a wrong size"),
        (header("bomb", BOMB, tarfile.GNUTYPE_LONGNAME), "a header has a wrong size"),
        (header("all", 11, tarfile.XGLTYPE) + PAX + header("bomb", BOMB), "more data than its members declare"),
        (header("good", 0) + bytes(1024), "more data than its members declare"),
        (header("bomb", -1), "a negative size"),
    ],
)
def test_a_gzip_bomb_is_not_read_through(tmp_path, unwritten, monkeypatch, start, reason):
    (tmp_path / "x").write_bytes(gzip.compress(start + ZEROS, 1))
    pieces = counted(monkeypatch)
    assert reason in refusal(tmp_path / "x")
    assert sum(pieces) < 3_000_000


def test_a_zip_member_larger_than_declared_is_refused(tmp_path):
    archive = make_zip(tmp_path / "x", {"a": b"x" * 100_000})
    patch_zip(archive, 24, struct.pack("<L", 10), local=22)
    assert "damaged archive" in refusal(archive)


def test_a_zip_member_smaller_than_declared_is_refused(tmp_path):
    archive = make_zip(tmp_path / "x", {"a": b"x" * 1000})
    patch_zip(archive, 24, struct.pack("<L", 1001), local=22)
    assert "fewer bytes than declared" in refusal(archive)


def test_a_member_with_more_bytes_than_declared_is_refused(tmp_path):
    with pytest.raises(archives._RefusedError, match="more bytes than declared"):
        archives._write(lambda: io.BytesIO(b"12345"), 4, tmp_path, "a/b")
    assert (tmp_path / "a" / "b").read_bytes() == b""


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>" * 100, bytes(10_240), gzip.compress(b"text", mtime=0)]
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    assert refusal(tmp_path / "x.zip").endswith(": not a zip or tar archive")


def test_an_empty_zip_is_refused(tmp_path):
    assert "an empty archive" in refusal(make_zip(tmp_path / "x.zip", {}))


def test_a_missing_archive_is_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "nothing.zip")


@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", ["zip", "tar", "w:gz", "w:bz2", "w:xz"])
def test_a_truncated_archive_is_refused(tmp_path, kind, share):
    archive = tmp_path / "x"
    members = {f"{n}.bin": os.urandom(10_000) for n in range(20)}
    make_zip(archive, members) if kind == "zip" else make_tar(archive, members, kind if ":" in kind else "w")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    assert "archive" in refusal(archive).removeprefix(str(archive))


@pytest.mark.parametrize("cut", [0, 1, 511, 512])
def test_a_tar_without_its_end_is_refused(tmp_path, cut):
    archive = make_tar(tmp_path / "x", {"a": b"x" * 512})
    archive.write_bytes(archive.read_bytes()[: 2 * 512 + cut])
    if cut < 512:
        assert "truncated, or a header is damaged" in refusal(archive)
    else:  # one empty block is a valid end
        archives.unpack(archive, tmp_path / "out", limit=LIMIT)


def test_a_tar_with_a_damaged_header_in_the_middle_is_refused(tmp_path):
    archive = make_tar(tmp_path / "x", FILES)
    archive.write_bytes(archive.read_bytes().replace(b"top/deep/b.bin", b"top/deep/c.bin"))
    assert "a header is damaged" in refusal(archive)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_damage_in_the_middle_leaves_nothing(tmp_path, make):
    content = bytearray(make(tmp_path / "x", FILES).read_bytes())
    if make is make_tar:  # uncompressed tars have no checksum
        content = bytearray(gzip.compress(content))
    content[len(content) // 2] ^= 1
    (tmp_path / "x").write_bytes(content)
    assert "damaged archive: " in refusal(tmp_path / "x")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_damaged_checksum_at_the_end_is_found(tmp_path, pack):
    content = bytearray(pack(make_tar(tmp_path / "plain", FILES).read_bytes()))
    content[-6] ^= 1
    (tmp_path / "x").write_bytes(content)
    assert "damaged archive: " in refusal(tmp_path / "x")


def test_many_pax_headers_in_a_row_are_refused(tmp_path):
    (tmp_path / "x").write_bytes((header("x", 11, tarfile.XHDTYPE) + PAX) * 2000 + header("a", 0) + bytes(1024))
    assert "archive" in refusal(tmp_path / "x").removeprefix(str(tmp_path / "x"))


def test_a_disk_that_fails_leaves_nothing(tmp_path):
    assert "cannot be unpacked" in refusal(make_tar(tmp_path / "x", {"good": b"1", "a" * 300: b"2"}))


def test_an_error_of_the_caller_leaves_nothing(tmp_path):
    archive = make_tar(tmp_path / "x", FILES)

    def wanted(name: str) -> bool:
        if name == "c.txt":
            raise KeyError(name)
        return True

    with pytest.raises(KeyError):
        archives.unpack(archive, tmp_path / "out", limit=LIMIT, wanted=wanted)
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_existing_output_is_not_replaced(tmp_path, what):
    archive, out = make_zip(tmp_path / "x", FILES), tmp_path / "out"
    if what == "folder":
        out.mkdir()
        (out / "mine").write_text("mine")
    elif what == "file":
        out.write_text("mine")
    else:
        out.symlink_to(tmp_path / "nowhere")
    assert "already exists" in refusal(archive)

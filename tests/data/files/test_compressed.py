import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from erprm.data.files.compressed import compressing, open_bytes
from erprm.data.files.json_rows import json_rows
from erprm.runs.atomic import whole_file

LINES = b"".join(b'{"x": %d, "t": "%s"}\n' % (number, b"abc" * (number % 50)) for number in range(5000))


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl"])
def test_compressed_content_is_read_whatever_its_name(tmp_path: Path, compress: type, name: str) -> None:
    (tmp_path / name).write_bytes(compress(LINES))
    with open_bytes(tmp_path / name) as file:
        assert file.read() == LINES


def test_several_compressed_parts_one_after_the_other_are_one_file(tmp_path: Path) -> None:
    for content in (gzip.compress(LINES) + gzip.compress(b"more"), zstd(LINES) + zstd(b"more")):
        (tmp_path / "a").write_bytes(content)
        with open_bytes(tmp_path / "a") as file:
            assert file.read() == LINES + b"more"


@pytest.mark.parametrize(("codec", "compress"), [("gzip", gzip.compress), ("zstd", zstd)])
@pytest.mark.parametrize("lost", [1, 4, 300])
def test_a_truncated_file_is_named(tmp_path: Path, codec: str, compress: type, lost: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(compress(LINES)[:-lost])
    with pytest.raises(ValueError, match=rf"a\.jsonl: the {codec} data are damaged or end too early"):
        list(json_rows(path))


@pytest.mark.parametrize(("codec", "compress"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_a_damaged_file_is_named(tmp_path: Path, codec: str, compress: type) -> None:
    content = bytearray(compress(LINES))
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(byte ^ 0xFF for byte in content[middle : middle + 8])
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.jsonl: the {codec} data are damaged or end too early"):
        list(json_rows(tmp_path / "a.jsonl", reject=lambda *_: None))


@pytest.mark.parametrize(("suffix", "decompress"), [(".gz", gzip.decompress), (".zst", None), ("", bytes)])
def test_what_is_written_is_compressed_as_the_suffix_says(tmp_path: Path, suffix: str, decompress: type | None) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    with whole_file(path) as file, compressing(file, path.suffix) as stream:
        stream.write(LINES[:100])
        stream.write(LINES[100:])
    content = path.read_bytes()
    if decompress is None:
        assert pa.decompress(content, len(LINES), "zstd", asbytes=True) == LINES
    else:
        assert decompress(content) == LINES


def test_the_same_rows_make_the_same_file(tmp_path: Path) -> None:
    contents = []
    for name in ("a.gz", "b.gz"):
        with whole_file(tmp_path / name) as file, compressing(file, ".gz") as stream:
            stream.write(LINES)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]

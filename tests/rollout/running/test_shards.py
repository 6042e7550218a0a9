import json
import time
from pathlib import Path
from typing import Any

import datasets
import pytest

from erprm.data.records import RolloutRecord, read_records
from erprm.rollout.running.shards import ShardStore, run_folder
from erprm.rollout.running.verification import verify
from erprm.runs.folder import OutputFolderError
from erprm.runs.identity import content_hash

SETTINGS = {"seed": 0, "stop": ("\n",), "prompt": {"template": "{question}", "chat": False}}


def make_record(seed: int) -> RolloutRecord:
    return RolloutRecord("p", "q", "7", "test", ["a", "b"], [[1.0, 0.0], [1.0]], True, "policy", "{}", seed)


def filled(folder: Path, shards: int = 2) -> ShardStore:
    store = ShardStore(folder, SETTINGS, num_shards=2)
    store.begin(model_sha256="abc")
    for shard in range(shards):
        store.write(shard, [make_record(10 * shard), make_record(10 * shard + 1)], {"problems": shard + 1})
    return store


def counts_of(store: ShardStore, shard: int) -> dict[str, Any] | None:
    mark = store.mark_of(shard)
    return None if mark is None else mark.counts


def test_written_shards_are_done_and_read_back(tmp_path: Path) -> None:
    filled(tmp_path)
    store = ShardStore(tmp_path, SETTINGS, num_shards=2)
    assert [counts_of(store, shard) for shard in range(2)] == [{"problems": 1}, {"problems": 2}]
    assert list(read_records(tmp_path)) == [make_record(seed) for seed in (0, 1, 10, 11)]


def test_datasets_loads_the_folder_as_it_is(tmp_path: Path) -> None:
    filled(tmp_path / "run")
    loaded = datasets.load_dataset(str(tmp_path / "run"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["seed"][:] == [0, 1, 10, 11]


def test_a_shard_without_records_is_done_too(tmp_path: Path) -> None:
    store = filled(tmp_path, shards=1)
    store.write(1, [], {"problems": 1})
    assert counts_of(store, 1) == {"problems": 1}
    assert len(list(read_records(tmp_path))) == 2


def test_a_shard_that_was_not_marked_is_not_done(tmp_path: Path) -> None:
    store = filled(tmp_path)
    (tmp_path / ".shards" / "00001.json").unlink()
    assert counts_of(store, 0) is not None
    assert counts_of(store, 1) is None


@pytest.mark.parametrize("damage", ["truncated", "changed", "gone"])
def test_a_damaged_shard_is_not_done(tmp_path: Path, damage: str) -> None:
    store = filled(tmp_path)
    path = store.records_path(1)
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert counts_of(store, 1) is None


def test_what_a_kill_left_half_written_is_removed_of_the_shards_that_are_asked_for(tmp_path: Path) -> None:
    store = filled(tmp_path)
    paths = [
        store.records_path(0),
        store.mark_path(0),
        store.records_path(1),
        store.mark_path(1),
        tmp_path / "manifest.json",
    ]
    left_over = [path.with_name(f".{path.name}.{4711:032x}.tmp") for path in paths]
    for path in left_over:
        path.write_bytes(b"half a file")
    store.sweep(range(1, 2))
    assert [path.exists() for path in left_over] == [True, True, False, False, True]
    store.sweep(range(2))
    assert not any(path.exists() for path in left_over)
    assert all(path.exists() for path in paths)


def test_other_settings_are_refused_naming_each_key_and_both_values(tmp_path: Path) -> None:
    filled(tmp_path, shards=1)
    other = {**SETTINGS, "seed": 5, "prompt": {"template": "Q: {question}", "chat": False}}
    with pytest.raises(OutputFolderError) as refusal:
        ShardStore(tmp_path, other, num_shards=2)
    assert "  seed: 0 there, 5 now\n" in str(refusal.value)
    assert "  prompt.template: '{question}' there, 'Q: {question}' now\n" in str(refusal.value)
    assert "chat" not in str(refusal.value)
    assert "stop" not in str(refusal.value)


def test_another_number_of_shards_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, shards=1)
    with pytest.raises(OutputFolderError, match="num_shards: 2 there, 3 now"):
        ShardStore(tmp_path, SETTINGS, num_shards=3)


def test_another_model_is_refused_when_it_is_known(tmp_path: Path) -> None:
    filled(tmp_path, shards=1)
    store = ShardStore(tmp_path, SETTINGS, num_shards=2)
    with pytest.raises(OutputFolderError, match="model_sha256: 'abc' there, 'def' now"):
        store.begin(model_sha256="def")


def test_a_run_without_any_shard_leaves_the_folder_to_other_settings(tmp_path: Path) -> None:
    filled(tmp_path, shards=0)
    store = ShardStore(tmp_path, {**SETTINGS, "seed": 1}, num_shards=2)
    store.begin(model_sha256="def")
    assert json.loads((tmp_path / "manifest.json").read_text("utf-8"))["settings"]["seed"] == 1


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("", "utf-8")
    with pytest.raises(OutputFolderError, match=r"not empty \(thesis\.tex\) and has no manifest\.json"):
        ShardStore(tmp_path, SETTINGS, num_shards=2)


@pytest.mark.parametrize("shards", [10**9, -1, 2.5, "2", True, None])
def test_a_manifest_of_an_impossible_number_of_shards_is_damaged(tmp_path: Path, shards: object) -> None:
    filled(tmp_path)
    settings = {**ShardStore.of_folder(tmp_path).settings, "num_shards": shards}
    for path in run_folder(tmp_path).manifests:
        path.write_text(json.dumps({"hash": content_hash(settings), "settings": settings}))
    started = time.monotonic()
    with pytest.raises(OutputFolderError, match=r"says .* shards; expected 0 to 1,000,000"):
        verify(tmp_path)
    assert time.monotonic() - started < 10.0


def test_a_run_of_more_shards_than_a_folder_holds_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(OutputFolderError, match="would have 1,000,001 shards; a folder holds at most 1,000,000"):
        ShardStore(tmp_path, SETTINGS, num_shards=1_000_001)

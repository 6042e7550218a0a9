"""``erprm rollout --verify`` finds whatever is damaged, and the same command without it repairs it."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from erprm.cli import main
from erprm.data.records import read_records, write_records
from erprm.data.sources import Problem
from erprm.rollout import RolloutConfig, run_rollouts
from erprm.rollout.running.shards import ShardStore
from erprm.rollout.running.verification import verify
from erprm.runs.identity import content_hash
from tests.engines.recorded_engine import RecordedEngine
from tests.rollout.conftest import make_word_tokenizer

PROBLEMS = [Problem(f"p/{number}", f"{number} + 1 =", "4", "test") for number in range(5)]
SHARD, MARK = "data/train-00001-of-00003.parquet", ".shards/00001.json"


def refuses_one(prompt: str) -> None:
    if prompt.startswith("3 "):
        raise RuntimeError("request refused")


def run(folder: Path) -> None:
    config = RolloutConfig(
        "recorded", str(folder), solutions_per_problem=2, completions_per_step=3, problems_per_shard=2, grading="gsm8k"
    )
    engine = RecordedEngine(make_word_tokenizer(), before=refuses_one)
    run_rollouts(config, engine, PROBLEMS, Console(file=io.StringIO()))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def removed(path: Path) -> None:
    path.unlink()


def test_a_whole_run_is_found_to_be_whole(tmp_path: Path) -> None:
    run(tmp_path)
    found = verify(tmp_path)
    assert found.is_whole
    assert "3 of 3 shards are whole: 8 records of 4 problems; 1 problems rejected" in str(found)


@pytest.mark.parametrize("damage", [truncated, flipped, removed])
@pytest.mark.parametrize(
    "name", [SHARD, MARK, "manifest.json", ".shards/manifest.json", "summary.json", "rejected.jsonl"]
)
def test_any_damage_to_any_file_is_found_and_a_second_run_repairs_it(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    run(tmp_path)
    expected, files = list(read_records(tmp_path)), contents(tmp_path)
    damage(tmp_path / name)
    found = verify(tmp_path)
    assert not found.is_whole
    if (damage, name) == (removed, MARK):
        assert found.missing_shards == 1
    else:
        assert any(name in fault for fault in found.faults)
    assert "To repair: the same command without --verify" in str(found)

    run(tmp_path)
    assert verify(tmp_path).is_whole
    assert list(read_records(tmp_path)) == expected
    assert contents(tmp_path).keys() == files.keys()
    timed = {SHARD, MARK}  # a shard that is made again took another time
    assert name in timed or contents(tmp_path) == files


def test_shards_not_made_yet_are_counted(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / MARK).unlink()
    assert "1 shards are not made yet" in str(verify(tmp_path))


def test_a_file_that_is_no_shard_of_the_run_is_found(tmp_path: Path) -> None:
    run(tmp_path)
    stray = tmp_path / "data" / "train-00000-of-00001.parquet"
    stray.write_bytes((tmp_path / SHARD).read_bytes())
    found = verify(tmp_path)
    assert found.strays == [f"{stray}: is not a shard of this run"]
    assert "To repair: remove" in str(found)


def rewrite(folder: Path, shard: int, rows_of: int) -> None:
    """Puts the records of one shard into another, checksum and all."""
    store = ShardStore.of_folder(folder)
    mark = store.read_mark(shard)
    write_records(store.records_of(rows_of), store.records_path(shard))
    store.write(shard, store.records_of(shard), mark.counts)


def test_records_that_are_there_twice_are_found_though_every_checksum_fits(tmp_path: Path) -> None:
    run(tmp_path)
    rewrite(tmp_path, shard=2, rows_of=0)
    faults = "\n".join(verify(tmp_path).faults)
    assert "problem 'p/0' is in shards 0, 2" in faults

    store = ShardStore.of_folder(tmp_path)
    records = store.records_of(0)
    store.write(0, [*records, records[-1]], store.read_mark(0).counts)
    faults = "\n".join(verify(tmp_path).faults)
    assert f"holds the solution with seed {records[-1].seed} of problem 'p/1' 2 times" in faults
    assert "has 5 records; 4 were expected" in faults


def test_a_shard_of_another_run_is_found_and_made_again(tmp_path: Path) -> None:
    run(tmp_path)
    path = tmp_path / MARK
    mark = json.loads(path.read_text("utf-8"))
    del mark["hash"]
    mark["run"] = "0" * 64
    path.write_text(json.dumps({"hash": content_hash(mark), **mark}), "utf-8")
    assert verify(tmp_path).faults[0] == f"{path}: is of a run with other settings"
    run(tmp_path)
    assert verify(tmp_path).is_whole


def test_the_command_tells_by_its_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "run")
    (tmp_path / "c.yaml").write_text(f"model: m\noutput_dir: {tmp_path / 'run'}\nseed: 3\n", "utf-8")
    assert main(["rollout", "--verify", "--output_dir", str(tmp_path / "run")]) == 0
    assert main(["rollout", "--config", str(tmp_path / "c.yaml"), "--verify"]) == 0
    assert "Nothing is wrong." in capsys.readouterr().out
    flipped(tmp_path / "run" / SHARD)
    assert main(["rollout", "--verify", "--output_dir", str(tmp_path / "run")]) == 1
    assert "does not fit its checksum" in capsys.readouterr().out
    assert main(["rollout", "--verify", "--output_dir", str(tmp_path / "nothing")]) == 1
    assert "has no manifest.json of a rollout run" in capsys.readouterr().err

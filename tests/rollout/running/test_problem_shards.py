import hashlib
import json
import pickle
from pathlib import Path

import pytest

from erprm.data.sources import Problem, ProblemSource
from erprm.rollout.running.problem_shards import ProblemShards, SeenNames, hash_of


def test_only_what_came_more_than_once_is_doubled() -> None:
    seen = SeenNames()
    for name in ("a", "b", "c", "b", "ä", "b", "\ud800"):
        seen.add(name)
    assert seen.doubled() == {hash_of("b")}
    assert hash_of("b") != hash_of("c")


def test_nothing_is_doubled_in_nothing() -> None:
    assert SeenNames().doubled() == frozenset()


PROBLEMS = [Problem(f"p/{number}", f"{number} + 1 =", str(number + 1), "test") for number in range(7)]


def write(path: Path, problems: list[Problem]) -> ProblemSource:
    path.write_text("".join(json.dumps(vars(problem)) + "\n" for problem in problems), "utf-8")
    return ProblemSource("jsonl", str(path))


def test_shards_hold_the_problems_in_their_order() -> None:
    shards = ProblemShards(PROBLEMS, 3)
    assert [shards[shard] for shard in range(len(shards))] == [PROBLEMS[:3], PROBLEMS[3:6], PROBLEMS[6:]]
    assert [shards.count_of(shard) for shard in range(3)] == [3, 3, 1]
    assert shards.count == 7


def test_shards_of_a_file_are_those_of_its_problems_in_any_order_and_after_pickling(tmp_path: Path) -> None:
    listed, read = ProblemShards(PROBLEMS, 3), ProblemShards(write(tmp_path / "p.jsonl", PROBLEMS), 3)
    assert read.sha256 == listed.sha256
    assert [read[shard] for shard in (2, 0, 1, 1)] == [listed[shard] for shard in (2, 0, 1, 1)]
    assert pickle.loads(pickle.dumps(read))[1] == PROBLEMS[3:6]


def test_the_hash_is_of_every_problem_and_not_of_the_cut() -> None:
    lines = "".join(json.dumps(vars(problem), sort_keys=True) for problem in PROBLEMS)
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert ProblemShards(PROBLEMS, 2).sha256 == ProblemShards(PROBLEMS, 7).sha256 == expected


def test_problems_that_change_under_way_are_noticed(tmp_path: Path) -> None:
    shards = ProblemShards(write(tmp_path / "p.jsonl", PROBLEMS), 3)
    write(tmp_path / "p.jsonl", [*PROBLEMS[:4], PROBLEMS[6], *PROBLEMS[5:6]])
    assert shards[0] == PROBLEMS[:3]
    with pytest.raises(ValueError, match="the problems have changed since the run began: shard 1 has others"):
        shards[1]
    with pytest.raises(ValueError, match="shard 2 has others"):
        shards[2]


def test_two_problems_with_one_id_are_named_with_their_places(tmp_path: Path) -> None:
    doubled = [*PROBLEMS, PROBLEMS[2]]
    with pytest.raises(ValueError, match="problem 7: problem_id 'p/2' is also that of problem 2"):
        ProblemShards(doubled, 3)
    with pytest.raises(ValueError, match=r"p\.jsonl, line 8: problem_id 'p/2' is also that of .*p\.jsonl, line 3"):
        ProblemShards(write(tmp_path / "p.jsonl", doubled), 3)


def test_problems_that_can_be_read_only_once_are_refused() -> None:
    with pytest.raises(TypeError, match="can be iterated over only once"):
        ProblemShards(iter(PROBLEMS), 3)

import pytest

from erprm.rollout.running.array_job import Part, parse_part


def test_the_parts_of_a_run_have_every_shard_once() -> None:
    parts = [parse_part(f"{index}/3") for index in range(3)]
    assert [list(part.shards(8)) for part in parts] == [[0, 3, 6], [1, 4, 7], [2, 5]]
    assert list(parse_part(None).shards(3)) == [0, 1, 2]
    assert list(parse_part("5/8").shards(3)) == []


@pytest.mark.parametrize("text", ["3/3", "1", "-1/2", "1/0", "a/b", "1/2/3", ""])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shard is '.*'; expected i/n with i from 0 to n-1"):
        parse_part(text)


def set_array(monkeypatch: pytest.MonkeyPatch, **values: int) -> None:
    for name in ("ID", "MIN", "MAX", "COUNT"):
        monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))


def test_a_job_of_an_array_takes_its_place_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    set_array(monkeypatch, ID=3, MIN=1, MAX=8, COUNT=8)
    assert parse_part("slurm") == Part(2, 8)


def test_outside_an_array_or_in_one_of_one_task_or_with_gaps_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_array(monkeypatch)
    with pytest.raises(ValueError, match="this is no job of a SLURM array"):
        parse_part("slurm")
    # As SLURM has it when one task is submitted again.
    set_array(monkeypatch, ID=3, MIN=3, MAX=3, COUNT=1)
    with pytest.raises(ValueError, match="task 3 is the only one of its array"):
        parse_part("slurm")
    set_array(monkeypatch, ID=6, MIN=2, MAX=6, COUNT=3)
    with pytest.raises(ValueError, match="the array has 3 tasks from 2 to 6: there are gaps"):
        parse_part("slurm")

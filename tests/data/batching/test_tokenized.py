import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken

from erprm.data.batching import tokenized
from erprm.data.batching.tokenized import EncodingCounts, TokenizedRollouts, cache_key
from erprm.data.records import RecordError, RolloutRecord
from erprm.runs.identity import tokenizer_fingerprint
from erprm.steps import Solution, StepEncoder, StepFormat
from tests.tiny import make_record, make_tokenizer

# Three records of two problems; the numbers of completions differ from step to step.
RECORDS = [
    make_record(5, [[1.0, 0.0, 0.0, 1.0], [0.0, 0.0], [1.0]]),
    make_record(6, [[0.0]]),
    make_record(5, [[1.0], [0.0]]),
]


def built(
    records: Iterable[RolloutRecord], encoder: StepEncoder, folder: Path, max_length: int = 512
) -> TokenizedRollouts:
    return TokenizedRollouts.open_or_build(
        lambda: records, "fingerprint", encoder, max_length, folder, name="r.parquet"
    )


def refuse() -> Iterable[RolloutRecord]:
    raise AssertionError("the records were read again")


# Content -----------------------------------------------------------------------------------------------------------


def test_the_arrays_hold_every_solution_with_its_tags_and_raw_rewards(encoder: StepEncoder, tmp_path: Path) -> None:
    rollouts = built(RECORDS, encoder, tmp_path)
    encoded = [encoder.encode(Solution(record.question, record.steps)) for record in RECORDS]
    assert len(rollouts) == 3
    assert list(rollouts.problem_ids) == ["sum/5", "sum/6"]
    assert rollouts.problem.tolist() == [0, 1, 0]
    assert rollouts.row.tolist() == [0, 1, 2]
    assert rollouts.lengths.tolist() == [len(e.input_ids) for e in encoded]
    assert rollouts.tokens.tolist() == [token for e in encoded for token in e.input_ids]
    assert rollouts.tags.tolist() == [tag for e in encoded for tag in e.tag_positions]
    assert rollouts.tag_offsets.tolist() == [0, 3, 4, 6]
    assert rollouts.rewards.tolist() == [1, 0, 0, 1, 0, 0, 1, 0, 1, 0]
    assert rollouts.reward_offsets.tolist() == [0, 4, 6, 7, 8, 9, 10]
    assert rollouts.is_last.tolist() == [False, False, True, True, False, True]
    assert rollouts.counts == EncodingCounts(solutions=3, dropped_steps=0, dropped_solutions=0)


def test_labels_are_computed_from_the_raw_rewards(encoder: StepEncoder, tmp_path: Path) -> None:
    rollouts = built(RECORDS, encoder, tmp_path)
    assert rollouts.labels("soft", 1.0).tolist() == [0.5, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert rollouts.labels("hard", 1.0).tolist() == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert np.isnan(rollouts.labels("outcome", 1.0)).tolist() == [True, True, False, False, True, False]


def test_labels_of_many_steps_are_those_of_few(
    encoder: StepEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = built((make_record(i, [[i % 2, 1.0], [0.5]]) for i in range(50)), encoder, tmp_path)
    monkeypatch.setattr(tokenized, "_STEPS_AT_ONCE", 7)  # parts that end within solutions
    assert rollouts.labels("soft", 1.0).tolist() == [label for i in range(50) for label in ((i % 2 + 1) / 2, 0.5)]


ALL = np.ones(6, dtype=bool)


def test_counts_are_sums_and_numbers_of_completion_rewards(
    encoder: StepEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = built(RECORDS, encoder, tmp_path)
    for at_once in (100, 4):
        monkeypatch.setattr(tokenized, "_STEPS_AT_ONCE", at_once)
        counts = rollouts.step_counts(ALL, "model.loss")
        assert counts.tolist() == [[2, 4], [0, 2], [1, 1], [0, 1], [1, 1], [0, 1]]


def test_shares_of_a_reward_weigh_as_completions_but_are_no_right_ones(encoder: StepEncoder, tmp_path: Path) -> None:
    rollouts = built([make_record(5, [[1.0, 0.5], [1.0]]), make_record(6, [[0.0], [0.25]])], encoder, tmp_path)
    all_steps = np.ones(4, dtype=bool)
    assert rollouts.step_counts(all_steps, "model.weighting").tolist() == [[1.5, 2], [1, 1], [0, 1], [0.25, 1]]
    message = r"'sum/5' \(row 0\), step 0, a completion has the reward 0\.5; .* 0 or 1, or take model\.loss=two_way"
    with pytest.raises(ValueError, match=message):
        rollouts.step_counts(all_steps, "model.loss")
    with pytest.raises(ValueError, match=r"'sum/6' \(row 1\), step 1, a completion has the reward 0\.25"):
        rollouts.step_counts(np.array([False, True, True, True]), "model.loss")


def test_labels_without_counts_are_refused(encoder: StepEncoder, tmp_path: Path) -> None:
    rollouts = built(RECORDS, encoder, tmp_path)
    outcomes_alone = ~np.isnan(rollouts.labels("outcome", 1.0))
    with pytest.raises(ValueError, match=r"no labelled step has more than one completion.*take model\.weighting=steps"):
        rollouts.step_counts(outcomes_alone, "model.weighting")


def test_a_label_without_completions_is_refused_where_they_are_counted(encoder: StepEncoder, tmp_path: Path) -> None:
    rollouts = built(BISECTED, encoder, tmp_path)
    is_labelled = ~np.isnan(rollouts.labels("hard", 1.0))
    with pytest.raises(
        ValueError, match=r"'sum/5' \(row 0\), step 0, has a label but no completions.*take model\.loss="
    ):
        rollouts.step_counts(is_labelled, "model.loss")


# Bisection completed the second and third step of the first solution, and nothing of the second, which is right.
BISECTED = [make_record(5, [[], [0.0, 1.0], [0.0, 0.0], [], [0.0]]), make_record(6, [[], [], [1.0]])]


def test_steps_without_rewards_have_hard_labels_alone(
    encoder: StepEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = built(BISECTED, encoder, tmp_path)
    hard = [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    for at_once in (100, 4, 1):  # parts that end within a solution, at a step without rewards too
        monkeypatch.setattr(tokenized, "_STEPS_AT_ONCE", at_once)
        assert rollouts.labels("hard", 1.0).tolist() == hard
    assert np.flatnonzero(~np.isnan(rollouts.labels("outcome", 1.0))).tolist() == [4, 7]
    with pytest.raises(ValueError, match=r"labels is 'er': 'sum/5' \(row 0\), step 0, has no completion rewards"):
        rollouts.labels("er", 2.0)
    with pytest.raises(ValueError, match="records made by bisection allow only hard or outcome"):
        rollouts.labels("soft", 2.0)


@pytest.mark.parametrize(("kept", "hard"), [(1, [1.0]), (3, [1.0, 1.0, 0.0]), (4, [1.0, 1.0, 0.0, 0.0])])
def test_a_step_without_rewards_keeps_its_label_when_the_steps_that_give_it_are_cut(
    encoder: StepEncoder, tmp_path: Path, kept: int, hard: list[float]
) -> None:
    record = BISECTED[0]
    length = len(encoder.encode(Solution(record.question, record.steps[:kept])).input_ids)
    rollouts = built([record], encoder, tmp_path, max_length=length)
    assert rollouts.labels("hard", 1.0).tolist() == hard


def test_problems_are_read_from_the_file_when_asked_for(encoder: StepEncoder, tmp_path: Path) -> None:
    names = ["sum/5", "Größe", "和"]
    rollouts = built([make_record(0, problem_id=name) for name in names], encoder, tmp_path)
    assert list(rollouts.problem_ids) == [rollouts.problem_ids[number] for number in range(3)] == names


def test_batches_of_records_are_joined_without_a_seam(encoder: StepEncoder, tmp_path: Path) -> None:
    rollouts = built((make_record(i % 7, [[i % 2], [1.0]]) for i in range(2500)), encoder, tmp_path)
    assert len(rollouts) == 2500
    assert rollouts.row.tolist() == list(range(2500))
    assert rollouts.rewards.tolist() == [value for i in range(2500) for value in (i % 2, 1.0)]
    expected = encoder.encode(Solution(make_record(2).question, make_record(2).steps)).input_ids
    # Row 2,102 lies in the third batch; 2102 = 300 * 7 + 2.
    assert rollouts.tokens[rollouts.token_offsets[2102] : rollouts.token_offsets[2103]].tolist() == expected


def test_truncation_cuts_whole_steps_with_their_rewards_and_counts_them(encoder: StepEncoder, tmp_path: Path) -> None:
    def tokens(text: str) -> int:
        return len(encoder.tokenizer.encode(text, add_special_tokens=False))

    long = make_record(5, [[1.0, 0.0], [0.0, 0.0], [1.0]])
    too_long = make_record(6, [[1.0], [1.0]], question="What? " * 100)
    fits = make_record(7, [[0.0]])
    question, first, second = tokens(long.question), tokens(" " + long.steps[0]), tokens("\n" + long.steps[1])
    two_steps = question + first + 1 + second + 1
    rollouts = built([long, too_long, fits], encoder, tmp_path, max_length=two_steps)
    assert rollouts.counts == EncodingCounts(solutions=2, dropped_steps=1 + 2, dropped_solutions=1)
    assert rollouts.lengths[0] == two_steps
    assert rollouts.rewards.tolist() == [1, 0, 0, 0, 0]
    assert rollouts.is_last.tolist() == [False, False, True]
    assert rollouts.row.tolist() == [0, 2]
    assert list(rollouts.problem_ids) == ["sum/5", "sum/7"]
    one_less = built([long, too_long, fits], encoder, tmp_path, max_length=two_steps - 1)
    assert one_less.counts == EncodingCounts(solutions=2, dropped_steps=2 + 2, dropped_solutions=1)


# The cache ---------------------------------------------------------------------------------------------------------


def test_records_are_read_once_and_then_found(encoder: StepEncoder, tmp_path: Path) -> None:
    first = built(RECORDS, encoder, tmp_path)
    again = TokenizedRollouts.open_or_build(refuse, "fingerprint", encoder, 512, tmp_path)
    assert again.folder == first.folder
    assert again.tokens.tolist() == first.tokens.tolist()
    assert list(again.problem_ids) == list(first.problem_ids)


def test_the_key_is_the_same_for_equal_things() -> None:
    keys = {cache_key("records", StepFormat().bind(make_tokenizer()), 512) for _ in range(2)}
    assert len(keys) == 1


@pytest.mark.parametrize(
    "key",
    [
        lambda: cache_key("other records", StepFormat().bind(make_tokenizer()), 512),
        lambda: cache_key("records", StepFormat().bind(make_tokenizer()), 511),
        lambda: cache_key("records", StepFormat(separator=" ").bind(make_tokenizer()), 512),
        lambda: cache_key("records", StepFormat(positive=" -", negative=" +").bind(make_tokenizer()), 512),
        lambda: cache_key("records", StepFormat(add_tokens=True).bind(make_tokenizer(with_tags=False)), 512),
    ],
    ids=["records", "max_length", "separator", "labels", "tokenizer"],
)
def test_the_key_changes_with_everything_that_determines_the_content(key: Callable[[], str]) -> None:
    assert key() != cache_key("records", StepFormat().bind(make_tokenizer()), 512)


def test_the_tokenizer_fingerprint_sees_an_added_word_and_the_begin_token() -> None:
    prints = [tokenizer_fingerprint(make_tokenizer())]
    for change in ("word", "eos"):
        tokenizer = make_tokenizer()
        if change == "word":
            tokenizer.add_tokens([AddedToken("Step")])
        else:
            tokenizer.eos_token = "a"
        prints.append(tokenizer_fingerprint(tokenizer))
    assert len(set(prints)) == 3


def test_the_tokenizer_fingerprint_does_not_depend_on_how_it_was_called_before() -> None:
    fresh, used = make_tokenizer(), make_tokenizer()
    used(["a", "Step 1:"], padding=True, truncation=True, max_length=2)
    assert tokenizer_fingerprint(used) == tokenizer_fingerprint(fresh)


def test_a_data_loading_process_maps_the_files_instead_of_copying_them(encoder: StepEncoder, tmp_path: Path) -> None:
    rollouts = built((make_record(i) for i in range(500)), encoder, tmp_path)
    sent = pickle.dumps(rollouts)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    assert isinstance(again.tokens.base, np.memmap)
    assert again.tokens.tolist() == rollouts.tokens.tolist()


# Building under difficulties ---------------------------------------------------------------------------------------


def test_two_builds_at_the_same_time_both_succeed(tmp_path: Path) -> None:
    both_are_building = threading.Barrier(2, timeout=60)

    def records() -> Iterator[RolloutRecord]:
        yield RECORDS[0]
        both_are_building.wait()
        yield from RECORDS[1:]

    def build(encoder: StepEncoder) -> list[int]:
        rollouts = TokenizedRollouts.open_or_build(records, "fingerprint", encoder, 512, tmp_path)
        return [int(token) for token in rollouts.tokens]

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(build, [StepFormat().bind(make_tokenizer()) for _ in range(2)])
    assert one == other
    assert len(list(tmp_path.iterdir())) == 1  # the cache, and nothing temporary


def test_an_error_while_building_leaves_nothing_behind(encoder: StepEncoder, tmp_path: Path) -> None:
    def failing() -> Iterator[RolloutRecord]:
        for i in range(1500):  # more than a batch is on disk by then
            yield make_record(i)
        raise RecordError("r.parquet, row 1500: broken")

    with pytest.raises(RecordError, match="row 1500: broken"):
        built(failing(), encoder, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(built(RECORDS, encoder, tmp_path)) == 3


def test_what_a_killed_build_left_behind_does_not_count(encoder: StepEncoder, tmp_path: Path) -> None:
    left_over = tmp_path / f".{cache_key('fingerprint', encoder, 512)}.0123.tmp"
    left_over.mkdir()
    (left_over / "tokens.bin").write_bytes(b"half")
    assert len(built(RECORDS, encoder, tmp_path)) == 3


def test_tags_within_records_are_left_out_and_counted(encoder: StepEncoder, tmp_path: Path) -> None:
    plain = built([make_record(0, [[1.0]], steps=["Step 1: a b"])], encoder, tmp_path / "plain")
    tagged = built([make_record(0, [[1.0]], steps=["Step 1: a ки b"])], encoder, tmp_path / "tagged")
    assert tagged.counts == EncodingCounts(solutions=1, removed_tags=1)
    assert list(tagged.tokens) == list(plain.tokens)
    assert list(tagged.tags) == list(plain.tags)


def test_records_of_which_none_fits_are_refused(encoder: StepEncoder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"r\.parquet: none of 3 record\(s\) fits max_length=4"):
        built(RECORDS, encoder, tmp_path, max_length=4)


def test_a_source_without_records_is_refused(encoder: StepEncoder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"r\.parquet: holds no record"):
        built([], encoder, tmp_path)

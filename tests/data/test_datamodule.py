import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from erprm.data import ProcessRewardDataModule
from erprm.data.batching.packed_steps import PackedSteps
from erprm.data.datamodule import default_cache_dir
from erprm.data.files.json_rows import read_json_rows
from erprm.data.packing import StepBatch
from erprm.data.records import RecordError, RolloutRecord, write_records
from erprm.data.solutions import SolutionRow
from erprm.data.sources import validation_problems
from erprm.steps import Solution, StepEncoder
from tests.tiny import make_record

# Ten problems with two solutions each: one of three steps, one of a single wrong step.
RECORDS = [make_record(i // 2, [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0], [1.0]] if i % 2 == 0 else [[0.0]]) for i in range(20)]
# ln((3 + e^2) / 4) / 2 = ln(2.597264) / 2
ER_2_OF_ONE_IN_FOUR = 0.477230


@pytest.fixture
def rollouts(tmp_path: Path) -> str:
    write_records(RECORDS, tmp_path / "r.parquet")
    return str(tmp_path / "r.parquet")


def data_module(rollouts: str | None, encoder: StepEncoder | None, **settings: Any) -> ProcessRewardDataModule:
    cache = str(Path(rollouts).parent / "cache") if rollouts else None
    defaults = {"validation_fraction": 0.2, "max_tokens": 600, "cache_dir": cache, "step_encoder": encoder}
    return ProcessRewardDataModule(rollouts, **{**defaults, **settings})


def set_up(rollouts: str, encoder: StepEncoder, stage: str = "fit", **settings: Any) -> ProcessRewardDataModule:
    data = data_module(rollouts, encoder, **settings)
    data.setup(stage)
    return data


def problems(part: PackedSteps) -> set[str]:
    return {part.rollouts.problem_ids[number] for number in part.rollouts.problem[part.members]}


def all_labels(*parts: PackedSteps) -> list[float]:
    return sorted(label for part in parts for label in part[list(range(len(part)))].labels.tolist())


# Labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "eta", "first_step"),
    [
        ("er", 2.0, ER_2_OF_ONE_IN_FOUR),
        ("er", 0.0, 0.25),
        ("er", math.inf, 1.0),
        ("er", -math.inf, 0.0),
        ("soft", 2.0, 0.25),
        ("hard", 2.0, 1.0),
    ],
)
def test_labels_follow_the_method_and_eta(
    rollouts: str, encoder: StepEncoder, labels: str, eta: float, first_step: float
) -> None:
    data = set_up(rollouts, encoder, labels=labels, eta=eta)
    expected = sorted([first_step, 1.0, 1.0, 0.0] * 10)
    assert all_labels(data.train_set, data.validation_set) == pytest.approx(expected, abs=1e-6)


def test_outcome_labels_score_the_last_step_alone(rollouts: str, encoder: StepEncoder) -> None:
    data = set_up(rollouts, encoder, labels="outcome")
    assert all_labels(data.train_set, data.validation_set) == [0.0] * 10 + [1.0] * 10


def test_another_eta_needs_no_new_cache(rollouts: str, encoder: StepEncoder) -> None:
    caches = set()
    for labels, eta in (("er", 0.0), ("er", 2.0), ("er", math.inf), ("hard", 0.0), ("outcome", 0.0)):
        data = set_up(rollouts, encoder, labels=labels, eta=eta)
        caches |= set(data.cache_dir.iterdir())
    assert len(caches) == 1
    set_up(rollouts, encoder, max_length=511)
    assert len(list(data.cache_dir.iterdir())) == 2


def test_an_outcome_label_cut_off_by_the_length_limit_takes_its_solution_along(
    tmp_path: Path, encoder: StepEncoder
) -> None:
    # Two equally long solutions, which end well, and two short ones, all of different problems.
    long, short = [[1.0], [1.0], [1.0]], [[0.0]]
    records = [make_record(5, rewards, problem_id=f"p{i}") for i, rewards in enumerate((long, short, short, long))]
    write_records(records, tmp_path / "r.parquet")
    whole = len(encoder.encode(Solution(records[0].question, records[0].steps)).input_ids)
    with pytest.warns(
        UserWarning,
        match=r"r\.parquet: data\.max_length=\d+ cuts off 2 step\(s\); 2 of 4 solution\(s\) are left without a label",
    ):
        data = set_up(
            str(tmp_path / "r.parquet"),
            encoder,
            labels="outcome",
            max_length=whole - 1,
            validation_rollouts=str(tmp_path / "r.parquet"),
        )
    # The long ones have lost their last step, which held their only label.
    assert data.train_set.rollouts.row[data.train_set.members].tolist() == [1, 2]
    assert all_labels(data.train_set) == [0.0, 0.0]


def test_nothing_left_to_train_on_is_refused(tmp_path: Path, encoder: StepEncoder) -> None:
    records = [make_record(5, [[1.0], [1.0]], problem_id=f"p{i}") for i in range(4)]
    write_records(records, tmp_path / "r.parquet")
    whole = len(encoder.encode(Solution(records[0].question, records[0].steps)).input_ids)
    settings: dict[str, Any] = {"labels": "outcome", "max_length": whole - 1}
    with (
        pytest.warns(UserWarning, match="cuts off 4 step"),
        pytest.raises(ValueError, match=r"is left for training \(labels='outcome', max_length="),
    ):
        set_up(str(tmp_path / "r.parquet"), encoder, max_unlabelled_share=1.0, **settings)
    with pytest.raises(
        ValueError,
        match=r"4 of 4 solution\(s\) .* without a label .*, more than data\.max_unlabelled_share=0\.5 allows",
    ):
        set_up(str(tmp_path / "r.parquet"), encoder, **settings)


def set_up_with_right_steps(right: int, folder: Path, encoder: StepEncoder) -> None:
    records = [make_record(1, [[float(i < right)]], problem_id=f"p{i}") for i in range(20)]
    write_records(records, folder / "r.parquet")
    write_records([make_record(2, [[1.0]], problem_id="v")], folder / "v.parquet")
    set_up(str(folder / "r.parquet"), encoder, labels="soft", validation_rollouts=str(folder / "v.parquet"))


def test_training_labels_that_are_nearly_all_equal_are_told(tmp_path: Path, encoder: StepEncoder) -> None:
    with pytest.warns(UserWarning, match=r"19 of 20 training labels are 0\.00 to within 0\.01.*`erprm data stats`"):
        set_up_with_right_steps(1, tmp_path, encoder)


@pytest.mark.filterwarnings("error:.*training labels")
def test_nothing_is_said_of_labels_that_differ(tmp_path: Path, encoder: StepEncoder) -> None:
    set_up_with_right_steps(2, tmp_path, encoder)


def test_posterior_labels_share_the_prior_of_the_file(tmp_path: Path, encoder: StepEncoder) -> None:
    # Of the steps 1/6 have none right of two, 1/3 one and 1/2 both: the prior is Beta(2, 1), and under it the posterior
    # mean of p is (2 + right) / 5. Last steps are right.
    counts = [0, 1, 1, 2, 2, 2]
    records = [make_record(i, [[float(c > 0), float(c > 1)], [1.0]], problem_id=f"p{i}") for i, c in enumerate(counts)]
    write_records(records, tmp_path / "r.parquet")
    settings: dict[str, Any] = {"labels": "soft", "validation_rollouts": str(tmp_path / "r.parquet")}
    data = set_up(str(tmp_path / "r.parquet"), encoder, estimate="posterior", **settings)
    assert all_labels(data.train_set) == pytest.approx(
        sorted([2 / 5, *[3 / 5] * 2, *[4 / 5] * 3, *[1.0] * 6]), abs=1e-4
    )


def test_rollouts_that_show_no_prior_are_refused(tmp_path: Path, encoder: StepEncoder) -> None:
    write_records([make_record(i, [[0.0, 0.0], [1.0]], problem_id=f"p{i}") for i in range(4)], tmp_path / "r.parquet")
    with pytest.raises(ValueError, match=r"estimate='posterior' of 4 solution\(s\): all 8 completions are wrong"):
        set_up(str(tmp_path / "r.parquet"), encoder, estimate="posterior")


def test_a_partial_reward_under_a_posterior_is_named_by_row_and_step(tmp_path: Path, encoder: StepEncoder) -> None:
    rewards = [[[1.0, 0.0], [0.5]], [[1.0, 1.0], [1.0, 0.25], [1.0]]]  # last steps may have any
    write_records([make_record(1, of, problem_id=f"p{i}") for i, of in enumerate(rewards)], tmp_path / "r.parquet")
    with pytest.raises(ValueError, match=r"'p1' \(row 1\), step 1, a completion has the reward 0\.25;"):
        set_up(str(tmp_path / "r.parquet"), encoder, estimate="posterior")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimate": "exact"}, r"data\.estimate is 'exact'; it must be one of plug_in, posterior"),
        ({"estimate": "posterior", "labels": "hard"}, "it is labels='hard' at eta=inf"),
        ({"estimate": "posterior", "labels": "outcome"}, "it is labels='outcome'"),
        ({"estimate": "posterior", "eta": "-inf"}, "it is labels='er' at eta=-inf"),
    ],
)
def test_estimates_that_labels_do_not_have_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProcessRewardDataModule("r.parquet", **settings)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"data\.max_unlabelled_share is .*; it must be in \[0, 1\]"):
        ProcessRewardDataModule("r.parquet", max_unlabelled_share=share)


def test_an_eta_that_the_labels_do_not_read_is_said() -> None:
    with pytest.warns(UserWarning, match=r"data\.eta is 2\.0, which labels='soft' does not read"):
        ProcessRewardDataModule("r.parquet", labels="soft", eta=2.0)


def test_an_empty_validation_split_is_refused(tmp_path: Path, encoder: StepEncoder) -> None:
    names = [f"p{i}" for i in range(4)]
    (held_out,) = np.array(names)[validation_problems(names, 0.25, seed=0)]
    # The one validation problem's only solution loses its last step, which has the only label.
    short, long = [[1.0]], [[1.0], [1.0]]
    records = [make_record(5, long if name == held_out else short, problem_id=name) for name in names]
    write_records(records, tmp_path / "r.parquet")
    whole = max(len(encoder.encode(Solution(record.question, record.steps)).input_ids) for record in records)
    with (
        pytest.warns(UserWarning, match="cuts off 1 step"),
        pytest.raises(ValueError, match=r"is left for validation \(.*max_length=\d+, validation_fraction=0\.25\)"),
    ):
        set_up(str(tmp_path / "r.parquet"), encoder, labels="outcome", max_length=whole - 1, validation_fraction=0.25)


# Split -------------------------------------------------------------------------------------------------------------


def test_training_and_validation_share_no_problem_and_leave_none_out(rollouts: str, encoder: StepEncoder) -> None:
    data = set_up(rollouts, encoder)
    held_out = problems(data.validation_set)
    assert len(held_out) == 2  # 0.2 of ten problems
    assert held_out.isdisjoint(problems(data.train_set))
    assert held_out | problems(data.train_set) == {f"sum/{i}" for i in range(10)}
    assert (len(data.train_set), len(data.validation_set)) == (16, 4)


def test_the_split_depends_on_the_seed_alone(rollouts: str, encoder: StepEncoder) -> None:
    first, again = (problems(set_up(rollouts, encoder, seed=1).validation_set) for _ in range(2))
    assert first == again
    assert len({frozenset(problems(set_up(rollouts, encoder, seed=i).validation_set)) for i in range(4)}) > 1


def test_records_to_validate_on_leave_all_others_for_training(
    rollouts: str, tmp_path: Path, encoder: StepEncoder
) -> None:
    write_records([make_record(50), make_record(51)], tmp_path / "v.parquet")
    data = set_up(rollouts, encoder, validation_rollouts=str(tmp_path / "v.parquet"))
    assert len(data.train_set) == 20
    assert problems(data.validation_set) == {"sum/50", "sum/51"}


def test_validating_and_testing_read_only_what_they_need(rollouts: str, tmp_path: Path, encoder: StepEncoder) -> None:
    write_records([make_record(50)], tmp_path / "v.parquet")
    held_out = str(tmp_path / "v.parquet")
    cache = str(tmp_path / "c")
    data = data_module(None, encoder, validation_rollouts=held_out, test_rollouts=held_out, cache_dir=cache)
    data.setup("validate")
    data.setup("test")
    assert problems(data.validation_set) == problems(data.test_set) == {"sum/50"}
    # Without records of its own, validation takes its share of those for training.
    shared = set_up(rollouts, encoder, "validate")
    assert problems(shared.validation_set) == problems(set_up(rollouts, encoder).validation_set)


# Settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eta": "high"}, r"data: eta is 'high'; it must be a number, inf, -inf, soft"),
        ({"eta": math.nan}, r"data: eta is nan; it must be a number"),
        ({"labels": "mean"}, r"data: label method 'mean' is unknown; known are er, soft, hard, outcome"),
        ({"max_length": 601}, r"data\.max_length is 601; it must be in \[1, data\.max_tokens=600\]"),
        ({"max_length": 0}, r"data\.max_length is 0; it must be in \[1, data\.max_tokens=600\]"),
        ({"packing": "bags"}, r"data\.packing is 'bags'; it must be one of trees, rows"),
        ({"row_tokens": 0}, r"data\.row_tokens is 0; it must be at least 1"),
        ({"validation_fraction": 0.0}, r"data\.validation_fraction is 0\.0; it must be in \(0, 1\)"),
        ({"validation_fraction": 1.0}, r"data\.validation_fraction is 1\.0; it must be in \(0, 1\)"),
        (
            {"predict_step_style": "words"},
            r"data\.predict_step_style is 'words'; it must be one of auto, lines, math_shepherd",
        ),
    ],
)
def test_a_setting_out_of_range_is_named_before_anything_is_read(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data_module("nowhere.parquet", None, **settings)


@pytest.mark.parametrize(
    ("stage", "setting"),
    [
        ("fit", "rollouts"),
        ("validate", "rollouts"),
        ("test", "test_rollouts"),
        ("predict", "predict_solutions"),
    ],
)
def test_a_setting_that_the_stage_needs_is_named(encoder: StepEncoder, stage: str, setting: str) -> None:
    with pytest.raises(
        ValueError, match=rf"data\.{setting} is not set; it must name a file, a folder or a hub data set"
    ):
        data_module(None, encoder).setup(stage)


def test_a_missing_file_is_named(encoder: StepEncoder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"rollout records: '.*nowhere\.parquet' does not exist"):
        set_up(str(tmp_path / "nowhere.parquet"), encoder)


def test_a_missing_tokenisation_says_how_to_give_one(rollouts: str) -> None:
    with pytest.raises(
        RuntimeError, match=r"ProcessRewardDataModule needs a tokenisation: give step_encoder=StepFormat"
    ):
        data_module(rollouts, None).setup("fit")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ERPRM_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.setenv("ERPRM_CACHE", "")
    assert default_cache_dir() == Path.home() / ".cache" / "erprm"


# Batches -----------------------------------------------------------------------------------------------------------


def test_a_batch_names_its_solutions_and_numbers_their_problems(rollouts: str, encoder: StepEncoder) -> None:
    data = set_up(rollouts, encoder, eta=0.0)
    part = data.train_set
    at = {int(row): place for place, row in enumerate(part.rollouts.row[part.members])}
    rows = sorted(at)[:2]  # both solutions of one problem
    batch = part[[at[row] for row in rows]]
    name = RECORDS[rows[0]].problem_id
    assert batch.record_ids == [f"{name} (row {rows[0]})", f"{name} (row {rows[1]})"]
    assert batch.labels.tolist() == [0.25, 1.0, 1.0, 0.0]
    assert batch.solution.tolist() == [0, 0, 0, 1]
    assert len(set(batch.problem.tolist())) == 1
    one = part[at[rows[1]]]
    encoded = encoder.encode(Solution(RECORDS[rows[1]].question, RECORDS[rows[1]].steps))
    assert one.input_ids.tolist() == [encoded.input_ids]
    assert one.tag_index.tolist() == encoded.tag_positions


@pytest.mark.parametrize("row_tokens", [None, 70])
def test_batches_keep_to_the_budget_and_hold_every_solution(
    rollouts: str, encoder: StepEncoder, row_tokens: int | None
) -> None:
    data = set_up(rollouts, encoder, max_tokens=150, max_length=150, row_tokens=row_tokens)
    batches = list(data.train_dataloader())
    assert sorted(name for batch in batches for name in batch.record_ids) == sorted(
        f"{RECORDS[row].problem_id} (row {row})" for row in data.train_set.rollouts.row[data.train_set.members]
    )
    for batch in batches:
        assert batch.input_ids.shape[1] <= (row_tokens or 150)
        padding = int(((batch.position_ids == 0) & (batch.input_ids == 0)).sum())
        assert batch.input_ids.numel() - padding <= 150
    assert any(len(batch.input_ids) > 1 for batch in batches) == (row_tokens is not None)


def one_solution_a_question(tmp_path: Path) -> str:
    write_records([make_record(i, [[1.0]] * (1 + i % 3)) for i in range(12)], tmp_path / "r.parquet")
    return str(tmp_path / "r.parquet")


@pytest.mark.parametrize("packing", ["trees", "rows"])
def test_batches_of_one_solution_a_question_stay_what_they_have_always_been(
    tmp_path: Path, encoder: StepEncoder, packing: str
) -> None:
    # Runs that were started before, and published ones, depend on every number below.
    settings: dict[str, Any] = {"max_tokens": 120, "max_length": 120, "seed": 5, "packing": packing}
    rows = one_solution_a_question(tmp_path)
    in_one_row = [
        ([4, 7, 0], [1, 98], [26, 36, 61, 70, 97]),
        ([11, 8], [1, 94], [26, 36, 46, 73, 83, 93]),
        ([3, 10, 9], [1, 89], [24, 51, 61, 88]),
        ([1, 5], [1, 81], [24, 33, 60, 70, 80]),
        ([2, 6], [1, 70], [24, 33, 42, 69]),
    ]
    in_rows_of_60 = [
        ([4, 7, 0], [3, 37], [26, 36, 61, 70, 100]),
        ([11, 8], [2, 47], [26, 36, 46, 73, 83, 93]),
        ([3, 10, 9], [2, 52], [103, 26, 36, 78]),
        ([1, 5], [2, 47], [71, 80, 26, 36, 46]),
        ([2, 6], [2, 43], [24, 33, 42, 69]),
    ]
    for row_tokens, expected in ((None, in_one_row), (60, in_rows_of_60)):
        data = set_up(rows, encoder, row_tokens=row_tokens, **settings)
        found = [*data.train_dataloader(), *data.val_dataloader()]
        assert [
            ([int(name.split()[0].removeprefix("sum/")) for name in b.record_ids], [*b.input_ids.shape], [*b.tag_index])
            for b in found
        ] == expected


def test_solutions_of_a_question_share_its_tokens_in_a_batch(rollouts: str, encoder: StepEncoder) -> None:
    trees, rows = (set_up(rollouts, encoder, packing=packing).train_set for packing in ("trees", "rows"))
    assert trees.groups is not None
    members = [int(i) for i in trees.groups.members[:4]]  # two solutions each of two questions
    tree_batch, row_batch = trees[members], rows[members]
    assert (tree_batch.layout, row_batch.layout) == ("trees", "rows")
    assert tree_batch.record_ids == row_batch.record_ids
    assert tree_batch.labels.tolist() == row_batch.labels.tolist()
    distinct = set()
    for i in members:
        tokens = rows[i].input_ids[0].tolist()
        distinct |= {(int(rows[i].problem[0]), *tokens[: n + 1]) for n in range(len(tokens))}
    assert tree_batch.input_ids.numel() == len(distinct) < row_batch.input_ids.numel()
    tokens_at_tags = [batch.input_ids.flatten()[batch.tag_index].tolist() for batch in (tree_batch, row_batch)]
    assert tokens_at_tags[0] == tokens_at_tags[1]


def test_solutions_left_out_do_not_change_what_the_others_share(tmp_path: Path, encoder: StepEncoder) -> None:
    # The middle one of three solutions in order of tokens loses its only label.
    texts = ["Step 1: a b", "Step 1: a c", "Step 1: a d"]
    records = [
        make_record(1, [[1.0]] * (2 if "c" in text else 1), steps=[text] + ["x" * 40] * ("c" in text)) for text in texts
    ]
    write_records(records, tmp_path / "r.parquet")
    whole = len(encoder.encode(Solution(records[1].question, records[1].steps)).input_ids)
    with pytest.warns(UserWarning, match="cuts off 1 step"):
        data = set_up(
            str(tmp_path / "r.parquet"),
            encoder,
            labels="outcome",
            max_length=whole - 1,
            validation_rollouts=str(tmp_path / "r.parquet"),
        )
    batch = data.train_set[[0, 1]]
    first, last = (encoder.encode(Solution(records[i].question, records[i].steps)).input_ids for i in (0, 2))
    shared = next(n for n, (a, b) in enumerate(zip(first, last, strict=True)) if a != b)
    assert batch.input_ids.tolist() == [first + last[shared:]]


class Foreign(L.LightningModule):
    """A module that knows nothing of the package but its batches."""

    def __init__(self, encoder: StepEncoder | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[str]] = {}
        self.predicted: list[str] = []
        if encoder is not None:
            self.step_encoder = encoder

    def training_step(self, batch: StepBatch, batch_idx: int) -> Tensor:
        self.seen.setdefault(f"epoch {self.current_epoch}", []).extend(batch.record_ids)
        return ((self.weight - batch.labels) ** 2).mean()

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        self.seen.setdefault("validation", []).extend(batch.record_ids)

    def test_step(self, batch: StepBatch, batch_idx: int) -> None:
        self.seen.setdefault("test", []).extend(batch.record_ids)

    def predict_step(self, batch: list[SolutionRow], batch_idx: int) -> None:
        self.predicted += [entry.solution.question for entry in batch]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def quiet_trainer(**settings: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )


def test_a_foreign_module_trains_on_the_data_with_a_tokenisation_given(rollouts: str, encoder: StepEncoder) -> None:
    data, module = data_module(rollouts, encoder, max_tokens=150, max_length=150), Foreign()
    quiet_trainer(max_epochs=2).fit(module, datamodule=data)
    first, second = module.seen["epoch 0"], module.seen["epoch 1"]
    assert len(first) == len(set(first)) == 16
    assert sorted(first) == sorted(second)
    assert first != second
    assert len(set(module.seen["validation"])) == 4


def test_the_tokenisation_comes_from_the_module_being_trained(rollouts: str, encoder: StepEncoder) -> None:
    module = Foreign(encoder)
    quiet_trainer(max_epochs=1).fit(module, datamodule=data_module(rollouts, None))
    assert len(module.seen["epoch 0"]) == 16
    with pytest.raises(RuntimeError, match=r"or train a module that has a step_encoder \(found Foreign\)"):
        quiet_trainer(max_epochs=1).fit(Foreign(), datamodule=data_module(rollouts, None))


def test_testing_and_predicting_need_no_records_to_train_on(
    rollouts: str, tmp_path: Path, encoder: StepEncoder
) -> None:
    (tmp_path / "s.jsonl").write_text(
        "".join(json.dumps({"question": f"q{i}", "solution": "a\nb"}) + "\n" for i in range(70))
    )
    module = Foreign()
    data = data_module(
        None,
        encoder,
        test_rollouts=rollouts,
        predict_solutions=str(tmp_path / "s.jsonl"),
        cache_dir=str(tmp_path / "c"),
    )
    quiet_trainer().test(module, datamodule=data, verbose=False)
    assert len(set(module.seen["test"])) == 20
    quiet_trainer().predict(module, datamodule=data)
    assert module.predicted == [f"q{i}" for i in range(70)]


# Other data --------------------------------------------------------------------------------------------------------


class Marked(ProcessRewardDataModule):
    """Reads another layout: a question, its lines, and how many of them are right."""

    scale = 1.0

    def records(self, source: str) -> Iterator[RolloutRecord]:
        for number, (_, row) in enumerate(read_json_rows(Path(source), "marked solutions")):
            marks = [[self.scale * (line < row["right"])] for line in range(len(row["lines"]))]
            yield make_record(number, marks, question=row["question"], steps=row["lines"])


def test_a_subclass_brings_another_layout_by_overriding_records(tmp_path: Path, encoder: StepEncoder) -> None:
    rows = [{"question": f"q{i}", "lines": ["a", "b", "c"], "right": 2} for i in range(4)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings: dict[str, Any] = {"validation_fraction": 0.25, "cache_dir": str(tmp_path / "c"), "step_encoder": encoder}
    data = Marked(str(tmp_path / "m.jsonl"), **settings)
    data.setup("fit")
    assert (len(data.train_set), len(data.validation_set)) == (3, 1)
    assert data.validation_set[0].labels.tolist() == [1.0, 1.0, 0.0]


def test_a_changed_reader_of_the_same_file_is_noticed(
    tmp_path: Path, encoder: StepEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"question": f"q{i}", "lines": ["a"], "right": 1} for i in range(4)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings: dict[str, Any] = {"validation_fraction": 0.25, "cache_dir": str(tmp_path / "c"), "step_encoder": encoder}
    for scale in (1.0, 0.5):
        monkeypatch.setattr(Marked, "scale", scale)
        data = Marked(str(tmp_path / "m.jsonl"), **settings)
        data.setup("fit")
        assert data.validation_set[0].labels.tolist() == [scale]


def test_a_reward_that_is_no_number_is_found_in_what_a_subclass_gives(tmp_path: Path, encoder: StepEncoder) -> None:
    class Unchecked(ProcessRewardDataModule):
        def records(self, source: str) -> list[RolloutRecord]:
            return [make_record(1), make_record(2, [[0.5], [math.nan, 1.0], [1.0]])]

    data = Unchecked("judged", cache_dir=str(tmp_path), step_encoder=encoder)
    with pytest.raises(RecordError, match=r"judged, record 1: field 'rewards\[1\]\[0\]' is nan; expected a number in"):
        data.setup("fit")
    assert list(tmp_path.glob("**/meta.json")) == []

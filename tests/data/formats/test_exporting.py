import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm.data.files.json_rows import Place, RowError
from erprm.data.formats import export_official, export_trl, import_official, import_trl
from erprm.data.formats.exporting import Exporter, ExportOptions
from erprm.data.records import RolloutRecord, read_records, write_records
from tests.tiny import make_record

float32s = st.floats(0, 1, width=32)
texts = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@st.composite
def labelled_records(draw: st.DrawFn) -> RolloutRecord:
    steps = draw(st.lists(texts, min_size=1, max_size=5))
    labels = draw(st.lists(float32s, min_size=len(steps), max_size=len(steps)))
    return make_record(0, [[label] for label in labels], question=draw(texts), steps=steps)


def content(record: RolloutRecord) -> tuple[str, list[str], list[bytes]]:
    """Question, steps and the bits of the labels."""
    labels = [np.float32(reward).tobytes() for (reward,) in record.rewards]
    return record.question, record.steps, labels


@settings(max_examples=25)
@given(records=st.lists(labelled_records(), max_size=4))
@pytest.mark.parametrize("name", ["a.jsonl", "a.json.zst", "a.parquet"])
def test_steps_and_labels_come_back_from_trl_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, name: str, records: list[RolloutRecord]
) -> None:
    path = tmp_path_factory.mktemp("trl") / name
    export_trl(records, path, exact=True)
    assert list(map(content, import_trl(path))) == list(map(content, records))


@settings(max_examples=25)
@given(records=st.lists(labelled_records(), max_size=4))
def test_what_exact_lets_through_comes_back_from_the_official_layout_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, records: list[RolloutRecord]
) -> None:
    path = tmp_path_factory.mktemp("official") / "a.json"
    exporter = Exporter("official", ExportOptions(exact=True))
    for number, record in enumerate(records):
        # The first step as the layout needs it; the rest of the text is anything.
        record.steps[0] = f"Step 1: {record.steps[0]}"
        rows = list(exporter.rows([(Place("records", "record", number), record)], lambda *_: None))
        if rows:
            path.write_text(json.dumps(rows), encoding="utf-8")
            assert list(map(content, import_official(path))) == [content(record)]
        else:
            plain = (record.question, *record.steps)
            assert any(text != text.strip() or "ки" in text for text in plain) or "Step 1:" in record.steps[0][8:]


def test_rows_of_the_official_layout_come_back_letter_by_letter(tmp_path: Path) -> None:
    rows = [
        {"text": "What is 3 and 4 more? Step 1: 3 + 4 = 7. ки\nStep 2: The answer is: 7 ки", "value": [0.8, 1.0]},
        {"text": "What is 5 and 5 more? Step 1: 5 + 5 = 9. ки\nso it is 9 ки", "value": [0.1, 0.333]},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    write_records(import_official(tmp_path / "a.json"), tmp_path / "a.parquet")
    export_official(read_records(tmp_path / "a.parquet"), tmp_path / "b.json", exact=True)
    assert json.loads((tmp_path / "b.json").read_text(encoding="utf-8")) == rows


# K = 4 rewards with mean 1/4, whose labels are hand-computed; the last step has its outcome.
RECORD = make_record(0, [[1.0, 0.0, 0.0, 0.0], [1.0]])


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({"labels": "soft"}, 0.25),
        ({"labels": "hard"}, 1.0),
        ({"labels": "er", "eta": 2.0}, math.log(0.75 + 0.25 * math.exp(2)) / 2),
        ({"labels": "er", "eta": -math.inf}, 0.0),
    ],
)
def test_completion_rewards_become_the_label_that_was_chosen(
    tmp_path: Path, options: dict[str, Any], label: float
) -> None:
    export_trl([RECORD], tmp_path / "a.jsonl", **options)
    export_official([RECORD], tmp_path / "a.json", **options)
    trl = json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8"))
    (official,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert trl["labels"] == official["value"] == pytest.approx([label, 1.0], abs=1e-6)


def test_records_of_bisection_are_written_with_hard_labels_and_refused_with_others(tmp_path: Path) -> None:
    record = make_record(rewards=[[], [1.0, 0.0], [0.0], [0.0]])
    export_trl([record], tmp_path / "a.jsonl", labels="hard")
    assert json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8"))["labels"] == [1.0, 1.0, 0.0, 0.0]
    with pytest.raises(RowError, match="a step has no completion rewards, so no label soft"):
        export_trl([record], tmp_path / "b.jsonl", labels="soft")
    assert not (tmp_path / "b.jsonl").exists()


def test_labels_can_be_written_as_booleans(tmp_path: Path) -> None:
    export_trl([RECORD], tmp_path / "a.parquet", labels="soft", threshold=0.5)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.field("labels").type == pa.list_(pa.bool_())
    assert table.to_pylist()[0]["labels"] == [False, True]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"steps": ["a", "b"]}, "could not be read back from official: field 'text' is"),
        (
            {"steps": ["Step 1: a ", "b"]},
            "steps ['Step 1: a ', 'b'] would be read back from official as ['Step 1: a', ",
        ),
        (
            {"steps": ["Step 1: a Step 1: b", "c"]},
            "question 'What?' would be read back from official as 'What? Step 1:",
        ),
        ({"steps": ["Step 1: a ки", "b"]}, "field 'steps[0]' is 'Step 1: a ки'; it contains the step tag 'ки'"),
    ],
)
def test_exact_refuses_what_would_come_back_otherwise(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    records = [make_record(0, [[1.0], [1.0]], question="What?", steps=["Step 1: a", "b"])]
    records.append(make_record(0, [[1.0], [1.0]], **{"question": "What?", **changes}))
    with pytest.raises(RowError, match=re.escape(f"records, record 1: {complaint}")):
        export_official(records, tmp_path / "a.json", exact=True)
    assert list(tmp_path.iterdir()) == []
    if "ки" not in complaint[:60]:
        assert export_official(records, tmp_path / "a.json") == 2


def test_booleans_are_not_exact(tmp_path: Path) -> None:
    with pytest.raises(RowError, match=r"record 0: labels \[0.25, 1.0\] would be read back from trl as \[0.0, 1.0\]"):
        export_trl([RECORD], tmp_path / "a.jsonl", labels="soft", threshold=0.5, exact=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "outcome"}, "labels is 'outcome', which leaves steps without a label; take er, soft or hard"),
        ({"labels": "none"}, "label method 'none' is unknown"),
        ({"eta": math.nan}, "eta is nan"),
        ({"threshold": 1.5}, "threshold is 1.5; it must be null or a number in"),
    ],
)
def test_an_option_out_of_range_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        export_trl([RECORD], tmp_path / "a.jsonl", **options)


def test_the_official_layout_has_no_booleans() -> None:
    with pytest.raises(ValueError, match="threshold is for trl alone"):
        Exporter("official", ExportOptions(threshold=0.5))


def test_a_name_that_says_nothing_is_refused_before_a_record_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.txt' does not say what to write"):
        export_trl(read_records("nowhere.parquet"), tmp_path / "a.txt")

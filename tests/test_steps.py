import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from erprm.steps import (
    STEP_STYLES,
    Solution,
    StepFormat,
    StepFormatError,
    segment_steps,
    split_steps,
)
from tests.tiny import make_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    tokenizer: PreTrainedTokenizerFast = make_tokenizer()
    return tokenizer


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return [int(token) for token in tokenizer.encode(text, add_special_tokens=False)]


# splitting


def test_lines_are_steps_and_the_final_answer_line_joins_the_last_step() -> None:
    text = "Natalia sold 48/2 = 24 clips in May.\nTogether 48+24 = 72.\n#### 72"
    assert split_steps(text, "lines") == ["Natalia sold 48/2 = 24 clips in May.", "Together 48+24 = 72.\n#### 72"]


def test_blank_lines_and_surrounding_space_are_no_part_of_a_line_step() -> None:
    assert split_steps("\n  3 + 4 = 7 \n\n\t\n7 + 8 = 15\n", "lines") == ["3 + 4 = 7", "7 + 8 = 15"]


def test_a_final_answer_alone_is_a_step() -> None:
    assert split_steps("#### 72", "lines") == ["#### 72"]


def test_paragraphs_are_split_at_blank_lines_only() -> None:
    text = "First,\nwe add.\n\nThen\n \nwe stop."
    assert split_steps(text, "paragraphs") == ["First,\nwe add.", "Then", "we stop."]


def test_math_shepherd_steps_lose_their_tags_and_keep_their_numbers() -> None:
    text = "Step 1: 3 + 5 = 8. ки\nStep 2: 40 * 3 = 120. ки\nStep 3: The answer is: 960 ки"
    assert split_steps(text, "math_shepherd") == [
        "Step 1: 3 + 5 = 8.",
        "Step 2: 40 * 3 = 120.",
        "Step 3: The answer is: 960",
    ]


def test_math_shepherd_steps_are_found_without_tags_and_keep_inner_newlines() -> None:
    text = "Let us see.\nStep 1: 3 + 5\n= 8.\nStep 2: The answer is: 8"
    assert split_steps(text, "math_shepherd") == ["Let us see.\nStep 1: 3 + 5\n= 8.", "Step 2: The answer is: 8"]


def test_the_published_math_shepherd_sample_has_one_step_for_each_tag(shared_data: Path) -> None:
    path = shared_data / "step_samples" / "samples_math-shepherd.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows
    for row in rows:
        solution = row["input"][row["input"].index("Step 1:") :]
        assert len(split_steps(solution, "math_shepherd")) == row["input"].count("ки")


def test_a_blank_text_has_no_steps() -> None:
    for style in STEP_STYLES:
        assert split_steps(" \n\n\t", style) == []


@given(
    st.text(st.sampled_from("aки \n\t#Step12:."), max_size=60) | st.text(max_size=60),
    st.sampled_from(sorted(STEP_STYLES)),
)
def test_steps_and_separators_join_to_the_text_in_every_style(text: str, style: str) -> None:
    split = segment_steps(text, style)
    joined = split.separators[0] + "".join(a + b for a, b in zip(split.steps, split.separators[1:], strict=True))
    assert joined == text
    assert all(step.strip() for step in split.steps)


def test_step_ends_include_the_separator_after_the_step() -> None:
    split = segment_steps("3 + 4 = 7\n7 + 8 = 15\n", "lines")
    assert split.ends == (10, 21)


def test_an_unknown_style_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"step style 'line' is unknown; known are lines, math_shepherd, paragraphs"):
        split_steps("text", "line")


# layout as tokens


def test_pieces_are_tokenised_one_by_one_with_a_tag_after_each_step(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = StepFormat().bind(tokenizer)
    encoded = encoder.encode(Solution("1 + 2?", ["Step 1: 3", "Step 2: 15"]))
    tag = ids(tokenizer, " ки")
    assert len(tag) == 1
    question, first, second = ids(tokenizer, "1 + 2?"), ids(tokenizer, " Step 1: 3"), ids(tokenizer, "\nStep 2: 15")
    assert encoded.input_ids == [*question, *first, *tag, *second, *tag]
    assert encoded.tag_positions == [len(question) + len(first), len(encoded.input_ids) - 1]
    assert encoded.dropped_steps == 0


def test_the_tokens_decode_to_the_rendered_text(tokenizer: PreTrainedTokenizerFast) -> None:
    step_format = StepFormat(question_template="Q: {question}", first_separator="\n", separator=" ")
    solution = Solution("1 + 2?", ["so 3", "done"])
    assert step_format.render(solution) == "Q: 1 + 2?\nso 3 ки done ки"
    assert tokenizer.decode(step_format.bind(tokenizer).encode(solution).input_ids) == "Q: 1 + 2?\nso 3 ки done ки"


def test_a_batch_gives_what_single_solutions_give(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = StepFormat().bind(tokenizer)
    solutions = [Solution("a?", ["b"]), Solution("c d?", ["e", "f", "g"])]
    assert encoder.encode_batch(solutions) == [encoder.encode(solution) for solution in solutions]


def test_truncation_drops_whole_steps_at_every_length(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = StepFormat().bind(tokenizer)
    solution = Solution("1 + 2?", ["Step 1: 3", "Step 2: 15", "Step 3: 7"])
    whole = encoder.encode(solution)
    ends = [position + 1 for position in whole.tag_positions]
    for limit in range(len(whole.input_ids) + 2):
        kept = sum(end <= limit for end in ends)
        encoded = encoder.encode(solution, max_length=limit)
        assert encoded.tag_positions == whole.tag_positions[:kept]
        assert encoded.input_ids == (whole.input_ids[: ends[kept - 1]] if kept else [])
        assert encoded.dropped_steps == 3 - kept


def test_the_begin_of_text_token_comes_first_where_the_tokenizer_adds_one(smollm2_dir: Path) -> None:
    plain = AutoTokenizer.from_pretrained(smollm2_dir, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
    assert plain("")["input_ids"] == []
    encoded = StepFormat(tag=" tag").bind(plain).encode(Solution("hi", ["there"]))
    assert encoded.input_ids == [*ids(plain, "hi"), *ids(plain, " there"), *ids(plain, " tag")]


def test_a_tag_of_several_tokens_is_refused_with_what_to_change() -> None:
    tokenizer = make_tokenizer(with_tags=False)
    with pytest.raises(StepFormatError, match=r"step_format\.tag ' ки' is \d+ tokens .* set step_format\.add_tokens"):
        StepFormat().bind(tokenizer)


def test_tokens_are_added_on_request_and_survive_saving(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(with_tags=False)
    before = len(tokenizer)
    encoder = StepFormat(add_tokens=True).bind(tokenizer)
    assert len(tokenizer) == before + 3
    assert {encoder.tag_id, encoder.positive_id, encoder.negative_id} == {before, before + 1, before + 2}
    tokenizer.save_pretrained(tmp_path)
    reloaded = StepFormat().bind(AutoTokenizer.from_pretrained(tmp_path))
    assert reloaded.tag_id == encoder.tag_id


def test_a_label_outside_the_vocabulary_is_refused() -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({" ки": 0, " +": 1, "?": 2}, unk_token="?")), unk_token="?"
    )
    with pytest.raises(StepFormatError, match=r"step_format\.negative ' -' is not in the vocabulary"):
        StepFormat().bind(words)


def test_a_tag_within_a_text_is_left_out_and_counted_never_taken_for_a_step(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = StepFormat().bind(tokenizer)
    encoded = encoder.encode(Solution("q ки?", ["fine", "not ки fine"]))
    tag = encoder.tag_id
    first = [*ids(tokenizer, "q"), *ids(tokenizer, "?"), *ids(tokenizer, " fine")]
    second = [*ids(tokenizer, "\nnot"), *ids(tokenizer, " fine")]
    assert encoded.input_ids == [*first, tag, *second, tag]
    assert encoded.tag_positions == [len(first), len(first) + 1 + len(second)]
    assert encoded.removed_tags == 2


@pytest.mark.parametrize(("steps", "message"), [([], "has no step"), (["a", " \n"], "step 2 .* is blank")])
def test_a_solution_without_text_in_every_step_is_refused(
    tokenizer: PreTrainedTokenizerFast, steps: list[str], message: str
) -> None:
    with pytest.raises(StepFormatError, match=message):
        StepFormat().bind(tokenizer).encode(Solution("q?", steps))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tag": ""}, r"step_format\.tag is empty"),
        ({"positive": " -"}, r"must be three different tokens"),
        ({"question_template": "Q:"}, r"must contain \{question\}"),
    ],
)
def test_an_impossible_format_is_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(StepFormatError, match=message):
        StepFormat(**fields)  # type: ignore[arg-type]


def test_a_preset_can_be_varied_and_an_unknown_one_is_refused() -> None:
    assert StepFormat.preset("er_prm", tag=" T") == StepFormat(tag=" T", positive=" +", negative=" -")
    with pytest.raises(ValueError, match=r"step format 'erprm' is unknown; known are er_prm"):
        StepFormat.preset("erprm")

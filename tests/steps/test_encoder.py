from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from erprm.steps import Solution, StepFormat, StepFormatError
from tests.tiny import make_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    tokenizer: PreTrainedTokenizerFast = make_tokenizer()
    return tokenizer


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return [int(token) for token in tokenizer.encode(text, add_special_tokens=False)]


def test_pieces_are_tokenised_one_by_one_with_a_tag_after_each_step(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = StepFormat.preset("math_shepherd").bind(tokenizer)
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
    encoder = StepFormat.preset("math_shepherd").bind(tokenizer)
    encoded = encoder.encode(Solution("q ки?", ["fine", "not ки fine"]))
    tag = encoder.tag_id
    first = [*ids(tokenizer, "q"), *ids(tokenizer, "?"), *ids(tokenizer, " fine")]
    second = [*ids(tokenizer, "\nnot"), *ids(tokenizer, " fine")]
    assert encoded.input_ids == [*first, tag, *second, tag]
    assert encoded.tag_positions == [len(first), len(first) + 1 + len(second)]
    assert encoded.removed_tags == 2


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "has no step"),
        (["a", " \n"], "step 2 .* is blank"),
        (["a", "b\ud83d"], r"step 2 of the solution of 'q\?' holds '\\ud83d', half of a surrogate pair"),
    ],
)
def test_a_solution_without_text_in_every_step_is_refused(
    tokenizer: PreTrainedTokenizerFast, steps: list[str], message: str
) -> None:
    with pytest.raises(StepFormatError, match=message):
        StepFormat().bind(tokenizer).encode(Solution("q?", steps))

import random

from erprm.demo.dial.base import BaseTexts, checked_problem, drill, solved_problem
from erprm.demo.dial.recipe import QUICK
from erprm.demo.dial.tokenizer import make_tokenizer

TEXTS = BaseTexts(QUICK, make_tokenizer(), seed=0)


def learned(texts: list[list[tuple[str, str | None]]]) -> list[tuple[str, str]]:
    """What is read at each place where something is learned, and what."""
    batch = TEXTS._batch(texts)
    read = batch.input_ids.flatten()[batch.predict_index]
    words = TEXTS.tokenizer.convert_ids_to_tokens
    return list(zip(words(read.tolist()), words(batch.targets.tolist()), strict=True))


def test_the_judgement_is_learned_at_the_tag_and_the_right_result_in_place_of_a_wrong_one() -> None:
    text = [("\n", None), ("3 + 4 =", None), (" 8", " 7"), (" ки", None), ("<end>", " wrong")]
    assert learned([text]) == [(" =", " 7"), (" ки", " wrong")]


def test_several_texts_in_a_batch_learn_what_each_learns_alone() -> None:
    rng = random.Random(1)
    texts = [solved_problem(rng), checked_problem(rng), drill(rng, longest=6)]
    assert learned(texts) == [pair for text in texts for pair in learned([text])]


def test_a_solved_problem_teaches_the_whole_solution_and_none_of_the_question() -> None:
    (question, not_learned), (solution, target) = solved_problem(random.Random(2))
    assert question.startswith("The dial is at ")
    assert not_learned is None
    assert solution == target
    assert solution.endswith("<end>")


def test_no_text_teaches_a_policy_to_write_the_tag() -> None:
    for index in (0, QUICK.base_steps - 1):
        targets = {TEXTS.tokenizer.decode(token) for token in TEXTS[index].targets}
        assert " ки" not in targets
        assert {" right", " wrong"} <= targets


def test_a_batch_is_the_same_each_time_and_another_for_another_index() -> None:
    assert TEXTS[3].input_ids.equal(TEXTS[3].input_ids)
    assert not TEXTS[3].input_ids.equal(TEXTS[4].input_ids)

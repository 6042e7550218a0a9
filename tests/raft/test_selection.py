import math

from erprm.raft.selection import keep_best

ENDED = [True] * 4


def test_the_best_comes_first_and_of_equals_the_one_sampled_first() -> None:
    assert keep_best([0.1, 0.7, 0.9, 0.9], ["a", "b", "c", "d"], ENDED) == [2]
    assert keep_best([0.1, 0.7, 0.9, 0.9], ["a", "b", "c", "d"], ENDED, top_k=3) == [2, 3, 1]


def test_equal_texts_are_kept_once_unless_asked_for() -> None:
    texts = ["a", "b", "a", "c"]
    assert keep_best([0.9, 0.8, 0.9, 0.7], texts, ENDED, top_k=2) == [0, 1]
    assert keep_best([0.9, 0.8, 0.9, 0.7], texts, ENDED, top_k=2, deduplicate=False) == [0, 2]


def test_a_threshold_keeps_what_reaches_it() -> None:
    assert keep_best([0.5, 0.4, 0.8, 0.1], list("abcd"), ENDED, top_k=4, threshold=0.5) == [2, 0]
    assert keep_best([0.5, 0.4, 0.8, 0.1], list("abcd"), ENDED, threshold=0.81) == []


def test_what_was_cut_off_or_is_blank_or_unreadable_is_never_kept() -> None:
    assert keep_best([0.9, 0.8, 0.1, 0.2], ["a", " \n", "c", "d"], [False, True, True, True]) == [3]
    assert keep_best([-math.inf, -3.0], ["a", "b"], [True, True], top_k=2) == [1]

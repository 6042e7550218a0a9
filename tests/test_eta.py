import math

import pytest

from erprm.eta import read_eta, read_etas


@pytest.mark.parametrize(
    ("written", "eta"),
    [
        (2, 2.0),
        ("2", 2.0),
        ("-1e-1", -0.1),
        *[(text, math.inf) for text in ("inf", "+inf", ".inf", "+.inf", ".INF", "Infinity", "hard", " Hard ")],
        *[(text, -math.inf) for text in ("-inf", "-.inf")],
        ("soft", 0.0),
    ],
)
def test_an_eta_is_read_as_people_write_it(written: float | str, eta: float) -> None:
    assert read_eta(written) == eta


@pytest.mark.parametrize("written", ["high", "", "nan", ".nan", "1,5", math.nan])
def test_another_text_is_refused_with_what_is_accepted(written: float | str) -> None:
    with pytest.raises(
        ValueError, match=r"data\.eta is .*; it must be a number, inf, -inf, soft \(0\) or hard \(inf\)"
    ):
        read_eta(written, "data.eta")


@pytest.mark.parametrize("written", [None, True, [1.0]])
def test_what_is_neither_a_number_nor_a_text_is_refused(written: object) -> None:
    with pytest.raises(TypeError, match="it must be a number, inf"):
        read_eta(written)


def test_a_list_of_etas_may_be_one_text() -> None:
    assert read_etas("[0, .inf, -.inf,1e-1]") == [0.0, math.inf, -math.inf, 0.1]
    assert read_etas(["soft", 2, "hard"]) == [0.0, 2.0, math.inf]


@pytest.mark.parametrize(("etas", "message"), [("0,soft", "etas: 0 appears twice"), ("[]", "give at least one")])
def test_a_list_without_etas_or_with_one_twice_is_refused(etas: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_etas(etas)

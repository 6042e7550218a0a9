from fractions import Fraction

import pytest

from erprm.grading.answers.numeric import Number, numbers_equal, parse_number, round_half_away


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", Fraction(0)),
        ("-0", Fraction(0)),
        ("+7", Fraction(7)),
        ("007", Fraction(7)),
        ("1,450,000", Fraction(1450000)),
        (".5", Fraction(1, 2)),
        ("-2.50", Fraction(-5, 2)),
        ("5.", Fraction(5)),
        ("3/8", Fraction(3, 8)),
        ("-\\frac{3}{8}", Fraction(-3, 8)),
        ("\\frac{-3}{8}", Fraction(-3, 8)),
        ("1 1/2", Fraction(3, 2)),
        ("-1 1/2", Fraction(-3, 2)),
        ("6.72e-5", Fraction(672, 10**7)),
        ("6.72 \\times 10^{-5}", Fraction(672, 10**7)),
        ("3\\cdot 10^2", Fraction(300)),
        ("0.\\overline{3}", Fraction(1, 3)),
        ("1.2\\overline{34}", Fraction(12, 10) + Fraction(34, 990)),
    ],
)
def test_a_written_number_has_its_exact_value(text: str, value: Fraction) -> None:
    number = parse_number(text)
    assert number is not None
    assert number.value == value


@pytest.mark.parametrize(
    "text", ["", "x", "1,45", "1,0000", "12 cm", "3/0", "\\frac{1}{0}", "1e99999", "9" * 5000, "--5", "\\pi"]
)
def test_what_is_no_single_number_is_none(text: str) -> None:
    assert parse_number(text) is None


def test_places_and_significant_digits_are_those_written() -> None:
    assert parse_number(".0000672") == Number(Fraction(672, 10**7), places=7, significant=3)
    assert parse_number("2.50") == Number(Fraction(5, 2), places=2, significant=3)
    assert parse_number("250") == Number(Fraction(250))


@pytest.mark.parametrize(
    ("value", "places", "rounded"),
    [
        (Fraction(5, 2), 0, 3),
        (Fraction(-5, 2), 0, -3),
        (Fraction(1, 3), 2, Fraction(33, 100)),
        (Fraction(2, 3), 2, Fraction(67, 100)),
    ],
)
def test_a_half_rounds_away_from_zero(value: Fraction, places: int, rounded: Fraction) -> None:
    assert round_half_away(value, places) == rounded


@pytest.mark.parametrize(
    ("gold", "prediction", "equal"),
    [
        (".0000672", ".0000673", False),
        ("33.3", "100/3", True),  # a rounded gold
        ("33.4", "100/3", False),
        ("0.3", "1/3", False),  # one digit is no evidence of rounding
        ("8/3", "2.6667", True),  # a rounded prediction of a gold that does not terminate
        ("8/3", "2.67", False),
        ("8/3", "2.6666", False),
        ("270/7", "38.571428", True),  # cut off, with eight digits
        ("270/7", "38.571429", True),
        ("639/40", "15.98", False),  # 15.975 terminates: write it out
        ("16386.17", "16386.169", True),
        ("3.21", "3.214", False),
        ("5", "5.001", False),
        ("-8/3", "2.6667", False),
    ],
)
def test_rounding_is_accepted_only_where_documented(gold: str, prediction: str, equal: bool) -> None:
    one, other = parse_number(gold), parse_number(prediction)
    assert one is not None
    assert other is not None
    assert numbers_equal(one, other) is equal

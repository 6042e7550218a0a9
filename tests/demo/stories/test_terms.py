import pytest

from erprm.demo.stories.terms import Terms

a, b, c, d, p, hundred = map(Terms.of, ["a", "b", "c", "d", "p", "#100"])


def test_equal_sums_are_equal_however_they_are_written() -> None:
    assert (a - b) * c == a * c - c * b
    assert (a + b) / c == a / c + b / c
    assert a * b / b == a
    assert a / (b + c) == a / (c + b) != a / (b - c)
    assert hash(a + b) == hash(b + a)
    assert a / hundred != a


@pytest.mark.parametrize(
    ("part", "whole", "is_part"),
    [
        (a * b, a * b + c, True),
        (a - b, a * c - b * c, True),
        (b - a, a * c - b * c, True),
        (a + b, a * c - b * c, False),
        (b * c, a * b + c * d, False),
        (b / a, a / b, False),
        (a + a, a + a + b, True),
        (a + a + a, a + a + b, False),
        (hundred - p, a - a * p / hundred, True),
        (hundred + p, a - a * p / hundred, False),
        (a - a, a - a + b, False),
        (b + c, a / (b + c), False),
    ],
)
def test_parts_of_a_whole(part: Terms, whole: Terms, is_part: bool) -> None:
    assert part.is_part_of(whole) is is_part


def test_endless_sums_and_division_by_nothing_are_refused() -> None:
    with pytest.raises(ZeroDivisionError):
        a / (b - b)
    total = sum((Terms.of(f"s{i}") for i in range(99)), start=Terms.of("s99"))
    with pytest.raises(OverflowError):
        total * total

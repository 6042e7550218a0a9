"""Spans of a text: ``(start, stop)`` of each step, in order, without overlap; what lies between two is separator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Span = tuple[int, int]


def stripped(text: str, start: int, stop: int) -> Iterator[Span]:
    """The span without the white space at its ends; none if there is nothing else."""
    segment = text[start:stop]
    if content := segment.strip():
        start += len(segment) - len(segment.lstrip())
        yield start, start + len(content)


def between(text: str, separators: Iterable[Span]) -> list[Span]:
    """The spans that separators leave, empty ones included."""
    edges = [0, *(edge for span in separators for edge in span), len(text)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def strip_all(text: str, spans: Iterable[Span]) -> list[Span]:
    """The spans without white space at their ends, blank ones left out."""
    return [span for start, stop in spans for span in stripped(text, start, stop)]


def shifted(spans: Iterable[Span], offset: int) -> list[Span]:
    """The spans of a part of a text, as spans of the text in which it starts at ``offset``."""
    return [(start + offset, stop + offset) for start, stop in spans]

"""Steps as token ids: a step format on one tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from erprm.steps.solution import Solution, StepFormatError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from erprm.steps.format import StepFormat


@dataclass(frozen=True)
class EncodedSolution:
    """A solution as token ids.

    Attributes:
        input_ids: the tokens.
        tag_positions: index in ``input_ids`` of the last token of the tag of each kept step.
        dropped_steps: how many steps were cut from the end to fit the length limit.
        removed_tags: how many tags and control tokens stood within the text itself and were left out.
    """

    input_ids: list[int]
    tag_positions: list[int]
    dropped_steps: int
    removed_tags: int


# A character of the private use area. No vocabulary merges it with what follows.
_MARK = "\ue000"


@dataclass(frozen=True)
class _Context:
    """A text put before a piece for tokenising, so that the piece is not the beginning of a text; taken off again.

    Attributes:
        text: the text; empty where a piece is tokenised alone.
        length: how many tokens it is.
    """

    text: str = ""
    length: int = 0


class StepEncoder:
    """A :class:`~erprm.steps.StepFormat` on one tokenizer.

    Each piece (the question, each step with the separator before it, the tag) is tokenised by itself, so a tag is the
    same token whatever is before it. A tokenizer that puts a space before every text (SentencePiece, as Mistral's and
    Llama 2's) does so only before the first piece: the others get the tokens they have in the middle of a text, which
    is what checkpoints that were trained on whole texts have seen. With ``whole_text`` the text is tokenised whole
    where that leaves every tag as it is.

    Attributes:
        step_format: the format, with the date that a chat template prints.
        layout: the texts around the question and the steps.
        tag_ids: token ids of the step tag.
        tag_id: the last of them, at which the model is read.
    """

    def __init__(self, step_format: StepFormat, tokenizer: PreTrainedTokenizerBase) -> None:
        self.step_format = step_format = step_format.dated(tokenizer)
        self.tokenizer = tokenizer
        self.layout = step_format.layout(tokenizer)
        self._mark = self._mark_context()
        tag = self.layout.tag
        self.tag_ids = [self._single_token("tag", tag)] if step_format.tag_is_token else self._ids_of_tag()
        self.tag_id = self.tag_ids[-1]
        self._label_ids = tuple(
            self._single_token(name, text)
            for name, text in (("positive", step_format.positive), ("negative", step_format.negative))
            if text is not None
        )
        self._prefix = self._begin_of_sequence()
        self._after_question = self._context_after(self.layout.after_question)
        self._after_tag = self._context_after(tag)
        self._reserved = self._reserved_ids()
        count = self._count_reserved
        self._reserved_in_question = (count(self.layout.before_question), count(self.layout.after_question))
        self._reserved_in_first = (count(self.layout.first_separator), 0)
        self._reserved_in_others = (count(self.layout.separator), 0)

    @property
    def positive_id(self) -> int:
        """Token id of the good label.

        Raises:
            StepFormatError: if the format's labels are the classes of a head.
        """
        return self._label_id(0)

    @property
    def negative_id(self) -> int:
        """Token id of the bad label.

        Raises:
            StepFormatError: if the format's labels are the classes of a head.
        """
        return self._label_id(1)

    def _label_id(self, index: int) -> int:
        if not self._label_ids:
            raise StepFormatError(
                "the step format has no label tokens (step_format.positive and negative are null): its labels are the "
                "two classes of a head, bad and good; use a model with such a head, or give both labels"
            )
        return self._label_ids[index]

    # How pieces are tokenised

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return list(self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]) if texts else []

    def _ids_after(self, context: _Context, text: str) -> list[int]:
        (ids,) = self._tokenize([context.text + text])
        return [int(token) for token in ids[context.length :]]

    def _mark_context(self) -> _Context:
        """A context that changes nothing but the space that some tokenizers put before a text."""
        if self.step_format.standalone_pieces:
            return _Context()
        mark, alone, joined = self._tokenize([_MARK, "a", _MARK + "a"])
        shows = len(joined) > len(mark) > 0 and joined[: len(mark)] == mark
        return _Context(_MARK, len(mark)) if shows and joined[len(mark) :] != alone else _Context()

    def _context_after(self, text: str) -> _Context:
        """The context of a piece that follows a text of the layout.

        Behind an added token some tokenizers begin anew, with another space, so there it must be that very token.
        """
        if not self._mark.text:
            return self._mark
        added = [token for token in self.tokenizer.get_added_vocab() if text.endswith(token)]
        return _Context(max(added, key=len), 1) if added else self._mark

    def _single_token(self, field: str, text: str) -> int:
        ids = self._ids_after(self._mark, text)
        unknown = self.tokenizer.unk_token_id is not None and self.tokenizer.unk_token_id in ids
        if len(ids) != 1 or unknown:
            if not self.step_format.add_tokens:
                found = "is not in the vocabulary" if unknown else f"is {len(ids)} tokens ({ids})"
                raise StepFormatError(
                    f"step_format.{field} {text!r} {found} of tokenizer {self.tokenizer.name_or_path!r}, but must be "
                    "one token: choose a text that is one token there, or set step_format.add_tokens to true"
                )
            from transformers import AddedToken

            self.tokenizer.add_tokens([AddedToken(text, normalized=False, special=True)], special_tokens=True)
            ids = self._ids_after(self._mark, text)
        return ids[0]

    def _ids_of_tag(self) -> list[int]:
        ids = self._ids_after(self._mark, self.layout.tag)
        if not ids:
            raise StepFormatError(
                f"step_format.tag {self.layout.tag!r} has no tokens in tokenizer {self.tokenizer.name_or_path!r}"
            )
        if self.step_format.chat == "turns":
            # As it stands before a label: at the end of a text some tokenizers join its line breaks.
            label = self._ids_after(self._mark, str(self.step_format.positive))
            before_label = self._ids_after(self._mark, f"{self.layout.tag}{self.step_format.positive}")
            if before_label[-len(label) :] == label:
                return before_label[: -len(label)]
        return ids

    def _begin_of_sequence(self) -> list[int]:
        """Tokens that the tokenizer puts before a text by itself, if any; they come before the question."""
        begin = self.tokenizer.bos_token
        if begin and self.layout.before_question.startswith(begin):
            return []
        if self.step_format.force_bos and begin:
            return [int(self.tokenizer.bos_token_id)]
        if self.step_format.chat is not None:
            return []  # Chat templates write it themselves, if at all.
        ids = self.tokenizer("")["input_ids"]
        return [int(token) for token in ids if token != self.tokenizer.eos_token_id][:1]

    def _reserved_ids(self) -> frozenset[int]:
        """Tokens that only the layout may hold: the tag, and the control tokens in the texts around it."""
        layout = self.layout
        texts = [layout.before_question, layout.after_question, layout.first_separator, layout.separator, layout.tag]
        added = set(self.tokenizer.get_added_vocab().values()) - set(self._label_ids)
        control = {token for ids in self._tokenize(texts) for token in ids if token in added}
        return frozenset(control | ({self.tag_id} if self.step_format.tag_is_token else set()))

    # Solutions

    def encode(self, solution: Solution, max_length: int | None = None) -> EncodedSolution:
        """One solution; see :meth:`encode_batch`."""
        return self.encode_batch([solution], max_length)[0]

    def encode_batch(self, solutions: Sequence[Solution], max_length: int | None = None) -> list[EncodedSolution]:
        """Tokenises solutions, all pieces in one call of the tokenizer.

        A tag within the text of a question or a step is left out, in training as in scoring, and counted: whoever
        wrote the text can neither add a step nor stop a run with it. So are the control tokens of a chat template that
        the layout uses. (A tag that need not be one token may stand in a step: tags are never searched for.)

        Args:
            solutions: questions with their steps.
            max_length: the most tokens of a solution. Whole steps are dropped from the end to fit, never a part of a
                step; a solution of which not even the first step fits keeps no tag and no tokens, for the caller to
                count and leave out. ``None``: no limit.

        Raises:
            StepFormatError: if a solution has no step, a step is blank, or a text holds half of a surrogate pair.
        """
        pieces = [piece for solution in solutions for piece in self._checked_pieces(solution)]
        try:
            ids_of_piece = iter(self._tokenize(pieces))
        except TypeError:  # What the tokenizer says names neither the text nor the trouble.
            _refuse_surrogates(solutions)
            raise
        encoded = [
            self._assemble([next(ids_of_piece) for _ in range(len(solution.steps) + 1)], max_length)
            for solution in solutions
        ]
        return self._retokenized_whole(solutions, encoded, max_length) if self.step_format.whole_text else encoded

    def _retokenized_whole(
        self, solutions: Sequence[Solution], encoded: Sequence[EncodedSolution], max_length: int | None
    ) -> list[EncodedSolution]:
        """The solutions tokenised as whole texts; as they are where a text holds tags of its own, or loses one."""
        whole = []
        # Behind the last tag comes what stands behind the others.
        end = str(self.step_format.positive) if self.step_format.chat == "turns" else ""
        ids_of_text = self._tokenize([self.layout.render(solution) + end for solution in solutions])
        for solution, in_pieces, ids in zip(solutions, encoded, ids_of_text, strict=True):
            input_ids = [*self._prefix, *ids]
            tags = self._ends_of_tags(input_ids)
            if in_pieces.removed_tags or len(tags) != len(solution.steps):
                whole.append(in_pieces)
                continue
            kept = [tag for tag in tags if max_length is None or tag < max_length]
            input_ids = input_ids[: kept[-1] + 1] if kept else []
            whole.append(EncodedSolution(input_ids, kept, len(tags) - len(kept), 0))
        return whole

    def _ends_of_tags(self, ids: Sequence[int]) -> list[int]:
        width = len(self.tag_ids)
        ends = (place for place, token in enumerate(ids) if token == self.tag_id)
        return [end for end in ends if ids[max(0, end + 1 - width) : end + 1] == self.tag_ids]

    def _checked_pieces(self, solution: Solution) -> list[str]:
        if not solution.steps:
            raise StepFormatError(f"the solution of {solution.question[:60]!r} has no step")
        for number, step in enumerate(solution.steps, 1):
            if not step.strip():
                raise StepFormatError(f"step {number} of the solution of {solution.question[:60]!r} is blank")
        question, first, *others = self.layout.pieces(solution)
        after_tag = self._after_tag.text
        return [question, self._after_question.text + first, *(after_tag + piece for piece in others)]

    def _assemble(self, piece_ids: list[list[int]], max_length: int | None) -> EncodedSolution:
        question, first, *others = piece_ids
        steps = [first[self._after_question.length :], *(ids[self._after_tag.length :] for ids in others)]
        pieces = [
            self._without_reserved(ids, *of_layout)
            for ids, of_layout in zip([question, *steps], self._reserved_of_layout(len(steps)), strict=True)
        ]
        removed_tags = len(question) + sum(map(len, steps)) - sum(map(len, pieces))
        input_ids = [*self._prefix, *pieces[0]]
        tag_positions: list[int] = []
        for ids in pieces[1:]:
            if max_length is not None and len(input_ids) + len(ids) + len(self.tag_ids) > max_length:
                break
            input_ids += ids
            input_ids += self.tag_ids
            tag_positions.append(len(input_ids) - 1)
        dropped = len(steps) - len(tag_positions)
        return EncodedSolution(input_ids if tag_positions else [], tag_positions, dropped, removed_tags)

    def _reserved_of_layout(self, steps: int) -> list[tuple[int, int]]:
        """Number of reserved tokens that the layout itself puts at the beginning and the end of each piece."""
        return [self._reserved_in_question, self._reserved_in_first, *[self._reserved_in_others] * (steps - 1)]

    def _count_reserved(self, text: str) -> int:
        return sum(token in self._reserved for token in self._ids_after(self._mark, text)) if text else 0

    def _without_reserved(self, ids: list[int], at_start: int, at_end: int) -> list[int]:
        if self._reserved.isdisjoint(ids):
            return ids
        places = [place for place, token in enumerate(ids) if token in self._reserved]
        in_text = set(places[at_start : len(places) - at_end])
        return [token for place, token in enumerate(ids) if place not in in_text] if in_text else ids


def _refuse_surrogates(solutions: Sequence[Solution]) -> None:
    for solution in solutions:
        for name, text in [
            ("question", solution.question),
            *((f"step {i}", s) for i, s in enumerate(solution.steps, 1)),
        ]:
            if found := re.search("[\ud800-\udfff]", text):
                raise StepFormatError(
                    f"{name} of the solution of {solution.question[:60]!r} holds {found[0]!r}, half of a surrogate "
                    "pair, which is not a character; was the text cut, or read with errors='surrogateescape'?"
                )

"""Unicode, invisible and lost characters: every symbol of an answer in LaTeX or ASCII."""

from __future__ import annotations

import re
import unicodedata

# Blanks round an answer. Not the form feed: a leading one is the remnant of \f in \frac.
BLANKS = " \t\r\n"

# JSON written with single backslashes turns \frac into a form feed and \boxed or \begin into a backspace.
_LOST_BACKSLASH = re.compile(r"[\x0c\x08](?=[a-z]{2})")
_LOST_LETTER = {"\x0c": "\\f", "\x08": "\\b"}
# Tab is kept as white space unless what follows can only be the rest of a command.
_LOST_TAB = re.compile(r"\t(?=(?:ext|frac|imes|heta|an|au)\b|(?:ext|frac)\{)")
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ud800-\udfff]"
)

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ", "0123456789+-ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋ₙₓ", "0123456789+-nx")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ]+")
_SUBSCRIPT_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋ₙₓ]+")
_VULGAR_FRACTION = re.compile(r"(?<=\d)\s*(?=[\u00bc-\u00be\u2150-\u215e])")
_BUILT_FRACTION = re.compile("(?<![⁰¹²³⁴⁵⁶⁷⁸⁹])([⁰¹²³⁴⁵⁶⁷⁸⁹]+)[/⁄]([₀₁₂₃₄₅₆₇₈₉]+)")
_SYMBOLS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "—": "-",
        "‐": "-",
        "‑": "-",
        "×": "\\times ",
        "⋅": "\\cdot ",
        "·": "\\cdot ",
        "÷": "/",
        "∕": "/",
        "⁄": "/",
        "π": "\\pi ",
        "θ": "\\theta ",
        "α": "\\alpha ",
        "β": "\\beta ",
        "λ": "\\lambda ",
        "∞": "\\infty ",
        "≤": "\\le ",
        "≥": "\\ge ",
        "≦": "\\le ",
        "≧": "\\ge ",
        "⩽": "\\le ",
        "⩾": "\\ge ",
        "≠": "\\neq ",
        "≈": "\\approx ",
        "±": "\\pm ",
        "∓": "\\mp ",
        "∪": "\\cup ",
        "∩": "\\cap ",
        "∈": "\\in ",
        "∅": "\\emptyset ",
        "ø": "\\emptyset ",
        "∖": "\\setminus ",
        "∨": " or ",
        "∧": " and ",
        "√": "\\sqrt ",
        "∛": "\\sqrt[3] ",
        "∜": "\\sqrt[4] ",
        "ℝ": "\\mathbb{R} ",
        "ℤ": "\\mathbb{Z} ",
        "ℚ": "\\mathbb{Q} ",
        "ℕ": "\\mathbb{N} ",
        "ℂ": "\\mathbb{C} ",
        "°": "^\\circ ",
        "º": "^\\circ ",
        "′": "'",
        "’": "'",
        "‘": "'",
        "“": '"',
        "”": '"',
        "…": "\\dots ",
        "⟨": "\\langle ",
        "⟩": "\\rangle ",
        "⌊": "\\lfloor ",
        "⌋": "\\rfloor ",
        "⌈": "\\lceil ",
        "⌉": "\\rceil ",
        "→": "\\to ",
        "⇒": "\\Rightarrow ",
        "。": ". ",
        "、": ",",
        "或": " or ",
        "和": " and ",
    }
)


def clean_characters(text: str) -> str:
    """Spells unicode symbols in LaTeX or ASCII and drops invisible, control and surrogate characters."""
    if text.isascii() and text.isprintable():
        return text
    text = _LOST_BACKSLASH.sub(lambda match: _LOST_LETTER[match[0]], text)
    text = _LOST_TAB.sub(r"\\t", text)
    text = _INVISIBLE.sub("", text)
    if text.isascii():
        return text
    text = _BUILT_FRACTION.sub(_built_fraction, text)
    text = _SUPERSCRIPT_RUN.sub(lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text)
    text = _SUBSCRIPT_RUN.sub(lambda match: f"_{{{match[0].translate(_SUBSCRIPTS)}}}", text)
    text = _VULGAR_FRACTION.sub(" ", text)
    text = text.translate(_SYMBOLS)
    return unicodedata.normalize("NFKC", text).translate(_SYMBOLS)


def _built_fraction(match: re.Match[str]) -> str:
    """`³⁄₄` as ` 3/4`; the blank keeps it apart from the whole number of `1³⁄₄`."""
    return f" {match[1].translate(_SUPERSCRIPTS)}/{match[2].translate(_SUBSCRIPTS)}"

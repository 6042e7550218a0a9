"""Features of a text that a reward model may favour, whether the text is right or wrong."""


def repeated_share(text: str, n: int = 4) -> float:
    """Share of a text's n-grams of words that have occurred in it before.

    Args:
        text: any text; words are what white space separates.
        n: words of an n-gram.

    Returns:
        A number in [0, 1); 0 for a text of fewer than n words.

    Example:
        Of the four pairs of words, the third and the fourth repeat the first two.

        >>> repeated_share("so it so it so", n=2)
        0.5
    """
    words = text.split()
    ngrams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0

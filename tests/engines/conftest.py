"""The tiny policies of the tests of rollouts."""

from tests.rollout.conftest import byte_tokenizer, engine, policy, word_tokenizer

__all__ = ["byte_tokenizer", "engine", "policy", "word_tokenizer"]

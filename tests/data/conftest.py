"""The tiny tokenizer with the default step format, which most tests of the data need."""

import pytest

from erprm.steps import StepEncoder, StepFormat
from tests.tiny import make_tokenizer


@pytest.fixture(scope="session")
def encoder() -> StepEncoder:
    return StepFormat.preset("math_shepherd").bind(make_tokenizer())

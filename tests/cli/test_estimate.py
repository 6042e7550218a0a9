import pytest

from erprm.cli import main


@pytest.mark.parametrize(("arguments", "found"), [(["raft"], "'raft'"), ([], "nothing")])
def test_what_cannot_be_estimated_is_answered_with_what_can(
    capsys: pytest.CaptureFixture[str], arguments: list[str], found: str
) -> None:
    assert main(["estimate", *arguments]) == 2
    assert f"expected 'fit' or 'rollout' after it, found {found}" in capsys.readouterr().err

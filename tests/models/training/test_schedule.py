import pytest
import torch

from erprm.models import CosineWithWarmup


def rates(total_steps: int, warmup: float, floor: float = 0.0) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = CosineWithWarmup(optimizer, total_steps, warmup, floor)
    seen = []
    for _ in range(total_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_warm_up_is_linear_and_the_cosine_halves_midway() -> None:
    # 10 steps, 2 of warm-up: 1/3 and 2/3 of the peak, the peak, then half of it 4 steps later.
    seen = rates(10, 0.2)
    assert seen[:3] == pytest.approx([2 / 3, 4 / 3, 2.0])
    assert seen[6] == pytest.approx(1.0)


def test_the_rate_stays_above_the_floor() -> None:
    assert min(rates(50, 0.0, floor=0.1)) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"total_steps": 0}, "total_steps is 0"),
        ({"total_steps": 5, "warmup": 1.0}, r"warmup is 1\.0; it must be in \[0, 1\)"),
        ({"total_steps": 5, "floor": 2.0}, r"floor is 2\.0"),
    ],
)
def test_impossible_shapes_are_refused(settings: dict[str, float], message: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match=message):
        CosineWithWarmup(optimizer, **settings)  # type: ignore[arg-type]

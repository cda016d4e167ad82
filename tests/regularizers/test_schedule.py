import pytest

from wcr_med.config import RegularizerConfig, ScheduleConfig
from wcr_med.errors import UserError
from wcr_med.regularizers import Schedule, strength_and_schedule


def test_the_default_acts_in_full_from_the_first_step_to_the_last() -> None:
    assert [Schedule().rise(step, 4) for step in range(4)] == [1, 1, 1, 1]


def test_it_waits_rises_and_lets_go() -> None:
    schedule = Schedule(start=0.2, ramp=0.4, settle=0.2)
    rises = [schedule.rise(step, 10) for step in range(10)]
    assert rises == pytest.approx([0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 0, 0])


@pytest.mark.parametrize("shares", [(-0.1, 0, 0), (0.5, 0.5, 0.5), (1.1, 0, 0)])
def test_shares_that_cannot_be(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="not shares"):
        Schedule(start=shares[0], ramp=shares[1], settle=shares[2])


def test_null_shares_are_the_methods_own() -> None:
    config = RegularizerConfig(name="wcr_quantile", schedule=ScheduleConfig(start=0.5))
    assert strength_and_schedule(config)[1] == Schedule(start=0.5, ramp=0.3, settle=0.0)


def test_shares_that_exceed_the_training_with_the_defaults_are_one_line() -> None:
    config = RegularizerConfig(name="wcr_quantile", schedule=ScheduleConfig(start=0.8))
    with pytest.raises(UserError, match=r"regularizer\.schedule: start 0\.8, ramp 0\.3"):
        strength_and_schedule(config)

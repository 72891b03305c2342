"""Errors of links between windows that share answers, and anchors that moved, at full size."""

import click
import numpy as np
import pytest
from tests.prove.anchors import Windows, linked_by_choice, linked_where_some_moved
from tests.prove.recovery import Coverage

from irt_analytics.irt.anchors import FAMILY_ERROR


@pytest.mark.prove
@pytest.mark.parametrize("spread", ["learner", "days"])
@pytest.mark.parametrize("later", [1, 15, 30])
def test_stated_errors_are_those_of_windows_that_overlap(
    later: int, spread: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """29 of 30 days, half or none in common: an error five times too large would hide any shift of the scale."""
    found = Windows(later, 1_500, 40, 20, spread).links(100, seed=later)  # type: ignore[arg-type]
    with capsys.disabled():
        for name in ("A", "B"):
            click.echo(
                f"\n{later} days later, answers by {spread}: sd of {name} {found[name].std():.4f}, "
                f"stated {found[f'se_{name}'].mean():.4f}",
                nl=False,
            )
        click.echo(f"; false alarms {found['alarm'].mean():.2f}")
    for name in ("A", "B"):
        # 100 replications know an sd to 7 %.
        assert found[f"se_{name}"].mean() == pytest.approx(found[name].std(), rel=0.15 + 2 * 0.07)
    assert found["alarm"].mean() <= FAMILY_ERROR + 2.58 * np.sqrt(FAMILY_ERROR * (1 - FAMILY_ERROR) / 100)


@pytest.mark.prove
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("moved", "by"), [(6, 0.5), (1, 1.5), (0, 0.0)])
def test_anchors_that_moved(moved: int, by: float, capsys: pytest.CaptureFixture[str]) -> None:
    """20 anchors, 3,000 answers each: whichever moved are found, and the link is that of the others."""
    found = linked_where_some_moved(100, 7, anchors=20, moved=moved, by=by, learners=6_000, answers_each=10)
    rmse, plain = (float(np.sqrt((found[name] ** 2).mean())) for name in ("B", "plain_B"))
    alarms = float((found["alarms"] > 0).mean())
    power = found["found"].sum() / max(moved * len(found), 1)
    with capsys.disabled():
        click.echo(
            f"\n{moved} of 20 anchors moved by {by}: RMSE of B {rmse:.4f} (plain link {plain:.4f}, stated error "
            f"{found['se_B'].mean():.4f}), power {power:.3f}, family-wise false alarms {alarms:.2f}"
        )
    assert rmse <= 0.03
    assert alarms <= FAMILY_ERROR + 2.58 * np.sqrt(FAMILY_ERROR * (1 - FAMILY_ERROR) / len(found))
    assert Coverage.of(found["B"], found["se_B"]).agrees()
    if moved:
        assert power >= 0.9
        assert plain >= 0.1 or moved == 1
        assert plain > 1.5 * rmse


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_chosen_anchors_link_as_well_as_tagged_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """Most banks have no tags: nobody should have to find the anchors by hand for an exact scale."""
    found = linked_by_choice(100, 11)
    tagged, chosen = (float(np.sqrt((found[name] ** 2).mean())) for name in ("tagged_B", "chosen_B"))
    with capsys.disabled():
        means = found[["few", "misread", "sound"]].mean().to_dict()
        click.echo(f"\nRMSE of B: tagged {tagged:.4f}, chosen {chosen:.4f}; chosen of 3, 3 and 20: {means}")
    assert chosen <= 1.1 * tagged
    assert found["few"].sum() == 0
    assert found["misread"].mean() < 1.5
    assert found["sound"].mean() > 19

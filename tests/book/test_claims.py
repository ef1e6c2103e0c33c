"""The ledger: the worst case decides, a build fails on what does not hold or was never
recorded.
"""

import json

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter

from agent_dynamics.book import claims, ledger_page
from agent_dynamics.book.claims import (
    MIME,
    ClaimFailed,
    ledger,
    record,
    recorded,
)
from agent_dynamics.book.ledger_page import show_ledger

CLAIM, OTHER = list(ledger())[:2]


@pytest.fixture
def shown(monkeypatch):
    """What the notebook shows, in a reader's own session."""
    shown = []
    for module in (claims, ledger_page):
        monkeypatch.setattr(module, "display", lambda data, raw: shown.append(data))
    monkeypatch.delenv("AGENT_DYNAMICS_BUILD", raising=False)
    monkeypatch.delenv("AGENT_DYNAMICS_PROFILE", raising=False)
    return shown


@pytest.fixture
def build(shown, tmp_path, monkeypatch):
    """The folder of a full build."""
    monkeypatch.setenv("AGENT_DYNAMICS_BUILD", str(tmp_path))
    monkeypatch.setenv("AGENT_DYNAMICS_PROFILE", "full")
    return tmp_path


def execute(folder, shown, *ids):
    """Leave an executed notebook in the folder that recorded the claims."""
    for claim in ids:
        model = "some-model" if ledger()[claim].about_models else ""
        record(claim, predicted=1, measured=1, tolerance=0.1, model=model)
    outputs = [
        {"output_type": "display_data", "metadata": {}, "data": data} for data in shown
    ]
    cells = [
        {"cell_type": "markdown", "source": "Prose."},
        {"cell_type": "code", "source": "", "outputs": outputs},
    ]
    (folder / "01-setting.ipynb").write_text(
        json.dumps({"cells": cells}), encoding="utf-8"
    )
    shown.clear()


def test_every_claim_of_the_ledger_says_what_and_where_from():
    for claim in ledger().values():
        assert claim.statement.strip() and claim.chapter
        assert claim.source in ("paper", "added here")


def test_the_worst_case_decides(shown):
    verdict = record(
        CLAIM,
        predicted=[[1.0], [2.0]],
        measured=torch.tensor([1.0, 1.1, 1.9]),
        tolerance=0.5,
    )
    assert (verdict.predicted, verdict.measured, verdict.cases) == (2.0, 1.0, 6)
    assert verdict.difference == 1.0
    assert not verdict.holds


def test_a_relative_distance_is_to_the_prediction(shown):
    verdict = record(
        CLAIM,
        predicted=[-200.0, 1.0],
        measured=[-201.0, 1.002],
        tolerance=0.005,
        relative=True,
    )
    assert (verdict.predicted, verdict.difference, verdict.holds) == (
        -200.0,
        0.005,
        True,
    )
    assert not record(CLAIM, predicted=-200.0, measured=-201.0, tolerance=0.005).holds


def test_the_tolerance_itself_still_holds(shown):
    assert record(CLAIM, predicted=0, measured=0.25, tolerance=0.25).holds
    assert not record(
        CLAIM, predicted=0, measured=np.nextafter(0.25, 1), tolerance=0.25
    ).holds


def test_a_cell_that_ends_with_a_record_shows_the_claim_once(shown):
    verdict = record(CLAIM, predicted=0, measured=0, tolerance=1)
    assert len(shown) == 1 and DisplayFormatter().format(verdict) == ({}, {})


def test_outside_a_build_a_failed_claim_is_a_verdict(shown):
    assert not record(CLAIM, predicted=0, measured=1, tolerance=0.5).holds
    assert "does not hold" in shown[0]["text/plain"]
    assert ledger()[CLAIM].statement in shown[0]["text/markdown"]


def test_in_a_build_a_failed_claim_stops_it_and_is_still_shown(build, shown):
    with pytest.raises(
        ClaimFailed, match=f"claim {CLAIM} does not hold: predicted 0, measured 1"
    ):
        record(CLAIM, predicted=0, measured=1, tolerance=0.5)
    assert "does not hold" in shown[0]["text/plain"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"claim": "no-such-claim"},
            "claim was 'no-such-claim'; it must be an id in claims.toml",
        ),
        ({"measured": [1.0, np.nan]}, "measured was not finite"),
        ({"predicted": np.inf}, "predicted was not finite"),
        ({"measured": []}, "measured was empty; it must be at least one value"),
        ({"tolerance": 0}, "tolerance was 0; it must be greater than 0"),
        ({"tolerance": -1.0}, "tolerance was -1.0; it must be greater than 0"),
        ({"tolerance": np.nan}, "tolerance was nan; it must be a finite number"),
        (
            {"predicted": [1.0, 0.0], "relative": True},
            "predicted was 0; it must be other than 0",
        ),
    ],
)
def test_bad_input_is_named(shown, changes, message):
    with pytest.raises(ValueError, match=message):
        record(
            **{
                "claim": CLAIM,
                "predicted": 1.0,
                "measured": 1.0,
                "tolerance": 0.1,
                **changes,
            }
        )
    assert shown == []


def test_recorded_reads_the_verdicts_back_from_executed_notebooks(build, shown):
    verdict = record(CLAIM, predicted=[1.0, 2.0], measured=[1.0, 2.25], tolerance=0.5)
    assert MIME in json.loads(json.dumps(shown[0]))
    execute(build, shown)
    assert recorded(build) == {CLAIM: [verdict]}


def test_a_full_build_fails_on_a_claim_that_no_chapter_recorded(build, shown):
    execute(build, shown, CLAIM)
    with pytest.raises(ClaimFailed, match=f"no chapter recorded the claims {OTHER}"):
        show_ledger()


def test_the_ledger_shows_every_claim_with_its_verdict_and_its_links(build, shown):
    execute(build, shown, *ledger())
    show_ledger()
    page = "\n".join(data["text/markdown"] for data in shown)
    assert page.count("**Holds**") == len(ledger())
    for claim in ledger().values():
        assert (
            f":name: claim-{claim.id}{'-some-model' * claim.about_models}\n" in page
            and claim.statement in page
            and f"[](/{claim.chapter})" in page
        )
        assert not claim.theorem or f"{{prf:ref}}`{claim.theorem}`" in page
        assert not claim.figure or f"<fig-{claim.figure}>" in page


def test_the_ledger_counts_its_claims_by_source_and_verdict(build, shown, monkeypatch):
    monkeypatch.setenv("AGENT_DYNAMICS_PROFILE", "fast")
    execute(build, shown, CLAIM, OTHER)
    show_ledger()
    paper = sum(claim.source == "paper" for claim in ledger().values())
    total = len(ledger())
    assert shown[0]["text/plain"] == (
        f"{total} claims: {paper} from the paper, {total - paper} added here; "
        f"2 hold, 0 do not hold, {total - 2} not run. "
        "A claim about language models counts once for each."
    )


def test_a_claim_that_was_not_run_says_what_it_needs(build, shown):
    execute(build, shown, *(claim.id for claim in ledger().values() if not claim.needs))
    show_ledger()
    page = "\n".join(data["text/markdown"] for data in shown)
    needing = [claim for claim in ledger().values() if claim.needs]
    assert page.count("**Not run**") == len(needing)
    for claim in needing:
        assert f"Not run: it needs {claim.needs}." in page


def test_outside_a_build_the_ledger_shows_the_claims_alone(shown):
    show_ledger()
    page = "\n".join(data["text/markdown"] for data in shown)
    assert page.count("Not run") == len(ledger())
    assert "{prf:ref}" not in page and "](/" not in page and ":::" not in page


MODELS = next(claim.id for claim in ledger().values() if claim.about_models)


def test_a_claim_about_models_is_entered_for_each_and_may_fail(build, shown):
    for model, measured in (("one", 1), ("the Other-1", 3)):
        record(MODELS, predicted=1, measured=measured, tolerance=0.1, model=model)
    assert "Does not hold of the Other-1" in shown[-1]["text/markdown"]
    execute(build, shown, CLAIM)
    (build / f"{ledger()[MODELS].chapter}.ipynb").write_text(
        (build / "01-setting.ipynb").read_text(encoding="utf-8"), encoding="utf-8"
    )
    verdicts = recorded(build)[MODELS]
    assert [(v.model, v.holds) for v in verdicts] == [
        ("one", True),
        ("the Other-1", False),
    ]
    with pytest.raises(ValueError, match="model was ''; it must be a model's name"):
        record(MODELS, predicted=1, measured=1, tolerance=0.1)
    with pytest.raises(ValueError, match="model was 'one'; it must be left out"):
        record(CLAIM, predicted=1, measured=1, tolerance=0.1, model="one")


def test_a_bound_is_shown_as_its_share(build, shown):
    verdict = record(CLAIM, measured=[1.0, 0.62], at_most=[4.0, 1.0])
    assert verdict.holds and verdict.difference == 0.62 and verdict.bounds
    assert "share of the bound 0.62, the worst of 2 values" in shown[0]["text/plain"]
    assert "Predicted 1" not in shown[0]["text/markdown"]
    with pytest.raises(ClaimFailed, match="share of the bound 1.5"):
        record(CLAIM, measured=1.5, at_most=1.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "at_most was left out"),
        ({"predicted": 1}, "at_most was left out"),
        ({"predicted": 1, "tolerance": 1, "at_most": 1}, "at_most was given"),
        ({"at_most": 0}, "at_most was 0; it must be greater than 0"),
        ({"at_most": [1, 2, 3]}, "at_most and measured was of shapes"),
    ],
)
def test_a_bound_that_is_none_is_an_error(shown, given, message):
    with pytest.raises(ValueError, match=message):
        record(CLAIM, measured=[1, 2], **given)

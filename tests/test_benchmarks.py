"""The benchmarks compare equals: each plain version computes what the package's does.
Nothing is timed here.
"""

import json
import re
from pathlib import Path

import jupytext
import numpy as np
import pytest
import torch
from benchmarks import __main__ as benchmarks
from benchmarks import equilibria, peers, simulation, training
from benchmarks.timing import goal, ratio, slope, spread

from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.interaction import interact
from agent_dynamics.lsa import LinearSelfAttention
from agent_dynamics.prompts import Prompt


def test_the_loop_and_the_turns_give_the_messages_of_interact():
    agents, start = simulation.draw(5, d=4)
    expected = interact(agents, start, 12).messages
    np.testing.assert_allclose(
        simulation.loop(agents, start, 12), expected, rtol=1e-12, atol=1e-13
    )
    torch.testing.assert_close(
        simulation.step_by_step(agents, start, 12), expected, rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("way", [peers.with_scipy, peers.with_jax])
def test_the_peers_give_the_messages_of_interact(way):
    if way is None:
        pytest.skip("JAX is not installed; make bench installs it")
    agents, start = simulation.draw(5, d=4)
    expected = interact(agents, start, 12).messages
    np.testing.assert_allclose(way(agents, start, 12), expected, rtol=1e-12, atol=1e-13)


def test_a_million_pairs_are_those_pairs_part_by_part(monkeypatch):
    monkeypatch.setattr(simulation, "AT_ONCE", 3)
    agents, start = simulation.draw(10)
    expected = interact(agents, start, simulation.TURNS).errors()[:, -1].mean(0)
    measured = simulation._million(10)["mean_errors"]
    np.testing.assert_allclose(measured, expected, rtol=1e-12)


def test_the_loops_give_the_limits_and_rates_of_the_closed_form():
    agents, _ = simulation.draw(6)
    expected = equilibrium(*agents)
    limits, rates = equilibria.complete_loop(agents)
    np.testing.assert_allclose(limits, expected.w, rtol=1e-10)
    np.testing.assert_allclose(equilibria.solve_loop(agents), expected.w, rtol=1e-10)
    np.testing.assert_allclose(rates, expected.rate, rtol=1e-10)


@pytest.mark.parametrize("context", [0, 3])
def test_the_attention_matrix_gives_the_answers_from_moments(context):
    random = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    model, prompt = LinearSelfAttention(3), Prompt(normal(4, 7, 3), normal(4, 3))
    messages = normal(4, context + 1, 3)
    with torch.no_grad():
        model.value.copy_(normal(8, 8))
        model.query.copy_(normal(8, 8))
        torch.testing.assert_close(
            training.answers(model, prompt, messages),
            model.step(prompt.gram, 7, messages),
        )


def test_summaries_of_runs():
    assert spread(np.array([3.0, 1.0, 2.0])) == {
        "median": 2.0,
        "low": 1.5,
        "high": 2.5,
        "runs": 3,
    }
    assert ratio(np.array([2.0, 9.0]), np.array([1.0, 3.0]))["median"] == 2.5
    assert slope([1, 10, 100], [2, 200, 20000]) == pytest.approx(2)
    assert goal(0.02, at_most=0.03)["met"] and not goal(199, at_least=200)["met"]


def test_a_part_measured_again_leaves_the_others_as_they_were(tmp_path, monkeypatch):
    file = tmp_path / "results.json"
    file.write_text(
        json.dumps({"sweeps": {"kept": 1}, "simulation": {"old": 2}}), encoding="utf-8"
    )
    monkeypatch.setattr(benchmarks, "ROOT", tmp_path)
    monkeypatch.setattr(benchmarks, "RESULTS", file)
    monkeypatch.setenv("AGENT_DYNAMICS_CACHE", "")  # main sets it
    monkeypatch.setattr(simulation, "run", lambda: {"goals": {}})
    benchmarks.main(["simulation"])
    results = json.loads(file.read_text(encoding="utf-8"))
    assert results["sweeps"] == {"kept": 1} and set(results["simulation"]) == {
        "goals",
        "took",
        "machine",
    }


PAGE = Path(__file__).parents[1] / "book" / "costs.md"
RESULTS = json.loads(
    (PAGE.parents[1] / "benchmarks" / "results.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("parts", [[], *([part] for part in RESULTS)])
def test_the_page_shows_what_was_measured_of_the_parts(parts, tmp_path, monkeypatch):
    file, glued = tmp_path / "results.json", {}
    file.write_text(
        json.dumps({part: RESULTS[part] for part in parts}), encoding="utf-8"
    )
    monkeypatch.setenv("AGENT_DYNAMICS_BENCH", str(file))
    monkeypatch.setattr(
        "agent_dynamics.book.glue.glue",
        lambda name, value, *spec: glued.update({name: str(value)}),
    )
    monkeypatch.setattr(
        "agent_dynamics.book.figures.save_figure", lambda *arguments, **more: None
    )
    namespace = {}
    for cell in jupytext.read(PAGE).cells:
        if cell.cell_type == "code":
            exec(cell.source, namespace)
    assert set(
        re.findall(r"{glue:text}`([^`]+)`", PAGE.read_text(encoding="utf-8"))
    ) == set(glued)
    assert (glued["costs-limit"] == "(not measured)") == ("simulation" not in parts)
    assert (glued["costs-sweep-two"] == "(not measured)") == ("sweeps" not in parts)


def test_a_ratio_below_one_is_told_as_slower(tmp_path, monkeypatch):
    monkeypatch.setenv("AGENT_DYNAMICS_BENCH", str(tmp_path / "none"))
    namespace = {}
    exec(
        next(
            cell.source
            for cell in jupytext.read(PAGE).cells
            if cell.cell_type == "code"
        ),
        namespace,
    )
    namespace["results"] = {"faster": {"median": 2.0}, "slower": {"median": 0.25}}
    assert namespace["compared"]("faster") == "2 times as fast"
    assert namespace["compared"]("slower") == "4 times as slow"


def test_every_way_in_a_table_has_a_ratio_but_the_one_compared_with(
    tmp_path, monkeypatch
):
    quartiles = {"median": 2.0, "low": 1.0, "high": 3.0}
    file = tmp_path / "results.json"
    monkeypatch.setenv("AGENT_DYNAMICS_BENCH", str(file))
    file.write_text("{}", encoding="utf-8")
    monkeypatch.setattr("agent_dynamics.book.glue.glue", lambda *arguments: None)
    namespace, tables = {}, []
    cells = [cell for cell in jupytext.read(PAGE).cells if cell.cell_type == "code"]
    exec(cells[0].source, namespace)
    names = [
        "loop",
        "scipy",
        "jax",
        "turn_by_turn",
        "complete_loop",
        "solve_loop",
        "simulation",
    ]
    measured = {f"against_{name}": quartiles for name in names}
    namespace |= {
        "table": lambda head, rows: tables.append(rows),
        "glue": lambda *arguments: None,
    }
    for part in ("simulation", "equilibria"):
        source = next(
            cell.source
            for cell in cells
            if "WAYS = {" in cell.source and f'found("{part}", "seconds"' in cell.source
        )
        ways = dict.fromkeys(
            re.findall(r'^    "([a-z ]+)": "', source.split("}")[0], re.MULTILINE),
            quartiles,
        )
        namespace["results"] = {
            part: measured | {"of_limit": quartiles, "seconds": ways}
        }
        exec(source, namespace)
        assert sum(row[-1] == "–" for row in tables[-1]) == 1

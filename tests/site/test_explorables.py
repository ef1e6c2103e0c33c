"""The explorables: their arithmetic against the package, and each in a real browser, by pointer, touch and keyboard."""

import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from agent_dynamics.agents import GradientAgent
from agent_dynamics.equilibrium import equilibrium, monotone_angle_limit, plateau_matrix, plateau_vs_angle
from agent_dynamics.helper import DampedNewtonHelper, NewtonHelper
from agent_dynamics.interaction import interact
from agent_dynamics.prompts import Prompt

pytestmark = pytest.mark.site

SCRIPTS = Path(__file__).parents[2] / "book" / "_static" / "explorables"
PAGES = {"plane": "04-misaligned", "angle": "05-angle", "helper": "07-helper"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]
CONFIGURATIONS = 250


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail("No browser: install Chromium (apt-get install chromium), or say CHROMIUM=/its/path.", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


# The arithmetic

@pytest.fixture(scope="module")
def arithmetic(browser: Browser) -> Iterator[Page]:
    tab = browser.new_page()
    tab.add_script_tag(path=SCRIPTS / "dynamics.js")
    yield tab
    tab.close()


def close(own: object, packages: torch.Tensor, scale: float | np.ndarray = 1.0) -> None:
    """Agreement to 1e-9, relative to the number or to the scale of its parts, whichever is larger."""
    own, packages = np.asarray(own, dtype=float), packages.numpy()
    assert own.shape == packages.shape
    assert (np.abs(own - packages) <= 1e-9 * np.maximum(np.abs(packages), scale)).all()


def rotation(angle: float) -> torch.Tensor:
    """Rows are the direction at this angle and the one orthogonal to it."""
    return torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64)


def geometry(angle: float, along: float, across: float) -> torch.Tensor:
    return rotation(angle).mT @ torch.diag(torch.tensor([along, across], dtype=torch.float64)) @ rotation(angle)


def agent(covariance: torch.Tensor, target: object, step: float) -> GradientAgent:
    """An agent with just this geometry: as many examples as dimensions, along the eigenvectors."""
    values, vectors = torch.linalg.eigh(covariance)
    inputs = (len(values) * values).sqrt().unsqueeze(-1) * vectors.mT
    return GradientAgent(Prompt(inputs, torch.as_tensor(target, dtype=torch.float64)), step)


def in_javascript(player: dict) -> str:
    return f"{{target: {player['target']}, step: {player['step']}, geometry: dynamics.geometry(...{player['geometry']})}}"


def pairs(count: int) -> list[dict]:
    """Random pairs in the plane: geometries of condition number 1 to 1,000, stable steps and a few unstable ones."""
    random = np.random.default_rng(6)
    drawn = []
    for index in range(count):
        players = {}
        for name in "wu":
            largest, condition = random.uniform(0.2, 4), 10 ** random.uniform(0, 3)
            if index % 10 == 0:
                condition = 1.0
            limit = 3.0 if index % 5 == 1 else 1.99
            players[name] = {"target": random.uniform(-2, 2, 2).tolist(), "step": random.uniform(0.01, limit) / largest,
                             "geometry": [random.uniform(0, math.pi), largest, largest / condition]}
        drawn.append({**players, "start": random.uniform(-2, 2, 2).tolist()})
    return drawn


def package_pair(pair: dict) -> list[GradientAgent]:
    return [agent(geometry(*pair[name]["geometry"]), pair[name]["target"], pair[name]["step"]) for name in "wu"]


def test_messages_equilibrium_and_rate_are_the_packages(arithmetic):
    settled = unstable = 0
    for pair in pairs(CONFIGURATIONS):
        agents = package_pair(pair)
        own = arithmetic.evaluate(f"""() => {{
            const [w, u] = [{in_javascript(pair['w'])}, {in_javascript(pair['u'])}];
            return {{...dynamics.equilibrium(w, u), messages: dynamics.messages(w, u, {pair['start']}, 40)}};
        }}""")
        messages = interact(agents, torch.tensor(pair["start"], dtype=torch.float64), 40).messages
        close(own["messages"], messages, max(1.0, messages.abs().max().item()))
        A, B = (each.affine()[0] for each in agents)
        rate = torch.linalg.eigvals(A @ B).abs().max()
        close(own["rate"], rate)
        if rate < 1:
            limit = equilibrium(*agents)
            for name, part in {"w": limit.w, "u": limit.u, "errorW": limit.error_w, "errorU": limit.error_u}.items():
                close(own[name], part)
            assert own["settles"]
            settled += 1
        else:
            assert not own["settles"] and own["errorW"] is None and own["w"] is None
            unstable += 1
    assert settled >= 200 and unstable >= 10


def test_no_contraction_is_no_equilibrium(arithmetic):
    # eta lambda = 2 along one direction in both, and both steps far too large.
    for first, second in ((2.0, 2.0), (5.0, 3.0)):
        own = arithmetic.evaluate(f"""() => dynamics.equilibrium(
            {{target: [0, 0], step: {first}, geometry: dynamics.geometry(0, 1, 0.3)}},
            {{target: [1, 0], step: {second}, geometry: dynamics.geometry(0, 1, 0.2)}})""")
        assert own["rate"] == pytest.approx((first - 1) * (second - 1), abs=1e-12)
        assert own["settles"] is False and own["errorU"] is None


def test_plateaus_and_the_largest_monotone_angle_are_the_packages(arithmetic):
    random = np.random.default_rng(7)
    for index in range(CONFIGURATIONS):
        kappas = [1.0, 1.0] if index % 20 == 0 else (10 ** random.uniform(0, 2, 2)).tolist()
        turn, orientation = random.uniform(0, math.pi, 2).tolist()
        angles = np.concatenate([[0.0, math.pi], random.uniform(0, math.pi, 6)])
        strengths = random.uniform(0.05, 0.95, 2).tolist()
        shapes = [[0.0, strengths[0], strengths[0] / kappas[0]], [turn, strengths[1], strengths[1] / kappas[1]]]
        agents = [agent(geometry(*shape), [0.0, 0.0], 1.0) for shape in shapes]
        own = arithmetic.evaluate(f"""() => {{
            const [P, Q] = [dynamics.geometry(...{shapes[0]}), dynamics.geometry(...{shapes[1]})];
            return [dynamics.biasMatrix(P, Q), dynamics.biasMatrix(Q, P)].map((N) => ({{
                plateaus: {angles.tolist()}.map((theta) => dynamics.plateau(N, {orientation}, theta)),
                limit: dynamics.thetaMax(dynamics.conditionNumber(N)),
            }}));
        }}""")
        plateaus = plateau_vs_angle(*agents, *rotation(orientation), torch.as_tensor(angles))
        for mine, plateau, ordered in zip(own, plateaus, (agents, agents[::-1]), strict=True):
            close(mine["plateaus"], plateau)
            assert mine["plateaus"][0] == 0
            close(mine["limit"], monotone_angle_limit(torch.linalg.cond(plateau_matrix(*ordered))))


def test_largest_monotone_angle_at_the_ends(arithmetic):
    assert arithmetic.evaluate("() => dynamics.thetaMax(dynamics.conditionNumber([0.3, 0, 0, 0.3]))") == math.pi
    assert arithmetic.evaluate("() => dynamics.thetaMax(dynamics.conditionNumber([0.3, 0, 0, 0]))") == 0


def test_errors_with_and_without_a_helper_are_the_packages(arithmetic):
    random = np.random.default_rng(8)
    for index in range(CONFIGURATIONS):
        kappa = 1.0 if index % 20 == 0 else 10 ** random.uniform(0, 4)
        damping = 0.0 if index % 10 == 1 else 10 ** random.uniform(-4, 1)
        estimate = 10 ** random.uniform(-0.7, 0.7)
        own = arithmetic.evaluate(f"""() => {{
            const spectrum = dynamics.spectrum(8, 1.75, {kappa});
            const helper = {{damping: {damping}, estimate: {estimate}}};
            return [spectrum, dynamics.mainErrors(spectrum, 0.4, 40, null), dynamics.mainErrors(spectrum, 0.4, 40, helper)];
        }}""")
        spectrum = 1.75 * torch.tensor(kappa, dtype=torch.float64) ** (torch.arange(8, dtype=torch.float64) / 7 - 1)
        close(own[0], spectrum)
        main = agent(torch.diag(spectrum), [1 / math.sqrt(8)] * 8, 0.4)
        kind, options = (DampedNewtonHelper, {"damping": damping}) if damping else (NewtonHelper, {})
        helper = kind(main.prompt.inputs, lambda prompt: GradientAgent(prompt, 0.4), main.prompt.gradient,
                      lambda w, S=estimate * torch.diag(spectrum): S, **options)
        origin = torch.zeros(8, dtype=torch.float64)
        for mine, agents in zip(own[1:], ([main], [main, helper]), strict=True):
            errors = interact(agents, origin, 40).errors()[:, 0]
            close(mine, torch.cat([torch.ones(1, dtype=torch.float64), errors]), max(1.0, errors.max().item()))

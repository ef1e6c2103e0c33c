"""The explorables: their arithmetic against the package, and each in a browser, by
mouse, touch and keyboard.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page

from agent_dynamics.agents import GradientAgent
from agent_dynamics.angle import monotone_angle_limit, plateau_matrix, plateau_vs_angle
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.helper import DampedNewtonHelper, NewtonHelper, safe_damping
from agent_dynamics.interaction import interact
from agent_dynamics.label_noise import critical_gap, error_alone, expected_error
from agent_dynamics.limits import graph_equilibrium
from agent_dynamics.prompts import Prompt, prompt_with_covariance

pytestmark = pytest.mark.site

SCRIPTS = Path(__file__).parents[2] / "book" / "_static" / "explorables"
PAGES = {
    "plane": "04-misaligned",
    "angle": "05-angle",
    "helper": "07-helper",
    "group": "09-protocols",
    "talk": "13-why-talk",
}
CONFIGURATIONS = 250


# The arithmetic


@pytest.fixture(scope="module")
def arithmetic(browser: Browser) -> Iterator[Page]:
    tab = browser.new_page()
    tab.add_script_tag(path=SCRIPTS / "dynamics.js")
    yield tab
    tab.close()


def close(own: object, packages: torch.Tensor, scale: float | np.ndarray = 1.0) -> None:
    """Agreement to 1e-9, relative to the number or to the scale of its parts, whichever
    is larger.
    """
    own, packages = np.asarray(own, dtype=float), packages.numpy()
    assert own.shape == packages.shape
    assert (np.abs(own - packages) <= 1e-9 * np.maximum(np.abs(packages), scale)).all()


def rotation(angle: float) -> torch.Tensor:
    """Rows are the direction at this angle and the one orthogonal to it."""
    return torch.tensor(
        [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]],
        dtype=torch.float64,
    )


def geometry(angle: float, along: float, across: float) -> torch.Tensor:
    return (
        rotation(angle).mT
        @ torch.diag(torch.tensor([along, across], dtype=torch.float64))
        @ rotation(angle)
    )


def agent(covariance: torch.Tensor, target: object, step: float) -> GradientAgent:
    """An agent with just this geometry: as many examples as dimensions, along the
    eigenvectors.
    """
    values, vectors = torch.linalg.eigh(covariance)
    inputs = (len(values) * values).sqrt().unsqueeze(-1) * vectors.mT
    return GradientAgent(
        Prompt(inputs, torch.as_tensor(target, dtype=torch.float64)), step
    )


def in_javascript(player: dict) -> str:
    geometry = f"dynamics.geometry(...{player['geometry']})"
    return (
        f"{{target: {player['target']}, step: {player['step']}, geometry: {geometry}}}"
    )


def pairs(count: int) -> list[dict]:
    """Random pairs in the plane: condition numbers from 1 to 1,000, stable steps and a
    few unstable ones.
    """
    random = np.random.default_rng(6)
    drawn = []
    for index in range(count):
        players = {}
        for name in "wu":
            largest, condition = random.uniform(0.2, 4), 10 ** random.uniform(0, 3)
            if index % 10 == 0:
                condition = 1.0
            limit = 3.0 if index % 5 == 1 else 1.99
            players[name] = {
                "target": random.uniform(-2, 2, 2).tolist(),
                "step": random.uniform(0.01, limit) / largest,
                "geometry": [random.uniform(0, math.pi), largest, largest / condition],
            }
        drawn.append({**players, "start": random.uniform(-2, 2, 2).tolist()})
    return drawn


def package_pair(pair: dict) -> list[GradientAgent]:
    return [
        agent(
            geometry(*pair[name]["geometry"]), pair[name]["target"], pair[name]["step"]
        )
        for name in "wu"
    ]


def test_messages_equilibrium_and_rate_are_the_packages(arithmetic):
    settled = unstable = 0
    for pair in pairs(CONFIGURATIONS):
        agents = package_pair(pair)
        own = arithmetic.evaluate(f"""() => {{
            const [w, u] = [{in_javascript(pair["w"])}, {in_javascript(pair["u"])}];
            const messages = dynamics.messages(w, u, {pair["start"]}, 40);
            return {{...dynamics.equilibrium(w, u), messages}};
        }}""")
        messages = interact(
            agents, torch.tensor(pair["start"], dtype=torch.float64), 40
        ).messages
        close(own["messages"], messages, max(1.0, messages.abs().max().item()))
        A, B = (each.affine()[0] for each in agents)
        rate = torch.linalg.eigvals(A @ B).abs().max()
        close(own["rate"], rate)
        if rate < 1:
            limit = equilibrium(*agents)
            for name, part in {
                "w": limit.w,
                "u": limit.u,
                "errorW": limit.error_w,
                "errorU": limit.error_u,
            }.items():
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
            {{target: [1, 0], step: {second},
              geometry: dynamics.geometry(0, 1, 0.2)}})""")
        assert own["rate"] == pytest.approx((first - 1) * (second - 1), abs=1e-12)
        assert own["settles"] is False and own["errorU"] is None


def test_plateaus_and_the_largest_monotone_angle_are_the_packages(arithmetic):
    random = np.random.default_rng(7)
    for index in range(CONFIGURATIONS):
        kappas = (
            [1.0, 1.0] if index % 20 == 0 else (10 ** random.uniform(0, 2, 2)).tolist()
        )
        turn, orientation = random.uniform(0, math.pi, 2).tolist()
        angles = np.concatenate([[0.0, math.pi], random.uniform(0, math.pi, 6)])
        strengths = random.uniform(0.05, 0.95, 2).tolist()
        shapes = [
            [0.0, strengths[0], strengths[0] / kappas[0]],
            [turn, strengths[1], strengths[1] / kappas[1]],
        ]
        agents = [agent(geometry(*shape), [0.0, 0.0], 1.0) for shape in shapes]
        own = arithmetic.evaluate(f"""() => {{
            const P = dynamics.geometry(...{shapes[0]});
            const Q = dynamics.geometry(...{shapes[1]});
            return [dynamics.biasMatrix(P, Q), dynamics.biasMatrix(Q, P)].map((N) => ({{
                plateaus: {angles.tolist()}.map(
                    (theta) => dynamics.plateau(N, {orientation}, theta)),
                limit: dynamics.thetaMax(dynamics.conditionNumber(N)),
                level: dynamics.levelLine(N, 0.3, 8),
            }}));
        }}""")
        plateaus = plateau_vs_angle(
            *agents, *rotation(orientation), torch.as_tensor(angles)
        )
        for mine, plateau, ordered in zip(
            own, plateaus, (agents, agents[::-1]), strict=True
        ):
            close(mine["plateaus"], plateau)
            assert mine["plateaus"][0] == 0
            close(
                mine["limit"],
                monotone_angle_limit(torch.linalg.cond(plateau_matrix(*ordered))),
            )
            level = torch.tensor(mine["level"], dtype=torch.float64)
            G = plateau_matrix(*ordered)
            constant = torch.full((8,), 0.3, dtype=torch.float64)
            close(((level @ G) * level).sum(-1), constant)


def test_largest_monotone_angle_at_the_ends(arithmetic):
    assert (
        arithmetic.evaluate(
            "() => dynamics.thetaMax(dynamics.conditionNumber([0.3, 0, 0, 0.3]))"
        )
        == math.pi
    )
    assert (
        arithmetic.evaluate(
            "() => dynamics.thetaMax(dynamics.conditionNumber([0.3, 0, 0, 0]))"
        )
        == 0
    )


def helped(
    kappa: float, damping: float, estimate: float
) -> tuple[torch.Tensor, GradientAgent, NewtonHelper]:
    """A spectrum, the main agent that has it, and a helper that takes it for `estimate`
    times as large.
    """
    spectrum = 1.75 * torch.tensor(kappa, dtype=torch.float64) ** (
        torch.arange(8, dtype=torch.float64) / 7 - 1
    )
    main = agent(torch.diag(spectrum), [1 / math.sqrt(8)] * 8, 0.4)
    kind, options = (
        (DampedNewtonHelper, {"damping": damping}) if damping else (NewtonHelper, {})
    )
    helper = kind(
        main.prompt.inputs,
        lambda prompt: GradientAgent(prompt, 0.4),
        main.prompt.gradient,
        lambda w: estimate * torch.diag(spectrum),
        **options,
    )
    return spectrum, main, helper


def test_errors_with_and_without_a_helper_are_the_packages(arithmetic):
    random = np.random.default_rng(8)
    for index in range(CONFIGURATIONS):
        kappa = 1.0 if index % 20 == 0 else 10 ** random.uniform(0, 4)
        damping = 0.0 if index % 10 == 1 else 10 ** random.uniform(-4, 1)
        estimate = 10 ** random.uniform(-0.7, 0.7)
        own = arithmetic.evaluate(f"""() => {{
            const spectrum = dynamics.spectrum(8, 1.75, {kappa});
            const helper = {{damping: {damping}, estimate: {estimate}}};
            const errors = [null, helper].map(
                (company) => dynamics.mainErrors(spectrum, 0.4, 40, company));
            const safe = dynamics.safeDamping(spectrum, {estimate});
            return [spectrum, ...errors, [safe]];
        }}""")
        spectrum, main, helper = helped(kappa, damping, estimate)
        close(own[0], spectrum)
        truth = torch.diag(spectrum)
        close(own[3], safe_damping(main, estimate * truth)[None])
        origin = torch.zeros(8, dtype=torch.float64)
        for mine, agents in zip(own[1:3], ([main], [main, helper]), strict=True):
            errors = interact(agents, origin, 40).errors()[:, 0]
            close(
                mine,
                torch.cat([torch.ones(1, dtype=torch.float64), errors]),
                max(1.0, errors.max().item()),
            )


GRAPHS = ("ring", "path", "star", "all")


def listeners(graph: str, count: int) -> torch.Tensor:
    """Who hears whom, from the words of chapter 9."""
    places = torch.arange(count)
    apart = (places[:, None] - places).abs()
    links = {
        "ring": (apart == 1) | (apart == count - 1),
        "path": apart == 1,
        "star": (apart > 0) & ((places[:, None] == 0) | (places == 0)),
        "all": apart > 0,
    }[graph].to(torch.float64)
    return links / links.sum(-1, keepdim=True)


def voices(kept: list[float], targets: list[float]) -> list[GradientAgent]:
    """Agents in one dimension by the part of their error that they keep."""
    one = torch.ones(1, 1, dtype=torch.float64)
    return [
        GradientAgent(Prompt(one, torch.tensor([t], dtype=torch.float64)), 1 - a)
        for a, t in zip(kept, targets, strict=True)
    ]


def test_graphs_and_where_their_agents_rest_are_the_packages(arithmetic):
    random = np.random.default_rng(9)
    for index in range(CONFIGURATIONS):
        graph, count = GRAPHS[index % 4], int(random.integers(3, 9))
        kept = random.uniform(0, 0.95, count).tolist()
        targets = random.uniform(-2, 2, count).tolist()
        own = arithmetic.evaluate(f"""() => {{
            const weights = dynamics.listeners("{graph}", {count});
            const played = (rounds) => {{
                let messages = {targets}.map(() => 0);
                for (let t = 0; t < rounds; t++)
                    messages = dynamics.round(weights, {kept}, {targets}, messages);
                return messages;
            }};
            return [dynamics.graphLimit(weights, {kept}, {targets}), played(900)];
        }}""")
        limit = graph_equilibrium(voices(kept, targets), listeners(graph, count))
        for mine in own:
            close(mine, limit.messages.squeeze(-1))


def noisy_pair(
    kept: list[float], noises: list[float], gap: float
) -> tuple[list[GradientAgent], list[float]]:
    """The agents of the still figure: 10 examples in the plane with S = 2.5 I."""
    generator = torch.Generator().manual_seed(13)
    S = 2.5 * torch.eye(2, dtype=torch.float64)
    pair = [
        GradientAgent(
            prompt_with_covariance(
                S, torch.tensor(t, dtype=torch.float64), 10, generator=generator
            ),
            (1 - a) / 2.5,
        )
        for a, t in zip(kept, ([0.0, 0.0], [gap, 0.0]), strict=True)
    ]
    return pair, noises


def test_errors_after_talking_and_the_critical_gap_are_the_packages(arithmetic):
    random = np.random.default_rng(10)
    for index in range(CONFIGURATIONS):
        kept = random.uniform(0.05, 0.95, 2).tolist()
        noises = random.uniform(0, 4, 2).tolist()
        if index % 5 == 0:
            kept[1], noises[1] = kept[0], noises[0]
        gap = random.uniform(0, 3)
        pair, (own, other) = noisy_pair(kept, noises, gap)
        V = [
            error_alone(one.prompt, noise)
            for one, noise in zip(pair, noises, strict=True)
        ]
        mine = arithmetic.evaluate(f"""() => {{
            const k = dynamics.listening({kept[0]}, {kept[1]});
            const V = {[v.item() for v in V]};
            const critical = dynamics.criticalGap(k, ...V);
            return [dynamics.talkError(k, ...V, {gap}), critical,
                dynamics.talkError(k, ...V, critical)];
        }}""")
        close(mine[0], expected_error(*pair, own, other))
        if index % 5 == 0:
            close(mine[1], critical_gap(pair[0], own))
        if mine[1] > 0:
            close(mine[2], V[0])


# The pages


@pytest.fixture(
    scope="module",
    params=[("light", 1280), ("dark", 390)],
    ids=["light-desk", "dark-phone"],
)
def screen(request) -> dict:
    theme, width = request.param
    return {
        "viewport": {"width": width, "height": 900},
        "color_scheme": theme,
        "has_touch": width < 600,
    }


@pytest.fixture(scope="module")
def open_page(browser: Browser, address: str, screen: dict) -> Iterator:
    """Opens the page of an explorable, or goes back to it; with options, in a context
    of its own.
    """
    tabs, errors = {}, []

    def open_(name: str, **options) -> Page:
        key = (name, *options.items())
        if key not in tabs:
            context = browser.new_context(**{**screen, **options})
            tabs[key] = tab = context.new_page()
            tab.on("pageerror", lambda error: errors.append(str(error)))
            tab.on(
                "console",
                lambda message: message.type == "error" and errors.append(message.text),
            )
            tab.goto(f"{address}/{PAGES[name]}.html")
        if options.get("java_script_enabled", True):
            reset = tabs[key].locator(f"#explorable-{name} .reset")
            reset.scroll_into_view_if_needed()
            reset.click()
        return tabs[key]

    yield open_
    for tab in tabs.values():
        tab.context.close()
    assert errors == []


def shown(tab: Page, label: str) -> str:
    """A number by the words above it."""
    return (
        tab.locator(".explorable .numbers div", has_text=label)
        .locator("dd")
        .inner_text()
        .replace("\n", "")
    )


def number(text: str) -> float:
    return float(text.split()[0].replace("−", "-").rstrip("°"))


def slide(tab: Page, name: str, position: float) -> None:
    tab.locator(f"#explorable-{name}").fill(str(position))


def verdict(tab: Page) -> str:
    return tab.locator(".explorable .verdict").inner_text()


def state(tab: Page) -> str:
    return tab.locator(".explorable .frame").evaluate(
        "e => e.querySelector('.numbers').innerText + "
        "[...e.querySelectorAll('input')].map(i => i.value)"
        " + [...e.querySelectorAll('.handle')].map(h => "
        "h.getAttribute('aria-valuetext'))"
    )


def drag(tab: Page, handle: str, right: float, down: float, grip: int = 0) -> None:
    """By mouse, or by one finger where the screen has touch."""
    box = tab.locator(f"#explorable-{handle} .grip").nth(grip).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    steps = [(x + right * k / 5, y + down * k / 5) for k in range(6)]
    if tab.evaluate("navigator.maxTouchPoints"):
        finger = tab.context.new_cdp_session(tab)
        for kind, (a, b) in zip(["touchStart"] + ["touchMove"] * 5, steps, strict=True):
            finger.send(
                "Input.dispatchTouchEvent",
                {"type": kind, "touchPoints": [{"x": a, "y": b}]},
            )
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    else:
        tab.mouse.move(x, y)
        tab.mouse.down()
        for a, b in steps[1:]:
            tab.mouse.move(a, b)
        tab.mouse.up()


def figure_data(site: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(site.parent / "source" / "figures" / f"{name}.npz") as stored:
        return dict(stored)


START = {
    "w": {"target": [-1.0, 0.5], "geometry": [math.radians(70), 1.8, 0.4], "step": 0.4},
    "u": {"target": [1.0, 0.5], "geometry": [math.radians(-35), 1.6, 0.4], "step": 0.4},
}


def assert_plane_shows(tab: Page, pair: dict) -> None:
    limit = equilibrium(*package_pair(pair))
    for label, value in {
        "W’s error": limit.error_w.norm(),
        "U’s error": limit.error_u.norm(),
        "contraction": limit.rate,
    }.items():
        assert number(shown(tab, label)) == pytest.approx(value.item(), abs=6e-4)
    for label, point in {"W rests": limit.w, "U rests": limit.u}.items():
        coordinates = [
            number(part) for part in shown(tab, label).strip("()").split(", ")
        ]
        assert coordinates == pytest.approx(point.tolist(), abs=6e-3)


def place(tab: Page, handle: str) -> list[float]:
    """Where a handle says that it is."""
    return [
        number(part)
        for part in tab.locator(f"#explorable-{handle}")
        .get_attribute("aria-valuetext")
        .split(", ")
    ]


@pytest.mark.parametrize("name", PAGES)
def test_explorable_takes_the_place_of_the_still_figure_which_stays_in_a_fold(
    open_page, name, screen
):
    tab = open_page(name)
    fold = tab.locator("details.still")
    assert not fold.locator("figure").is_visible()
    fold.locator("summary").click()
    assert (
        fold.locator("figcaption").first.is_visible()
        and fold.locator("a[href*=_downloads]").count() == 2
    )
    fold.locator("summary").click()
    assert tab.locator("html").get_attribute("data-theme") == screen["color_scheme"]
    assert (
        tab.evaluate("document.documentElement.scrollWidth")
        <= screen["viewport"]["width"]
    )
    wide = tab.locator(".explorable .frame *").evaluate_all(
        "all => all.filter(e => !(e instanceof SVGElement) && !e.closest('.summary')"
        " && e.scrollWidth > e.clientWidth + 1"
        " && getComputedStyle(e).display !== 'inline').map(e => e.outerHTML.slice(0, "
        "80))"
    )
    assert wide == []


@pytest.mark.parametrize("name", PAGES)
def test_without_scripts_the_still_figure_stands_there_and_nothing_of_the_explorable(
    open_page, name
):
    tab = open_page(name, java_script_enabled=False)
    place = tab.locator(f"#explorable-{name}")
    assert not place.is_visible()
    figure = tab.locator(f"#{place.get_attribute('data-figure')}")
    assert (
        figure.locator("img.theme-light").is_visible()
        and figure.locator("figcaption").first.is_visible()
    )


def test_scripts_are_on_the_pages_that_have_an_explorable_and_on_no_other(site):
    for page in site.glob("*.html"):
        loaded = re.findall(
            r'src="_static/explorables/(\w+)\.js', page.read_text(encoding="utf-8")
        )
        name = {stem: name for name, stem in PAGES.items()}.get(page.stem)
        assert loaded == (["dynamics", "widgets", name] if name else [])


@pytest.mark.parametrize("name", PAGES)
def test_explorable_works_from_the_file_system(browser, site, name):
    tab = browser.new_page()
    tab.goto((site / f"{PAGES[name]}.html").as_uri())
    tab.locator(f"#explorable-{name} .frame").wait_for()
    assert verdict(tab) == "Not reached yet"
    tab.close()


@pytest.mark.parametrize("name", PAGES)
def test_reset_restores_the_start(open_page, name):
    tab = open_page(name)
    before = state(tab)
    for control in tab.locator(".explorable input").all():
        control.press("ArrowRight")
        control.press("ArrowUp")
        control.press("ArrowLeft")
        control.press("ArrowLeft")
        control.press("ArrowLeft")
    for handle in tab.locator(".explorable .handle").all():
        handle.press("ArrowRight")
        handle.press("Shift+ArrowUp")
    assert state(tab) != before
    tab.locator(".explorable .reset").click()
    assert state(tab) == before


@pytest.mark.parametrize("name", PAGES)
def test_every_control_has_a_name_and_says_its_value(open_page, name):
    tab = open_page(name)
    for control in tab.locator(".explorable input, .explorable .handle").all():
        own = control.evaluate(
            "e => [e.labels ? e.labels[0].innerText : e.getAttribute('aria-label'),"
            " e.getAttribute('aria-valuetext'), e.tabIndex]"
        )
        assert own[0].strip() and own[1].strip() and own[2] == 0
        control.focus()
        assert control.evaluate("e => e === document.activeElement")


def test_a_screen_reader_hears_one_summary_after_the_hand_rests(open_page):
    tab = open_page("plane")
    tab.evaluate("""() => {
        window.said = [];
        const summary = document.querySelector('.explorable [role=status]');
        new MutationObserver(() => said.push(summary.textContent))
                .observe(summary, {childList: true});
    }""")
    for _ in range(10):
        tab.locator("#explorable-plane-step-w").press("ArrowRight")
    tab.wait_for_function("said.length > 0")
    (said,) = tab.evaluate("said")
    assert shown(tab, "W’s error") in said and "Goal not reached" in said


@pytest.mark.parametrize("name", PAGES)
def test_nothing_moves_by_itself(open_page, name):
    tab = open_page(name)
    tab.emulate_media(reduced_motion="reduce")
    before = state(tab)
    tab.wait_for_timeout(400)
    assert state(tab) == before
    assert not tab.locator(".explorable .play").is_visible()
    assert (
        tab.locator(".explorable").evaluate(
            "e => e.getAnimations({subtree: true}).length"
        )
        == 0
    )
    tab.emulate_media(reduced_motion="no-preference")


# Two agents in the plane


def test_plane_starts_with_the_numbers_of_the_still_figure(open_page, site):
    tab, data = open_page("plane"), figure_data(site, "04-plane")
    assert_plane_shows(tab, START)
    errors = np.linalg.norm(data["limits"] - data["targets"], axis=-1)
    assert [
        number(shown(tab, label)) for label in ("W’s error", "U’s error")
    ] == pytest.approx(errors.tolist(), abs=6e-4)
    assert place(tab, "plane-start") == pytest.approx(data["messages"][0].tolist())


def test_plane_follows_a_dragged_target(open_page):
    tab = open_page("plane")
    top = tab.evaluate("scrollY")
    drag(tab, "plane-target-u", -30, 40)
    assert tab.evaluate("scrollY") == top
    target = place(tab, "plane-target-u")
    assert target[0] < 0.95 and target[1] < 0.45
    limit = equilibrium(*package_pair({**START, "u": {**START["u"], "target": target}}))
    assert number(shown(tab, "W’s error")) == pytest.approx(
        limit.error_w.norm().item(), abs=0.01
    )
    assert number(shown(tab, "gap")) == pytest.approx(
        math.dist(target, [-1, 0.5]), abs=0.01
    )


def test_plane_follows_a_dragged_axis(open_page):
    tab = open_page("plane")
    drag(tab, "plane-axis-w-2", -15, 25)
    words = tab.locator("#explorable-plane-axis-w-2").get_attribute("aria-valuetext")
    eigenvalue, degrees = map(float, re.findall(r"[\d.]+", words))
    assert words != "eigenvalue 0.40, direction 160 degrees"
    limit = equilibrium(
        *package_pair(
            {
                **START,
                "w": {
                    **START["w"],
                    "geometry": [math.radians(degrees - 90), 1.8, eigenvalue],
                },
            }
        )
    )
    assert number(shown(tab, "W’s error")) == pytest.approx(
        limit.error_w.norm().item(), abs=0.02
    )


def test_plane_by_keyboard(open_page):
    tab = open_page("plane")
    for keys in ("ArrowLeft", "ArrowDown", "Shift+ArrowLeft", "Shift+ArrowUp"):
        tab.locator("#explorable-plane-target-u").press(keys)
    tab.locator("#explorable-plane-axis-u-1").press("ArrowRight")
    tab.locator("#explorable-plane-axis-u-1").press("Shift+ArrowUp")
    tab.locator("#explorable-plane-step-w").press("ArrowRight")
    assert place(tab, "plane-target-u") == [0.7, 0.7]
    assert_plane_shows(
        tab,
        {
            "w": {**START["w"], "step": 0.42},
            "u": {
                "target": [0.7, 0.7],
                "geometry": [math.radians(-38), 1.85, 0.4],
                "step": 0.4,
            },
        },
    )


def test_plane_goal_is_reached_by_a_winner_with_the_eigenvalue_one_over_its_step(
    open_page,
):
    tab = open_page("plane")
    slide(tab, "plane-step-w", 1)
    for keys in ["Shift+ArrowUp"] * 2 + ["ArrowUp"] * 2:
        tab.locator("#explorable-plane-axis-w-2").press(keys)
    for _ in range(16):
        tab.locator("#explorable-plane-axis-w-1").press("ArrowDown")
    assert_plane_shows(
        tab,
        {
            "w": {**START["w"], "geometry": [math.radians(70), 1.0, 1.0], "step": 1.0},
            "u": START["u"],
        },
    )
    assert number(shown(tab, "W’s error")) == 0
    assert verdict(tab).endswith("Reached")
    tab.locator(".explorable .reset").click()
    assert verdict(tab) == "Not reached yet"


def test_plane_says_that_it_is_unstable_and_shows_no_equilibrium(open_page):
    tab = open_page("plane")
    slide(tab, "plane-step-w", 2)
    warning = tab.locator(".explorable .warning")
    assert warning.is_visible() and "there is no equilibrium" in warning.inner_text()
    assert number(shown(tab, "contraction")) > 1
    assert [shown(tab, label) for label in ("W’s error", "U’s error", "W rests")] == [
        "–"
    ] * 3
    assert not tab.locator(".explorable .rest").first.is_visible()
    assert (
        "NaN" not in tab.locator(".explorable").inner_html()
        and "Infinity" not in tab.locator(".explorable").inner_html()
    )
    slide(tab, "plane-step-w", 0.4)
    assert not warning.is_visible()


def test_plane_without_a_gap_has_nothing_to_win(open_page):
    tab = open_page("plane")
    for _ in range(8):
        tab.locator("#explorable-plane-target-u").press("Shift+ArrowLeft")
    assert number(shown(tab, "gap")) == 0
    assert verdict(tab) == "Not reached yet"
    assert "NaN" not in tab.locator(".explorable").inner_html()


def test_plane_plays_the_exchange_when_asked(open_page):
    tab = open_page("plane")
    tab.locator(".explorable .play").click()
    tab.wait_for_function(
        "['2', '3', "
        "'4'].includes(document.querySelector('#explorable-plane-turns').value)"
    )
    tab.locator(".explorable .play").click()
    paused = tab.locator("#explorable-plane-turns").input_value()
    tab.wait_for_timeout(400)
    assert tab.locator("#explorable-plane-turns").input_value() == paused


# The angle


def assert_angle_shows(
    tab: Page,
    theta: float,
    orientation: float,
    kappas: tuple[float, float],
    turn: float,
) -> None:
    agents = [
        agent(
            geometry(math.radians(angle), strength, strength / kappa), [0.0, 0.0], 1.0
        )
        for angle, strength, kappa in ((0, 0.5, kappas[0]), (turn, 0.3, kappas[1]))
    ]
    angle = torch.tensor([math.radians(theta)], dtype=torch.float64)
    plateaus = plateau_vs_angle(*agents, *rotation(math.radians(orientation)), angle)
    for name, plateau, ordered in zip(
        "WU", plateaus, (agents, agents[::-1]), strict=True
    ):
        limit = monotone_angle_limit(torch.linalg.cond(plateau_matrix(*ordered)))
        assert number(shown(tab, f"{name}’s plateau")) == pytest.approx(
            plateau.item(), abs=6e-5
        )
        assert number(shown(tab, f"θmax of {name}")) == pytest.approx(
            math.degrees(limit), abs=0.06
        )


def test_angle_starts_as_the_still_figure(open_page, site):
    tab, data = open_page("angle"), figure_data(site, "05-plane")
    assert_angle_shows(tab, 60, 50, (10**0.6, 10**0.6), 40)
    assert number(shown(tab, "W’s plateau")) == pytest.approx(
        data["w"][0, 60], abs=6e-5
    )
    assert number(shown(tab, "θmax of U")) == pytest.approx(
        math.degrees(data["limits"][1]), abs=0.06
    )


def test_angle_follows_its_sliders_to_both_ends(open_page):
    tab = open_page("angle")
    for theta, orientation, positions, turn in (
        (180, 0, (2, 1.2), 90),
        (0, 180, (0, 0), 0),
        (117, 23, (0.4, 1.9), 71),
    ):
        for name, value in zip(
            ("theta", "orientation", "kappa-w", "kappa-u", "turn"),
            (theta, orientation, *positions, turn),
            strict=True,
        ):
            slide(tab, f"angle-{name}", value)
        assert_angle_shows(
            tab, theta, orientation, tuple(10**p for p in positions), turn
        )
        assert "NaN" not in tab.locator(".explorable").inner_html()


def test_angle_follows_a_dragged_target_and_the_keyboard(open_page):
    tab = open_page("angle")
    drag(tab, "angle-target-u", -30, 30)
    theta = number(
        tab.locator("#explorable-angle-target-u").get_attribute("aria-valuetext")
    )
    assert theta > 65 and tab.locator("#explorable-angle-theta").input_value() == str(
        int(theta)
    )
    tab.locator("#explorable-angle-target-w").press("Shift+ArrowRight")
    tab.locator("#explorable-angle-target-w").press("ArrowDown")
    assert_angle_shows(tab, theta, 64, (10**0.6, 10**0.6), 40)


def test_angle_goal_is_reached_where_the_plateau_has_fallen(open_page):
    tab = open_page("angle")
    slide(tab, "angle-orientation", 150)
    assert verdict(tab) == "Not reached yet"
    slide(tab, "angle-theta", 170)
    assert verdict(tab).endswith("Reached")
    tab.locator(".explorable .reset").click()
    assert verdict(tab) == "Not reached yet"


# The helper


def assert_helper_shows(
    tab: Page, kappa: float, damping: float, estimate: float, turns: int
) -> None:
    _spectrum, main, helper = helped(kappa, damping, estimate)
    for label, agents in (
        ("error alone", [main]),
        ("error with the helper", [main, helper]),
    ):
        error = (
            interact(agents, torch.zeros(8, dtype=torch.float64), turns)
            .errors()[-1, 0]
            .item()
        )
        text = shown(tab, label)
        if error < 1e-15:
            assert text == "below 10−15"
        else:
            digits, power = re.fullmatch(r"([\d.]+) × 10(−?\d+)", text).groups()
            assert float(f"{digits}e{power.replace('−', '-')}") == pytest.approx(
                error, rel=0.06
            )


def test_helper_starts_and_follows_its_sliders(open_page):
    tab = open_page("helper")
    assert_helper_shows(tab, 100, 0.01, 1, 60)
    for kappa, damping, estimate, turns in (
        (0, -3, 0, 5),
        (4, 1, 0.7, 200),
        (2.5, -1.5, -0.7, 40),
        (3, -4.05, 0, 12),
    ):
        for name, value in zip(
            ("kappa", "damping", "estimate", "turns"),
            (kappa, damping, estimate, turns),
            strict=True,
        ):
            slide(tab, f"helper-{name}", value)
        assert_helper_shows(
            tab, 10**kappa, 10**damping if damping > -4 else 0.0, 10**estimate, turns
        )
        spectrum, main, _helper = helped(10**kappa, 0.0, 10**estimate)
        safe = safe_damping(main, 10**estimate * torch.diag(spectrum)).item()
        assert float(shown(tab, "surely safe")) == pytest.approx(safe, abs=6e-4)
        assert "NaN" not in tab.locator(".explorable").inner_html()


def test_helper_that_overshoots_is_said_to_be_unstable(open_page):
    tab = open_page("helper")
    slide(tab, "helper-estimate", -0.5)
    slide(tab, "helper-damping", -4.05)
    assert tab.locator(".explorable .warning").is_visible()
    assert shown(tab, "10−6, helped") == "never"
    assert (
        "NaN" not in tab.locator(".explorable").inner_html()
        and "Infinity" not in tab.locator(".explorable").inner_html()
    )


def test_helper_goal_is_reached_between_too_little_damping_and_too_much(open_page):
    tab = open_page("helper")  # at a condition number of 100
    slide(tab, "helper-estimate", -0.4)
    for damping, reached in ((-2.0, False), (-1.2, True), (-0.5, False)):
        slide(tab, "helper-damping", damping)
        assert verdict(tab).endswith("Reached") == reached


# A lone voice in a group


def test_group_starts_with_the_numbers_of_the_still_figure(open_page, site):
    tab, data = open_page("group"), figure_data(site, "09-voices")
    lone = graph_equilibrium(voices([0.5] * 5, [1, 0, 0, 0, 0]), listeners("ring", 5))
    assert number(shown(tab, "lone voice")) == pytest.approx(
        lone.messages[0].item(), abs=6e-4
    )
    # The figure has twelve rounds, each of which at least halves what is left.
    assert number(shown(tab, "mean")) == pytest.approx(
        data["ring"][-1].mean(), abs=1e-3
    )


def test_group_shows_each_graphs_limit(open_page):
    tab = open_page("group")
    for position, graph in enumerate(GRAPHS):
        slide(tab, "group-graph", position)
        slide(tab, "group-count", 6)
        slide(tab, "group-one", 0.3)
        slide(tab, "group-others", 0.8)
        agents = voices([0.3] + [0.8] * 5, [1] + [0] * 5)
        rest = graph_equilibrium(agents, listeners(graph, 6)).messages.squeeze(-1)
        assert number(shown(tab, "lone voice")) == pytest.approx(
            rest[0].item(), abs=6e-4
        )
        others = [float(part) for part in shown(tab, "the others rest").split(" to ")]
        assert [others[0], others[-1]] == pytest.approx(
            [rest[1:].min().item(), rest[1:].max().item()], abs=6e-4
        )
        apart = rest.max() - rest.min()
        assert number(shown(tab, "furthest")) == pytest.approx(apart.item(), abs=6e-4)


def test_group_follows_a_stubborn_hub_and_no_other_place(open_page):
    tab = open_page("group")
    slide(tab, "group-one", 0)
    for position, graph in enumerate(GRAPHS):
        slide(tab, "group-graph", position)
        reached = verdict(tab).endswith("Reached")
        assert reached == (graph == "star")


# Why talk at all


def assert_talk_shows(
    tab: Page, kept: list[float], noises: list[float], gap: float
) -> None:
    pair, _ = noisy_pair(kept, noises, gap)
    for order, name in ((1, "W"), (-1, "U")):
        agents, sigmas = pair[::order], noises[::order]
        alone = error_alone(agents[0].prompt, sigmas[0])
        after = expected_error(*agents, *sigmas)
        assert number(shown(tab, f"{name}’s error alone")) == pytest.approx(
            alone.item(), abs=6e-4
        )
        assert number(shown(tab, f"{name}’s after")) == pytest.approx(
            after.item(), abs=6e-4
        )


def test_talk_starts_as_the_lower_part_of_the_still_figure(open_page, site):
    tab, data = open_page("talk"), figure_data(site, "13-two-estimates")
    assert_talk_shows(tab, [0.6, 0.6], [2.0, 2.0], 1.8)
    # The figure has the mean over its conversations: within five standard errors.
    for label, key in (("W’s error alone", "far_alone"), ("W’s after", "far_talked")):
        measured = (data[key] ** 2).sum(-1).mean()
        assert number(shown(tab, label)) == pytest.approx(
            measured, rel=5 / math.sqrt(len(data[key]))
        )


def test_talk_follows_its_sliders_and_says_the_critical_gap(open_page):
    tab = open_page("talk")
    for name, position in (("kept-w", 0.45), ("kept-u", 0.8), ("noise-w", 3)):
        slide(tab, f"talk-{name}", position)
    slide(tab, "talk-gap", 0.7)
    assert_talk_shows(tab, [0.45, 0.8], [3.0, 2.0], 0.7)
    tab.locator(".explorable .reset").click()
    pair, _ = noisy_pair([0.6, 0.6], [2.0, 2.0], 1.8)
    assert number(shown(tab, "W gains")) == pytest.approx(
        critical_gap(pair[0], 2.0).item(), abs=6e-4
    )


def test_talk_follows_the_dragged_target(open_page):
    tab = open_page("talk")
    tab.locator("#explorable-talk-target-u").scroll_into_view_if_needed()
    drag(tab, "talk-target-u", -40, 0)
    gap = float(tab.locator("#explorable-talk-gap").input_value())
    assert 0.3 < gap < 1.75
    assert_talk_shows(tab, [0.6, 0.6], [2.0, 2.0], gap)


def test_talk_helps_the_agent_with_the_worse_data_alone(open_page):
    tab = open_page("talk")
    slide(tab, "talk-gap", 0.5)
    slide(tab, "talk-noise-u", 0.5)
    assert verdict(tab).endswith("Reached")
    slide(tab, "talk-noise-u", 4)
    assert verdict(tab) == "Not reached yet"
    slide(tab, "talk-noise-u", 0.5)
    slide(tab, "talk-kept-u", 0.65)  # the same question for equal steps only
    assert verdict(tab) == "Not reached yet"

"""Diagnosis: labels of constructed pairs, maps and targets where the messages tell
them, and what they hide.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent_dynamics.agents import GradientAgent
from agent_dynamics.diagnosis import LABELS, diagnose
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.interaction import Trajectory, interact
from agent_dynamics.prompts import (
    Prompt,
    prompt_with_covariance,
    random_covariance,
    target_pair,
)

D, ETA, PAIRS = 4, 0.4, 40
CLASSES = [label for label in LABELS if label != "undetermined"]

seeds = st.integers(0, 2**31)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def agent(covariance: torch.Tensor, target: torch.Tensor) -> GradientAgent:
    prompt = prompt_with_covariance(
        covariance,
        target,
        covariance.shape[-1],
        generator=torch.Generator().manual_seed(0),
    )
    return GradientAgent(prompt, ETA)


def geometry(seed: int, stiffest: float = 0.9, d: int = D) -> torch.Tensor:
    return random_covariance(
        d,
        5.0,
        largest=stiffest / ETA,
        shape=(PAIRS,),
        generator=torch.Generator().manual_seed(seed),
    )


def with_eigenvalue(
    covariance: torch.Tensor, direction: torch.Tensor, value: float
) -> torch.Tensor:
    """The covariance with `direction` made an eigenvector of that eigenvalue."""
    q = torch.nn.functional.normalize(direction, dim=-1).unsqueeze(-1)
    off = torch.eye(direction.shape[-1], dtype=q.dtype) - q @ q.mT
    s = off @ covariance @ off + value * q @ q.mT
    return (s + s.mT) / 2


def pair(label: str, seed: int = 0) -> list[GradientAgent]:
    """PAIRS pairs of gradient agents with that signature."""
    w, u = target_pair(
        D, 1.0, generator=torch.Generator().manual_seed(seed), shape=(PAIRS,)
    )
    s_w, s_u = geometry(seed + 1), geometry(seed + 2)

    def attack(victim: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
        return with_eigenvalue(
            covariance, (victim @ (u - w).unsqueeze(-1)).squeeze(-1), 1 / ETA
        )

    match label:
        case "aligned":
            u = w
        case "one-sided w":
            s_w = attack(s_u, s_w)
        case "one-sided u":
            s_u = attack(s_w, s_u)
        case "oscillating":
            s_w, s_u = (with_eigenvalue(s, u - w, 1 / ETA) for s in (s_w, s_u))
        case "unstable":
            s_w, s_u = geometry(seed + 1, 2.3), geometry(seed + 2, 0.2)
    return [agent(s_w, w), agent(s_u, u)]


def observed(trajectory: Trajectory, noise: float, seed: int) -> Trajectory:
    """The trajectory as seen through noise that the agents never receive."""
    errors = noise * normal(*trajectory.messages.shape, seed=seed)
    return Trajectory(trajectory.messages + errors, trajectory.targets)


class NoisyChannel:
    """An agent whose replies reach the other agent with noise."""

    def __init__(self, sender: GradientAgent, noise: float, seed: int) -> None:
        self.sender, self.noise, self.target = sender, noise, sender.target
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, message: torch.Tensor) -> torch.Tensor:
        reply = self.sender(message)
        return reply + self.noise * torch.randn(
            reply.shape, generator=self.generator, dtype=reply.dtype
        )


@pytest.mark.parametrize("noise", [None, 0.0])
@pytest.mark.parametrize("label", CLASSES)
def test_each_signature_is_told_from_exact_messages(label, noise):
    trajectory = interact(pair(label), normal(PAIRS, D, seed=9), turns=100)
    assert (diagnose(trajectory, noise).label == label).all()


@pytest.mark.parametrize("label", CLASSES)
def test_single_precision_gives_no_wrong_label(label):
    single = [
        GradientAgent(Prompt(x.prompt.inputs.float(), x.target.float()), ETA)
        for x in pair(label)
    ]
    found = diagnose(
        interact(single, normal(PAIRS, D, seed=9).float(), turns=60), 0.0
    ).label
    assert np.isin(found, [label, "undetermined"]).all()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("where", ["observed", "in the loop"])
@pytest.mark.parametrize("label", CLASSES)
def test_each_signature_is_told_through_light_noise_and_never_another_one(
    label, where, known
):
    noise, agents, start = 1e-4, pair(label), normal(PAIRS, D, seed=9)
    if where == "observed":
        trajectory = observed(interact(agents, start, turns=100), noise, seed=10)
    else:
        trajectory = interact(
            [NoisyChannel(a, noise, seed) for seed, a in enumerate(agents)],
            start,
            turns=100,
        )
    diagnosis = diagnose(trajectory, noise if known else None)
    assert np.isin(diagnosis.label, [label, "undetermined"]).all()
    assert (diagnosis.label == label).mean() >= 0.9
    # Noise that is only observed stands on both sides of a fitted map, and is estimated
    # up to sqrt(2) too high.
    assert ((diagnosis.noise > 0.9 * noise) & (diagnosis.noise < 1.6 * noise)).all()


def test_a_target_is_reported_through_noise_only_where_it_is_close():
    agents = pair("misaligned")
    trajectory = interact(agents, normal(PAIRS, D, seed=9), turns=100)
    for noise, share in ((1e-10, 1), (1e-4, None), (1e-2, 0)):
        diagnosis = diagnose(observed(trajectory, noise, seed=10), noise)
        for fitted, target in zip(
            (diagnosis.map_w, diagnosis.map_u), trajectory.targets, strict=True
        ):
            reported = ~fitted.target.isnan().any(-1)
            assert share is None or (reported == share).all()
            off = torch.linalg.vector_norm(fitted.target - target, dim=-1)[reported]
            assert (
                off <= 0.05 * torch.linalg.vector_norm(target, dim=-1)[reported]
            ).all()


@pytest.mark.parametrize("label", [label for label in CLASSES if label != "unstable"])
def test_heavy_noise_leaves_a_stable_pair_undetermined(label):
    trajectory = observed(
        interact(pair(label), normal(PAIRS, D, seed=9), turns=100), 1.0, seed=10
    )
    assert (diagnose(trajectory, 1.0).label == "undetermined").all()


@given(
    seed=seeds,
    d=st.integers(1, 4),
    turns=st.integers(2, 40),
    largest=st.floats(0.3, 1.8),
)
def test_fitted_maps_answer_every_message_sent_as_the_agents_did(
    seed, d, turns, largest
):
    g = torch.Generator().manual_seed(seed)
    agents = [
        agent(
            random_covariance(
                d, 3.0 if d > 1 else 1.0, largest=largest / ETA, generator=g
            ),
            torch.randn(d, generator=g, dtype=torch.float64),
        )
        for _ in "wu"
    ]
    trajectory = interact(agents, 3 * normal(d, seed=seed + 1), turns)
    diagnosis = diagnose(trajectory, 0.0)
    for i, fitted in enumerate((diagnosis.map_w, diagnosis.map_u)):
        sent, replies = trajectory.messages[i:-1:2], trajectory.messages[i + 1 :: 2]
        torch.testing.assert_close(
            sent @ fitted.matrix.mT + fitted.offset, replies, rtol=0, atol=1e-11
        )
        assert fitted.rank <= min(d, turns - 1)
        assert fitted.rank == d or fitted.target.isnan().all()


def test_well_explored_maps_targets_limits_and_rates_are_exact():
    agents = pair("misaligned")
    diagnosis = diagnose(interact(agents, normal(PAIRS, D, seed=9), turns=100))
    limit = equilibrium(*agents)
    for fitted, truth in zip((diagnosis.map_w, diagnosis.map_u), agents, strict=True):
        assert (fitted.rank == D).all()
        matrix, offset = truth.affine()
        found = (fitted.matrix, fitted.offset, fitted.target)
        for measured, expected in zip(
            found, (matrix, offset, truth.target), strict=True
        ):
            torch.testing.assert_close(measured, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(diagnosis.rate, limit.rate, rtol=0, atol=1e-10)
    torch.testing.assert_close(diagnosis.w, limit.w, rtol=0, atol=1e-13)
    torch.testing.assert_close(diagnosis.u, limit.u, rtol=0, atol=1e-13)


def test_the_limit_is_extrapolated_long_before_the_exchange_settles():
    agents = pair("misaligned")
    trajectory = interact(agents, normal(PAIRS, D, seed=9), turns=D + 1)
    limit = equilibrium(*agents)
    diagnosis = diagnose(trajectory, 0.0)
    assert (
        torch.linalg.vector_norm(trajectory.by_agent(0)[:, -1] - limit.w, dim=-1).max()
        > 1e-2
    )
    torch.testing.assert_close(diagnosis.w, limit.w, rtol=0, atol=1e-7)
    assert (diagnosis.label == "misaligned").all()


@pytest.mark.parametrize(("turns", "noise"), [(1, 0.0), (2, None), (D + 1, None)])
def test_too_few_turns_leave_a_pair_undetermined(turns, noise):
    trajectory = interact(pair("misaligned"), normal(PAIRS, D, seed=9), turns=turns)
    assert (diagnose(trajectory, noise).label == "undetermined").all()


@given(seed=seeds, d=st.integers(1, 6))
def test_the_persistent_move_carries_both_residuals_and_shows_them_along_itself(
    seed, d
):
    g = torch.Generator().manual_seed(seed)
    agents = [
        agent(
            random_covariance(d, 3.0 if d > 1 else 1.0, largest=0.9 / ETA, generator=g),
            torch.randn(d, generator=g, dtype=torch.float64),
        )
        for _ in "wu"
    ]
    limit = equilibrium(*agents)
    (A, _), (B, _) = (a.affine() for a in agents)
    move = limit.u - limit.w
    torch.testing.assert_close(
        agents[0](limit.w) - limit.w, -A @ move, rtol=0, atol=1e-11
    )
    torch.testing.assert_close(
        agents[1](limit.u) - limit.u, B @ move, rtol=0, atol=1e-11
    )
    trajectory = interact(agents, normal(d, seed=seed + 1), turns=6)
    w, u = trajectory.by_agent(0), trajectory.by_agent(1)
    torch.testing.assert_close(
        (w[1:] - limit.w) @ move, (u[:-1] - limit.u) @ (A @ move), rtol=0, atol=1e-11
    )
    torch.testing.assert_close(
        (u - limit.u) @ move, (w - limit.w) @ (B @ move), rtol=0, atol=1e-11
    )


@given(seed=seeds, compatible=st.booleans())
def test_the_persistent_move_vanishes_exactly_where_one_message_satisfies_both(
    seed, compatible
):
    g = torch.Generator().manual_seed(seed)
    s_w, s_u = (
        random_covariance(5, 2.0, rank=3, largest=0.9 / ETA, generator=g) for _ in "wu"
    )
    w = torch.randn(5, generator=g, dtype=torch.float64)
    kernels = torch.cat(
        [torch.linalg.eigh(s).eigenvectors[:, :2] for s in (s_w, s_u)], dim=-1
    )
    gap = kernels @ torch.randn(4, generator=g, dtype=torch.float64)
    if not compatible:  # along the one direction off both kernels' sum
        gap = gap + torch.linalg.svd(kernels).U[:, -1]
    agents = [agent(s_w, w), agent(s_u, w + gap)]
    limit = equilibrium(*agents)
    assert (
        torch.linalg.vector_norm(limit.u - limit.w) < 1e-9 / (1 - limit.rate)
    ) == compatible
    if limit.rate < 0.95:
        label = diagnose(
            interact(agents, 3 * normal(5, seed=seed + 1), turns=700)
        ).label
        assert label == ("aligned" if compatible else "misaligned")


def test_a_blind_loser_sends_the_messages_of_an_aligned_agent():
    w, u = target_pair(
        D, 1.0, generator=torch.Generator().manual_seed(0), shape=(PAIRS,)
    )
    s_w, s_u = geometry(1), with_eigenvalue(geometry(2), u - w, 0.0)
    start = normal(PAIRS, D, seed=9)
    one_sided, aligned = (
        interact([agent(s_w, w), agent(s_u, t)], start, turns=100) for t in (u, w)
    )
    torch.testing.assert_close(one_sided.messages, aligned.messages, rtol=0, atol=1e-13)
    assert (diagnose(one_sided).label == "aligned").all()
    # The fixed point of least norm: the blind agent's target off the gap.
    q = torch.nn.functional.normalize(u - w, dim=-1)
    target = u - (u * q).sum(-1, keepdim=True) * q
    torch.testing.assert_close(
        diagnose(one_sided).map_u.target, target, rtol=0, atol=1e-8
    )


@given(seed=seeds, stiffness=st.floats(0.1, 0.9), push=st.floats(0.1, 2))
def test_a_winner_along_an_eigenvector_of_the_loser_looks_oscillating(
    seed, stiffness, push
):
    w, q = (
        normal(PAIRS, D, seed=seed),
        torch.nn.functional.normalize(normal(PAIRS, D, seed=seed + 1), dim=-1),
    )
    winner = agent(with_eigenvalue(geometry(seed), q, 1 / ETA), w)
    losers = [
        agent(with_eigenvalue(geometry(seed + 1), q, s / ETA), w + push / s * q)
        for s in (stiffness, 1.0)
    ]
    start = normal(PAIRS, D, seed=seed + 2)
    one_sided, oscillating = (
        interact([winner, loser], start, turns=60) for loser in losers
    )
    torch.testing.assert_close(
        one_sided.messages, oscillating.messages, rtol=0, atol=1e-11
    )
    assert (diagnose(one_sided).label == "oscillating").mean() > 0.9
    # Nothing but rounding leaves the hyperplane in which the winner's messages lie.
    along = ((one_sided.by_agent(0) - w.unsqueeze(1)) * q.unsqueeze(1)).sum(-1)
    assert along.abs().max() < 1e-12


def test_a_winner_by_attack_hides_the_losers_map_along_the_push():
    diagnosis = diagnose(
        interact(pair("one-sided w"), normal(PAIRS, D, seed=9), turns=100)
    )
    assert (diagnosis.map_w.rank == D).all()
    assert (diagnosis.map_u.rank < D).all()
    assert diagnosis.map_u.target.isnan().all()


def test_targets_of_the_trajectory_are_not_read_and_batches_are_diagnosed_one_by_one():
    trajectory = interact(pair("misaligned"), normal(PAIRS, D, seed=9), turns=30)
    hidden = Trajectory(
        trajectory.messages.reshape(2, PAIRS // 2, 61, D),
        (torch.full((D,), math.nan),) * 2,
    )
    batch = diagnose(hidden)
    assert batch.label.shape == batch.rate.shape == (2, PAIRS // 2)
    single = diagnose(Trajectory(trajectory.messages[-1], trajectory.targets))
    assert single.label == batch.label[-1, -1]
    torch.testing.assert_close(
        single.map_u.offset, batch.map_u.offset[-1, -1], rtol=0, atol=1e-11
    )


@pytest.mark.parametrize(
    ("messages", "agents", "noise", "message"),
    [
        (
            torch.zeros(5, 2),
            3,
            None,
            "trajectory was of 3 agents; it must be of two agents",
        ),
        (torch.full((5, 2), math.inf), 2, None, "trajectory.messages was not finite"),
        (torch.zeros(5, 2), 2, -0.1, "noise was -0.1; it must be at least 0"),
        (torch.zeros(5, 2), 2, math.nan, "noise was nan; it must be a finite number"),
    ],
)
def test_bad_input_is_named(messages, agents, noise, message):
    with pytest.raises(ValueError, match=message):
        diagnose(Trajectory(messages, (torch.zeros(2),) * agents), noise)

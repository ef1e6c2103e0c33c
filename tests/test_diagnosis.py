"""Diagnosis: labels of constructed pairs, maps and targets where the messages tell
them, and what they hide.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent_dynamics.agents import GradientAgent
from agent_dynamics.diagnosis import LABELS, _Fit, diagnose
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
        case "two-sided":
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
def test_a_winner_along_an_eigenvector_of_the_loser_looks_two_sided(
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
    one_sided, two_sided = (
        interact([winner, loser], start, turns=60) for loser in losers
    )
    torch.testing.assert_close(
        one_sided.messages, two_sided.messages, rtol=0, atol=1e-11
    )
    assert (diagnose(one_sided).label == "two-sided").mean() > 0.9
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


@given(seed=seeds, steps=st.integers(2, 6), scale=st.floats(0.1, 10))
def test_steps_and_scales_leave_no_trace_in_the_messages(seed, steps, scale):
    """Several steps look like one on another prompt, a step like its reciprocal."""
    w, u = normal(2, PAIRS, D, seed=seed)
    many = GradientAgent(agent(geometry(seed + 1, 1.8), w).prompt, ETA, steps)
    away = torch.eye(D, dtype=torch.float64) - ETA * many.prompt.covariance
    seen = torch.eye(D, dtype=torch.float64) - torch.linalg.matrix_power(away, steps)
    prompt = prompt_with_covariance(
        scale * (seen + seen.mT) / 2, w, D, generator=torch.Generator().manual_seed(1)
    )
    once, other = GradientAgent(prompt, 1 / scale), agent(geometry(seed + 2), u)
    start = normal(PAIRS, D, seed=seed + 3)
    one, two = (interact([w, other], start, turns=20).messages for w in (many, once))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-11)


def commuting(a: list[float], b: list[float], seed: int) -> list[GradientAgent]:
    """Agents with these eigenvalues of their maps, in one random frame."""
    frame = torch.linalg.qr(normal(D, D, seed=seed)).Q
    return [
        agent(
            frame @ torch.diag((1 - torch.tensor(x).double()) / ETA) @ frame.mT,
            normal(D, seed=seed + i),
        )
        for i, x in enumerate((a, b))
    ]


def explored(messages: torch.Tensor) -> int:
    """The dimension of the flat through the messages."""
    return int(torch.linalg.matrix_rank(messages - messages[:1], atol=1e-9))


@given(
    seed=seeds,
    spectrum=st.sampled_from(
        [
            ([0.9, 0.7, 0.5, 0.3], [0.2, 0.4, 0.6, 0.8], 4, 4),
            ([0.9, 0.7, 0.5, 0.3], [0.7, 0.9, 0.6, 0.8], 3, 3),  # one product twice
            ([0.5] * 4, [0.4] * 4, 1, 1),  # isotropic
            ([0.9, 0.6, 0.3, 0.0], [0.2, 0.4, 0.5, 0.8], 4, 3),  # W hides a direction
        ]
    ),
)
def test_maps_are_determined_after_d_plus_1_rounds_where_the_start_is_cyclic(
    seed, spectrum
):
    *eigenvalues, rank_w, rank_u = spectrum
    agents = commuting(*eigenvalues, seed)
    trajectory = interact(agents, 3 * normal(D, seed=seed + 5), turns=30)
    heard_w, heard_u = trajectory.messages[:-1:2], trajectory.by_agent(0)
    for rounds in (1, 2, 3, 4, 5, 6, 30):
        assert explored(heard_w[:rounds]) == min(rounds - 1, rank_w)
        assert explored(heard_u[:rounds]) == min(rounds - 1, rank_u)


@given(seed=seeds, more=st.floats(0.05, 0.3))
def test_another_gradient_agent_sends_the_same_where_no_message_varies(seed, more):
    """Off the flat of what it was sent an agent can be another, and nobody sees it."""
    w, u = commuting([0.9, 0.7, 0.5, 0.3], [0.7, 0.9, 0.6, 0.8], seed)
    trajectory = interact([w, u], normal(D, seed=seed + 5), turns=60)
    heard = trajectory.messages[:-1:2]
    q = torch.linalg.svd(heard - heard[:1]).Vh[-1]
    assert ((heard - heard[:1]) @ q).abs().max() < 1e-12
    s = w.prompt.covariance + more / ETA * torch.outer(q, q)
    pull = w.prompt.covariance @ w.target + more / ETA * q * (q @ heard[0])
    other = agent((s + s.mT) / 2, torch.linalg.solve(s, pull))
    again = interact([other, u], normal(D, seed=seed + 5), turns=60)
    torch.testing.assert_close(again.messages, trajectory.messages, rtol=0, atol=1e-10)
    assert (other.target - w.target).norm() > 1e-3 * more * (heard[0] - w.target) @ q


def test_aligned_agents_with_a_shared_blind_direction_have_flat_errors_and_agree():
    w, _ = target_pair(
        D, 1.0, generator=torch.Generator().manual_seed(0), shape=(PAIRS,)
    )
    blind = normal(PAIRS, D, seed=3)
    agents = [agent(with_eigenvalue(geometry(i), blind, 0.0), w) for i in (1, 2)]
    start = normal(PAIRS, D, seed=9)
    trajectory = interact(agents, start, turns=200)
    q = torch.nn.functional.normalize(blind, dim=-1)
    kept = ((start - w) * q).sum(-1).abs()
    torch.testing.assert_close(
        trajectory.errors()[:, -1],
        kept[:, None].expand(-1, 2),
        rtol=0,
        atol=1e-8,
    )
    assert (diagnose(trajectory).label == "aligned").all()


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


def noisy(label: str, noise: float, turns: int, where: str = "in the loop"):
    """Messages of PAIRS pairs of that signature, with noise."""
    agents, start = pair(label), normal(PAIRS, D, seed=9)
    if where == "observed":
        return observed(interact(agents, start, turns), noise, seed=10)
    channels = [NoisyChannel(a, noise, seed) for seed, a in enumerate(agents)]
    return interact(channels, start, turns)


@pytest.mark.parametrize("turns", [D + 2, D + 3, D + 4, 12, 30])
def test_the_estimated_noise_has_the_mean_square_of_the_noise_between_the_agents(turns):
    estimate = diagnose(noisy("misaligned", 1e-3, turns)).noise
    # So many squares are left over by the fits of two maps and their offsets.
    squares = PAIRS * 2 * D * (turns - D - 1)
    ratio = (estimate / 1e-3).square().mean().item()
    assert abs(ratio - 1) < 4 * math.sqrt(2 / squares)


def test_with_fewer_turns_than_a_fit_leaves_over_all_that_varies_may_be_noise():
    for size in (1e-3, 1.0, 1e3):
        messages = (
            size
            * interact(
                pair("misaligned"), normal(PAIRS, D, seed=9), turns=D + 2
            ).messages
        )
        targets = (torch.zeros(D),) * 2
        varies = diagnose(Trajectory(messages[:, :-2], targets)).noise
        expected = torch.tensor([m.flatten().std() for m in messages[:, :-2]])
        torch.testing.assert_close(varies, expected, rtol=1e-6, atol=0)
        enough = diagnose(Trajectory(messages, targets)).noise
        assert (enough < 1e-12 * size).all()


@pytest.mark.parametrize(
    ("dtype", "share"), [(torch.float64, 1e-14), (torch.float32, 5e-6)]
)
def test_even_exact_messages_carry_the_rounding_of_the_largest(dtype, share):
    messages = interact(pair("misaligned"), normal(PAIRS, D, seed=9), 60).messages
    for size in (1e-3, 1.0, 1e3):
        exact = Trajectory((size * messages).to(dtype), (torch.zeros(D),) * 2)
        largest = size * messages.abs().amax((-2, -1))
        for noise in (0.0, 0.1 * size):
            found = (diagnose(exact, noise).noise - noise) / largest
            assert (found > 0.8 * share - 1e-15).all()
            assert (found < 1.25 * share + 1e-15).all()
        estimate = diagnose(exact).noise / largest
        assert ((estimate > 0.8 * share) & (estimate < 1.5 * share)).all()


# Of pairs that are diagnosed through known noise, the least and the largest share told.
POWER = [
    ("aligned", 3e-2, 0.6, 0.95),
    ("aligned", 1e-1, 0, 0),
    ("misaligned", 3e-3, 0.75, 1),
    ("misaligned", 1e-2, 0.25, 0.65),
    ("misaligned", 1e-1, 0, 0),
    ("one-sided w", 1e-3, 0.9, 1),
    ("one-sided w", 3e-3, 0.35, 0.75),
    ("one-sided w", 1e-2, 0, 0),
    ("one-sided u", 1e-3, 0.9, 1),
    ("one-sided u", 3e-3, 0.2, 0.55),
    ("one-sided u", 1e-2, 0, 0),
    ("two-sided", 1e-3, 0.85, 1),
    ("two-sided", 3e-3, 0.2, 0.55),
    ("two-sided", 1e-2, 0, 0),
    ("unstable", 1e-1, 0.9, 1),
]


@pytest.mark.parametrize("where", ["observed", "in the loop"])
@pytest.mark.parametrize(("label", "noise", "least", "most"), POWER)
def test_labels_give_way_to_undetermined_as_noise_grows_and_not_to_others(
    label, noise, least, most, where
):
    found = diagnose(noisy(label, noise, 100, where), noise).label
    assert least <= (found == label).mean() <= most
    assert np.isin(found, [label, "undetermined"]).all()


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_a_pair_at_rest_is_aligned_where_its_messages_meet_within_a_twentieth(size):
    w, u = target_pair(
        D, 1.0, size, generator=torch.Generator().manual_seed(0), shape=(PAIRS,)
    )
    for noise, label in ((0.018, "aligned"), (0.03, "undetermined")):
        for target in (w, 0 * w):  # at the target, and on the way to another
            agents = [agent(geometry(seed), target) for seed in (1, 2)]
            run = observed(interact(agents, w, turns=100), size * noise, seed=10)
            found = diagnose(run, size * noise).label
            assert np.isin(found, [label, "undetermined"]).all()
            assert (found == label).mean() > 0.5
            assert target is not w or (found == label).all()
    # Where nothing moves, of targets that differ nothing is seen.
    agents = [agent(geometry(seed), t) for seed, t in ((1, w), (2, u))]
    rest = interact(agents, equilibrium(*agents).u, turns=100)
    found = diagnose(observed(rest, 1e-3 * size, seed=10), 1e-3 * size)
    assert (found.label == "undetermined").all()


def test_a_pair_at_the_fixed_point_of_unstable_maps_is_not_called_unstable():
    w, _ = target_pair(
        D, 1.0, generator=torch.Generator().manual_seed(0), shape=(PAIRS,)
    )
    agents = [agent(geometry(1, 2.3), w), agent(geometry(2, 0.2), w)]
    rest = Trajectory(w.unsqueeze(1).expand(PAIRS, 201, D), (w, w))
    assert (diagnose(observed(rest, 1e-2, seed=10), 1e-2).label == "aligned").all()
    away = interact(agents, w + 1e-2, turns=60)
    assert (diagnose(away, 1e-6).label == "unstable").all()


@pytest.mark.parametrize("share", [3e-8, 3e-7, 1e-3])
def test_an_agent_that_moves_a_message_by_a_ten_millionth_is_not_blind(share):
    w, u = normal(PAIRS, D, seed=0), normal(PAIRS, D, seed=1)
    q = torch.nn.functional.normalize(normal(PAIRS, D, seed=2), dim=-1)
    agents = [
        agent(geometry(1), w),
        agent(with_eigenvalue(geometry(2), q, share / ETA), u),
    ]
    run = interact(agents, normal(PAIRS, D, seed=9), turns=200)
    found, sent = diagnose(run), run.messages[:, 1::2]
    seen = u if share > 1e-7 else u - (u * q).sum(-1, keepdim=True) * q
    torch.testing.assert_close(found.map_w.target, w, rtol=0, atol=1e-7)
    # What rounding leaves of the map, and so of a target that it moves towards slowly.
    spread = torch.linalg.svdvals(sent - sent[:, -50:].mean(1, keepdim=True))[:, -1]
    rounding = torch.finfo(spread.dtype).eps * run.messages.abs().amax((1, 2)) / spread
    off = torch.linalg.vector_norm(found.map_u.target - seen, dim=-1)
    assert (off <= (32 * rounding / share if share > 1e-7 else 1e-7)).all()
    assert (32 * rounding / share).max() < 0.1


def replies(size, *, sent=0.0, received=0.0, turns=60, agents=300):
    """Fits of stable agents' replies to random messages of that size, with noise on the
    messages sent or received, and the agents' matrices.
    """
    turned = torch.linalg.qr(normal(agents, D, D, seed=0)).Q
    A = turned * normal(agents, 1, D, seed=1).sigmoid() @ turned.mT
    messages = size * normal(agents, turns, D, seed=2)
    answers = messages @ A.mT + received * normal(agents, turns, D, seed=3)
    return (
        _Fit(messages + sent * normal(agents, turns, D, seed=4), answers),
        A,
    )


@pytest.mark.parametrize("turns", [2, 5, 8, 41])
def test_a_fit_is_least_squares_from_the_means_of_the_last_half(turns):
    fit, _ = replies(1.0, received=0.5, turns=turns, agents=5)
    last = math.ceil(turns / 2)
    assert fit.tail == last
    sent = normal(5, turns, D, seed=2)
    assert torch.equal(fit.mean_in, sent[:, turns - last :].mean(1))
    rest = fit.replies[:, turns - last :]
    torch.testing.assert_close(
        rest.mean(1), torch.zeros(5, D).double(), atol=1e-14, rtol=0
    )
    torch.testing.assert_close(fit.wander, rest.square().sum((1, 2)).sqrt())
    fit.keep(torch.zeros(5, dtype=torch.float64))
    for i in range(5):
        x, y = (sent[i] - fit.mean_in[i]).numpy(), fit.replies[i].numpy()
        matrix, _, rank, _ = np.linalg.lstsq(x, y)
        assert fit.rank[i] == rank == min(turns - 1, D)
        np.testing.assert_allclose(fit.matrix[i].T, matrix, rtol=0, atol=1e-11)
        left = np.square(y - x @ matrix).sum()
        assert fit.unexplained()[i].item() == pytest.approx(left, rel=1e-9, abs=1e-20)


@pytest.mark.parametrize("turns", [40, 100])
@pytest.mark.parametrize("d", [1, 4, 16])
def test_directions_that_vary_twice_as_much_as_noise_would_are_kept(d, turns):
    # Noise alone hardly ever has a singular value above sqrt(turns) + sqrt(d).
    sigma = 0.3
    noise = _Fit(
        sigma * normal(200, turns, d, seed=0), normal(200, turns, d, seed=1)
    ).keep(torch.full((200,), sigma, dtype=torch.float64))
    assert (noise.rank == 0).all() and (noise.matrix == 0).all()
    reach = sigma * (math.sqrt(turns) + math.sqrt(d))
    assert (noise.values[:, 0] < 1.5 * reach).all()
    frame = torch.zeros(turns, d, dtype=torch.float64)
    frame[: turns // 2] = torch.linalg.qr(normal(turns // 2, d, seed=2)).Q
    for factor, rank in ((1.95, 0), (2.05, d)):
        fit = _Fit(factor * reach * frame, frame)
        assert fit.keep(torch.tensor(sigma, dtype=torch.float64)).rank == rank


@pytest.mark.parametrize("noise", [{"received": 1.0}, {"sent": 1.0}, {}])
@pytest.mark.parametrize("size", [0.5, 3.0, 5.0, 10.0, 100.0])
def test_a_fitted_map_is_off_by_no_more_than_is_said_and_by_not_much_less(size, noise):
    noise = noise or {"received": 1.0, "sent": 1.0}
    fit, A = replies(size, **noise)
    fit.keep(torch.ones(len(A), dtype=torch.float64))
    v = normal(len(A), D, seed=5)
    off = torch.linalg.vector_norm(
        ((fit.matrix - A) @ v.unsqueeze(-1)).squeeze(-1), dim=-1
    )
    said = fit.error(v)
    assert (off <= said).double().mean() >= 0.99
    assert said.median() <= 7 * off.median()
    # As far as the messages never went, nothing is known of the map.
    blind = _Fit(torch.ones(1, 9, D).double(), normal(1, 9, D, seed=6)).keep(
        torch.ones(1, dtype=torch.float64)
    )
    torch.testing.assert_close(blind.error(v[:1]), v[:1].norm(dim=-1))


def test_replies_that_do_not_change_along_a_direction_are_told_from_those_that_do():
    turns, sigma, n = 100, 0.1, 200
    q = torch.nn.functional.normalize(normal(n, D, seed=0), dim=-1)
    frame = torch.linalg.qr(normal(turns, D + 1, seed=1)).Q
    for slip in (0.0, 0.05):
        # Directions that are off by `slip` may carry as much of the other replies.
        for value, moved, changes, stays in (
            (300.0, 0.0, False, slip == 0),
            (150.0, 0.0, False, False),
            (300.0, 6.0, False, slip == 0),
            (300.0, 16.0, slip == 0, False),
            (300.0, 40.0, True, False),
        ):
            sent = value * sigma * frame[:, :D].expand(n, turns, D)
            share = moved / value
            A = 0.5 * (torch.eye(D).double() - q.unsqueeze(-1) * q.unsqueeze(-2))
            A = A + share * q.unsqueeze(-1) * q.unsqueeze(-2)
            fit = _Fit(sent, sent @ A.mT + sigma * normal(n, turns, D, seed=2))
            fit.keep(torch.full((n,), sigma, dtype=torch.float64))
            found = fit.along(q, torch.full((n,), slip, dtype=torch.float64))
            for told, expected in zip(found, (changes, stays), strict=True):
                share_told = told.double().mean().item()
                assert share_told >= 0.98 if expected else share_told <= 0.02, (
                    slip,
                    value,
                    moved,
                    share_told,
                )


def test_what_was_found_is_kept_as_it_was_and_equals_itself_alone():
    run = interact(pair("aligned"), normal(PAIRS, D, seed=9), turns=9)
    found = [diagnose(run) for _ in range(2)]
    for one, other in (found, [each.map_u for each in found]):
        for field in dataclasses.fields(one):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(one, field.name, None)
        assert one == one and one != other and len({one, other, one}) == 2


@pytest.mark.parametrize(
    ("messages", "agents", "noise", "message"),
    [
        (
            torch.zeros(5, 2),
            3,
            None,
            "trajectory was of 3 agents; it must be of two agents",
        ),
        (torch.zeros(5, 2), 1, None, "trajectory was of 1 agents; .* of two agents"),
        (torch.full((5, 2), math.inf), 2, None, "trajectory.messages was not finite"),
        (torch.zeros(5, 2), 2, -0.1, "noise was -0.1; it must be at least 0"),
        (torch.zeros(5, 2), 2, math.nan, "noise was nan; it must be a finite number"),
    ],
)
def test_bad_input_is_named(messages, agents, noise, message):
    with pytest.raises(ValueError, match=message):
        diagnose(Trajectory(messages, (torch.zeros(2),) * agents), noise)

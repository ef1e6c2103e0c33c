"""One-sided convergence: the condition, the one-query attack that meets it, and how it
degrades.
"""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent_dynamics.adversary import (
    OneSided,
    attack_prompt,
    one_sided,
    query_attack_direction,
)
from agent_dynamics.agents import GradientAgent
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.interaction import interact
from agent_dynamics.prompts import Prompt, prompt_with_covariance, random_covariance

ETA = 0.4

seeds, dimensions = st.integers(0, 2**31), st.integers(2, 6)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def apply(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def agent(covariance: torch.Tensor, target: torch.Tensor, seed: int) -> GradientAgent:
    prompt = prompt_with_covariance(
        covariance, target, target.shape[-1] + 3, generator=generator(seed)
    )
    return GradientAgent(prompt, ETA)


def random_agent(
    d: int, kappa: float, seed: int, rank: int | None = None
) -> GradientAgent:
    """A batch of three."""
    covariance = random_covariance(
        d, kappa, generator=generator(seed), rank=rank, largest=4.0, shape=(3,)
    )
    return agent(covariance, normal(3, d, seed=seed + 1), seed + 2)


@given(seed=seeds, d=dimensions, kappa=st.floats(1, 50))
def test_one_query_finds_the_white_box_direction_and_the_attack_reaches_its_target(
    seed, d, kappa
):
    victim, target = random_agent(d, kappa, seed), normal(3, d, seed=seed + 3)
    gap = victim.target - target
    q = query_attack_direction(victim, target)
    torch.testing.assert_close(
        q,
        torch.nn.functional.normalize(apply(victim.prompt.covariance, gap), dim=-1),
        rtol=0,
        atol=1e-13,
    )
    attacker = GradientAgent(
        attack_prompt(q, ETA, target, d + 2, elsewhere=1.0, generator=generator(seed)),
        ETA,
    )
    limit = equilibrium(attacker, victim)
    B, _ = victim.affine()
    torch.testing.assert_close(limit.error_w, torch.zeros_like(gap), rtol=0, atol=1e-12)
    torch.testing.assert_close(limit.error_u, -apply(B, gap), rtol=0, atol=1e-12)
    assert (one_sided(attacker, victim).winner() == "w").all()
    assert (one_sided(victim, attacker).winner() == "u").all()


@given(seed=seeds, d=dimensions)
def test_a_victim_blind_to_the_gap_keeps_all_of_it(seed, d):
    victim = random_agent(d, 1.0, seed, rank=1)
    seen = victim.prompt.covariance @ normal(3, d, 1, seed=seed)
    gap = normal(3, d, seed=seed + 4)
    seen = torch.nn.functional.normalize(seen.squeeze(-1), dim=-1)
    gap = gap - (gap * seen).sum(-1, keepdim=True) * seen
    winner = agent(
        random_covariance(d, 3.0, generator=generator(seed), shape=(3,)),
        victim.target - gap,
        seed,
    )
    limit = equilibrium(winner, victim)
    torch.testing.assert_close(limit.error_w, torch.zeros_like(gap), rtol=0, atol=1e-11)
    torch.testing.assert_close(limit.error_u, -gap, rtol=0, atol=1e-11)
    assert (one_sided(winner, victim).winner(1e-10) == "w").all()
    with pytest.raises(ValueError, match="victim was unmoved by the target"):
        query_attack_direction(victim, winner.target)


@given(seed=seeds, d=dimensions, kappa=st.floats(1, 50))
def test_an_agent_reaches_its_target_if_and_only_if_it_misses_by_nothing(
    seed, d, kappa
):
    one, other = random_agent(d, kappa, seed), random_agent(d, kappa, seed + 10)
    (A, _), (B, _) = one.affine(), other.affine()
    identity = torch.eye(d, dtype=torch.float64)
    gap = other.target - one.target
    limit, misses = equilibrium(one, other), one_sided(one, other)
    for miss, error, own, others in (
        (misses.miss_w, limit.error_w, A, B),
        (misses.miss_u, limit.error_u, B, A),
    ):
        size = torch.linalg.vector_norm(apply(own @ (identity - others), gap), dim=-1)
        torch.testing.assert_close(
            miss, size / torch.linalg.vector_norm(gap, dim=-1), rtol=1e-9, atol=1e-13
        )
        # I - A B is invertible, so the error is zero exactly where the miss is.
        torch.testing.assert_close(
            torch.linalg.vector_norm(apply(identity - own @ others, error), dim=-1),
            size,
            rtol=1e-9,
            atol=1e-12,
        )


def test_a_sampled_attack_prompt_forgets_the_direction_up_to_the_predicted_scatter():
    d, n, draws, elsewhere = 4, 30, 20_000, 1.5
    q = torch.nn.functional.normalize(normal(d, seed=0), dim=-1)
    along = torch.outer(q, q)
    across = torch.eye(d, dtype=torch.float64) - along
    root = along / math.sqrt(ETA) + across * math.sqrt(elsewhere)
    A, _ = GradientAgent(
        Prompt(normal(draws, n, d, seed=1) @ root, torch.zeros(d)), ETA
    ).affine()
    forgotten = A @ q
    predicted = (2 * along + ETA * elsewhere * across) / n
    # Five standard errors of a mean, and of a second moment of a variable that is
    # nearly normal.
    largest = predicted.diagonal().amax()
    torch.testing.assert_close(
        forgotten.mean(0),
        torch.zeros_like(q),
        rtol=0,
        atol=5 * math.sqrt(largest / draws),
    )
    torch.testing.assert_close(
        forgotten.mT @ forgotten / draws,
        predicted,
        rtol=0,
        atol=5 * largest.item() * math.sqrt(2 / draws),
    )


def test_a_redrawing_victim_leaves_the_attacker_the_predicted_mean_error():
    d, draws, turns, elsewhere, spectrum = (
        3,
        4000,
        40,
        0.75,
        torch.tensor([0.2, 0.6, 1.8]),
    )
    w, u = normal(d, seed=0), normal(d, seed=1)
    prompt = attack_prompt(
        normal(d, seed=2), ETA, w, d, elsewhere=elsewhere, generator=generator(3)
    )
    attacker, across = (
        GradientAgent(prompt, ETA),
        GradientAgent(prompt, ETA).affine()[0] / (1 - ETA * elsewhere),
    )

    class Redrawing:
        target, random = u, generator(4)

        def __call__(self, message):
            rotation, _ = torch.linalg.qr(
                torch.randn(draws, d, d, generator=self.random, dtype=torch.float64)
            )
            return message - ETA * apply(
                rotation * spectrum.unsqueeze(-2) @ rotation.mT, message - u
            )

    errors = interact([attacker, Redrawing()], w, turns).by_agent(0)[:, -1] - w
    a, b = 1 - ETA * elsewhere, 1 - ETA * spectrum.mean().item()
    scatter = errors.std(0).amax().item() / math.sqrt(draws)
    torch.testing.assert_close(
        errors.mean(0),
        a * (1 - b) / (1 - a * b) * across @ (u - w),
        rtol=0,
        atol=4 * scatter,
    )
    assert scatter < 0.005


def test_winner_names_each_element_of_a_batch():
    step_one_shot, blind, slow = 1 / ETA, 0.0, 0.5
    gap = torch.tensor([1.0, 0.0], dtype=torch.float64)

    def along_the_gap(eigenvalues: list[float], target: torch.Tensor) -> GradientAgent:
        first = torch.tensor(eigenvalues, dtype=torch.float64)
        return agent(
            torch.diag_embed(torch.stack([first, torch.ones_like(first)], dim=-1)),
            target,
            seed=0,
        )

    w = along_the_gap([slow, step_one_shot, slow, step_one_shot], torch.zeros(2))
    u = along_the_gap([slow, slow, step_one_shot, step_one_shot], gap)
    assert one_sided(w, u).winner().tolist() == ["neither", "w", "u", "both"]
    assert one_sided(w, along_the_gap([blind] * 4, gap)).winner().tolist() == ["w"] * 4


def test_if_both_null_the_gap_each_hits_its_own_target_every_turn():
    w, u = normal(5, seed=0), normal(5, seed=1)
    agents = [
        GradientAgent(
            attack_prompt(
                u - w, ETA, target, 5, elsewhere=1.0, generator=generator(seed)
            ),
            ETA,
        )
        for seed, target in enumerate((w, u))
    ]
    trajectory = interact(agents, w, turns=6)
    torch.testing.assert_close(
        trajectory.by_agent(0), w.expand(6, 5), rtol=0, atol=1e-13
    )
    torch.testing.assert_close(
        trajectory.by_agent(1), u.expand(6, 5), rtol=0, atol=1e-13
    )
    assert one_sided(*agents).winner() == "both"


def test_an_eigenvalue_that_is_off_leaves_an_error_in_proportion():
    victim, target = random_agent(4, 5.0, seed=0), normal(3, 4, seed=5)
    mismatch = torch.logspace(-7, -2, 6, dtype=torch.float64)[:, None]
    q = query_attack_direction(victim, target)
    prompt = attack_prompt(
        q, ETA / (1 + mismatch), target, 4, elsewhere=1.0, generator=generator(1)
    )
    error = torch.linalg.vector_norm(
        equilibrium(GradientAgent(prompt, ETA), victim).error_w, dim=-1
    )
    slope = error.log().diff(dim=0) / mismatch.log().diff(dim=0)
    assert error.shape == (6, 3)
    assert ((slope - 1).abs() <= 0.02).all()
    assert ((slope[:-1] - 1).abs() <= 0.002).all()


def test_attack_prompt_has_the_eigenvalues_asked_for():
    q = normal(3, 4, seed=0)
    step_size = torch.tensor([0.2, 0.5, 2.0], dtype=torch.float64)
    prompt = attack_prompt(
        q, step_size, normal(4, seed=1), 7, elsewhere=0.7, generator=generator(2)
    )
    assert prompt.inputs.shape == (3, 7, 4)
    A, _ = GradientAgent(prompt, step_size).affine()
    torch.testing.assert_close(apply(A, q), torch.zeros_like(q), rtol=0, atol=1e-14)
    other = normal(3, 4, seed=3)
    other = (
        other - (other * q).sum(-1, keepdim=True) / (q * q).sum(-1, keepdim=True) * q
    )
    torch.testing.assert_close(
        apply(prompt.covariance, other), 0.7 * other, rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_a_reply_is_silent_by_less_than_a_share_of_the_query_or_of_one(size):
    target = size * torch.nn.functional.normalize(normal(2, 4, seed=0), dim=-1)
    way = torch.nn.functional.normalize(normal(4, seed=1), dim=0)
    moved = 1e-12 * max(size, 1) * torch.tensor([[20.0], [5.0]]).double() * way
    q = query_attack_direction(lambda query: query + moved, target)
    torch.testing.assert_close(q, way.expand(2, 4), rtol=0, atol=1e-3)
    # Each is measured against its own query.
    sizes = torch.tensor([[1e6], [1.0]], dtype=torch.float64)
    query_attack_direction(
        lambda query: query + 5e-12 * sizes * way, sizes * target / size
    )
    moved[1] /= 20  # one of the two
    with pytest.raises(ValueError, match="victim was unmoved by the target"):
        query_attack_direction(lambda query: query + moved, target)


def test_what_agents_miss_is_kept_as_it_was_made_and_equals_itself_alone():
    one, other = (OneSided(normal(3, seed=0), normal(3, seed=1)) for _ in range(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.miss_w = other.miss_w
    assert one == one and one != other and len({one, other, one}) == 2


def test_who_misses_by_no_more_than_the_tolerance_wins():
    misses = torch.tensor([0.0, 1e-12, 1.01e-12, 0.5], dtype=torch.float64)
    names = [OneSided(misses, other.expand(4)).winner().tolist() for other in misses]
    assert names[:2] == [["both", "both", "u", "u"]] * 2
    assert names[2:] == [["w", "w", "neither", "neither"]] * 2
    assert OneSided(misses, misses).winner(0.5).tolist() == ["both"] * 4


ONE = torch.ones(2, dtype=torch.float64)


def attack(direction=ONE, step_size=ETA, n=2, elsewhere=1.0):
    return attack_prompt(
        direction, step_size, ONE, n, elsewhere=elsewhere, generator=generator(0)
    )


def test_a_blind_victims_rounding_is_no_reply_in_single_precision_either():
    for seed in range(20):
        inputs, target, gap = (
            normal(3, 6, seed=seed),
            normal(6, seed=seed + 1),
            normal(6, seed=seed + 2),
        )
        blind_to = gap - torch.linalg.pinv(inputs) @ inputs @ gap
        victim = GradientAgent(Prompt(inputs.float(), target.float()), 0.1)
        with pytest.raises(ValueError, match="victim was unmoved by the target"):
            query_attack_direction(victim, (target + blind_to).float())


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: attack(direction=0 * ONE),
            "direction was zero or a number; it must be a vector other than zero",
        ),
        (lambda: attack(direction=math.nan * ONE), "direction was not finite"),
        (lambda: attack(direction=3.0), "direction was zero or a number"),
        (
            lambda: attack(direction=torch.stack([ONE, 0 * ONE])),
            "direction was zero or a number",
        ),
        (
            lambda: one_sided(
                GradientAgent(Prompt(torch.eye(2).double(), ONE), ETA),
                GradientAgent(Prompt(torch.eye(3).double(), torch.ones(3)), ETA),
            ),
            r"agent_u's target was of shape \(3,\); it must be of shape \(..., 2\)",
        ),
        (
            lambda: one_sided(
                *(
                    GradientAgent(
                        Prompt(torch.eye(2).double(), normal(n, 2, seed=n)), ETA
                    )
                    for n in (2, 3)
                )
            ),
            r"agent_w and agent_u was of leading shapes \(2,\), \(3,\)",
        ),
        (lambda: attack(step_size=0.0), "step_size was 0; it must be greater than 0"),
        (lambda: attack(elsewhere=0.0), "elsewhere was 0; it must be greater than 0"),
        (
            lambda: attack(elsewhere=2 / ETA),
            "elsewhere was 2 / step_size; it must be below 2 / step_size",
        ),
        (
            lambda: attack(step_size=torch.full((2,), ETA), elsewhere=torch.ones(3)),
            "direction and step_size and elsewhere was of leading shapes",
        ),
        (
            lambda: attack(direction=ONE.expand(2, 2), step_size=torch.full((3,), ETA)),
            r"step_size and elsewhere was of leading shapes \(2,\), \(3,\), \(\)",
        ),
        (
            lambda: attack(n=1),
            "n was 1; it must be at least the rank of the covariance",
        ),
        (
            lambda: query_attack_direction(
                GradientAgent(Prompt(torch.eye(2).double(), ONE), ETA), ONE
            ),
            "victim was unmoved by the target; it must be an agent whose reply differs",
        ),
        (
            lambda: one_sided(
                *[GradientAgent(Prompt(torch.eye(2).double(), ONE), ETA)] * 2
            ),
            "agents was a pair with one target; it must be a pair with different "
            "targets",
        ),
        (
            lambda: one_sided(
                *(
                    GradientAgent(Prompt(torch.eye(2).double(), c * ONE), ETA)
                    for c in (0, 1)
                )
            ).winner(0.0),
            "tolerance was 0.0; it must be greater than 0",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(seed=seeds, d=dimensions, kappa=st.floats(1, 1000))
def test_an_aim_is_never_further_from_the_gap_than_the_condition_number_allows(
    seed, d, kappa
):
    victim, target = random_agent(d, kappa, seed), normal(3, d, seed=seed + 3)
    s, frame = torch.linalg.eigh(victim.prompt.covariance)
    worst = frame[..., 0] / s[:, :1].sqrt() + frame[..., -1] / s[:, -1:].sqrt()
    ratio = s[:, -1] / s[:, 0]
    least = 2 * ratio.sqrt() / (ratio + 1)
    for gap, is_worst in ((victim.target - target, False), (worst, True)):
        q = query_attack_direction(victim, victim.target - gap)
        cosine = torch.nn.functional.cosine_similarity(q, gap, dim=-1)
        assert (cosine >= least - 1e-12).all()
        missed = torch.linalg.vector_norm(
            gap - (q * gap).sum(-1, keepdim=True) * q, dim=-1
        )
        most = (ratio - 1) / (ratio + 1) * torch.linalg.vector_norm(gap, dim=-1)
        assert (missed <= most + 1e-6).all()
        if is_worst:
            torch.testing.assert_close(cosine, least, rtol=0, atol=1e-12)

"""Helpers: contraction factors per turn, the reach of a blind helper, and convergence
from messages alone.
"""

import math

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from agent_dynamics.agents import GradientAgent
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.helper import (
    AndersonHelper,
    DampedNewtonHelper,
    LineSearchedNewtonHelper,
    NewtonHelper,
    PlanningHelper,
    can_arrive,
    safe_damping,
)
from agent_dynamics.interaction import Trajectory, interact
from agent_dynamics.lsa import LSAAgent, gradient_descent_weights
from agent_dynamics.prompts import Prompt, prompt_with_covariance, random_covariance

ETA_W, ETA_U = 0.7, 0.4

seeds = st.integers(0, 2**31)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def gradient_actor(prompt: Prompt) -> GradientAgent:
    return GradientAgent(prompt, ETA_U)


def two_step_actor(prompt: Prompt) -> GradientAgent:
    return GradientAgent(prompt, ETA_U, steps=2)


def lsa_actor(prompt: Prompt) -> LSAAgent:
    return LSAAgent(gradient_descent_weights(prompt.dimension, ETA_U), prompt)


def main_agent(
    d: int, kappa: float | torch.Tensor, seed: int, shape: tuple[int, ...] = ()
) -> GradientAgent:
    covariance = random_covariance(d, kappa, generator=generator(seed), shape=shape)
    prompt = prompt_with_covariance(
        covariance, normal(*shape, d, seed=seed + 1), d, generator=generator(seed)
    )
    return GradientAgent(prompt, ETA_W)


def helper_inputs(d: int, seed: int) -> torch.Tensor:
    covariance = random_covariance(
        d, 10.0 if d > 1 else 1.0, generator=generator(seed + 2)
    )
    return prompt_with_covariance(
        covariance, torch.zeros(d), d + 1, generator=generator(seed)
    ).inputs


def newton(
    main: GradientAgent, seed: int, *, actor=gradient_actor, factor=1.0
) -> NewtonHelper:
    prompt = main.prompt
    return NewtonHelper(
        helper_inputs(prompt.dimension, seed),
        actor,
        prompt.gradient,
        lambda w: factor * prompt.covariance,
    )


def errors(trajectory: Trajectory, main: GradientAgent) -> torch.Tensor:
    return trajectory.by_agent(0) - main.target.unsqueeze(-2)


@pytest.mark.parametrize("actor", [gradient_actor, two_step_actor, lsa_actor])
def test_newton_helper_sends_the_target_where_a_fixed_partner_leaves_a_plateau(
    actor,
):
    d = 5
    main = main_agent(d, 1000.0, seed=0)
    helper = newton(main, seed=1, actor=actor)
    partner = actor(Prompt(helper_inputs(d, 1), normal(d, seed=2)))
    assert torch.linalg.vector_norm(equilibrium(main, partner).error_w) > 0.1
    trajectory = interact([main, helper], normal(d, seed=3), turns=3)
    torch.testing.assert_close(
        trajectory.by_agent(1), main.target.expand(3, d), rtol=0, atol=1e-10
    )
    torch.testing.assert_close(
        trajectory.by_agent(0)[1:], main.target.expand(2, d), rtol=0, atol=1e-10
    )


@given(
    seed=seeds,
    d=st.integers(2, 6),
    kappa=st.floats(1, 100),
    damping=st.floats(1e-3, 10),
)
def test_damped_newton_contracts_each_eigendirection_by_its_factor(
    seed, d, kappa, damping
):
    main = main_agent(d, kappa, seed)
    helper = DampedNewtonHelper(
        helper_inputs(d, seed),
        gradient_actor,
        main.prompt.gradient,
        lambda w: main.prompt.covariance,
        damping=damping,
    )
    s, directions = torch.linalg.eigh(main.prompt.covariance)
    parts = (
        errors(interact([main, helper], normal(d, seed=seed + 3), turns=4), main)
        @ directions
    )
    factor = (1 - ETA_W * s) * damping / (s + damping)
    torch.testing.assert_close(parts[1:], factor * parts[:-1], rtol=0, atol=1e-11)


@given(seed=seeds, d=st.integers(2, 6), kappa=st.floats(1, 100), c=st.floats(0.6, 4))
def test_a_hessian_off_by_a_factor_leaves_that_much_of_a_plain_step(seed, d, kappa, c):
    main = main_agent(d, kappa, seed)
    A, _ = main.affine()
    error = errors(
        interact(
            [main, newton(main, seed, factor=c)], normal(d, seed=seed + 3), turns=4
        ),
        main,
    )
    torch.testing.assert_close(
        error[1:], (1 - 1 / c) * error[:-1] @ A.mT, rtol=0, atol=1e-10
    )


@given(
    seed=seeds,
    d=st.integers(2, 6),
    kappa=st.floats(1, 100),
    share=st.floats(0.01, 0.95),
    damping=st.sampled_from([0.0, 0.01, 1.0]),
)
def test_a_noisy_estimate_contracts_within_the_bound(seed, d, kappa, share, damping):
    main = main_agent(d, kappa, seed)
    S, inputs, prompt = main.prompt.covariance, helper_inputs(d, seed), main.prompt
    s_min = torch.linalg.eigvalsh(S)[0].item()
    noise = normal(d, d, seed=seed + 4)
    noise = noise + noise.mT
    # Half of the draws are the worst case: noise that lowers the smallest eigenvalue.
    if seed % 2:
        lowest = torch.linalg.eigh(S).eigenvectors[:, 0]
        noise = -torch.outer(lowest, lowest)
    size = share * s_min
    estimate = S + size * noise / torch.linalg.matrix_norm(noise, ord=2)
    knowledge = (gradient_actor, prompt.gradient, lambda w: estimate)
    helper = (
        DampedNewtonHelper(inputs, *knowledge, damping=damping)
        if damping
        else NewtonHelper(inputs, *knowledge)
    )
    error = torch.linalg.vector_norm(
        errors(interact([main, helper], normal(d, seed=seed + 3), turns=5), main),
        dim=-1,
    )
    bound = (damping + size) / (damping + s_min - size)
    assert (error[1:] <= bound * error[:-1] + 1e-9 * (1 + bound)).all()


@given(seed=seeds, d=st.integers(1, 5), c=st.sampled_from([0.2, 0.3, 0.45, 0.8, 3.0]))
def test_a_line_searched_step_is_halved_until_it_lands_nearer_the_target(seed, d, c):
    main = main_agent(d, 10.0 if d > 1 else 1.0, seed)
    prompt = main.prompt
    helper = LineSearchedNewtonHelper(
        helper_inputs(d, seed),
        gradient_actor,
        prompt.gradient,
        lambda w: c * prompt.covariance,
        loss=prompt.loss,
    )
    message = normal(d, seed=seed + 3)
    # On a quadratic, with c S for S, the whole step is 1 / c times the way to w*.
    share = 1 / c
    while abs(1 - share) >= 1:
        share /= 2
    torch.testing.assert_close(
        helper(message),
        message + share * (main.target - message),
        rtol=0,
        atol=1e-10,
    )


@pytest.mark.parametrize("helper", [newton(main_agent(3, 5.0, 0), 1), None])
def test_a_helpers_target_is_zero_at_first_and_then_what_makes_its_own_step(helper):
    helper = helper or AndersonHelper(helper_inputs(3, 1), two_step_actor)
    actor = gradient_actor if isinstance(helper, NewtonHelper) else two_step_actor
    assert torch.equal(helper.target, torch.zeros(3, dtype=torch.float64))
    for seed in range(3):
        message = normal(3, seed=seed)
        reply = helper(message)
        own = actor(Prompt(helper_inputs(3, 1), helper.target))
        torch.testing.assert_close(own(message), reply, rtol=0, atol=1e-13)


@pytest.mark.parametrize("actor", [gradient_actor, lsa_actor])
@pytest.mark.parametrize("knows_the_main_agent", [True, False])
def test_a_blind_helper_moves_messages_in_the_range_of_its_geometry_alone(
    actor, knows_the_main_agent
):
    main, inputs = main_agent(5, 20.0, seed=0), normal(2, 5, seed=1)
    knowledge = (
        [main.prompt.gradient, lambda w: main.prompt.covariance]
        if knows_the_main_agent
        else []
    )
    helper = (NewtonHelper if knows_the_main_agent else AndersonHelper)(
        inputs, actor, *knowledge
    )
    trajectory = interact([main, helper], normal(5, seed=2), turns=12)
    move = trajectory.by_agent(1) - trajectory.by_agent(0)
    reach = torch.linalg.pinv(inputs) @ inputs
    torch.testing.assert_close(move @ reach, move, rtol=0, atol=1e-12)
    assert torch.linalg.vector_norm(move, dim=-1).amax() > 0.1
    assert torch.linalg.vector_norm(errors(trajectory, main)[-1]) > 1e-3


def test_a_blind_newton_helper_sends_all_of_the_step_that_it_can():
    main, inputs = main_agent(5, 20.0, seed=0), normal(2, 5, seed=1)
    helper = NewtonHelper(
        inputs, gradient_actor, main.prompt.gradient, lambda w: main.prompt.covariance
    )
    message = normal(5, seed=2)
    expected = message + torch.linalg.pinv(inputs) @ inputs @ (main.target - message)
    torch.testing.assert_close(helper(message), expected, rtol=0, atol=1e-12)


@given(seed=seeds, d=st.integers(1, 4))
def test_anderson_helper_sends_the_target_at_turn_d_plus_2(seed, d):
    main = main_agent(d, 8.0 if d > 1 else 1.0, seed)
    helper = AndersonHelper(helper_inputs(d, seed), gradient_actor)
    trajectory = interact([main, helper], normal(d, seed=seed + 3), turns=d + 20)
    # The later turns, where all residuals are rounding errors, must not throw it off.
    sent = trajectory.by_agent(1)[d + 1 :]
    torch.testing.assert_close(sent, main.target.expand_as(sent), rtol=0, atol=1e-9)


@pytest.mark.parametrize("actor", [gradient_actor, lsa_actor])
def test_anderson_helper_does_not_slow_down_with_the_condition_number(actor):
    # Turn d + 2 in exact arithmetic; the rounding of messages costs a few more where
    # kappa is large.
    kappa = torch.logspace(0, 4, 5, dtype=torch.float64)
    main = main_agent(8, kappa, seed=0, shape=(5,))
    trajectory = interact(
        [main, AndersonHelper(helper_inputs(8, 1), actor)], normal(8, seed=2), turns=100
    )
    error = torch.linalg.vector_norm(errors(trajectory, main), dim=-1)
    assert (error[:4, 11:] <= 1e-9).all()  # kappa up to 1000: from turn d + 4 on
    assert (error[4, 12:] <= 1e-9).all()  # kappa = 10,000: from turn d + 5 on
    alone = torch.linalg.vector_norm(
        errors(interact([main], normal(8, seed=2), turns=100), main), dim=-1
    )
    assert (alone[3:, -1] > 0.1).all()


def planned(
    main: GradientAgent,
    inputs: torch.Tensor,
    turns: int,
    start: torch.Tensor,
    actor=gradient_actor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The main agent's error after the helper's last turn, and the helper's pushes."""
    helper = PlanningHelper(inputs, actor, main, turns)
    trajectory = interact([main, helper], start, turns + 1)
    push = trajectory.by_agent(1) - trajectory.by_agent(0)
    return errors(trajectory, main)[..., -1, :], push[..., :-1, :]


@pytest.mark.parametrize("actor", [gradient_actor, two_step_actor, lsa_actor])
def test_a_planning_helper_with_one_direction_arrives_in_d_turns(actor):
    main, inputs = main_agent(5, 10.0, seed=0), normal(1, 5, seed=1)
    assert can_arrive(main, inputs)
    left, push = planned(main, inputs, 5, normal(5, seed=2), actor)
    reach = torch.linalg.pinv(inputs) @ inputs
    torch.testing.assert_close(push @ reach, push, rtol=1e-13, atol=0)
    size = torch.linalg.vector_norm(push, dim=-1).max().item()
    assert torch.linalg.vector_norm(left) <= 1e-13 * size
    # A greedy helper with the same examples is far off by then.
    greedy = NewtonHelper(
        inputs, actor, main.prompt.gradient, lambda w: main.prompt.covariance
    )
    late = errors(interact([main, greedy], normal(5, seed=2), turns=6), main)[-1]
    assert torch.linalg.vector_norm(late) > 1e-2


@given(seed=seeds, d=st.integers(1, 4), kappa=st.floats(1, 30), n=st.integers(1, 4))
def test_a_planning_helper_arrives_by_the_least_pushes(seed, d, kappa, n):
    main, inputs = main_agent(d, kappa if d > 1 else 1.0, seed), normal(n, d, seed=seed)
    start = normal(d, seed=seed + 3)
    effort = []
    for turns in (d, d + 1, 2 * d + 1):
        left, push = planned(main, inputs, turns, start)
        size = torch.linalg.vector_norm(push, dim=-1).max().item()
        assert torch.linalg.vector_norm(left) <= 1e-11 * (1 + size)
        effort.append(push.square().sum().item())
        # The same plan at one go: the least solution of one system of equations.
        A = main.affine()[0]
        P = torch.linalg.pinv(inputs) @ inputs
        powers = [torch.linalg.matrix_power(A, k) for k in range(turns, -1, -1)]
        effect = torch.cat([power @ P for power in powers[:-1]], dim=-1).numpy()
        error = (main(start) - main.target).numpy()
        plan = np.linalg.lstsq(effect, -powers[0].numpy() @ error, rcond=None)[0]
        assert (plan**2).sum() == pytest.approx(effort[-1], rel=1e-6)
    assert effort[0] >= effort[1] * (1 - 1e-9) >= effort[2] * (1 - 2e-9)


def test_the_first_push_of_a_plan_may_lead_away_from_the_target():
    # A = diag(1/2, 1/4), the helper moves along (1, 1), and the error (1, -1) is
    # orthogonal to that: pushes of -3 and 1 times (1, 1) arrive.
    root = torch.tensor([0.5, 0.75], dtype=torch.float64).sqrt()
    main = GradientAgent(Prompt(torch.diag(root), torch.zeros(2)), 2.0)
    inputs = torch.ones(1, 2, dtype=torch.float64)
    start = torch.tensor([2.0, -4.0], dtype=torch.float64)
    left, push = planned(main, inputs, 2, start)
    expected = torch.tensor([[-3.0, -3.0], [1.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(push, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(left, torch.zeros_like(left), rtol=0, atol=1e-13)


@given(seed=seeds, d=st.integers(1, 4), n=st.integers(1, 3))
def test_hautus_condition_is_the_rank_of_the_controllability_matrix(seed, d, n):
    draw = generator(seed)
    # Few eigenvalues, repetitions and eta s = 1 among them, and examples that miss
    # some eigenvectors.
    kept = torch.tensor([0.0, 0.25, 0.5, 0.9], dtype=torch.float64)[
        torch.randint(4, (d,), generator=draw)
    ]
    seen = torch.randint(2, (1, d), generator=draw)
    frame = torch.linalg.qr(normal(d, d, seed=seed)).Q
    spectrum = torch.diag((d * (1 - kept) / ETA_W).sqrt())
    main = GradientAgent(Prompt(spectrum @ frame.mT, torch.zeros(d)), ETA_W)
    inputs = (normal(n, d, seed=seed + 1) * seen) @ frame.mT
    A, reach = torch.diag(kept), normal(n, d, seed=seed + 1) * seen
    powers = [torch.linalg.matrix_power(A, k) for k in range(d + 1)]
    krylov = torch.cat([power @ reach.mT for power in powers[:-1]], dim=-1)
    both = torch.cat([krylov, powers[-1]], dim=-1)

    def rank(matrix):
        return torch.linalg.matrix_rank(matrix, rtol=1e-9)

    assert can_arrive(main, inputs) == (rank(krylov) == rank(both))


@pytest.mark.parametrize(("kept", "arrives"), [(0.5, False), (0.0, True)])
def test_what_the_helper_does_not_see_falls_at_the_main_agents_pace(kept, arrives):
    frame = torch.linalg.qr(normal(3, 3, seed=0)).Q
    spectrum = torch.tensor([0.2, 0.6, 1 - kept], dtype=torch.float64) * 3 / ETA_W
    main = GradientAgent(
        Prompt(torch.diag(spectrum.sqrt()) @ frame.mT, normal(3, seed=1)), ETA_W
    )
    inputs = normal(2, 2, seed=2) @ frame[:, :2].mT  # blind to the last eigenvector
    assert can_arrive(main, inputs) == arrives
    start = normal(3, seed=3)
    left, _ = planned(main, inputs, 4, start)
    unseen = frame[:, 2] @ (start - main.target) * kept**5
    torch.testing.assert_close(left, unseen * frame[:, 2], rtol=0, atol=1e-12)


def test_plans_and_conditions_are_made_for_each_pair_of_a_batch():
    main = main_agent(3, 5.0, seed=0, shape=(2, 1))
    inputs, start = normal(4, 1, 3, seed=1), normal(3, seed=2)
    assert can_arrive(main, inputs).tolist() == [[True] * 4] * 2
    left, push = planned(main, inputs, 4, start)
    assert left.shape == (2, 4, 3)
    for i in range(2):
        for j in range(4):
            single = GradientAgent(
                Prompt(main.prompt.inputs[i, 0], main.target[i, 0]), ETA_W
            )
            _, alone = planned(single, inputs[j], 4, start)
            torch.testing.assert_close(push[i, j], alone, rtol=1e-6, atol=1e-9)


@given(
    seed=seeds,
    d=st.integers(1, 5),
    kappa=st.floats(1, 1000),
    more=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
    size=st.floats(0.01, 10),
)
def test_from_the_safe_damping_on_a_wrong_estimate_does_no_harm(
    seed, d, kappa, more, size
):
    main = main_agent(d, kappa if d > 1 else 1.0, seed)
    S, A = main.prompt.covariance, main.affine()[0]
    noise = normal(d, d, seed=seed + 4)
    estimate = S + size * (noise + noise.mT)
    damping = safe_damping(main, estimate).item()
    assume(damping > 0)
    # What is least about it: K = S / 2 in some direction.
    short = estimate + damping * torch.eye(d, dtype=torch.float64) - S / 2
    assert abs(torch.linalg.eigvalsh(short)[0].item()) <= 1e-12 * (1 + size + damping)
    helper = DampedNewtonHelper(
        helper_inputs(d, seed),
        gradient_actor,
        main.prompt.gradient,
        lambda w: estimate,
        damping=damping + more,
    )
    directions = torch.eye(d, dtype=torch.float64)
    round_ = main(helper(main.target + directions)) - main.target
    rate = torch.linalg.eigvals(round_).abs().max()
    assert rate <= torch.linalg.matrix_norm(A, ord=2) + 1e-9 * kappa


@given(seed=seeds, c=st.floats(0.05, 2), d=st.integers(2, 5), size=st.floats(0, 2))
def test_the_safe_damping_of_a_factor_and_of_noise(seed, c, d, size):
    main = main_agent(d, 10.0, seed)
    S = main.prompt.covariance
    s = torch.linalg.eigvalsh(S)
    torch.testing.assert_close(
        safe_damping(main, c * S), ((0.5 - c) * s[-1]).clamp_min(0), rtol=0, atol=1e-12
    )
    noise = normal(d, d, seed=seed + 4)
    noise = noise + noise.mT
    noisy = S + size * noise / torch.linalg.matrix_norm(noise, ord=2)
    assert safe_damping(main, noisy) <= max(size - s[0].item() / 2, 0) + 1e-12


def test_anderson_helpers_residuals_are_those_of_gmres():
    main, start = main_agent(20, 50.0, seed=0), normal(20, seed=2)
    helper = AndersonHelper(helper_inputs(20, 1), gradient_actor)
    A, _ = main.affine()
    M = (torch.eye(20, dtype=torch.float64) - A).numpy()
    sent = interact([main, helper], start, turns=14).by_agent(1)
    # The message of turn k is the answer to the point of least residual so far.
    point = torch.linalg.solve(A, (sent - main.target).mT).mT
    residual = np.linalg.norm(point.numpy() @ M.T, axis=-1)
    first = (sent[0] - main.target).numpy()
    kappa = np.linalg.cond(M)
    shrink = (np.sqrt(kappa) - 1) / (np.sqrt(kappa) + 1)
    for turn in range(3, 15):
        steps = turn - 2
        solution, _ = scipy.sparse.linalg.gmres(
            M, M @ first, rtol=0, atol=0, restart=steps, maxiter=1
        )
        least = np.linalg.norm(M @ (first - solution))
        assert residual[turn - 1] == pytest.approx(least, rel=1e-6)
        assert least <= 2 * shrink**steps * np.linalg.norm(M @ first)


def test_a_regularised_combination_has_the_least_mean_square_under_noise():
    main, noise = main_agent(4, 20.0, seed=0), 0.03
    helper = AndersonHelper(helper_inputs(4, 1), gradient_actor, regularisation=noise)
    trajectory = interact([main, helper], normal(4, seed=2), turns=9)
    sent, answers = trajectory.by_agent(1), trajectory.by_agent(0)
    for turn in range(3, 9):
        heard = answers[1:turn]
        F = heard - sent[: turn - 1]
        weights = torch.linalg.solve(
            F @ F.mT + noise**2 * torch.eye(len(F), dtype=torch.float64),
            torch.ones(len(F), dtype=torch.float64),
        )
        expected = weights @ heard / weights.sum()
        torch.testing.assert_close(sent[turn - 1], expected, rtol=0, atol=1e-9)


def test_batches_broadcast_and_each_element_has_a_helper_of_its_own():
    main = main_agent(
        3, torch.tensor([[2.0], [9.0]], dtype=torch.float64), seed=0, shape=(2, 1)
    )
    inputs, start = normal(4, 6, 3, seed=1), normal(3, seed=2)
    helper = AndersonHelper(inputs, gradient_actor)
    trajectory = interact([main, helper], start, turns=4)
    assert trajectory.messages.shape == (2, 4, 9, 3)
    assert helper.target.shape == (2, 4, 3)
    for i in range(2):
        for j in range(4):
            single = GradientAgent(
                Prompt(main.prompt.inputs[i, 0], main.target[i, 0]), ETA_W
            )
            alone = interact(
                [single, AndersonHelper(inputs[j], gradient_actor)], start, turns=4
            )
            torch.testing.assert_close(
                trajectory.messages[i, j], alone.messages, rtol=0, atol=1e-9
            )


def test_a_newton_helper_leaves_alone_what_the_main_agent_does_not_see_in_float32():
    for seed in range(10):
        seen = Prompt(normal(2, 5, seed=seed).float(), normal(5, seed=seed + 1).float())
        helper = NewtonHelper(
            normal(8, 5, seed=seed + 2).float(),
            gradient_actor,
            seen.gradient,
            lambda w, seen=seen: seen.covariance,
        )
        message = normal(5, seed=seed + 3).float()
        expected = message + torch.linalg.pinv(seen.inputs) @ seen.inputs @ (
            seen.target - message
        )
        torch.testing.assert_close(helper(message), expected, rtol=0, atol=1e-3)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: AndersonHelper(torch.full((3, 2), math.nan), gradient_actor),
            "inputs was not finite",
        ),
        (
            lambda: AndersonHelper(torch.ones(2), gradient_actor),
            r"inputs was of shape \(2,\)",
        ),
        (
            lambda: DampedNewtonHelper(
                torch.eye(2),
                gradient_actor,
                torch.zeros_like,
                torch.zeros_like,
                damping=0.0,
            ),
            "damping was 0.0; it must be greater than 0",
        ),
        (
            lambda: AndersonHelper(torch.eye(2), gradient_actor, regularisation=-1.0),
            "regularisation was -1.0; it must be at least 0",
        ),
        (
            lambda: PlanningHelper(
                torch.eye(2, dtype=torch.float64),
                gradient_actor,
                main_agent(2, 2.0, 0),
                0,
            ),
            "turns was 0; it must be an integer of at least 1",
        ),
        (
            lambda: PlanningHelper(
                torch.eye(3, dtype=torch.float64),
                gradient_actor,
                main_agent(2, 2.0, 0),
                3,
            ),
            r"inputs was of shape \(3, 3\); it must be of shape \(..., 2\)",
        ),
        (
            lambda: can_arrive(main_agent(2, 2.0, 0), normal(3, 3, seed=0)),
            r"inputs was of shape \(3, 3\); it must be of shape \(..., 2\)",
        ),
        (
            lambda: can_arrive(
                main_agent(2, 2.0, 0, shape=(3,)), normal(2, 4, 2, seed=0)
            ),
            "agent_w and inputs was of leading shapes",
        ),
        (
            lambda: safe_damping(main_agent(2, 2.0, 0), normal(2, 2, seed=0)),
            "estimate was asymmetric by",
        ),
        (
            lambda: safe_damping(main_agent(2, 2.0, 0), torch.eye(3).double()),
            r"estimate was of shape \(3, 3\); it must be of shape \(..., 2\)",
        ),
        (
            lambda: safe_damping(
                GradientAgent(main_agent(2, 2.0, 0).prompt, 3.0), torch.eye(2).double()
            ),
            "agent_w was unstable, with a turn of norm",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

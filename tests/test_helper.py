"""Helpers: contraction factors per turn, the reach of a blind helper, and convergence
from messages alone.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent_dynamics.agents import GradientAgent
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.helper import (
    AndersonHelper,
    DampedNewtonHelper,
    LineSearchedNewtonHelper,
    NewtonHelper,
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
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

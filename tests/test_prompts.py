"""Prompts: the geometry, the angle and the spectrum are the ones asked for."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_dynamics.prompts import (
    Prompt,
    prompt_with_covariance,
    random_covariance,
    target_pair,
    turned_covariance,
)

SEEDS = st.integers(0, 2**32 - 1)
RANKS = st.integers(1, 8).flatmap(lambda d: st.tuples(st.just(d), st.integers(0, d)))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


@settings(max_examples=50)
@given(seed=SEEDS, d_rank=RANKS, condition=st.floats(1, 1e4), extra=st.integers(0, 4))
def test_prompt_has_exactly_the_covariance_asked_for(seed, d_rank, condition, extra):
    d, rank = d_rank
    random = generator(seed)
    s = random_covariance(
        d, 1.0 if rank == 1 else condition, rank=rank, shape=(3,), generator=random
    )
    target = torch.randn(2, 1, d, generator=random, dtype=torch.float64)
    n = max(rank, 1) + extra  # often below d
    prompt = prompt_with_covariance(s, target, n, generator=random)
    assert prompt.inputs.shape == (2, 3, n, d)
    error = torch.linalg.matrix_norm(prompt.covariance - s)
    assert (error <= 1e-12 * torch.linalg.matrix_norm(s)).all()
    assert torch.equal(prompt.target, target)


@settings(max_examples=50)
@given(
    seed=SEEDS, d_rank=RANKS, condition=st.floats(1, 1e4), largest=st.floats(1e-3, 1e3)
)
def test_random_covariance_has_the_spectrum_asked_for(seed, d_rank, condition, largest):
    d, rank = d_rank
    if rank == 1:
        condition = 1.0
    s = random_covariance(
        d, condition, rank=rank, largest=largest, shape=(3,), generator=generator(seed)
    )
    eigenvalues = torch.linalg.eigvalsh(s)
    exponents = [-1 + i / (rank - 1) for i in range(rank)] if rank > 1 else [0.0] * rank
    expected = [0.0] * (d - rank) + [largest * condition**e for e in exponents]
    expected = torch.tensor(expected, dtype=torch.float64).expand(3, d)
    torch.testing.assert_close(eigenvalues, expected, rtol=0, atol=1e-14 * largest * d)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eigenvalues_at_rounding_count_as_zero_whatever_the_size_of_the_covariance(
    size, dtype
):
    d = 12
    rounding = d * torch.finfo(dtype).eps
    for smallest in (0.0, 50 * rounding):
        s = size * torch.diag(torch.tensor([smallest] + [1.0] * (d - 1), dtype=dtype))
        prompt = prompt_with_covariance(s, normal(d), d - 1, generator=generator())
        torch.testing.assert_close(
            prompt.covariance, s, rtol=0, atol=60 * size * rounding
        )
    s = size * torch.diag(torch.tensor([200 * rounding] + [1.0] * (d - 1), dtype=dtype))
    with pytest.raises(ValueError, match="n was 11; it must be at least the rank"):
        prompt_with_covariance(s, normal(d), d - 1, generator=generator())
    prompt_with_covariance(s, normal(d), d, generator=generator())


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_covariance_may_be_asymmetric_or_indefinite_by_rounding_alone(size, dtype):
    d = 12
    rounding = d * torch.finfo(dtype).eps
    one = torch.eye(d, dtype=dtype)

    def fits(off, *, batch=False):
        s = size * (one + off)
        s = torch.stack([1e3 * size * one, s])[:, None] if batch else s
        return turned_covariance(s, 0.0).shape == s.shape

    corner, first = torch.zeros(2, d, d, dtype=dtype)
    corner[0, -1], first[0, 0] = 1, -1
    for batch in (False, True):
        assert fits(50 * rounding * corner, batch=batch)
        assert fits((1 + 50 * rounding) * first, batch=batch)
        with pytest.raises(ValueError, match="covariance was asymmetric by"):
            fits(200 * rounding * corner, batch=batch)
        with pytest.raises(ValueError, match="covariance was indefinite, .*-"):
            fits((1 + 200 * rounding) * first, batch=batch)


def test_random_covariance_takes_a_condition_number_and_size_for_each_of_a_batch():
    condition = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    largest = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    s = random_covariance(
        4, condition, largest=largest, shape=(3,), generator=generator()
    )
    eigenvalues = torch.linalg.eigvalsh(s)
    torch.testing.assert_close(eigenvalues[:, -1], largest, rtol=1e-13, atol=0)
    torch.testing.assert_close(
        eigenvalues[:, -1] / eigenvalues[:, 0], condition, rtol=1e-12, atol=0
    )


@settings(max_examples=50)
@given(
    seed=SEEDS,
    d=st.integers(1, 8),
    condition=st.floats(1.5, 1e4),
    angle=st.floats(0, math.pi / 2),
)
def test_turned_covariance_keeps_the_spectrum_and_turns_paired_eigenvectors(
    seed, d, condition, angle
):
    s = random_covariance(
        d, condition if d > 1 else 1.0, shape=(3,), generator=generator(seed)
    )
    eigenvalues, vectors = torch.linalg.eigh(s)
    turned = turned_covariance(s, angle)
    torch.testing.assert_close(
        torch.linalg.eigvalsh(turned), eigenvalues, rtol=0, atol=1e-13
    )
    # Seen along W's eigenvector i, U's geometry mixes the eigenvalues i and d - 1 - i.
    for i in range(d):
        v = vectors[..., i : i + 1]
        mixed = (
            math.cos(angle) ** 2 * eigenvalues[..., i]
            + math.sin(angle) ** 2 * eigenvalues[..., d - 1 - i]
        )
        torch.testing.assert_close(
            (v.mT @ turned @ v)[..., 0, 0], mixed, rtol=0, atol=1e-13
        )


def test_a_quarter_turn_is_one_in_single_precision_too():
    s = random_covariance(4, 10.0, generator=generator()).float()
    turned = turned_covariance(s, torch.tensor(math.pi / 2))
    torch.testing.assert_close(s @ turned, turned @ s, rtol=0, atol=1e-6)


@pytest.mark.unchecked
def test_turned_covariance_takes_an_angle_for_each_of_a_batch_and_names_bad_ones():
    s = random_covariance(3, 10.0, generator=generator())
    angles = torch.tensor([0.0, 0.3, math.pi / 2], dtype=torch.float64)
    for turned, angle in zip(turned_covariance(s, angles), angles, strict=True):
        torch.testing.assert_close(
            turned, turned_covariance(s, angle), rtol=0, atol=1e-15
        )
    pair = torch.stack([s, 2 * s])
    for turned, one, angle in zip(
        turned_covariance(pair, angles[1:]), pair, angles[1:], strict=True
    ):
        torch.testing.assert_close(
            turned, turned_covariance(one, angle), rtol=0, atol=1e-15
        )
    for bad, named in ((2.0, "2 to 2"), ([-0.1, 1.0], "-0.1 to 1")):
        with pytest.raises(
            ValueError,
            match=f"angle was {named}; it must be between 0 and pi / 2",
        ):
            turned_covariance(s, bad)
    with pytest.raises(
        ValueError,
        match=r"covariance and angle was of leading shapes \(2,\), \(3,\)",
    ):
        turned_covariance(pair, angles)
    with pytest.raises(ValueError, match="covariance was asymmetric"):
        turned_covariance(normal(3, 3), 0.1)


@settings(max_examples=100)
@given(
    seed=SEEDS,
    d=st.integers(2, 8),
    angle=st.floats(0, math.pi),
    norm=st.floats(1e-3, 1e3),
)
def test_target_pair_has_exactly_the_angle_and_norm_asked_for(seed, d, angle, norm):
    w, u = target_pair(d, angle, norm, generator=generator(seed), shape=(3,))
    assert w.shape == u.shape == (3, d)
    for target in (w, u):
        assert torch.linalg.vector_norm(target, dim=-1).tolist() == pytest.approx(
            [norm] * 3, rel=1e-13
        )
    apart, along = (torch.linalg.vector_norm(v, dim=-1) for v in (w - u, w + u))
    measured = 2 * torch.atan2(apart, along)
    assert measured.tolist() == pytest.approx([angle] * 3, rel=0, abs=1e-12)


def test_target_pair_takes_an_angle_and_a_norm_for_each_of_a_batch():
    angle = torch.linspace(0, math.pi, 7, dtype=torch.float64)
    w, u = target_pair(3, angle, generator=generator(), shape=(7,))
    torch.testing.assert_close((w * u).sum(-1), angle.cos(), rtol=0, atol=1e-14)
    norm = torch.arange(1, 8, dtype=torch.float64)
    for targets in target_pair(3, angle, norm, generator=generator(), shape=(7,)):
        torch.testing.assert_close(
            torch.linalg.vector_norm(targets, dim=-1), norm, rtol=1e-14, atol=0
        )


def test_target_pair_in_one_dimension_is_equal_or_opposite_and_at_pi_opposite_exactly():
    w, u = target_pair(1, 0.0, 2.0, generator=generator())
    assert torch.equal(w, u) and abs(w.item()) == 2
    for d in (1, 4):
        w, u = target_pair(d, math.pi, 2.0, generator=generator())
        assert torch.equal(w, -u)


def test_targets_are_uniform_on_the_sphere():
    draws, d = 20_000, 3
    w, _ = target_pair(d, 1.0, generator=generator(), shape=(draws,))
    # Var w_i = 1/d and Var(w_i w_j) <= E[w_i^4] = 3 / (d (d + 2)): five standard errors
    # each.
    assert w.mean(0).abs().max() < 5 * math.sqrt(1 / d / draws)
    assert (w.mT @ w / draws - torch.eye(d) / d).abs().max() < 5 * math.sqrt(
        3 / (d * (d + 2)) / draws
    )


def test_loss_and_gradient_are_those_of_the_least_squares_objective():
    prompt = Prompt(normal(2, 1, 7, 3), normal(4, 3, seed=1))
    v = normal(2, 4, 3, seed=2).requires_grad_()
    residual = (prompt.inputs @ v.unsqueeze(-1)).squeeze(-1) - prompt.labels
    loss = residual.square().sum(-1) / (2 * 7)
    (gradient,) = torch.autograd.grad(loss.sum(), v)
    torch.testing.assert_close(prompt.loss(v), loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(prompt.gradient(v), gradient, rtol=1e-12, atol=1e-14)
    assert torch.equal(
        prompt.loss(prompt.target), torch.zeros(2, 4, dtype=torch.float64)
    )


def test_gram_holds_the_second_moments_of_inputs_and_labels():
    prompt = Prompt(normal(7, 3), normal(4, 3, seed=1))
    s, t = prompt.covariance, prompt.target.unsqueeze(-1)
    upper, lower = [s.expand(4, 3, 3), s @ t], [(s @ t).mT, t.mT @ s @ t]
    expected = torch.cat([torch.cat(upper, -1), torch.cat(lower, -1)], -2)
    torch.testing.assert_close(prompt.gram, expected, rtol=1e-12, atol=1e-14)


def test_a_prompt_is_kept_as_it_was_made_and_equals_itself_alone():
    one, other = (Prompt(normal(5, 3), normal(3, seed=1)) for _ in range(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.target = other.target
    assert one == one and one != other and len({one, other, one}) == 2


def test_a_batch_may_be_empty():
    prompt = Prompt(normal(0, 5, 3), normal(0, 3))
    assert prompt.gradient(normal(3)).shape == (0, 3)
    assert prompt.gram.shape == (0, 4, 4)


@pytest.mark.unchecked
def test_python_numbers_are_read_in_double_precision():
    prompt = Prompt([[0.1, 0.2]], [0.3, 0.4])
    assert prompt.inputs.tolist() == [[0.1, 0.2]] and prompt.target.tolist() == [
        0.3,
        0.4,
    ]


@pytest.mark.unchecked
def test_arrays_may_be_views_in_any_order():
    array = np.arange(6.0).reshape(2, 3)
    assert Prompt(array[::-1, ::-1], array[0, ::-1]).inputs.tolist() == [
        [5, 4, 3],
        [2, 1, 0],
    ]
    assert Prompt(array[:1, :1], array[0, :1][::-1]).target.tolist() == [0]


EYE = torch.eye(3, dtype=torch.float64)
ASYMMETRIC = EYE + torch.tensor([[0, 1e-3, 0], [0, 0, 0], [0, 0, 0]])
NAN = torch.full((3,), math.nan)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Prompt(normal(3), normal(3)),
            r"inputs was of shape \(3,\); it must be of shape \(..., n, d\)",
        ),
        (lambda: Prompt(normal(0, 3), normal(3)), r"inputs was of shape \(0, 3\)"),
        (
            lambda: Prompt(normal(3, 0), normal(0)),
            r"inputs was of shape \(3, 0\); .* n and d at least 1",
        ),
        (
            lambda: Prompt(normal(5, 3), normal(4)),
            r"target was of shape \(4,\); it must be of shape \(..., 3\)",
        ),
        (
            lambda: Prompt(normal(2, 5, 3), normal(4, 3)),
            "inputs and target was of leading shapes",
        ),
        (lambda: Prompt(normal(5, 3), NAN), "target was not finite"),
        (lambda: Prompt(normal(5, 3) / 0, normal(3)), "inputs was not finite"),
        (
            lambda: Prompt(normal(5, 3) * 1j, normal(3)),
            "inputs was of dtype torch.complex128; it must be real",
        ),
        (
            lambda: Prompt("examples", normal(3)),
            "inputs was 'examples'; it must be numbers",
        ),
        (
            lambda: Prompt(normal(5, 3), normal(3)).gradient(normal(2)),
            r"w was of shape \(2,\)",
        ),
        (
            lambda: prompt_with_covariance(
                normal(3, 2), normal(3), 5, generator=generator()
            ),
            "covariance .* square",
        ),
        *(
            (
                lambda shape=shape: prompt_with_covariance(
                    normal(*shape), normal(3), 5, generator=generator()
                ),
                r"covariance was of shape \(.*\); it must be square, of shape "
                r"\(..., d, d\)",
            )
            for shape in [(3,), (2, 3), (0, 0)]
        ),
        (
            lambda: Prompt(normal(5, 3), normal(3)).gradient(3.0),
            r"w was of shape \(\); it must be of shape \(..., 3\)",
        ),
        (
            lambda: Prompt(normal(5, 3), normal(3)).gradient("here"),
            "w was 'here'; it must be numbers in a tensor or array",
        ),
        (
            lambda: Prompt([[1.0], [1.0, 2.0]], normal(3)),
            "inputs was .*; it must be numbers in a tensor or array",
        ),
        (
            lambda: prompt_with_covariance(EYE, normal(3), True, generator=generator()),
            "n was True; it must be an integer of at least 1",
        ),
        (
            lambda: prompt_with_covariance(
                EYE * math.nan, normal(3), 5, generator=generator()
            ),
            "covariance .* finite",
        ),
        (
            lambda: prompt_with_covariance(
                ASYMMETRIC, normal(3), 5, generator=generator()
            ),
            "covariance was asymmetric by 0.001; it must be symmetric",
        ),
        (
            lambda: prompt_with_covariance(-EYE, normal(3), 5, generator=generator()),
            "covariance was indefinite, with the eigenvalue -1; it must be positive "
            "semi-definite",
        ),
        (
            lambda: prompt_with_covariance(EYE, normal(2), 5, generator=generator()),
            r"target was of shape \(2,\)",
        ),
        (
            lambda: prompt_with_covariance(EYE, NAN, 5, generator=generator()),
            "target was not finite",
        ),
        (
            lambda: prompt_with_covariance(
                EYE.expand(2, 3, 3), normal(4, 3), 5, generator=generator()
            ),
            "covariance and target was of leading shapes",
        ),
        (
            lambda: prompt_with_covariance(EYE, normal(3), 2, generator=generator()),
            "n was 2; it must be at least the rank of the covariance",
        ),
        (
            lambda: prompt_with_covariance(EYE, normal(3), 0, generator=generator()),
            "n was 0; .* at least 1",
        ),
        (
            lambda: prompt_with_covariance(EYE, normal(3), 5.0, generator=generator()),
            "n was 5.0; .* an integer",
        ),
        (
            lambda: prompt_with_covariance(EYE, normal(3), 5, generator=7),
            "generator was 7; .* a torch.Generator",
        ),
        (lambda: random_covariance(0, generator=generator()), "d was 0; .* at least 1"),
        (
            lambda: random_covariance(3, 0.5, generator=generator()),
            "condition_number was 0.5; .* at least 1",
        ),
        (
            lambda: random_covariance(3, math.nan, generator=generator()),
            "condition_number was not finite",
        ),
        (
            lambda: random_covariance(3, rank=4, generator=generator()),
            "rank was 4; .* at most d = 3",
        ),
        (lambda: random_covariance(3, rank=-1, generator=generator()), "rank was -1"),
        (
            lambda: random_covariance(3, 2.0, rank=1, generator=generator()),
            "condition_number was 2; .* rank is 1",
        ),
        (
            lambda: random_covariance(3, largest=0.0, generator=generator()),
            "largest was 0; .* greater than 0",
        ),
        (
            lambda: random_covariance(3, torch.ones(2), generator=generator()),
            r"condition_number was of shape \(2,\)",
        ),
        (lambda: random_covariance(3, generator=None), "generator was None"),
        (
            lambda: target_pair(1, 1.0, generator=generator()),
            "angle was 1; it must be 0 or pi where d = 1",
        ),
        (
            lambda: target_pair(3, -0.1, generator=generator()),
            "angle was -0.1 .* between 0 and pi",
        ),
        (
            lambda: target_pair(3, 3.2, generator=generator()),
            "angle was 3.2 .* between 0 and pi",
        ),
        (
            lambda: target_pair(3, math.nan, generator=generator()),
            "angle was not finite",
        ),
        (
            lambda: target_pair(3, 1.0, 0.0, generator=generator()),
            "norm was 0; .* greater than 0",
        ),
        (lambda: target_pair(3, 1.0, generator="seed"), "generator was 'seed'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

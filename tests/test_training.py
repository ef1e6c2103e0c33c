"""Training: it recovers the gradient step, and a run is determined by its
configuration.
"""

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import safetensors.torch
import torch

from agent_dynamics import training
from agent_dynamics._training_data import token_moments, validation_prompts
from agent_dynamics._training_run import Run
from agent_dynamics.agents import GradientAgent
from agent_dynamics.lsa import LinearSelfAttention, gradient_descent_weights
from agent_dynamics.prompts import Prompt
from agent_dynamics.training import (
    TrainedLSA,
    TrainingConfig,
    cached_lsa,
    operator_error,
    train_lsa,
)

SMALL = TrainingConfig(
    dimension=2, seed=1, examples=4, batch_size=8, steps=120, evaluate_every=10
)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def assert_same_run(one: TrainedLSA, other: TrainedLSA) -> None:
    assert one.config == other.config
    for name in ("value", "query"):
        assert torch.equal(getattr(one.model, name), getattr(other.model, name))
    assert (
        one.history.keys() == other.history.keys() == {"step", "loss", "operator_error"}
    )
    for name, column in one.history.items():
        assert torch.equal(column, other.history[name])


@pytest.fixture(scope="module")
def finished() -> TrainedLSA:
    return train_lsa(SMALL)


@pytest.mark.parametrize("condition_number", [1.0, 100.0])
def test_training_recovers_the_gradient_step_whatever_the_history_and_stops_there(
    condition_number,
):
    config = TrainingConfig(dimension=5, seed=0, condition_number=condition_number)
    run = train_lsa(config)
    prompt = Prompt(normal(50, 12, 5, seed=1), normal(50, 5, seed=2))
    assert operator_error(run.model, prompt, config.step_size).max() <= 1e-10
    messages = normal(50, 8, 5, seed=3)  # more history than training shows
    answer = run.model.step(prompt.gram, prompt.examples, messages)
    expected = GradientAgent(prompt, config.step_size)(messages[:, -1])
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-9)
    assert (run.history["operator_error"][-3:] <= config.tolerance).all()
    assert run.history["step"][-1] < config.steps


def test_a_configuration_determines_the_weights(finished):
    assert_same_run(train_lsa(SMALL), finished)
    assert finished.history["step"].tolist() == list(range(10, 121, 10))
    other = train_lsa(replace(SMALL, seed=2))
    assert not torch.equal(other.model.value, finished.model.value)


def interrupt(monkeypatch, name: str, call: int) -> None:
    """Make the call-th call of one of the training module's functions end in Ctrl-C,
    after its work.
    """
    original, calls = getattr(training, name), []

    def interrupted(*arguments):
        result = original(*arguments)
        calls.append(result)
        if len(calls) == call:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(training, name, interrupted)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("_train_step", 1),
        ("_train_step", 57),
        ("_train_step", 110),
        ("_train_step", 120),
        ("token_moments", 1),
        ("token_moments", 110),
        ("operator_error", 1),
        ("operator_error", 12),
    ],
)
def test_an_interrupted_run_resumes_to_the_same_weights_and_history(
    monkeypatch, tmp_path, finished, name, call
):
    checkpoint = tmp_path / "folder" / "run.safetensors"
    with monkeypatch.context() as patched:
        interrupt(patched, name, call)
        with pytest.raises(KeyboardInterrupt):
            train_lsa(SMALL, checkpoint=checkpoint)
    assert_same_run(train_lsa(SMALL, checkpoint=checkpoint), finished)
    assert_same_run(TrainedLSA.load(checkpoint), finished)


def test_an_interruption_in_the_middle_of_an_update_leaves_no_half_made_step(
    monkeypatch, tmp_path, finished
):
    checkpoint = tmp_path / "run.safetensors"
    update, calls = torch.optim.Adam.step, []

    def interrupted(optimizer, *arguments):
        update(optimizer, *arguments)
        calls.append(optimizer)
        if len(calls) == 110:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.Adam, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_lsa(SMALL, checkpoint=checkpoint)
    with pytest.raises(
        ValueError,
        match="run.safetensors, the checkpoint of a run that stopped at step",
    ):
        TrainedLSA.load(checkpoint)
    assert_same_run(train_lsa(SMALL, checkpoint=checkpoint), finished)


def test_a_resumed_run_takes_only_the_steps_that_are_left_and_a_finished_one_none(
    monkeypatch, tmp_path, finished
):
    checkpoint = tmp_path / "run.safetensors"
    with monkeypatch.context() as patched:
        interrupt(patched, "_train_step", 105)
        with pytest.raises(KeyboardInterrupt):
            train_lsa(SMALL, checkpoint=checkpoint)
    taken, original = [], training._train_step
    monkeypatch.setattr(
        training,
        "_train_step",
        lambda run, *rest: taken.append(run.step) or original(run, *rest),
    )
    train_lsa(SMALL, checkpoint=checkpoint)
    assert taken == list(range(100, 120))
    taken.clear()
    saved = tmp_path / "saved.safetensors"
    finished.save(saved)
    for file in (checkpoint, saved):
        assert_same_run(train_lsa(SMALL, checkpoint=file), finished)
    assert taken == []


@pytest.mark.parametrize("rank", [0, 3, 6, 11])
def test_training_stops_where_three_errors_in_a_row_are_within_the_tolerance(
    finished, rank
):
    errors = finished.history["operator_error"]
    tolerance = errors.sort().values[rank].item()
    within = (errors <= tolerance).tolist()
    stops = [i for i in range(3, 13) if all(within[i - 3 : i])] or [12]
    run = train_lsa(replace(SMALL, tolerance=tolerance))
    assert torch.equal(run.history["operator_error"], errors[: stops[0]])
    assert run.history["step"][-1] == 10 * stops[0]


def test_the_last_step_is_evaluated_too():
    steps = train_lsa(replace(SMALL, steps=25)).history["step"]
    assert steps.tolist() == [10, 20, 25]


def test_a_run_starts_at_random_weights_of_the_two_scales():
    run = train_lsa(
        TrainingConfig(dimension=16, seed=0, steps=1, learning_rate=1e-9, batch_size=1)
    )
    for matrix, scale in ((run.model.value, 0.02), (run.model.query, 0.5)):
        n = matrix.numel()
        assert abs(matrix.mean().item()) < 5 * scale / math.sqrt(n)
        assert abs(matrix.std().item() / scale - 1) < 5 / math.sqrt(2 * n)


@pytest.mark.parametrize("context", [0, 1, 3])
def test_training_contexts_hold_any_number_of_earlier_messages_up_to_the_most(
    monkeypatch, context
):
    seen, step = [], LinearSelfAttention.step

    def watched(layer, gram, n, messages):
        answer = step(layer, gram, n, messages)
        if messages.requires_grad is False and answer.requires_grad:
            seen.append((gram, n, messages, answer.detach()))
        return answer

    monkeypatch.setattr(LinearSelfAttention, "step", watched)
    config = replace(SMALL, context=context, steps=60, evaluate_every=1)
    run = train_lsa(config)
    assert {m.shape[-2] - 1 for _, _, m, _ in seen} == set(range(context + 1))
    # The loss is the mean square distance to the gradient step on the last message.
    for (gram, n, messages, answer), loss in zip(
        seen, run.history["loss"], strict=True
    ):
        assert messages.shape[::2] == (8, 2) and n == 4
        w = messages[:, -1]
        gradient = (gram[:, :2, :2] @ w.unsqueeze(-1)).squeeze(-1) - gram[:, :2, 2]
        off = answer - (w - config.step_size * gradient)
        assert loss.item() == pytest.approx(off.square().sum(-1).mean().item())
    # Messages are standard normal.
    every = torch.cat([m.flatten() for _, _, m, _ in seen])
    assert abs(every.mean().item()) < 5 / math.sqrt(len(every))
    assert abs(every.square().mean().item() - 1) < 5 * math.sqrt(2 / len(every))


def test_the_optimizer_is_adam_with_the_amsgrad_bound(monkeypatch):
    made, adam = [], torch.optim.Adam

    def watched(*arguments, **options):
        made.append(adam(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(torch.optim, "Adam", watched)
    train_lsa(replace(SMALL, steps=1))
    (group,) = made[0].param_groups
    assert group["amsgrad"] and group["lr"] == SMALL.learning_rate
    assert len(group["params"]) == 2


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, finished):
    path = tmp_path / "run.safetensors"
    finished.save(path)
    with pytest.raises(
        ValueError,
        match=r"checkpoint was .*seed=1.*; it must be one written by .*seed=2",
    ):
        train_lsa(replace(SMALL, seed=2), checkpoint=path)


def test_a_saved_layer_loads_as_it_was(tmp_path, finished):
    path = tmp_path / "folder" / "layer.safetensors"
    finished.save(path)
    assert_same_run(TrainedLSA.load(path), finished)


@pytest.mark.unchecked
def test_a_configuration_of_numpy_numbers_is_kept_as_one_of_pythons(tmp_path):
    config = replace(SMALL, dimension=np.int64(2), step_size=np.float32(0.5), steps=10)
    train_lsa(config, checkpoint=tmp_path / "layer")
    assert TrainedLSA.load(tmp_path / "layer").config == replace(
        SMALL, step_size=0.5, steps=10
    )


def test_a_configuration_and_a_trained_layer_stay_as_they_are(finished):
    with pytest.raises(FrozenInstanceError):
        finished.config.steps = 10
    with pytest.raises(FrozenInstanceError):
        finished.model = None


def test_a_file_that_holds_no_layer_is_named(tmp_path):
    path = tmp_path / "layer.safetensors"
    with pytest.raises(
        FileNotFoundError, match="no trained LSA layer at .*layer.safetensors"
    ):
        TrainedLSA.load(path)
    path.write_bytes(b"not a safetensors file")
    with pytest.raises(
        ValueError, match="layer.safetensors, which holds no trained LSA layer"
    ):
        TrainedLSA.load(path)
    for metadata in (None, {"config": "{", "step": "1"}):
        safetensors.torch.save_file({"value": torch.zeros(2)}, path, metadata=metadata)
        with pytest.raises(
            ValueError, match="layer.safetensors, which holds no trained LSA layer"
        ):
            TrainedLSA.load(path)


def test_operator_error_is_zero_for_the_construction_else_the_relative_miss():
    prompt = Prompt(normal(20, 9, 4, seed=0), normal(20, 4, seed=1))
    assert operator_error(gradient_descent_weights(4, 0.4), prompt, 0.4).max() <= 1e-14
    wrong = operator_error(gradient_descent_weights(4, 0.5), prompt, 0.4)
    torch.testing.assert_close(wrong, torch.full_like(wrong, 0.25), rtol=1e-13, atol=0)


def test_training_moments_have_the_wishart_mean_and_variance():
    config, draws = TrainingConfig(dimension=3, seed=0, examples=5), 100_000
    d, n = config.dimension, config.examples
    gram = token_moments(config, draws, np.random.default_rng(0))
    identity = torch.eye(d, dtype=torch.float64)
    # E S = I, E S t = 0, E t'St = d.
    mean = torch.zeros(d + 1, d + 1, dtype=torch.float64)
    mean[:d, :d], mean[d, d] = identity, d
    s = gram[:, :d, :d]
    for sample, expected in (
        (gram, mean),
        ((s - identity).square(), (1 + identity) / n),
    ):
        standard_error = sample.std(0) / math.sqrt(draws)
        assert ((sample.mean(0) - expected).abs() <= 5 * standard_error).all()
    # Each is the moment matrix of n examples with exact labels: y = x't leaves no
    # variance of its own.
    schur = (
        gram[:, d, d]
        - (gram[:, d, None, :d] @ torch.linalg.solve(s, gram[:, :d, d, None])).flatten()
    )
    assert (schur.abs() <= 1e-9 * gram[:, d, d]).all()


def test_ill_conditioned_training_examples_have_the_moments_of_their_covariances():
    config, draws = (
        TrainingConfig(dimension=3, seed=0, examples=5, condition_number=100.0),
        50_000,
    )
    spectrum = torch.tensor([0.01, 0.1, 1.0], dtype=torch.float64)
    # E S = mean(spectrum) I over orientations; of a Wishart matrix
    # E tr S^2 = (1 + 1/n) tr Sigma^2 + (tr Sigma)^2 / n.
    square = (1 + 1 / 5) * spectrum.square().sum() + spectrum.sum().square() / 5
    trained = token_moments(config, draws, np.random.default_rng(0))[:, :3, :3]
    validation = torch.cat(
        [
            validation_prompts(replace(config, seed=seed)).covariance
            for seed in range(50)
        ]
    )
    for s in (trained, validation):
        for sample, expected in (
            (s, spectrum.mean() * torch.eye(3, dtype=torch.float64)),
            (s.square().sum((-2, -1)), square),
        ):
            assert (
                (sample.mean(0) - expected).abs()
                <= 5 * sample.std(0) / math.sqrt(len(s))
            ).all()


def test_a_cached_layer_is_trained_once(monkeypatch, tmp_path, finished):
    monkeypatch.setenv("AGENT_DYNAMICS_CACHE", str(tmp_path))
    assert_same_run(cached_lsa(SMALL), finished)
    monkeypatch.setattr(
        training, "_train_step", lambda *arguments: pytest.fail("trained again")
    )
    assert_same_run(cached_lsa(SMALL), finished)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        cached_lsa(replace(SMALL, condition_number=2.0))


def test_gradient_flow_conserves_the_difference_of_squared_norms():
    run = Run.start(TrainingConfig(dimension=3, seed=0, learning_rate=0.1))
    with torch.no_grad():
        for seed, parameter in enumerate(run.model.parameters()):
            parameter.copy_(normal(8, 8, seed=seed))
    value, query = run.model.value.detach().clone(), run.model.query.detach().clone()
    training._train_step(run, TrainingConfig(dimension=3, seed=0))
    # d/dt (||V||^2 - ||Q||^2) = -2 <V, dL/dV> + 2 <Q, dL/dQ>
    flow_of_value, flow_of_query = (
        value * run.model.value.grad,
        query * run.model.query.grad,
    )
    for tokens in (slice(None), slice(4, None)):  # all, and the weight tokens alone
        assert flow_of_value[:, tokens].sum().abs() > 1
        torch.testing.assert_close(
            flow_of_value[:, tokens].sum(),
            flow_of_query[tokens].sum(),
            rtol=1e-12,
            atol=0,
        )


@pytest.mark.parametrize("token_balance", [0.2, 5.0])
def test_token_balance_moves_the_balance_of_weight_tokens_and_no_first_answer(
    token_balance,
):
    config = TrainingConfig(dimension=3, seed=4, value_scale=0.2, query_scale=0.2)
    even = Run.start(config).model
    uneven = Run.start(replace(config, token_balance=token_balance)).model
    gram, messages = normal(7, 4, 4, seed=5), normal(7, 2, 3, seed=6)
    gram = gram @ gram.mT
    torch.testing.assert_close(
        uneven.step(gram, 9, messages), even.step(gram, 9, messages)
    )
    for tokens, factor in ((slice(4), 1.0), (slice(4, None), token_balance)):
        torch.testing.assert_close(uneven.query[tokens], factor * even.query[tokens])
        torch.testing.assert_close(
            uneven.value[:, tokens], even.value[:, tokens] / factor
        )


@pytest.mark.parametrize(("context", "moves"), [(0, False), (2, True)])
def test_alone_no_training_moves_the_antisymmetric_part_of_q_on_weight_tokens(
    context, moves
):
    config = replace(SMALL, dimension=3, context=context)

    def antisymmetric(model):
        block = model.query[4:, 4:].detach()
        return block - block.mT

    before = antisymmetric(Run.start(config).model)
    after = antisymmetric(train_lsa(config).model)
    assert before.norm() > 0.5
    assert ((after - before).norm() > 0.01) == moves
    if not moves:
        torch.testing.assert_close(after, before, rtol=0, atol=1e-13)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dimension": 0}, "dimension was 0; it must be an integer of at least 1"),
        ({"seed": -1}, "seed was -1; it must be an integer of at least 0"),
        ({"seed": 0.5}, "seed was 0.5; it must be an integer"),
        ({"examples": 1}, "examples was 1; it must be at least the dimension 2"),
        ({"condition_number": 0.5}, "condition_number was 0.5; it must be at least 1"),
        (
            {"condition_number": math.nan},
            "condition_number was nan; it must be a finite number",
        ),
        (
            {"dimension": 1, "condition_number": 2.0},
            "condition_number was 2.0; it must be 1 where the dimension is 1",
        ),
        ({"context": -1}, "context was -1"),
        ({"examples": 0}, "examples was 0; it must be an integer of at least 1"),
        ({"steps": 0}, "steps was 0; it must be an integer of at least 1"),
        ({"learning_rate": 0.0}, "learning_rate was 0.0; it must be greater than 0"),
        ({"batch_size": 0}, "batch_size was 0"),
        ({"steps": True}, "steps was True; it must be an integer"),
        ({"evaluate_every": 0}, "evaluate_every was 0"),
        ({"step_size": 0.0}, "step_size was 0.0; it must be greater than 0"),
        ({"step_size": math.nan}, "step_size was nan; it must be a finite number"),
        ({"value_scale": -1.0}, "value_scale was -1.0"),
        ({"token_balance": 0.0}, "token_balance was 0.0; it must be greater than 0"),
        ({"query_scale": 0.0}, "query_scale was 0.0"),
        (
            {"learning_rate": "fast"},
            "learning_rate was 'fast'; it must be a finite number",
        ),
        ({"tolerance": 0.0}, "tolerance was 0.0"),
    ],
)
def test_bad_configurations_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_operator_error_names_bad_input():
    prompt = Prompt(normal(9, 3, seed=0), normal(3, seed=1))
    with pytest.raises(ValueError, match="step_size was 0; it must be greater than 0"):
        operator_error(gradient_descent_weights(3, 0.4), prompt, 0)
    with pytest.raises(
        ValueError,
        match="prompt was of dimension 3; it must be of the layer's dimension 2",
    ):
        operator_error(gradient_descent_weights(2, 0.4), prompt, 0.4)
    with pytest.raises(ValueError, match="prompt was without any non-zero example"):
        operator_error(
            gradient_descent_weights(3, 0.4),
            Prompt(0 * prompt.inputs, prompt.target),
            0.4,
        )


def test_a_device_that_there_is_not_is_no_fault_of_the_checkpoint(tmp_path, finished):
    path = tmp_path / "run.safetensors"
    finished.save(path)
    with pytest.raises(RuntimeError, match="nonsense"):
        train_lsa(SMALL, checkpoint=path, device="nonsense")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_trains_the_same_layer_and_goes_on_from_a_checkpoint(
    monkeypatch, tmp_path, finished
):
    checkpoint = tmp_path / "run.safetensors"
    with monkeypatch.context() as patched:
        interrupt(patched, "_train_step", 105)
        with pytest.raises(KeyboardInterrupt):
            train_lsa(SMALL, checkpoint=checkpoint, device="cuda")
    trained = train_lsa(SMALL, checkpoint=checkpoint, device="cuda")
    assert trained.model.value.is_cuda
    torch.testing.assert_close(
        trained.model.value.cpu(), finished.model.value, rtol=1e-6, atol=1e-8
    )

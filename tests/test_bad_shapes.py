"""Shapes that do not fit together are named, whichever function they meet in."""

import pytest
import torch

from agent_dynamics.adversary import one_sided
from agent_dynamics.agents import GradientAgent, Repeated
from agent_dynamics.book.claims import record
from agent_dynamics.book.glue import glue
from agent_dynamics.equilibrium import equilibrium, limit_bound, small_step_limit
from agent_dynamics.helper import AndersonHelper
from agent_dynamics.interaction import Trajectory, interact, settle
from agent_dynamics.label_noise import expected_error
from agent_dynamics.language_model import effective_step
from agent_dynamics.losses import LogCoshLoss, ObjectiveAgent
from agent_dynamics.lsa import LSAAgent, gradient_descent_weights, tokens
from agent_dynamics.prompts import Prompt, random_covariance, target_pair
from agent_dynamics.softmax import SoftmaxAgent, SoftmaxConfig, SoftmaxTransformer

pytestmark = pytest.mark.unchecked


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def blind_to_batch(*batch: int) -> Prompt:
    """A prompt whose examples have batch dimensions that its target lacks."""
    return Prompt(normal(*batch, 8, 3), normal(3))


THREE = GradientAgent(blind_to_batch(3), 0.2)
FOUR = GradientAgent(blind_to_batch(4), 0.2)
STEPS = GradientAgent(blind_to_batch(), torch.full((4,), 0.2))
LAYER = gradient_descent_weights(3, 0.2)
OBJECTIVE = LogCoshLoss(normal(4, 8, 3), normal(8))
TRANSFORMER = SoftmaxTransformer(SoftmaxConfig(dimension=3, seed=0, examples=8))
LARGER = GradientAgent(Prompt(normal(9, 4), normal(4)), 0.2)
REPLIES = (
    THREE,
    Repeated(THREE, 2),
    LSAAgent(LAYER, blind_to_batch(3)),
    ObjectiveAgent(LogCoshLoss(normal(3, 8, 3), normal(8)), 0.2),
    AndersonHelper(normal(3, 8, 3), lambda prompt: GradientAgent(prompt, 0.2)),
    SoftmaxAgent(TRANSFORMER.double(), blind_to_batch(3)),
)


@pytest.mark.parametrize("agent", REPLIES, ids=lambda agent: type(agent).__name__)
def test_a_message_of_another_batch_is_named(agent):
    with pytest.raises(
        ValueError,
        match=r"message was of leading shape \(4,\); .*broadcasts with \(3,\)",
    ):
        agent(normal(4, 3))


@pytest.mark.parametrize("exchange", [lambda *x: interact(*x, 2), settle])
@pytest.mark.parametrize("other", [FOUR, STEPS, Repeated(FOUR, 2)])
def test_agents_of_batches_that_do_not_broadcast_are_named(exchange, other):
    with pytest.raises(
        ValueError, match=r"start and agent 0 and agent 1 was .* \(\), \(3,\), \(4,\)"
    ):
        exchange([THREE, other], torch.zeros(3))
    with pytest.raises(
        ValueError,
        match=r"start and agent 0 was of leading shapes \(4,\), \(3,\)",
    ):
        exchange([THREE], torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: one_sided(THREE, FOUR), r"agent_w and agent_u was .*\(3,\), \(4,\)"),
        (lambda: equilibrium(THREE, FOUR), r"agent_w and agent_u was .*\(3,\), \(4,\)"),
        (
            lambda: expected_error(THREE, FOUR, 1.0, 1.0),
            r"agent_w and agent_u was .*\(3,\), \(4,\)",
        ),
        (
            lambda: small_step_limit(THREE.prompt, FOUR.prompt),
            r"prompt_w and prompt_u was of leading shapes \(3,\), \(4,\)",
        ),
        (
            lambda: limit_bound(THREE, THREE, FOUR, FOUR),
            r"agents and learned was of leading shapes \(3,\), \(4,\)",
        ),
        (
            lambda: limit_bound(THREE, THREE, LARGER, LARGER),
            r"learned_w was of shape \(4,\); it must be of shape \(..., 3\)",
        ),
        (lambda: THREE.prompt.loss(normal(4, 3)), r"w was of leading shape \(4,\)"),
        (lambda: THREE.prompt.gradient(normal(4, 3)), r"w was of leading shape \(4,\)"),
        (lambda: OBJECTIVE.loss(normal(5, 3)), r"v was of leading shape \(5,\)"),
        (lambda: OBJECTIVE.hessian(normal(5, 3)), r"v was of leading shape \(5,\)"),
        (
            lambda: tokens(THREE.prompt, normal(4, 2, 3)),
            r"prompt and messages was of leading shapes \(3,\), \(4,\)",
        ),
        (
            lambda: LAYER.step(THREE.prompt.gram, 8, normal(4, 2, 3)),
            r"gram and messages was of leading shapes \(3,\), \(4,\)",
        ),
        (
            lambda: random_covariance(3, generator=torch.Generator(), shape=4),
            "shape was 4; it must be a tuple of integers",
        ),
        (
            lambda: random_covariance(3, generator=torch.Generator(), shape=(2, -1)),
            "shape was -1; it must be an integer of at least 0",
        ),
        (
            lambda: target_pair(3, 1.0, generator=torch.Generator(), shape="ab"),
            "shape was 'ab'; it must be a tuple of integers",
        ),
        (
            lambda: effective_step(
                Prompt(normal(8, 3), normal(3)), normal(4, 3), normal(5, 3)
            ),
            r"received and sent was of shapes \(4, 3\) and \(5, 3\)",
        ),
        (
            lambda: record(
                "hero-equilibrium", predicted=[1, 2], measured=[1, 2, 3], tolerance=1
            ),
            r"predicted and measured was of shapes \(2,\) and \(3,\)",
        ),
        (lambda: glue("name", None), "value was None; it must be a number or text"),
        (
            lambda: Trajectory(normal(3, 2), (normal(2),)).by_agent("W"),
            "index was W; it must be from 0 to 0",
        ),
    ],
)
def test_bad_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

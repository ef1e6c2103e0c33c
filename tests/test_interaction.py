"""The exchange: which message is whose, and when it has settled."""

import dataclasses
import math
import tracemalloc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent_dynamics import _doubling
from agent_dynamics.agents import GradientAgent, Repeated
from agent_dynamics.interaction import Protocol, interact, settle
from agent_dynamics.prompts import Prompt


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def agent(seed: int, *batch: int, d: int = 3, step_size: float = 0.2) -> GradientAgent:
    return GradientAgent(
        Prompt(normal(*batch, 8, d, seed=seed), normal(*batch, d, seed=seed + 100)),
        step_size,
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_agents_reply_in_order_and_each_message_is_measured_against_its_senders_target(
    count,
):
    agents = [agent(seed) for seed in range(count)]
    start = normal(3, seed=9)
    trajectory = interact(agents, start, turns=4)
    messages, errors, message = [start], [], start
    for _ in range(4):
        row = []
        for each in agents:
            message = message - 0.2 * each.prompt.covariance @ (message - each.target)
            messages.append(message)
            row.append(torch.linalg.vector_norm(message - each.target))
        errors.append(torch.stack(row))
    assert trajectory.messages.shape == (4 * count + 1, 3)
    torch.testing.assert_close(
        trajectory.messages, torch.stack(messages), rtol=1e-13, atol=1e-14
    )
    torch.testing.assert_close(
        trajectory.errors(), torch.stack(errors), rtol=1e-12, atol=1e-14
    )
    for index in range(count):
        assert torch.equal(
            trajectory.by_agent(index), trajectory.messages[1 + index :: count]
        )


def test_batches_broadcast_and_each_element_is_its_own_exchange():
    one, other = agent(0, 2, 1), agent(1, 4)
    start = normal(3, seed=9)
    trajectory = interact([one, other], start, turns=5)
    assert trajectory.messages.shape == (2, 4, 11, 3)
    assert trajectory.errors().shape == (2, 4, 5, 2)
    for i in range(2):
        for j in range(4):
            w = GradientAgent(Prompt(one.prompt.inputs[i, 0], one.target[i, 0]), 0.2)
            u = GradientAgent(Prompt(other.prompt.inputs[j], other.target[j]), 0.2)
            single = interact([w, u], start, turns=5)
            torch.testing.assert_close(
                trajectory.messages[i, j], single.messages, rtol=1e-13, atol=1e-14
            )
            torch.testing.assert_close(
                trajectory.errors()[i, j], single.errors(), rtol=1e-12, atol=1e-14
            )


def test_settle_ends_where_a_long_exchange_does():
    agents, start = [agent(0, 5), agent(1, 5)], normal(3, seed=9)
    long = interact(agents, start, turns=2000)
    for index, last in enumerate(settle(agents, start)):
        torch.testing.assert_close(
            last, long.by_agent(index)[:, -1], rtol=1e-12, atol=1e-12
        )


def test_settle_refuses_an_exchange_that_diverges_or_is_cut_short():
    with pytest.raises(RuntimeError, match="the exchange diverged"):
        settle([agent(0, step_size=50.0), agent(1)], normal(3, seed=9))
    with pytest.raises(RuntimeError, match="still moves by .* after 100 turns"):
        settle(
            [agent(0, step_size=1e-3), agent(1, step_size=1e-3)],
            normal(3, seed=9),
            turns=99,
        )
    with pytest.raises(
        ValueError, match="tolerance was nan; it must be a finite number"
    ):
        settle([agent(0)], normal(3, seed=9), tolerance=math.nan)
    with pytest.raises(ValueError, match="tolerance was 0.0; .* greater than 0"):
        settle([agent(0)], normal(3, seed=9), tolerance=0.0)


class Drifting:
    """An agent that adds one step to every message, and counts them."""

    def __init__(self, step):
        self.step = torch.as_tensor(step, dtype=torch.float64)
        self.target, self.calls = torch.zeros(2, dtype=torch.float64), 0

    def __call__(self, message):
        self.calls += 1
        return message + self.step


@pytest.mark.parametrize("size", [0.0, 1e-3, 1.0, 50.0, 1e4])
def test_settle_stops_where_a_hundred_rounds_move_less_than_the_largest_entry_allows(
    size,
):
    # Its first hundred rounds move a message to [size, 0], by `moved` in both entries.
    tolerance = 1e-6
    for share, stops in ((0.9, True), (1.1, False), (-0.9, True), (-1.1, False)):
        moved = share * tolerance * max(size, 1)
        one, other = Drifting([moved / 100, moved / 200]), Drifting([0, moved / 200])
        start = torch.tensor([size - moved, -moved], dtype=torch.float64)
        if stops:
            last = settle([one, other], start, tolerance=tolerance, turns=300)
            assert one.calls == other.calls == 100
            end = torch.tensor([size, 0], dtype=torch.float64)
            step = 1e-12 * max(size, 1)
            torch.testing.assert_close(last[1], end, rtol=0, atol=step)
            torch.testing.assert_close(last[0], end - other.step, rtol=0, atol=step)
        else:
            with pytest.raises(RuntimeError, match="still moves by .* after 300 turns"):
                settle([one, other], start, tolerance=tolerance, turns=300)
            assert one.calls == other.calls == 300


def test_settle_waits_for_every_message_of_a_batch_by_its_own_size():
    start = torch.tensor([[1e6, 1.0], [1.0, 1e6], [1.0, 1.0]], dtype=torch.float64)
    moved = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]], dtype=torch.float64)
    assert torch.equal(settle([Drifting(0 * moved)], start, tolerance=1e-6)[0], start)
    settle([Drifting(moved / 100)], start, tolerance=1e-6, turns=100)
    moved[2] = torch.tensor([1e-5, 0])
    with pytest.raises(RuntimeError, match="still moves by 0.5 after 200 turns"):
        settle([Drifting(moved / 100)], start, tolerance=1e-6, turns=101)


@pytest.mark.parametrize(
    "exchange",
    [lambda a, s, t: interact(a, s, t), lambda a, s, t: settle(a, s, turns=t)],
)
@pytest.mark.parametrize(
    ("agents", "start", "turns", "message"),
    [
        ([], torch.zeros(3), 1, "agents was empty; it must be at least one agent"),
        (
            [agent(0)],
            torch.zeros(4),
            1,
            r"start was of shape \(4,\); it must be of shape \(..., 3\)",
        ),
        ([agent(0)], torch.full((3,), math.nan), 1, "start was not finite"),
        (
            [agent(0), agent(1, d=2)],
            torch.zeros(3),
            1,
            "agents was of dimensions 3 and 2; .* of one dimension",
        ),
        (
            [agent(0), agent(1), agent(2, d=4)],
            torch.zeros(3),
            1,
            "agents was of dimensions 3 and 4; .* of one dimension",
        ),
        (
            [agent(0)],
            torch.zeros(3),
            0,
            "turns was 0; it must be an integer of at least 1",
        ),
        (
            [agent(0, 3), agent(1, 4)],
            torch.zeros(3),
            1,
            r"start and agent 0 and agent 1 was .*\(3,\), \(4,\)",
        ),
        (
            [agent(0, 3)],
            torch.zeros(4, 3),
            1,
            r"start and agent 0 was of leading shapes \(4,\), \(3,\)",
        ),
    ],
)
def test_bad_input_is_named(exchange, agents, start, turns, message):
    with pytest.raises(ValueError, match=message):
        exchange(agents, start, turns)


@given(seed=st.integers(0, 2**31), d=st.integers(1, 6), step_size=st.floats(0.01, 0.5))
def test_error_recursion_over_random_pairs(seed, d, step_size):
    pair = [
        agent(seed, d=d, step_size=step_size),
        agent(seed + 1, d=d, step_size=step_size / 2),
    ]
    (A, _), (B, _) = (member.affine() for member in pair)
    gap = pair[1].target - pair[0].target
    errors = (
        interact(pair, normal(d, seed=seed + 2), turns=4).by_agent(0) - pair[0].target
    )
    push = A @ (gap - B @ gap)
    expected = errors[:-1] @ (A @ B).mT + push
    torch.testing.assert_close(
        errors[1:], expected, rtol=1e-9, atol=1e-9 * errors.abs().max().item()
    )


def test_a_trajectory_is_kept_as_it_was_made_and_equals_itself_alone():
    one, other = (interact([agent(0)], torch.zeros(3), 2) for _ in range(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.messages = other.messages
    assert one == one and one != other and len({one, other, one}) == 2


def test_protocols_that_say_the_same_are_equal_and_stay_as_they_are():
    assert Protocol(2, noise=0.1) == Protocol(steps=2, noise=0.1) != Protocol(2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Protocol().noise = 0.1


def test_only_the_plain_alternation_and_its_inner_steps_arrive_as_they_were_sent():
    assert Protocol().alternates and Protocol((1, 3)).alternates
    assert not Protocol(simultaneous=True).alternates
    assert not Protocol(noise=0.1).alternates
    assert not Protocol(digits=0).alternates
    message, agents = normal(3, seed=0), [agent(0), agent(1)]
    assert torch.equal(Protocol(4).send(message, None), message)
    for digits in (0, 3, 15):
        sent = Protocol(digits=digits).send(message, None)
        expected = [round(x, digits) for x in message.tolist()]
        assert sent.tolist() == pytest.approx(expected, rel=0, abs=1e-15)
    assert Protocol().players(agents) == agents
    twice = Protocol((1, 2)).players(agents)
    assert twice[0] is agents[0] and twice[1].agent is agents[1]
    assert [Protocol(k).players(agents)[0].steps for k in (2, 5)] == [2, 5]


def test_a_mean_of_replies_is_what_the_next_round_replies_to_whatever_it_repeats():
    agents, start = [agent(seed) for seed in range(2)], normal(3, seed=9)
    run = interact(agents, start, 3, Protocol(simultaneous=True))
    for turn in range(1, 3):
        shared = torch.stack([run.by_agent(i)[turn - 1] for i in range(2)]).mean(0)
        for i in range(2):
            torch.testing.assert_close(
                run.by_agent(i)[turn], agents[i](shared), rtol=1e-13, atol=1e-14
            )


@pytest.mark.parametrize("simultaneous", [False, True])
def test_a_protocol_repeats_steps_adds_noise_then_rounds(simultaneous):
    agents, start = [agent(seed, 2) for seed in range(3)], normal(3, seed=9)
    protocol = Protocol((1, 2, 3), simultaneous=simultaneous, noise=0.3, digits=2)
    run = interact(
        agents, start, 3, protocol, generator=torch.Generator().manual_seed(5)
    )
    random, message, expected = torch.Generator().manual_seed(5), start, []
    for _ in range(3):
        replies = []
        for steps, each in zip((1, 2, 3), agents, strict=True):
            reply = message
            for _ in range(steps):
                reply = each(reply)
            reply = reply + 0.3 * torch.randn(
                2, 3, generator=random, dtype=torch.float64
            )
            replies.append((100 * reply).round() / 100)
            if not simultaneous:
                message = replies[-1]
        expected += replies
        if simultaneous:
            message = torch.stack(replies).mean(0)
    torch.testing.assert_close(
        run.messages[:, 1:], torch.stack(expected, dim=1), rtol=0, atol=1e-14
    )
    assert torch.equal(run.messages[:, 0], start.expand(2, 3))


def test_each_pair_of_a_batch_has_noise_of_its_own_from_the_first_message_on():
    random = torch.Generator().manual_seed(0)
    run = interact(
        [agent(0), agent(1, 4)],
        torch.zeros(3),
        1,
        Protocol(noise=1.0),
        generator=random,
    )
    assert len(run.by_agent(0).unique()) == 12


def test_agents_redrawn_each_turn_act_in_their_turn():
    turns = [[agent(10 * turn), agent(10 * turn + 1)] for turn in range(4)]
    drawn, start = [], normal(3, seed=9)

    def draw(turn):
        drawn.append(turn)
        return turns[turn]

    run = interact(draw, start, 4)
    expected, message = [start], start
    for pair in turns:
        for each in pair:
            message = each(message)
            expected.append(message)
    assert torch.equal(run.messages, torch.stack(expected))
    assert drawn == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Protocol(0), "steps was 0; it must be an integer of at least 1"),
        (lambda: Protocol((1, 0)), "steps was 0"),
        (lambda: Protocol(noise=-1.0), "noise was -1.0; it must be at least 0"),
        (
            lambda: Protocol(digits=-1),
            "digits was -1; it must be an integer of at least 0",
        ),
        (lambda: Protocol(digits=16), "digits was 16; it must be at most 15"),
        (
            lambda: interact([agent(0)], torch.zeros(3), 1, Protocol((1, 2))),
            r"steps was \(1, 2\) for 1 agents; it must be one number, or one for "
            r"each agent",
        ),
        (
            lambda: interact([agent(0)] * 3, torch.zeros(3), 1, Protocol((1, 2))),
            r"steps was \(1, 2\) for 3 agents; it must be one number",
        ),
        (
            lambda: interact([agent(0)], torch.zeros(3), 1, Protocol(noise=1.0)),
            "generator was None",
        ),
    ],
)
def test_a_bad_protocol_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_lone_agent_in_place_of_a_sequence_is_named():
    with pytest.raises(
        ValueError, match="agents was one agent; it must be a sequence of agents"
    ):
        interact(agent(0), torch.zeros(3), 1)


@pytest.mark.parametrize("index", [-1, 2])
def test_messages_of_an_agent_that_is_not_there_are_refused(index):
    trajectory = interact([agent(0), agent(1)], torch.zeros(3), 3)
    with pytest.raises(ValueError, match=f"index was {index}; it must be from 0 to 1"):
        trajectory.by_agent(index)


class Asked:
    """An agent of which only the replies are known, so that it is asked every turn."""

    def __init__(self, agent):
        self.target, self.reply = agent.target, agent

    def __call__(self, message):
        return self.reply(message)


def all_at_once(monkeypatch, agents, start, protocol=Protocol()):
    """Whether an exchange gives all its turns at once."""
    taken, messages = [], _doubling.messages
    with monkeypatch.context() as patched:
        patched.setattr(
            _doubling, "messages", lambda *given: taken.append(1) or messages(*given)
        )
        random = torch.Generator().manual_seed(0)
        interact(agents, start, 3, protocol, generator=random)
    return bool(taken)


def test_gradient_agents_in_double_precision_are_not_asked_turn_by_turn(monkeypatch):
    one, other, start = agent(0), agent(1), normal(3, seed=9)
    assert all_at_once(monkeypatch, [one, other], start)
    assert all_at_once(monkeypatch, [Repeated(Repeated(one, 2), 3), other], start)
    assert all_at_once(monkeypatch, [one, other], start, Protocol((2, 1)))
    single = GradientAgent(Prompt(one.prompt.inputs.float(), one.target.float()), 0.2)
    wished = Prompt(one.prompt.inputs, one.target.clone().requires_grad_())
    step = torch.tensor(0.2, dtype=torch.float64).requires_grad_()
    for agents, protocol in (
        ([single, single], Protocol()),
        ([one, Asked(other)], Protocol()),
        ([Asked(one), other], Protocol()),
        (lambda turn: [one, other], Protocol()),
        ([one, other], Protocol(simultaneous=True)),
        ([one, other], Protocol(noise=0.1)),
        ([one, other], Protocol(digits=3)),
        ([GradientAgent(wished, 0.2), other], Protocol()),
        ([one, GradientAgent(other.prompt, step)], Protocol()),
    ):
        assert not all_at_once(monkeypatch, agents, start, protocol)
    assert not all_at_once(monkeypatch, [one, other], start.requires_grad_())


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("pairs", [1, 5, 7])
def test_the_pairs_of_a_batch_are_shared_out_among_all_threads(
    monkeypatch, threads, pairs
):
    parts, fill = [], _doubling._fill
    monkeypatch.setattr(_doubling.torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(
        _doubling,
        "_fill",
        lambda sent, *rest: parts.append(len(sent)) or fill(sent, *rest),
    )
    agents, start = [agent(0, pairs), agent(1)], normal(3, seed=9)
    assert_same_as_turn_by_turn(agents, start, 6)
    assert sum(parts) == pairs and len(parts) == min(threads, -(-pairs // max(parts)))
    assert max(parts) == math.ceil(pairs / threads)


@pytest.mark.parametrize(("d", "turns"), [(2, 20), (8, 20), (8, 2000), (20, 300)])
def test_a_thread_works_on_about_the_scratch_memory_besides_the_messages(
    monkeypatch, d, turns
):
    peaks, fill, size = [], _doubling._fill, 2**20

    def traced(*part):
        tracemalloc.start()
        fill(*part)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    monkeypatch.setattr(_doubling, "_fill", traced)
    monkeypatch.setattr(_doubling, "SCRATCH", size)
    # As many pairs as take the scratch memory a few times over.
    pairs = 3 * size // (4 * d * (turns + d))
    interact([agent(0, pairs, d=d), agent(1, d=d)], normal(d, seed=9), turns)
    assert len(peaks) > 2
    assert size / 3 < max(peaks) < 1.5 * size


def test_a_large_batch_takes_a_few_megabytes_besides_the_messages():
    tracemalloc.start()
    run = interact([agent(0, 20_000), agent(1)], normal(3, seed=9), 40)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Both agents' arrays of the batch take another 2 MiB each.
    assert peak - run.messages.nbytes < 2**24


def assert_same_as_turn_by_turn(agents, start, turns, protocol=Protocol()):
    expected = interact(
        [Asked(each) for each in protocol.players(agents)], start, turns
    )
    run = interact(agents, start, turns, protocol)
    assert run.messages.shape == expected.messages.shape
    scale = expected.messages.abs().amax((-2, -1), keepdim=True)
    torch.testing.assert_close(
        run.messages / scale, expected.messages / scale, rtol=1e-12, atol=1e-13
    )
    for one, other in zip(run.targets, expected.targets, strict=True):
        assert torch.equal(one, other)


@given(
    seed=st.integers(0, 2**31),
    d=st.integers(1, 9),
    count=st.integers(1, 3),
    turns=st.integers(1, 70),
    examples=st.integers(1, 12),
    reach=st.floats(0.01, 1.99),
    steps=st.integers(1, 3),
)
def test_all_turns_at_once_are_the_turns_one_by_one(
    seed, d, count, turns, examples, reach, steps
):
    agents = []
    # Fewer examples than d: blind directions, where rho(A B) = 1.
    for i in range(count):
        prompt = Prompt(
            normal(4, examples, d, seed=seed + i), normal(4, d, seed=seed + 10 + i)
        )
        largest = torch.linalg.eigvalsh(prompt.covariance)[..., -1]
        agents.append(GradientAgent(prompt, reach / largest, steps=1 + i))
    assert_same_as_turn_by_turn(
        agents, normal(d, seed=seed + 20), turns, Protocol(steps)
    )


@pytest.mark.parametrize(
    ("shapes", "start"),
    [
        (((), ()), ()),
        (((), ()), (6,)),
        (((2, 1), (3,)), ()),
        (((3,), ()), (2, 3)),
        (((0,), ()), ()),
    ],
)
def test_all_turns_at_once_in_batches_that_broadcast(shapes, start):
    agents = [agent(seed, *shape) for seed, shape in enumerate(shapes)]
    assert_same_as_turn_by_turn(agents, normal(*start, 3, seed=9), 5)


def test_all_turns_at_once_whatever_fits_into_the_scratch_memory(monkeypatch):
    agents, start = [agent(0, 50), agent(1, 50)], normal(50, 3, seed=9)
    whole = interact(agents, start, 20).messages
    for size in (1, 8192):  # one pair a part, and a few with a shorter last part
        monkeypatch.setattr(_doubling, "SCRATCH", size)
        assert torch.equal(interact(agents, start, 20).messages, whole)


def test_an_exchange_that_diverges_can_be_watched():
    agents, start = (
        [agent(0, step_size=5.0), agent(1, step_size=5.0)],
        normal(3, seed=9),
    )
    assert_same_as_turn_by_turn(agents, start, 40)
    messages = interact(agents, start, 2000).messages
    assert (
        torch.isfinite(messages[:100]).all() and not torch.isfinite(messages[-1]).any()
    )


def test_a_power_that_overflows_where_no_message_goes_is_no_infinity():
    prompt = Prompt(
        torch.diag(torch.tensor([40.0, 4.0], dtype=torch.float64).sqrt()),
        torch.tensor([0.0, 1.0]),
    )
    quiet, wild = torch.tensor([0.0, 3.0]), torch.tensor([1.0, 3.0])
    for start in (quiet, torch.stack([quiet, wild])):
        agents = [GradientAgent(prompt, 0.5)] * 2
        messages = interact(agents, start, 600).messages
        assert torch.equal(
            messages.isfinite(),
            interact([Asked(one) for one in agents], start, 600).messages.isfinite(),
        )
        torch.testing.assert_close(
            messages.reshape(-1, 1201, 2)[0, -1], prompt.target, rtol=0, atol=1e-12
        )


def test_derivatives_flow_through_an_exchange():
    target = normal(3, seed=1).requires_grad_()
    agents = [GradientAgent(Prompt(normal(8, 3, seed=0), target), 0.2), agent(2)]
    interact(agents, normal(3, seed=9), 5).messages.sum().backward()
    assert target.grad.abs().min() > 0


def test_a_part_of_a_batch_of_agents_is_their_part_of_the_exchange():
    shared = GradientAgent(
        Prompt(normal(8, 3, seed=2), normal(7, 3, seed=3)), 0.2, steps=2
    )
    steps = torch.linspace(0.1, 0.3, 7, dtype=torch.float64)
    own = GradientAgent(Prompt(normal(7, 8, 3, seed=4), normal(3, seed=5)), steps)
    start = normal(7, 3, seed=9)
    whole = interact([shared, own], start, 4)
    part = interact([shared[2:5], own[2:5]], start[2:5], 4)
    torch.testing.assert_close(
        part.messages, whole.messages[2:5], rtol=1e-13, atol=1e-14
    )
    torch.testing.assert_close(
        part.errors(), whole.errors()[2:5], rtol=1e-12, atol=1e-14
    )

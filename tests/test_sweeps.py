"""Sweeps: every cell once, the same numbers in any order, after an interruption and on
a cluster.
"""

import gc
import math
import os
import signal
import subprocess
import sys
import time
import uuid
import weakref
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from agent_dynamics import sweeps
from agent_dynamics.agents import GradientAgent
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.interaction import settle
from agent_dynamics.linear import apply
from agent_dynamics.lsa import LSAAgent
from agent_dynamics.sweeps import (
    PairCell,
    draw_pairs,
    measure_pairs,
    measure_training,
    run_sweep,
)
from agent_dynamics.training import TrainingConfig, cached_lsa

LAYER = TrainingConfig(dimension=4, seed=1, examples=8, batch_size=32, steps=300)
PAIRS = PairCell(LAYER, condition_number=10.0, orientation=0.5, rank=3, pairs=20)


@dataclass(frozen=True)
class Draw:
    """A cell whose calls leave files in a folder; with `kill`, the first process to
    measure it dies.
    """

    seed: int
    calls: str
    kill: bool = False


def draw(cell: Draw) -> pd.DataFrame:
    killed = Path(cell.calls) / "killed"
    if cell.kill and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (Path(cell.calls) / f"{cell.seed}-{uuid.uuid4().hex}.call").touch()
    random = torch.Generator().manual_seed(cell.seed)
    matrix = torch.randn(50, 6, 6, generator=random, dtype=torch.float64)
    return pd.DataFrame(
        {"seed": cell.seed, "norm": torch.linalg.matrix_norm(matrix, 2).numpy()}
    )


def fail_at_seed_3(cell: Draw) -> pd.DataFrame:
    if cell.seed == 3:
        raise RuntimeError("seed 3 fails")
    return draw(cell)


def calls(folder: Path) -> list[int]:
    return sorted(int(path.name.partition("-")[0]) for path in folder.glob("*.call"))


def draws(folder: Path, count: int = 6) -> list[Draw]:
    return [Draw(seed, str(folder)) for seed in range(count)]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv(
        "AGENT_DYNAMICS_CACHE", str(tmp_path_factory.getbasetemp() / "cache")
    )
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)


def test_results_come_in_the_order_of_the_cells_whatever_was_measured_first(tmp_path):
    cells = draws(tmp_path)
    expected = pd.concat(map(draw, cells), ignore_index=True)
    forward = run_sweep(draw, cells, tmp_path / "forward")
    run_sweep(draw, cells[::-1], tmp_path / "backward")
    pd.testing.assert_frame_equal(forward, expected, check_exact=True)
    pd.testing.assert_frame_equal(
        run_sweep(draw, cells, tmp_path / "backward"), expected, check_exact=True
    )


def test_a_finished_sweep_measures_nothing_and_a_larger_one_only_what_is_new(tmp_path):
    cells = draws(tmp_path)
    run_sweep(draw, cells[:4], tmp_path / "sweep")
    run_sweep(draw, cells[:4], tmp_path / "sweep")
    assert calls(tmp_path) == [0, 1, 2, 3]
    table = run_sweep(draw, cells, tmp_path / "sweep")
    assert calls(tmp_path) == [0, 1, 2, 3, 4, 5]
    assert table["seed"].unique().tolist() == [0, 1, 2, 3, 4, 5]


def test_another_function_shares_no_results(tmp_path):
    cells = draws(tmp_path, 2)
    run_sweep(draw, cells, tmp_path / "sweep")
    run_sweep(fail_at_seed_3, cells, tmp_path / "sweep")
    assert calls(tmp_path) == [0, 0, 1, 1]


def test_an_error_passes_on_and_keeps_what_was_finished(tmp_path):
    cells = draws(tmp_path)
    with pytest.raises(RuntimeError, match="seed 3 fails"):
        run_sweep(fail_at_seed_3, cells, tmp_path / "sweep")
    assert calls(tmp_path) == [0, 1, 2]
    run_sweep(fail_at_seed_3, cells[:3], tmp_path / "sweep")
    assert calls(tmp_path) == [0, 1, 2]


def test_a_sweep_killed_in_the_middle_finishes_without_redoing_a_cell(tmp_path):
    cells = [replace(cell, kill=cell.seed == 3) for cell in draws(tmp_path)]
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from test_sweeps import *\nrun_sweep(draw, {cells!r}, "
        f"{str(tmp_path / 'sweep')!r})"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    assert calls(tmp_path) == [0, 1, 2]
    table = run_sweep(draw, cells, tmp_path / "sweep")
    assert calls(tmp_path) == [0, 1, 2, 3, 4, 5]
    pd.testing.assert_frame_equal(
        table, pd.concat(map(draw, cells), ignore_index=True), check_exact=True
    )


def test_a_file_half_written_does_not_count(monkeypatch, tmp_path):
    write = pd.DataFrame.to_parquet

    def interrupted(frame, path):
        write(frame, path)
        raise KeyboardInterrupt

    cells = draws(tmp_path, 2)
    with monkeypatch.context() as patched:
        patched.setattr(pd.DataFrame, "to_parquet", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(draw, cells, tmp_path / "sweep")
    assert len(run_sweep(draw, cells, tmp_path / "sweep")) == 100
    assert calls(tmp_path) == [0, 0, 1]


def test_no_result_is_held_while_the_next_ones_are_measured(tmp_path):
    results = []

    def tracked(cell: Draw) -> pd.DataFrame:
        gc.collect()
        assert sum(result() is not None for result in results) <= 1
        result = draw(cell)
        results.append(weakref.ref(result))
        return result

    run_sweep(tracked, draws(tmp_path, 5), tmp_path / "sweep")
    assert len(results) == 5


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler with two worker processes, on loopback."""
    dask, file = (
        str(Path(sys.executable).with_name("dask")),
        tmp_path / "scheduler.json",
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "OMP_NUM_THREADS": "1",
    }
    commands = [
        [
            dask,
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            str(file),
        ]
    ]
    commands += [
        [
            dask,
            "worker",
            "--host",
            "127.0.0.1",
            "--no-nanny",
            "--nthreads",
            "1",
            "--no-dashboard",
            "--local-directory",
            str(tmp_path),
            "--scheduler-file",
            str(file),
        ]
    ] * 2
    with (tmp_path / "cluster.log").open("wb") as log:
        processes = [
            subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            for command in commands
        ]
    try:
        from distributed import Client

        deadline = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < deadline, (tmp_path / "cluster.log").read_text()
            time.sleep(0.1)
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            address = client.scheduler.address
        yield address, processes[1:]
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def test_on_a_cluster_that_loses_a_worker_every_cell_lands_once_with_the_local_numbers(
    monkeypatch, tmp_path, cluster
):
    address, workers = cluster
    cells = [replace(cell, kill=cell.seed == 20) for cell in draws(tmp_path, 60)]
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    table = run_sweep(draw, cells, tmp_path / "cluster")
    assert [worker.poll() for worker in workers].count(-signal.SIGKILL) == 1
    assert len(list((tmp_path / "cluster").glob("*.parquet"))) == 60
    done = calls(tmp_path)
    assert set(done) == set(range(60))
    assert run_sweep(draw, cells, tmp_path / "cluster").equals(table)
    assert calls(tmp_path) == done
    with pytest.raises(RuntimeError, match="seed 3 fails"):
        run_sweep(fail_at_seed_3, cells, tmp_path / "failing")
    pairs = [PAIRS, replace(PAIRS, seed=1)]
    on_cluster = run_sweep(measure_pairs, pairs, tmp_path / "pairs on cluster")

    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS")
    pd.testing.assert_frame_equal(
        table, run_sweep(draw, cells, tmp_path / "local"), check_exact=True
    )
    local = run_sweep(measure_pairs, pairs, tmp_path / "pairs")
    pd.testing.assert_frame_equal(on_cluster, local, check_exact=True)


def test_a_cell_runs_on_one_thread(tmp_path):
    threads = []

    def count(cell: Draw) -> pd.DataFrame:
        threads.append(torch.get_num_threads())
        return draw(cell)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run_sweep(count, draws(tmp_path, 1), tmp_path / "sweep")
        assert threads == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_pairs_are_those_that_the_cell_asks_for():
    (agent_w, agent_u), (trained_w, trained_u) = draw_pairs(PAIRS)
    table = measure_pairs(PAIRS)
    for agent, trained, name in (
        (agent_w, trained_w, "step_w"),
        (agent_u, trained_u, "step_u"),
    ):
        assert trained.prompt is agent.prompt
        eigenvalues = 0.4 * torch.linalg.eigvalsh(agent.prompt.covariance)
        np.testing.assert_allclose(eigenvalues[:, -1], table[name], rtol=1e-12)
        np.testing.assert_allclose(
            eigenvalues[:, -1] / eigenvalues[:, 1], 10, rtol=1e-10
        )
        assert (eigenvalues[:, 0] <= 1e-14).all()
        assert table[name].between(*sweeps.STEPS).all()
    assert table["angle"].between(*sweeps.ANGLES).all()
    assert (
        len(table) == 20
        and (table["layer_seed"] == 1).all()
        and (table["condition_number"] == 10).all()
    )
    other = measure_pairs(replace(PAIRS, seed=1))
    assert not set(other["angle"]) & set(table["angle"])


def test_measured_pairs_settle_where_the_table_says():
    cell = replace(PAIRS, rank=4)
    exact, trained = draw_pairs(cell)
    table = measure_pairs(cell)
    limits = [
        settle(pair, torch.zeros(4, dtype=torch.float64)) for pair in (exact, trained)
    ]
    for i, name in enumerate("wu"):
        plateau = (limits[0][i] - exact[i].target).norm(dim=-1)
        np.testing.assert_allclose(plateau, table[f"plateau_{name}"], rtol=1e-9)
        distance = (limits[1][i] - limits[0][i]).norm(dim=-1)
        np.testing.assert_allclose(
            distance / plateau, table[f"relative_error_{name}"], atol=1e-9, rtol=1e-6
        )
        np.testing.assert_allclose(
            table[f"expected_error_{name}"], table[f"relative_error_{name}"], rtol=0.1
        )
    (A, _), (B, _) = exact[0].affine(), exact[1].affine()
    np.testing.assert_allclose(
        table["rate"], torch.linalg.eigvals(A @ B).abs().amax(-1), rtol=1e-12
    )
    inverse = torch.linalg.inv(torch.eye(4, dtype=torch.float64) - A @ B)
    np.testing.assert_allclose(
        table["amplification"], torch.linalg.matrix_norm(inverse, 2), rtol=1e-12
    )


def test_misses_at_the_settled_messages_give_the_distance_of_the_limits():
    cell = replace(PAIRS, rank=4)
    (agent_w, agent_u), trained = draw_pairs(cell)
    limit = equilibrium(agent_w, agent_u)
    w, u = settle(trained, torch.zeros(4, dtype=torch.float64))
    (A, _), (B, _) = agent_w.affine(), agent_u.affine()
    miss_w, miss_u = trained[0](u) - agent_w(u), trained[1](w) - agent_u(w)
    push = miss_w + apply(A, miss_u)
    difference = w - limit.w
    assert (difference.norm(dim=-1) > 1e-7).all()
    torch.testing.assert_close(
        difference - apply(A @ B, difference), push, rtol=0, atol=1e-12
    )
    amplification = torch.tensor(
        measure_pairs(cell)["amplification"].to_list(), dtype=torch.float64
    )
    bound = amplification * (miss_w.norm(dim=-1) + miss_u.norm(dim=-1))
    assert (difference.norm(dim=-1) <= bound).all() and (
        (u - limit.u).norm(dim=-1) <= bound
    ).all()


def test_trained_pairs_that_do_not_settle_have_no_error(monkeypatch):
    class Overshooting(LSAAgent):
        # Unstable for the largest steps, eta lambda_max = 1.9 * 1.3 / 0.4.
        def __call__(self, message):
            return GradientAgent(self.prompt, 1.3)(message)

        def affine(self):
            return GradientAgent(self.prompt, 1.3).affine()

    monkeypatch.setattr(sweeps, "LSAAgent", Overshooting)
    table = measure_pairs(PAIRS)
    assert 0 < (table["learned_rate"] >= 1).sum() < len(table)
    for name in ("relative_error_w", "relative_error_u"):
        assert (table[name].isna() == (table["learned_rate"] >= 1)).all()


def test_a_training_is_a_row_of_what_it_was_and_how_it_ended(tmp_path):
    table = run_sweep(measure_training, [LAYER, replace(LAYER, seed=2)], tmp_path)
    run = cached_lsa(LAYER)
    assert table["seed"].tolist() == [1, 2]
    assert table["operator_error"][0] == run.history["operator_error"][-1]
    assert table["steps_taken"][0] == run.history["step"][-1]


@dataclass
class Unfrozen:
    seed: int


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([], "cells was empty; it must be at least one cell"),
        ([3], "cells was with 3; it must be frozen dataclasses"),
        (
            [Unfrozen(1)],
            r"cells was with Unfrozen\(seed=1\); it must be frozen dataclasses",
        ),
        ([LAYER, LAYER], "cells was with two that are equal; it must be all different"),
    ],
)
def test_bad_cells_are_named(tmp_path, cells, message):
    with pytest.raises(ValueError, match=message):
        run_sweep(measure_training, cells, tmp_path)


@pytest.mark.parametrize("function", [lambda cell: draw(cell), partial(draw)])
def test_a_function_without_a_name_by_which_to_find_its_results_is_refused(
    tmp_path, function
):
    with pytest.raises(
        ValueError, match="function was .*; it must be a function with a name"
    ):
        run_sweep(function, draws(tmp_path, 1), tmp_path / "sweep")


@pytest.mark.unchecked
def test_equal_cells_are_one_cell_whatever_their_numbers_were_written_as():
    other = PairCell(
        replace(LAYER, seed=np.int64(1), step_size=np.float32(0.5)),
        10,
        np.float32(0.5),
        np.int32(3),
        np.int64(20),
    )
    same = PairCell(replace(LAYER, step_size=0.5), 10.0, 0.5, 3, 20)
    assert other == same and repr(other) == repr(same)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rank": 1},
            "rank was 1; it must be between half the dimension 4 and the dimension",
        ),
        ({"rank": 5}, "rank was 5"),
        ({"orientation": 2.0}, "orientation was 2.0; it must be between 0 and pi / 2"),
        ({"orientation": math.nan}, "orientation was nan"),
        (
            {"orientation": 0.0},
            "orientation was 0.0; it must be positive where the rank is below the "
            "dimension",
        ),
        ({"pairs": 0}, "pairs was 0"),
        ({"condition_number": 0.5}, "condition_number was 0.5; it must be at least 1"),
        ({"condition_number": math.nan}, "condition_number was nan"),
        ({"seed": -1}, "seed was -1"),
    ],
)
def test_bad_pair_cells_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(PAIRS, **changes)

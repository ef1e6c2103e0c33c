"""How many small errors in the science modules their own tests notice.

A mutant is the code with one operator, comparison, constant or condition changed. A
sample of places, one mutant each, is tested on a copy in _build/mutants. Results stay
there until src or tests change, so an interrupted run goes on. The exit status is 1
where a mutant survives that tests/mutants.toml does not list as changing nothing.
"""

import argparse
import ast
import hashlib
import os
import random
import re
import shutil
import sys
import time
import tomllib
from functools import cache
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test, mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.testing import run_tests
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build" / "mutants"
OWN = "prompts agents lsa training interaction equilibrium angle limits adversary"
LATER = ["helper", "diagnosis", "losses", "label_noise", "choice"]
SHAPES = "bad_shapes"  # what every module does with shapes that do not fit
TESTS = {name: [name, SHAPES] for name in [*OWN.split(), *LATER]} | {
    "_maps": ["equilibrium", "angle", "limits"],
    "linear": ["equilibrium", "angle", "limits"],
    "_line_search": ["losses"],
    "objective": ["losses"],
    "_planning": ["helper"],
    "_steering": ["helper"],
    "_training_run": ["training"],
    "_training_data": ["training"],
    "_checks": ["prompts", "agents", "interaction", "angle", "training", SHAPES],
    "_doubling": ["interaction"],
}
ARITHMETIC, ORDER = "Add|Sub|Mul|Div|FloorDiv|Mod|Pow|BitOr|BitAnd", "(Not)?Eq|[LG]tE?"
KINDS = re.compile(
    rf"core/(ReplaceBinaryOperator_({ARITHMETIC})_({ARITHMETIC})|NumberReplacer|"
    rf"ReplaceComparisonOperator_(({ORDER})_({ORDER})|Is(Not)?_Is(Not)?)|AddNot|"
    r"Replace(UnaryOperator_|True|False|And|Or|Break|Continue).*|ExceptionReplacer)"
)


class Meaning(ast.NodeTransformer):
    """What is left of a module without annotations and the stars of signatures."""

    def visit_arguments(self, node):
        return ast.Tuple([x for x in (*node.defaults, *node.kw_defaults) if x])

    def generic_visit(self, node):
        node.returns = node.annotation = None
        return super().generic_visit(node)


def changes(it):
    """Whether a mutant can be made, compiles and differs by more than an annotation."""
    code, operator = it.module_path.read_text(), get_operator(it.operator_name)()
    try:
        texts = code, mutate_code(code, operator, it.occurrence)
        return len({ast.dump(Meaning().visit(ast.parse(x))) for x in texts}) == 2
    except (SyntaxError, AttributeError):  # the latter at `except safetensors.X`
        return False


def sample(mutants, size, seed):
    """Ids and mutations of `size` places, each place as likely as any other."""
    places, draw, found = {}, random.Random(seed), []
    for job, it in mutants:
        key = str(it.module_path), *it.start_pos, it.operator_name, it.occurrence
        places.setdefault(key[:3], {})[key] = job, it
    for place in draw.sample(sorted(places), len(places)):
        job, it = places[place][draw.choice(sorted(places[place]))]
        if len(found) < size and changes(it):
            found.append((job, it))
    return found


@cache
def test_command(module):
    """How a module is tested, and the seconds that a mutant has for it."""
    files = " ".join(f"tests/test_{name}.py" for name in TESTS[module])
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {files}"
    begin = time.perf_counter()
    outcome, output = run_tests(command, 600)
    if outcome != TestOutcome.SURVIVED:
        sys.exit(f"The tests of {module} fail without any mutant:\n{output}")
    return command, 10 * (time.perf_counter() - begin)


def line(diff, sign):
    """A diff's code before (-) or after (+)."""
    found = re.findall(rf"^[{sign}](?![-+]{{2}} )(.*)", diff, re.MULTILINE)
    return " ".join(x.strip() for x in found)


def copied():
    """Enter a new copy of what is tested; where the results of this version are."""
    copy, digest = BUILD / "copy", hashlib.sha256()
    shutil.rmtree(copy, ignore_errors=True)
    for folder in ("src", "tests"):
        clean = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / folder, copy / folder, ignore=clean)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for file in sorted(copy.rglob("*.py")):
        digest.update(file.read_bytes())
    results = BUILD / f"{digest.hexdigest()[:16]}.sqlite"
    for old in set(BUILD.glob("*.sqlite")) - {results}:
        old.unlink()
    os.chdir(copy)
    os.environ |= {"PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--modules", nargs="+", choices=TESTS, default=[*TESTS])
    asked = parser.parse_args()
    listed = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())["equivalent"]
    listed = {(x["module"], x["before"], x["after"]) for x in listed}
    killed, equivalent, survived = 0, 0, []
    with use_db(copied(), WorkDB.Mode.create) as work:
        if not work.num_work_items:
            init([Path(f"src/agent_dynamics/{name}.py") for name in TESTS], work, {})
        mutants = [(x.job_id, x.mutations[0]) for x in work.work_items]
        mutants = [
            (job, it) for job, it in mutants if KINDS.fullmatch(it.operator_name)
        ]
        mutants = [x for x in mutants if x[1].module_path.stem in asked.modules]
        results = dict(work.results)
        for job, it in tqdm(sample(mutants, asked.mutants, asked.seed), unit="mutant"):
            name = it.module_path.stem
            if job not in results:
                results[job] = mutate_and_test([it], *test_command(name))
                if results[job].worker_outcome != WorkerOutcome.NORMAL:
                    sys.exit(results[job].output)
                work.set_result(job, results[job])
            diff = results[job].diff
            if results[job].is_killed:
                killed += 1
            elif (name, line(diff, "-"), line(diff, "+")) in listed:
                equivalent += 1
            else:
                survived.append(diff)
    print(*survived, sep="\n\n")
    share = killed / max(killed + len(survived), 1)
    print(f"\nSeed {asked.seed}: {killed} killed, {len(survived)} survived, ", end="")
    print(f"{equivalent} equivalent; {share:.1%} of those that change something killed")
    sys.exit(bool(survived))


if __name__ == "__main__":
    main()

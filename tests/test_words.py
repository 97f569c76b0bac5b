"""Text and code use the words of docs/glossary.md, not the private idiom that they replaced.

`python tests/test_words.py` prints the package's files that still use the idiom: the list `NOT_YET`, which only shrinks.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IDIOM = {
    r"\bsaid\b": "arguments, metadata, the message",
    r"told[_ ]from": "estimated from, distinguished from",
    r"ask(s|ed)?[_ ]again": "re-query",
    r"\b(some|no)body('s)?\b": "user-supplied, other projects'; no user, nothing",
    r"\bwhat (was|is|has been) (learned|delivered|brought|shown|told)\b": "the policy, the residual",
    r"\bof one's own\b": "your own, user-supplied",
    r"\bworlds? of (others|somebody)": "other environments",
    r"\bbrought\b": "user-supplied",
    r"\bgo(es)? on (where|from there|with the same)": "resume",
    r"\bwhatever\b.{0,20}\b(has|happened)\b": "any",
    r"\bremembers\b": "is stateful",
    r"\bwhole or not at all\b": "atomically",
}
"""Pattern: what to write instead. Code in pages is not searched: it has the names of the package."""
THIRD_PERSON = re.compile(
    r"(Asks|Brings|Changes|Checks|Closes|Draws|Ends|Evaluates|Fills|Finds|Gives|Keeps|Learns|Lifts|Loads|Looks|Makes|Moves|Names"
    r"|Notes|Opens|Proposes|Puts|Raises|Reads|Removes|Replaces|Returns|Runs|Says|Sends|Sets|Shows|Starts|Stops|Stores|Takes"
    r"|Tells|Trains|Tries|Turns|Waits|Writes|Yields)\b"
)
"""How a docstring that is not imperative begins."""

PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for pattern in ("*.md", "docs/**/*.md", "studies/**/*.md")
    for path in sorted(ROOT.glob(pattern))
}
MODULES = {
    path.relative_to(ROOT).as_posix(): path
    for folder in ("residual_rl", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
NOT_YET = {
    "residual_rl/api.py",
    "residual_rl/benchmarks/foreign.py",
    "residual_rl/bundles/bundle.py",
    "residual_rl/bundles/hub.py",
    "residual_rl/bundles/onnx_graph.py",
    "residual_rl/bundles/runtime.py",
    "residual_rl/cli/console.py",
    "residual_rl/cli/main.py",
    "residual_rl/cli/runs.py",
    "residual_rl/cli/study.py",
    "residual_rl/cli/study_table.py",
    "residual_rl/cli/watch.py",
    "residual_rl/controllers/__init__.py",
    "residual_rl/controllers/adapted.py",
    "residual_rl/controllers/controller.py",
    "residual_rl/controllers/models.py",
    "residual_rl/controllers/planning.py",
    "residual_rl/controllers/probe.py",
    "residual_rl/controllers/resolve.py",
    "residual_rl/controllers/table.py",
    "residual_rl/controllers/workers.py",
    "residual_rl/custom/goals.py",
    "residual_rl/custom/inspection.py",
    "residual_rl/custom/making.py",
    "residual_rl/custom/opened.py",
    "residual_rl/custom/row_env.py",
    "residual_rl/custom/row_lanes.py",
    "residual_rl/custom/rows.py",
    "residual_rl/custom/sources.py",
    "residual_rl/custom/task.py",
    "residual_rl/custom/vector_lanes.py",
    "residual_rl/diagnosis/evidence.py",
    "residual_rl/diagnosis/findings.py",
    "residual_rl/learning/bandit.py",
    "residual_rl/learning/gated_ddpg.py",
    "residual_rl/learning/hindsight.py",
    "residual_rl/learning/replay.py",
    "residual_rl/policy.py",
    "residual_rl/presets.py",
    "residual_rl/reports/report.py",
    "residual_rl/residual.py",
    "residual_rl/rollout.py",
    "residual_rl/runs/reading.py",
    "residual_rl/runs/run.py",
    "residual_rl/spaces/layout.py",
    "residual_rl/statistics.py",
    "residual_rl/studies/estimate.py",
    "residual_rl/tasks/block.py",
    "residual_rl/tasks/complex_hook.py",
    "residual_rl/tasks/fetch.py",
    "residual_rl/tasks/gymnasium_envs.py",
    "residual_rl/tasks/hook.py",
    "residual_rl/tasks/lanes.py",
    "residual_rl/tasks/noisy_hook.py",
    "residual_rl/tasks/physics.py",
    "residual_rl/tasks/pusher.py",
    "residual_rl/tasks/scene_models.py",
    "residual_rl/tasks/scenes.py",
    "residual_rl/tasks/task.py",
    "residual_rl/training/cycle.py",
    "residual_rl/training/experiment.py",
    "residual_rl/training/state.py",
    "residual_rl/training/train.py",
    "residual_rl/verdict.py",
}
"""Modules that are still to be rewritten."""


def offences(text: str) -> Iterator[str]:
    """Yield a line for each use of the idiom."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, instead in IDIOM.items():
            for found in re.finditer(pattern, line, re.IGNORECASE):
                yield f"line {number}: {found[0]!r}; write: {instead}"


def not_imperative(source: str) -> Iterator[str]:
    """Yield a line for each function whose docstring begins with a verb in the third person."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and THIRD_PERSON.match(ast.get_docstring(node) or ""):
            yield f"line {node.lineno}: the docstring of {node.name} is not imperative"


def prose(page: str) -> str:
    """Return a page without code; line numbers stay."""
    page = re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), page, flags=re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", page)


def offending_modules() -> list[str]:
    sources = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
    return [name for name, source in sources.items() if [*offences(source), *not_imperative(source)]]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_free_of_the_idiom(name: str) -> None:
    assert list(offences(prose(PAGES[name].read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("name", sorted(MODULES.keys() - NOT_YET))
def test_a_module_is_free_of_the_idiom(name: str) -> None:
    source = MODULES[name].read_text(encoding="utf-8")
    assert [*offences(source), *not_imperative(source)] == []


def test_the_list_of_modules_with_the_idiom_only_shrinks() -> None:
    assert set(offending_modules()) >= NOT_YET, "remove from NOT_YET what no longer uses the idiom, or is gone"


def test_the_search_finds_the_idiom_in_words_and_names() -> None:
    for text in ("It is said in a line.", "told_from = 1", "Somebody's world", "what was learned", "asked_again: bool"):
        assert list(offences(text)), text
    assert list(offences("The policy resumes from the last checkpoint.")) == []
    assert list(not_imperative('def f():\n    """Returns it."""'))
    assert list(not_imperative('def f():\n    """Return it."""')) == []


def test_every_name_in_the_glossary_is_in_the_package() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| **")]
    source = "".join(path.read_text(encoding="utf-8") for path in MODULES.values())
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row) if name not in source] == []


def test_the_glossary_defines_a_word_once() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"\*\*([^*]+)\*\*", page)
    assert len(words) == len(set(words)) > 40


if __name__ == "__main__":
    print("".join(f'    "{name}",\n' for name in offending_modules()), end="")

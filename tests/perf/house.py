"""How large is the house, and how long does a verb take to load? `python -m tests.perf.house [--run RUN]`

Lines and files of bench/ (Python, templates, CSS, JavaScript), what is longest, class names that are used twice, and
the CPU seconds of three verbs, the best of five processes each.
"""

import argparse
import ast
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = (".py", ".j2", ".css", ".js")
PROCESSES = 5


def sources() -> dict[Path, str]:
    """Every file of bench/ that is code, by its path in the repository."""
    files = sorted(path for path in (ROOT / "bench").rglob("*") if path.suffix in KINDS)
    return {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in files}


def definitions(kind: type) -> Iterator[tuple[Path, ast.AST]]:
    for path, text in sources().items():
        if path.suffix == ".py":
            yield from ((path, node) for node in ast.walk(ast.parse(text)) if isinstance(node, kind))


def classes() -> dict[str, list[Path]]:
    """Where each class name is defined; a name that begins with an underscore is its file's own."""
    places: dict[str, list[Path]] = {}
    for path, node in definitions(ast.ClassDef):
        if not node.name.startswith("_"):
            places.setdefault(node.name, []).append(path)
    return places


def functions() -> list[tuple[int, Path, str]]:
    """(lines, file, name) of every function, the longest first."""
    found = [(node.end_lineno - node.lineno + 1, path, node.name) for path, node in definitions(ast.FunctionDef)]
    return sorted(found, key=lambda each: each[0], reverse=True)


def seconds(*words: str) -> tuple[float, float]:
    """(CPU, wall) seconds of `python -m bench ...`, the least of several processes."""
    with tempfile.TemporaryDirectory() as folder:
        taken = []
        for _ in range(PROCESSES):
            before, begun = os.times(), time.perf_counter()
            # as installed: with compiled modules, which the first process makes
            environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": folder}
            environment.pop("PYTHONDONTWRITEBYTECODE", None)
            command = [sys.executable, "-m", "bench", *words]
            subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=False)
            after = os.times()
            cpu = sum(after[2:4]) - sum(before[2:4])
            taken.append((cpu, time.perf_counter() - begun))
    return min(cpu for cpu, _ in taken), min(wall for _, wall in taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    newest = max((ROOT / "results").glob("*/2*.jsonl"), key=lambda path: path.name)
    parser.add_argument("--run", type=Path, default=newest, help="a Run of a CPU (the newest here)")
    run = str(parser.parse_args().run.resolve())
    code = sources()
    print(f"bench: {sum(len(text.splitlines()) for text in code.values())} lines in {len(code)} files")
    rooms = Counter()
    for path, text in code.items():
        rooms["/".join(path.parts[1:-1]) or "."] += len(text.splitlines())
    print("  " + ", ".join(f"{room} {lines}" for room, lines in rooms.most_common()))
    longest = max(code, key=lambda path: len(code[path].splitlines()))
    print(f"longest file: {longest}, {len(code[longest].splitlines())} lines")
    lines, path, name = functions()[0]
    print(f"longest function: {name} in {path}, {lines} lines")
    print(f"class names used twice: {[name for name, places in classes().items() if len(places) > 1] or 'none'}")
    for words in (("--help",), ("fit", run), ("gate", "--run", run)):
        cpu, wall = seconds(*words)
        print(f"bench {' '.join(words[:1])}: {cpu:.2f} s of CPU, {wall:.2f} s by the wall")


if __name__ == "__main__":
    main()

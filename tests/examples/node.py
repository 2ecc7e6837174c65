"""A GPU node as a CI job meets it, without the GPUs: for the tests of examples/ci."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.examples.steps import Ran, fake, filled, ran, surroundings

REPOSITORY = Path(__file__).resolve().parents[2]
CI = REPOSITORY / "examples" / "ci"
HEALTHY = "sim:h200-sxm,noise=0.002:0.007,seed={}"
SLOW = HEALTHY + ",dram=0.9"
_GPU = "NVIDIA H200, GPU-{0}, 580.159.03, 96.00.99, 00000000:{0}9:00.0"


def parsed(path: Path) -> dict:
    """A workflow; YAML 1.1 reads its key `on` as true."""
    found = yaml.safe_load(path.read_text())
    return {("on" if key is True else key): value for key, value in found.items()}


def lists(count: int, name: str = "NVIDIA H200") -> str:
    """A stand-in for nvidia-smi that lists as many GPUs."""
    return "\n".join(f"echo '{_GPU.format(i)}'" for i in range(count)).replace("NVIDIA H200", name)


def said(*command: str | Path, **more) -> subprocess.CompletedProcess:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **more)


class Node:
    """A GPU node as a job meets it: its disk, its nvidia-smi and its suite, installed already."""

    def __init__(self, folder: Path, clone: Path):
        self.folder, self.clone, self.programs, self.home = folder, clone, folder / "bin", folder / "home"
        self.see(lists(8))
        fake(self.home / "venv" / "bin", "python", f'exec {shlex.quote(sys.executable)} "$@"')

    def see(self, script: str) -> None:
        fake(self.programs, "nvidia-smi", script)

    def night(self, device: str, bless: bool = False) -> Ran:
        """One run of the nightly workflow; its build/ is left for what looks at the artifacts."""
        shutil.rmtree(self.clone / "build", ignore_errors=True)
        workflow = parsed(CI / "github-nightly.yml")
        job = workflow["jobs"]["gate"]
        temporary = Path(self.folder / "temp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        context = {
            "matrix": job["strategy"]["matrix"]["include"][0],
            "inputs": {"bless": bless},
            "github": {"run_attempt": 1},
            "steps": {},
        }
        environment = surroundings(
            self.programs,
            self.folder,
            **{key: filled(value, context) for key, value in (workflow["env"] | job["env"]).items()}
            | {"RIDGEPOINT_DEVICE": device, "RIDGEPOINT_HOME": str(self.home)},
            RUNNER_TEMP=str(temporary),
            GITHUB_STEP_SUMMARY=str(temporary / "summary.md"),
        )
        return ran(job, self.clone, environment, context, without="Install")

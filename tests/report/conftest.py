"""What the tests of the report share: Runs that cost a second to make, and a browser."""

import shutil

import pytest

from bench.schema import Run
from tests.report.runs import simulated


@pytest.fixture(scope="session")
def h200() -> Run:
    return simulated("sim:h200-sxm,noise=0.002:0.007,overhead=2us,seed=3")


@pytest.fixture(scope="session")
def slow_sibling() -> Run:
    return simulated("sim:h200-sxm,gpus=4,noise=0.001:0.002,dram@2=0.9", ("bandwidth", "peak", "allreduce"))


@pytest.fixture(scope="session")
def chromium():
    """A headless browser; tests that need it are skipped where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        pytest.skip("no Chromium on the PATH")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    quiet = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[*quiet.split(), "--disable-component-update", "--disable-sync"]
        )
        yield browser
        browser.close()

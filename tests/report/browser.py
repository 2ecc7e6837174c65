"""A page as its reader's browser shows it: Debian's Chromium, driven over the DevTools protocol, with axe-core at hand.

Expressions and axe-core come in through Runtime.evaluate, which the page's Content-Security-Policy does not govern:
the page is tested under the very policy that it ships with. The log says what the page asked of the network, so a
request that a policy or a dead network stopped is still seen.
"""

import base64
import json
import shutil
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys

# Seconds for what is expected: an idle machine needs two or three, one that others keep busy ten times as many.
PATIENCE = 120
CHROMIUM, DRIVER = ("chromium", "chromium-browser"), ("chromedriver",)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-sync"
    " --disable-background-networking --disable-component-update --force-color-profile=srgb"
)
# Runs before the page's own script: when the controls work and the first figure is drawn, and what printing found
WATCH = """
const firstFigure = () => {
  if (document.documentElement?.dataset.ready && document.querySelector("[data-figure] .main-svg .trace")) {
    window.interactive = performance.now();
  } else requestAnimationFrame(firstFigure);
};
requestAnimationFrame(firstFigure);
addEventListener("afterprint", () => {
  const canvases = [...document.querySelectorAll("[data-figure]")];
  const open = canvases.filter((c) => c.checkVisibility());
  window.printed = { figures: open.length,
    drawn: open.filter((c) => c.querySelector(".main-svg .trace, .static path")).length,
    closed: document.querySelectorAll("details:not([open])").length, theme: document.documentElement.dataset.theme };
});
"""
# Alike rows tell axe nothing new and cost it milliseconds each: one row of each kind of cells is kept
THINNED = """
for (const body of document.querySelectorAll("tbody")) {
  const seen = new Set();
  for (const row of [...body.rows]) {
    const kind = [...row.cells].map((cell) => cell.className).join();
    if (seen.has(kind)) row.remove();
    seen.add(kind);
  }
}
"""
# Drawings are hidden meanwhile; the page may draw them anew all the same
WITHOUT_DRAWINGS = """(async () => {
  const style = document.createElement("style");
  style.textContent = ".plot-container { display: none }";
  document.head.append(style);
  const result = await RUN;
  style.remove();
  return result;
})()"""


def missing() -> str:
    """Why no browser can be driven here, or nothing."""
    lacking = [names[0] for names in (CHROMIUM, DRIVER) if not found(names)]
    return f"no {' and no '.join(lacking)} on the PATH: apt-get install chromium chromium-driver" if lacking else ""


def found(names: tuple[str, ...]) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """One window, opened once for all tests. What a test emulates ends when the next page is opened."""

    def __init__(self, downloads: Path):
        options = webdriver.ChromeOptions()
        options.binary_location = found(CHROMIUM)
        for flag in FLAGS.split():
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        # a driver that is named is used; none is looked for or downloaded
        self.driver = webdriver.Chrome(options=options, service=Service(found(DRIVER)))
        self.downloads = downloads
        self.devtools("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.devtools("Performance.enable", timeDomain="threadTicks")
        self.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        self.driver.get("about:blank")

    def devtools(self, command: str, **given: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, given)

    def open(self, path: Path, scheme: str = "light", width: int = 1280, motion: str = "reduce") -> None:
        """Opens a file as if for the first time, and waits until its controls work; by default for a reader whom
        smooth scrolling would disturb, as it does a driver that clicks where a control was a moment ago."""
        if self.driver.current_url.startswith("file:"):
            # files share one storage, and a theme chosen in the last test is remembered there
            self.evaluate("localStorage.clear()")
        self.devtools("Browser.resetPermissions")
        self.resize(width)
        self.prefer(scheme, motion)
        self.complaints(), self.requests()
        self.driver.get(path.as_uri())
        self.until("document.documentElement?.dataset.ready")

    def resize(self, width: int) -> None:
        # a window of its own is never narrower than 500 px
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str, motion: str = "reduce") -> None:
        wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, or of its promise, as if the reader had just clicked."""
        given = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = self.devtools("Runtime.evaluate", expression=expression, **given)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> Any:
        return waited(lambda: self.evaluate(condition), condition)

    def busy(self) -> float:
        """Seconds of a core that the page has taken since it was opened: what else the machine does is not in it."""
        metrics = {each["name"]: each["value"] for each in self.devtools("Performance.getMetrics")["metrics"]}
        return metrics["TaskDuration"]

    def find(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def press(self, selector: str, key: str = Keys.ENTER) -> None:
        self.find(selector).send_keys(key)

    def figures(self) -> int:
        """Scrolls through the page as a reader does, until every figure that is not folded away is drawn; returns how
        many there are."""
        shown = "[...document.querySelectorAll('[data-figure]')].filter((each) => each.checkVisibility())"
        names = self.evaluate(f"{shown}.map((each) => each.dataset.figure)")
        for name in names:
            self.figure(name)
        return len(names)

    def unfold(self) -> None:
        self.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")

    def figure(self, name: str) -> None:
        """Scrolls to one figure and waits until it is drawn."""
        canvas = f"document.querySelector('[data-figure={name}]')"
        self.evaluate(f"{canvas}.scrollIntoView({{ block: 'center', behavior: 'instant' }})")
        self.until(f"{canvas}.querySelector('.main-svg .trace') !== null")

    def complaints(self) -> list[str]:
        """Errors and warnings on the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """What was asked of the network since the last call, blocked or not, but for what the page holds itself."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if url.partition(":")[0] not in ("blob", "data")]

    def downloaded(self, name: str) -> bytes:
        path = self.downloads / name
        waited(path.exists, f"{name} downloaded")
        content = path.read_bytes()
        path.unlink()
        return content

    def pdf(self) -> bytes:
        return base64.b64decode(self.devtools("Page.printToPDF", printBackground=True)["data"])

    def violations(self, figures: bool = False) -> list[str]:
        """What axe-core finds in the page as it stands, best practice included, a line each: rule, element, advice.

        figures: look into their drawings too, which are images to who cannot see them, and take axe long."""
        if self.evaluate("typeof axe") == "undefined":
            # only this file of the package is used: axe-core itself
            self.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8") + ";0")
        # preload would fetch style sheets, and the page has none to fetch
        run = "axe.run(document, { resultTypes: ['violations'], preload: false })"
        result = self.evaluate(run if figures else WITHOUT_DRAWINGS.replace("RUN", run))
        assert len(result["passes"]) > 10, "axe-core looked at next to nothing"
        return [
            f"{violation['id']} ({violation['impact']}): {node['html'][:160]}: {node['failureSummary']}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]

    def close(self) -> None:
        self.driver.quit()


def waited(condition, what: str, seconds: float = PATIENCE) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not reached within {seconds:g} s: {what}"
        time.sleep(0.02)
    return value

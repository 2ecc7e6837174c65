"use strict";
// Everything the page does. Plotly travels compressed; unpacked, it runs as an inline script whose hash the policy lists.
const byId = (id) => document.getElementById(id);
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 600px)");

const unpacked = async (id) => {
  const bytes = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
};

// --- theme: figures name colours as CSS variables, which only the page can resolve
const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);
const resolved = new Map();
const colour = (name) => {
  if (!resolved.has(name)) {
    probe.style.color = name;
    resolved.set(name, getComputedStyle(probe).color);
  }
  return resolved.get(name);
};
const coloured = (value) => {
  if (typeof value === "string") return value.startsWith("var(--") ? colour(value) : value;
  if (Array.isArray(value)) return value.map(coloured);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v)]));
  return value;
};

// --- figures
const sources = new Map();
const canvases = () => [...document.querySelectorAll("[data-figure]")];
const config = { displayModeBar: false, responsive: false, doubleClick: "reset", scrollZoom: false, showTips: false };

const laidOut = (canvas) => {
  const source = structuredClone(sources.get(canvas.dataset.figure));
  const layout = source.layout;
  layout.width = Math.max(260, canvas.clientWidth);
  if (narrow.matches || layout.width < 560) {
    layout.dragmode = false;
    layout.font.size = 11;
    layout.margin.l = Math.min(layout.margin.l, 44);
    layout.margin.r = 8;
    for (const note of layout.annotations ?? []) {
      // the tiles above say it, and here it would lie on the roofs' names
      if (note.name === "ridge label") note.visible = false;
      note.font = { ...note.font, size: note.name === "simulated" && note.textangle ? 32 : 10 };
    }
    for (const side of ["xaxis", "yaxis", "yaxis2"]) if (layout[side]?.title) layout[side].tickfont.size = 10;
    const { tickvals, ticktext } = layout.xaxis ?? {};
    if (tickvals?.length > 5) {
      // as many labels again would be turned to lie beside one another
      layout.xaxis.ticktext = ticktext.map((text, index) => (index % 2 ? "" : text));
    }
    // labels and a legend of many entries do not fit beside one another: the legend gets room below
    layout.height += 14 * source.data.filter((trace) => trace.name && trace.showlegend !== false).length;
  } else {
    layout.height += 9 * source.data.filter((trace) => trace.name && trace.showlegend !== false).length / 2;
  }
  canvas.style.height = `${layout.height}px`;
  return coloured(source);
};

const tiltSlopes = (canvas) => {
  const full = canvas._fullLayout;
  if (!full?.xaxis || full.xaxis.type !== "log") return;
  const { xaxis: x, yaxis: y } = full;
  const angle = (-Math.atan2(y._length / (y.range[1] - y.range[0]), x._length / (x.range[1] - x.range[0])) * 180) / Math.PI;
  const change = {};
  (canvas.layout.annotations ?? []).forEach((note, index) => {
    if (note.name === "slope label") change[`annotations[${index}].textangle`] = angle;
  });
  if (Object.keys(change).length) return Plotly.relayout(canvas, change);
};

const draw = async (canvas) => {
  const { data, layout } = laidOut(canvas);
  await Plotly.react(canvas, data, layout, config);
  await tiltSlopes(canvas);
};
const drawAll = () => {
  resolved.clear();
  return Promise.all(canvases().filter((canvas) => canvas.dataset.drawn).map(draw));
};

// A figure is drawn when it comes near the screen; printing draws the rest.
const drawOnce = (canvas) => {
  if (canvas.dataset.drawn) return;
  canvas.dataset.drawn = "yes";
  return draw(canvas);
};

const acts = {
  reset: draw,
  fit: (canvas) => Plotly.relayout(canvas, { "xaxis.autorange": true, "yaxis.autorange": true }).then(() => tiltSlopes(canvas)),
  png: (canvas) => Plotly.downloadImage(canvas, {
    format: "png", scale: 2, width: canvas.clientWidth, height: canvas.clientHeight, filename: canvas.dataset.figure,
  }),
};
for (const button of document.querySelectorAll("[data-act]")) {
  button.addEventListener("click", () => acts[button.dataset.act](button.closest("figure").querySelector(".canvas")));
}

// --- theme button: system, light, dark
const themes = ["system", "light", "dark"];
const remembered = () => {
  try { return localStorage.getItem("ridgepoint-theme") ?? "system"; } catch { return "system"; }
};
const setTheme = (name) => {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  byId("theme").textContent = `Theme: ${name}`;
  try { localStorage.setItem("ridgepoint-theme", name); } catch { /* a browser may forbid storage to files */ }
};
let theme = themes.includes(remembered()) ? remembered() : "system";
setTheme(theme);
byId("theme").addEventListener("click", () => {
  theme = themes[(themes.indexOf(theme) + 1) % themes.length];
  setTheme(theme);
  drawAll();
});
systemDark.addEventListener("change", drawAll);

// --- tables
const cellValue = (cell) => cell?.dataset.v ?? cell?.textContent.trim() ?? "";
const compared = (a, b) => {
  const [x, y] = [Number(a), Number(b)];
  const [isX, isY] = [a !== "" && !Number.isNaN(x), b !== "" && !Number.isNaN(y)];
  if (isX && isY) return x - y;
  if (isX !== isY) return isX ? -1 : 1;
  return a.localeCompare(b);
};
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement;
    const table = head.closest("table");
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => {
      const order = compared(cellValue(a.cells[head.cellIndex]), cellValue(b.cells[head.cellIndex]));
      return ascending ? order : -order;
    });
    body.append(...rows);
  });
}
const field = (text) => {
  const safe = /^[=+@-]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
const csv = (table) => {
  const heads = [...table.querySelectorAll("th")].map((th) => th.textContent.trim() + (th.dataset.unit ? ` (${th.dataset.unit})` : ""));
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => field(cell.classList.contains("n") ? cellValue(cell) : cell.textContent.trim())));
  return [heads.map(field), ...rows].map((row) => row.join(",")).join("\n") + "\n";
};
const copied = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // a page from a file may not have the clipboard: the old way still works
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
};
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await copied(csv(byId(button.dataset.copy)));
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy as CSV"; }, 1500);
  });
}

// --- downloads
for (const button of document.querySelectorAll("[data-download]")) {
  button.addEventListener("click", async () => {
    const source = byId(`file-${button.dataset.download}`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([await unpacked(source.id)], { type: source.dataset.kind }));
    link.download = source.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}

// --- a link into a closed table opens it
const openTarget = () => document.querySelector(location.hash || "none")?.closest("details")?.setAttribute("open", "");
addEventListener("hashchange", openTarget);

// --- start
const start = async () => {
  const script = document.createElement("script");
  script.textContent = await unpacked("file-plotly");
  document.head.append(script);
  for (const canvas of canvases()) sources.set(canvas.dataset.figure, JSON.parse(byId(`data-${canvas.dataset.figure}`).textContent));
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) drawOnce(entry.target);
  }, { rootMargin: "600px" });
  for (const canvas of canvases()) near.observe(canvas);
  let width = innerWidth;
  let waiting;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 120);
  });
  document.documentElement.dataset.ready = "yes";
};
let before = [];
addEventListener("beforeprint", () => {
  before = [theme, [...document.querySelectorAll("details:not([open])")]];
  for (const details of before[1]) details.open = true;
  setTheme("light");
  resolved.clear();
  for (const canvas of canvases()) { canvas.dataset.drawn = "yes"; draw(canvas); }
});
addEventListener("afterprint", () => {
  setTheme(before[0]);
  for (const details of before[1]) details.open = false;
  drawAll();
});
openTarget();
start();

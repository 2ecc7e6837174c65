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
  if (layout.meta?.selectors) selected(canvas, source);
  layout.width = Math.max(260, canvas.clientWidth);
  if (narrow.matches || layout.width < 560) {
    layout.dragmode = false;
    layout.font.size = 11;
    layout.margin.l = Math.min(layout.margin.l, 44);
    layout.margin.r = 8;
    for (const note of layout.annotations ?? []) {
      if (note.name === "roof label") {
        // no margin to stand in: on the line, over what is there
        Object.assign(note, { xanchor: "right", yanchor: "bottom", xshift: -4, yshift: 1, bgcolor: "var(--paper)" });
        note.text = note.text.replace("<br>", " ");
      }
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

// keep: as far in as the reader has gone
const draw = async (canvas, keep = false) => {
  const { data, layout } = laidOut(canvas);
  for (const side of keep && canvas.layout ? Object.keys(layout).filter((key) => /^[xy]axis/.test(key)) : []) {
    const { range, autorange } = canvas.layout[side] ?? {};
    if (canvas.dataset.moved) Object.assign(layout[side], autorange === true ? { autorange } : { range, autorange: false });
  }
  await Plotly.react(canvas, data, layout, config);
  await tiltSlopes(canvas);
  if (layout.meta?.selectors && !canvas.dataset.clickable) clickable(canvas);
  if (!canvas.dataset.watched) {
    canvas.dataset.watched = "yes";
    canvas.on("plotly_relayout", (change) => {
      if (Object.keys(change).some((key) => key.includes("axis"))) canvas.dataset.moved = "yes";
    });
  }
};
const drawAll = () => {
  resolved.clear();
  return Promise.all(canvases().filter((canvas) => canvas.dataset.drawn).map((canvas) => draw(canvas, true)));
};

// A figure is drawn when it comes near the screen; printing draws the rest.
const drawOnce = (canvas) => {
  if (canvas.dataset.drawn) return;
  canvas.dataset.drawn = "yes";
  return draw(canvas);
};

const acts = {
  reset: (canvas) => {
    delete canvas.dataset.moved;
    isolate(canvas, "", false);
    return draw(canvas);
  },
  fit: (canvas) => Plotly.relayout(canvas, { "xaxis.autorange": true, "yaxis.autorange": true }).then(() => tiltSlopes(canvas)),
  png: (canvas) => Plotly.downloadImage(canvas, {
    format: "png", scale: 2, width: canvas.clientWidth, height: canvas.clientHeight, filename: canvas.dataset.figure,
  }),
};
for (const button of document.querySelectorAll("[data-act]")) {
  button.addEventListener("click", () => acts[button.dataset.act](button.closest("figure").querySelector(".canvas")));
}

// --- what of a figure is drawn: its controls are the state, so a theme or a printer changes nothing of it
const controls = (canvas) => canvas.closest("figure").querySelector(".selectors");
const choices = (canvas) => {
  const found = {};
  for (const field of controls(canvas).querySelectorAll("fieldset[data-side]")) {
    found[field.dataset.side] = [...field.querySelectorAll("input:checked")].flatMap((input) => (input.type === "radio" ? input.value.split(" & ") : [input.value]));
  }
  return found;
};
const isolated = (canvas) => controls(canvas).querySelector("[data-isolate]").value;

const selected = (canvas, { data, layout }) => {
  const { traces, labels, ridges, frame } = layout.meta;
  const chosen = choices(canvas);
  const within = (name) => Object.entries(chosen).every(([side, values]) => traces[name][side] === "" || values.includes(traces[name][side]));
  const shown = new Set(data.map((trace) => trace.meta).filter(within));
  // the first ridge leads; of the others only those over the same memory
  const ridge = ridges.find((each) => shown.has(each.trace));
  for (const each of ridges) if (each.memory !== ridge?.memory) shown.delete(each.trace);
  const alone = isolated(canvas);
  const lit = (name) => !alone || [traces[name].kind, traces[name].group].includes(alone);
  // an entry for a kind of line stays while a line of its kind does
  const bright = (name) => lit(name) || (name.startsWith("key ") && data.some((trace) => shown.has(trace.meta) && traces[trace.meta].kind === traces[name].kind && !trace.meta.startsWith("key ") && lit(trace.meta)));
  const fades = data.some((trace) => shown.has(trace.meta) && lit(trace.meta));
  const kinds = new Set();
  for (const trace of data) {
    const { kind, probe } = traces[trace.meta];
    const [what] = trace.meta.split(" ");
    trace.visible = shown.has(trace.meta);
    // a kind of line without a line needs no entry; of a kind of point the first speaks for all
    if (what === "key") trace.visible &&= data.some((other) => other !== trace && shown.has(other.meta) && traces[other.meta].kind === kind);
    trace.showlegend = what === "key" || (trace.visible && (probe !== "" || what === "ridge") && !kinds.has(kind));
    if (trace.visible && trace.showlegend) kinds.add(kind);
    if (fades && !bright(trace.meta)) trace.opacity = (trace.opacity ?? 1) * 0.12;
  }
  clipped(data, traces, shown, frame);
  const notes = labelled(labels, shown, frame).map((note) => (fades && !lit(note.trace) ? { ...note, opacity: 0.25 } : note));
  layout.annotations = [...layout.annotations.filter((note) => !/^(roof|slope) label$/.test(note.name)), ...notes];
  const below = data.filter((trace) => trace.visible && trace.meta.startsWith("points ")).flatMap((trace) => trace.y).filter((y) => y !== null && y < frame.bottom).length;
  const middle = ridge?.x ?? Math.sqrt(frame.left * frame.right);
  const zones = [[frame.left, middle], [middle, frame.right]];
  layout.shapes.forEach((shape, index) => Object.assign(shape, { x0: zones[index][0], x1: zones[index][1], visible: Boolean(ridge) }));
  let zone = 0;
  for (const note of layout.annotations) {
    if (note.name === "zone") Object.assign(note, { x: Math.log10(Math.sqrt(zones[zone][0] * zones[zone++][1])), visible: Boolean(ridge) });
    if (note.name === "ridge label") Object.assign(note, { visible: Boolean(ridge) }, ridge && { text: ridge.text, x: Math.log10(ridge.x), y: Math.log10(ridge.y) });
    if (note.name === "outside") Object.assign(note, { visible: below > 0, text: `${below} point${below > 1 ? "s" : ""} below the frame: “Fit to data” shows them` });
  }
  said(canvas, data, traces);
};

// Slopes end at the highest roof that is drawn, and plateaus begin at the slope of the leading memory.
const clipped = (data, traces, shown, frame) => {
  const lines = data.filter((trace) => trace.visible && /^(roof|sustained|theory) /.test(trace.meta) && trace.x.length);
  const flat = (name) => traces[name].level === "";
  const tallest = Math.max(...lines.filter((line) => flat(line.meta)).map((line) => line.y[0]), 0) || frame.top;
  const slopes = lines.filter((line) => !flat(line.meta)).map((line) => ({ meta: line.meta, rate: line.y[0] / line.x[0] })).sort((a, b) => a.rate - b.rate);
  const rateUnder = (what) => {
    const mine = slopes.filter((slope) => slope.meta.startsWith(`${what} `));
    const pool = mine.length ? mine : slopes;
    return (pool.find((slope) => slope.meta.endsWith(" dram")) ?? pool[0])?.rate;
  };
  for (const trace of data) {
    const what = trace.meta.split(" ")[0];
    if (!trace.visible || !["roof", "sustained", "theory", "band"].includes(what) || !trace.x.length) continue;
    const plateau = flat(trace.meta);
    const rate = plateau ? trace.y[0] : trace.y[0] / trace.x[0];
    const under = rateUnder(what === "band" ? "roof" : what);
    const low = plateau ? Math.max(frame.left, under ? rate / under : frame.left) : frame.left;
    const high = plateau ? frame.right : Math.min(frame.right, tallest / rate);
    const [first, last] = [Math.min(...trace.x), Math.max(...trace.x)];
    if (!(last > first && high > low)) continue;
    trace.y = trace.y.map((y, index) => (plateau ? y : (y / trace.x[index]) * low * (high / low) ** (Math.log(trace.x[index] / first) / Math.log(last / first))));
    trace.x = trace.x.map((x) => low * (high / low) ** (Math.log(x / first) / Math.log(last / first)));
  }
};

// As bench/report/figures/labels.py makes them: of what is drawn twice the first, and one label for roofs that lie near.
const labelled = (labels, shown, frame) => {
  const kept = [];
  for (const label of labels) {
    const twin = kept.some((other) => other.key === label.key || (label.trace.startsWith("theory") && other.group === label.group));
    if (shown.has(label.trace) && !twin) kept.push(label);
  }
  const near = (frame.top / frame.bottom) ** (28 / 552);
  const clusters = [];
  const height = (label) => (label.slope ? label.y / label.x : label.y);
  for (const label of kept.sort((a, b) => a.slope - b.slope || height(a) - height(b))) {
    const last = clusters.at(-1);
    if (last && last[0].slope === label.slope && height(label) <= height(last[0]) * near) last.push(label);
    else clusters.push([label]);
  }
  return clusters.map((cluster) => {
    const first = cluster.find((label) => label.lead) ?? cluster.at(-1);
    const ordered = [first, ...cluster.filter((label) => label !== first)];
    const methods = new Set(ordered.map((label) => label.method));
    const word = [...new Set(ordered.map((label) => label.word))].join(" · ");
    const head = methods.size === 1 ? `${word} ${first.method}`.trim() : word;
    const below = cluster.length > 1 && !first.lead && !first.slope ? "≤ " : "";
    const text = `${head}${first.slope ? " " : "<br>"}${below}${shown.has(`sustained ${first.key}`) ? first.both : first.text}`;
    return {
      trace: first.trace, name: first.slope ? "slope label" : "roof label", text: first.lead ? `<b>${text}</b>` : text,
      x: Math.log10(first.x), y: Math.log10(first.y), showarrow: false, align: "left",
      xanchor: first.slope ? "center" : "left", yanchor: first.slope ? "bottom" : "middle", xshift: first.slope ? 0 : 8,
      font: { size: 12, color: first.slope ? "var(--memory)" : "var(--compute)" },
    };
  });
};

const said = (canvas, data, traces) => {
  const seen = data.filter((trace) => trace.visible);
  const roofs = seen.filter((trace) => /^(roof|sustained|theory) /.test(trace.meta)).length;
  const points = seen.filter((trace) => trace.meta.startsWith("points ")).flatMap((trace) => trace.x).filter((x) => x !== null).length;
  const alone = isolated(canvas);
  controls(canvas).querySelector("[data-said]").textContent = `${roofs} line${roofs === 1 ? "" : "s"}, ${points} point${points === 1 ? "" : "s"}${alone ? `, ${alone} isolated` : ""}`;
};

const isolate = (canvas, name, redraw = true) => {
  const box = controls(canvas)?.querySelector("[data-isolate]");
  if (!box || box.value === name) return;
  box.value = name;
  if (redraw) draw(canvas, true);
};
const clickable = (canvas) => {
  canvas.dataset.clickable = "yes";
  const pick = (name) => isolate(canvas, isolated(canvas) === name ? "" : name);
  const { traces } = sources.get(canvas.dataset.figure).layout.meta;
  canvas.on("plotly_click", ({ points: [point] }) => pick(traces[point.data.meta].group));
  canvas.on("plotly_legendclick", ({ data, curveNumber }) => { pick(traces[data[curveNumber].meta].kind); return false; });
  canvas.on("plotly_legenddoubleclick", () => false);
};
addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const box of document.querySelectorAll("[data-isolate]")) isolate(box.closest("figure").querySelector(".canvas"), "");
});
for (const box of document.querySelectorAll(".selectors")) {
  const canvas = box.closest("figure").querySelector(".canvas");
  if (narrow.matches) box.open = false;
  box.addEventListener("change", () => draw(canvas, true));
  for (const button of box.querySelectorAll("[data-all]")) {
    button.addEventListener("click", () => {
      for (const input of button.closest("fieldset").querySelectorAll("input")) input.checked = button.dataset.all === "all" || input.defaultChecked;
      draw(canvas, true);
    });
  }
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
  for (const canvas of canvases()) { canvas.dataset.drawn = "yes"; draw(canvas, true); }
});
addEventListener("afterprint", () => {
  setTheme(before[0]);
  for (const details of before[1]) details.open = false;
  drawAll();
});
openTarget();
start();

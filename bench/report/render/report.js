"use strict";
// Everything the page does. Plotly travels compressed; unpacked, it runs as an inline script whose hash the policy lists.
const byId = (id) => document.getElementById(id);
const h = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 600px)");

const unpacked = async (id) => {
  const bytes = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
};

// --- theme: figures name colours as CSS variables, which only the page can resolve
const probe = h("span", { hidden: true });
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

// --- figures: a figure's data is unpacked and drawn when no fold hides it
const sources = new Map();
const canvases = () => [...document.querySelectorAll("[data-figure]")];
const shownId = (canvas) => canvas.dataset.variant || canvas.dataset.figure;
const sourceOf = async (canvas) => {
  const id = shownId(canvas);
  if (!sources.has(id)) sources.set(id, JSON.parse(await unpacked(`data-${id}`)));
  return sources.get(id);
};
const config = { displayModeBar: false, responsive: false, doubleClick: "reset", scrollZoom: false, showTips: false };
let printed = 0; // the width of a sheet while it is printed

const laidOut = async (canvas) => {
  const source = structuredClone(await sourceOf(canvas));
  const layout = source.layout;
  if (layout.meta?.selectors) selected(canvas, source);
  layout.width = printed || Math.max(260, canvas.clientWidth);
  const entries = source.data.filter((trace) => trace.name && trace.showlegend !== false && trace.visible !== false).length;
  if (narrow.matches || layout.width < 560) {
    layout.dragmode = false;
    layout.font = { size: 11 };
    layout.margin.l = Math.min(layout.margin.l, 44);
    layout.margin.r = 8;
    for (const note of layout.annotations ?? []) {
      if (note.name === "roof label" || (note.name === "roof name" && !layout.meta?.selectors)) {
        // no margin to stand in: on the line, over what is there, and beside those of roofs alike
        const place = { xanchor: "right", yanchor: "bottom", xshift: -4, yshift: 1 - (note.ay ?? 0) };
        Object.assign(note, place, { showarrow: false, bgcolor: "var(--paper)" });
        note.text = note.text.replace("<br>", " ");
      }
      // of slopes that share a label the first, as in the roofline
      if (note.name === "slope label") note.text = note.text.split(" · ")[0];
      note.font = { ...note.font, size: note.name === "simulated" && note.textangle ? 32 : 10 };
    }
    for (const side of ["xaxis", "yaxis", "yaxis2"]) if (layout[side]?.title) layout[side].tickfont = { ...layout[side].tickfont, size: 10 };
    const { tickvals, ticktext } = layout.xaxis ?? {};
    // as many labels again would be turned to lie beside one another
    if (tickvals?.length > 5) layout.xaxis.ticktext = ticktext.map((text, index) => (index % 2 ? "" : text));
    // labels and a legend of many entries do not fit beside one another: the legend gets room below
    layout.height += 14 * entries;
  } else {
    layout.height += (9 * entries) / 2;
  }
  canvas.style.minHeight = canvas.style.height = `${layout.height}px`;
  return coloured(source);
};

// along its line and just above it: plotly anchors the box around turned text, so only its middle lies where it should
const tiltSlopes = (canvas) => {
  const { xaxis: x, yaxis: y } = canvas._fullLayout;
  const turn = Math.atan2(y._length / (y.range[1] - y.range[0]), x._length / (x.range[1] - x.range[0]));
  const place = { textangle: (-turn * 180) / Math.PI, yanchor: "middle", xshift: -10 * Math.sin(turn), yshift: 10 * Math.cos(turn) };
  const change = {};
  (canvas.layout.annotations ?? []).forEach((note, index) => {
    if (note.name === "slope label") for (const key in place) change[`annotations[${index}].${key}`] = place[key];
  });
  if (Object.keys(change).length) return Plotly.relayout(canvas, change);
};

// keep: as far in as the reader has gone
const draw = async (canvas, keep = false) => {
  const { data, layout } = await laidOut(canvas);
  for (const side of keep && canvas.layout ? Object.keys(layout).filter((key) => /^[xy]axis/.test(key)) : []) {
    const { range, autorange } = canvas.layout[side] ?? {};
    if (canvas.dataset.moved) Object.assign(layout[side], autorange === true ? { autorange } : { range, autorange: false });
  }
  await Plotly.react(canvas, data, layout, config);
  if (!canvas.dataset.drawn) {
    canvas.dataset.drawn = "yes";
    canvas.on("plotly_relayout", (change) => {
      if (Object.keys(change).some((key) => key.includes("axis"))) canvas.dataset.moved = "yes";
    });
    if (layout.meta?.selectors) clickable(canvas);
  }
  await tiltSlopes(canvas);
};
const drawAll = () => {
  resolved.clear();
  return Promise.all(canvases().filter((canvas) => canvas.dataset.drawn).map((canvas) => draw(canvas, true)));
};
// not folded away; what a closed fold holds has an offsetParent all the same
const unfolded = () => canvases().filter((canvas) => canvas.checkVisibility());
const drawUnfolded = async () => {
  for (const canvas of unfolded()) {
    if (canvas.dataset.asked) continue;
    canvas.dataset.asked = "yes";
    await draw(canvas).catch(console.error); // one that fails leaves the others to be drawn
  }
};

const acts = {
  reset: (canvas) => {
    delete canvas.dataset.moved;
    isolate(canvas, "", false);
    return draw(canvas);
  },
  fit: (canvas) => Plotly.relayout(canvas, { "xaxis.autorange": true, "yaxis.autorange": true }).then(() => tiltSlopes(canvas)),
  png: (canvas) => Plotly.downloadImage(canvas, {
    format: "png", scale: 2, width: canvas.clientWidth, height: canvas.clientHeight, filename: shownId(canvas),
  }),
};
const canvasOf = (control) => control.closest("figure").querySelector(".canvas");
for (const button of document.querySelectorAll("[data-act]")) {
  button.addEventListener("click", () => acts[button.dataset.act](canvasOf(button)));
}
for (const picker of document.querySelectorAll("select[data-variant]")) {
  picker.addEventListener("change", () => {
    canvasOf(picker).dataset.variant = picker.value;
    draw(canvasOf(picker));
  });
}

// --- theme button: system, light, dark
const themes = ["system", "light", "dark"];
const remembered = () => {
  try { return localStorage.getItem("ridgepoint-theme") ?? "system"; } catch { return "system"; }
};
const setTheme = (name) => {
  document.documentElement.dataset.theme = name;
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
  const [x, y] = [a, b].map((text) => (text === "" ? NaN : Number(text)));
  // numbers come before words
  return x - y || Number.isNaN(x) - Number.isNaN(y) || a.localeCompare(b);
};
document.addEventListener("click", ({ target }) => {
  const head = target.closest("th button")?.parentElement;
  if (!head) return;
  const table = head.closest("table");
  const ascending = head.getAttribute("aria-sort") !== "ascending";
  for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const body = table.tBodies[0];
  const value = (row) => cellValue(row.cells[head.cellIndex]);
  body.append(...[...body.rows].sort((a, b) => compared(value(a), value(b)) * (ascending ? 1 : -1)));
});
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
    const area = h("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
};
for (const button of document.querySelectorAll("[data-copy], [data-text]")) {
  const words = button.textContent;
  button.addEventListener("click", async () => {
    await copied(button.dataset.text ?? csv(byId(button.dataset.copy)));
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = words; }, 1500);
  });
}

// --- downloads
for (const button of document.querySelectorAll("[data-download]")) {
  button.addEventListener("click", async () => {
    const source = byId(`file-${button.dataset.download}`);
    const href = URL.createObjectURL(new Blob([await unpacked(source.id)], { type: source.dataset.kind }));
    h("a", { href, download: source.dataset.name }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  });
}

// --- a link into a fold opens it
const openTarget = () => {
  const target = location.hash ? byId(decodeURIComponent(location.hash.slice(1))) : null;
  for (let box = target; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
  target?.scrollIntoView();
};
addEventListener("hashchange", openTarget);

// --- what has a place of its own is scrolled to below the navigation, which takes as many lines as it needs
const bar = document.querySelector("nav");
new ResizeObserver(() => document.documentElement.style.setProperty("--bar", `${bar.offsetHeight}px`)).observe(bar);

// --- start, when every part of the script has been read
const start = async () => {
  openTarget();
  if (byId("file-plotly")) document.head.append(h("script", { textContent: await unpacked("file-plotly") }));
  for (const box of document.querySelectorAll("details")) box.addEventListener("toggle", drawUnfolded);
  drawUnfolded();
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
// what is open is printed, in light colours; a figure with a static picture prints that
addEventListener("beforeprint", () => {
  setTheme("light");
  resolved.clear();
  printed = 680;
  for (const canvas of unfolded()) if (!canvas.querySelector(".static")) draw(canvas, true);
});
addEventListener("afterprint", () => {
  printed = 0;
  setTheme(theme);
  drawAll();
});
setTimeout(start);

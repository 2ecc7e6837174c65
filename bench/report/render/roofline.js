// --- the roofline: what of it is drawn. Its controls are the state, so a theme or a printer changes nothing of it
const controls = (canvas) => canvas.closest("figure").querySelector(".selectors");
const isolated = (canvas) => controls(canvas).querySelector("[data-isolate]").value;
const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const flat = (line) => line.key.includes(".");

const selected = (canvas, { data, layout }) => {
  const { traces, roofs, ridges, frame } = layout.meta;
  const small = narrow.matches || canvas.clientWidth < 560;
  const alone = isolated(canvas);
  const lit = (name) => !alone || [traces[name].kind, traces[name].group].includes(alone);
  const shown = new Set(data.map((trace) => trace.meta));
  for (const { dataset: { side }, elements } of controls(canvas).querySelectorAll("fieldset[data-side]")) {
    const chosen = [...elements].filter((input) => input.checked).flatMap((input) => input.value.split(" & "));
    for (const name of shown) if (traces[name][side] && !chosen.includes(traces[name][side])) shown.delete(name);
  }
  const lines = roofs.filter((roof) => shown.has(roof.trace));
  const reach = spans(lines, frame);
  // the first ridge leads; of the others only those over the same memory
  const known = ridges.filter((ridge) => [ridge.compute, ridge.memory].every((key) => shown.has(`${ridge.what} ${key}`)));
  const met = known.filter((ridge) => ridge.memory === known[0].memory);
  const fades = [...shown].some(lit);
  const kinds = new Set();
  for (const trace of data) {
    const name = trace.meta;
    const line = roofs.find((roof) => roof.trace === name);
    const mine = met.filter((ridge) => name === `ridge ${ridge.what}`);
    if (reach[name]) stretch(trace, line, reach[name], frame);
    if (mine.length) meeting(trace, mine, (ridge) => !fades || lit(name) || lit(`${ridge.what} ${ridge.compute}`));
    else if (fades && !lit(name)) trace.opacity = (trace.opacity ?? 1) * 0.12;
    if (small && trace.textposition) trace.text = trace.text.map((text) => text.split("<br>")[0]);
    trace.visible = shown.has(name) && (!line || name in reach) && (!name.startsWith("ridge ") || mine.length > 0);
    // of a kind the first speaks for all
    trace.showlegend = trace.visible && !kinds.has(traces[name].kind);
    if (trace.visible) kinds.add(traces[name].kind);
  }
  const points = data.filter((trace) => trace.visible && trace.meta.startsWith("points "));
  const seen = points.flatMap(({ x, y }) => x.map((at, k) => [at, y[k]])).filter(([x]) => x !== null);
  const out = seen.filter(([x, y]) => x < frame.left || x > frame.right || y < frame.bottom || y > frame.top).length;
  // as plots/roofline.py draws them: both zones and the ridge between them, each a shape and its name
  const middle = met[0]?.x ?? 1;
  const visible = met.length > 0;
  [[frame.left, middle], [middle, frame.right], [middle, middle]].forEach(([x0, x1], k) => {
    Object.assign(layout.shapes[k], { x0, x1, visible });
    Object.assign(layout.annotations[k], { x: Math.log10(Math.sqrt(x0 * x1)), visible });
  });
  layout.annotations[2].text = met[0]?.title;
  const notes = layout.annotations.filter((note) => !/^(roof name|slope label)$/.test(note.name));
  const outside = notes.find((note) => note.name === "outside");
  Object.assign(outside, { visible: out > 0, text: `${counted(out, "point")} outside the frame: “Fit to data” shows them` });
  const labels = labelled(lines, reach, shown, frame, small).map((note) => (fades && !lit(note.trace) ? { ...note, opacity: 0.25 } : note));
  layout.annotations = [...notes, ...labels];
  // a narrow figure has no margin: the names stand beside a smaller plot
  if (small) layout.xaxis.domain = [0, 1 - 102 / (canvas.clientWidth - 52)];
  const said = [counted(Object.keys(reach).length, "line"), counted(seen.length, "point"), ...(alone ? [`${alone} isolated`] : [])];
  controls(canvas).querySelector("[data-said]").textContent = said.join(", ");
};

// As analysis/viewport.py: slopes end at the highest roof that is shown, plateaus begin at the slope of the leading memory.
const spans = (lines, frame) => {
  const tallest = Math.max(0, ...lines.filter(flat).map((line) => line.rate)) || frame.top;
  const slopes = lines.filter((line) => !flat(line)).sort((a, b) => (a.key !== "dram") - (b.key !== "dram") || a.rate - b.rate);
  const what = (line) => line.trace.split(" ")[0];
  const under = (line) => slopes.find((slope) => what(slope) === what(line)) ?? slopes[0] ?? { rate: Infinity };
  const span = (line) => (flat(line)
    ? [Math.max(frame.left, line.rate / under(line).rate), frame.right]
    : [Math.max(frame.left, frame.bottom / line.rate), Math.min(frame.right, tallest / line.rate)]);
  return Object.fromEntries(lines.map((line) => [line.trace, span(line)]).filter(([, [low, high]]) => low < high));
};
// with so many points that a hover finds the line everywhere
const stretch = (trace, line, [low, high], frame) => {
  const [from, to] = flat(line) ? [high, low] : [low, high];
  trace.x = [flat(line) ? frame.right * 0.97 : frame.left * 1.06, ...Array.from({ length: 25 }, (_, k) => from * (to / from) ** (k / 24))];
  trace.y = trace.x.map((x) => (flat(line) ? line.rate : line.rate * x));
};
const meeting = (trace, ridges, lit) => {
  const each = (value) => ridges.map(value);
  Object.assign(trace, { x: each((r) => r.x), y: each((r) => r.y), text: each((r) => r.text) });
  Object.assign(trace.error_x, { array: each((r) => (lit(r) ? r.high - r.x : NaN)), arrayminus: each((r) => (lit(r) ? r.x - r.low : NaN)) });
  Object.assign(trace.marker, { size: each((r) => r.size), opacity: each((r) => (lit(r) ? 1 : 0.12)) });
};

// As plots/roofs.py: plateaus in the right margin, one below the other; slopes that lie near share a label.
const labelled = (lines, reach, shown, frame, small) => {
  const kept = lines.filter((line) => line.trace in reach && !line.unless?.some((other) => shown.has(other)));
  const near = (frame.top / frame.bottom) ** (22 / 440);
  const groups = [];
  for (const line of kept.sort((a, b) => flat(b) - flat(a) || b.rate - a.rate)) {
    const last = groups.at(-1)?.at(-1);
    if (last && !flat(line) && !flat(last) && last.rate <= line.rate * near) groups.at(-1).push(line);
    else groups.push([line]);
  }
  const crowded = small && kept.filter(flat).length > 12;
  const worded = (line) => {
    const text = small ? line.text.replace(/ (sustained|datasheet)$/, "<br>$1") : line.text;
    const gap = flat(line) && (small || line.name.length + text.length > (line.lead ? 25 : 29)) ? "<br>" : " ";
    const whole = crowded && flat(line) ? line.name : `${line.name}${gap}${text}`;
    return line.lead ? `<b>${whole}</b>` : whole;
  };
  const texts = groups.map((group) => group.slice(0, small ? 1 : 9).map(worded).join(" · "));
  const places = groups.filter(([line]) => flat(line)).map(([line]) => (440 * Math.log10(frame.top / line.rate)) / Math.log10(frame.top / frame.bottom));
  const middles = apart(places, places.map((_, k) => (small ? 13 : 15) * texts[k].split("<br>").length), 440);
  return groups.map(([line], k) => {
    const note = { trace: line.trace, text: texts[k], font: { size: small ? 10 : 12, color: flat(line) ? "var(--compute)" : "var(--memory)" } };
    const [low, high] = reach[line.trace];
    const x = flat(line) ? frame.right : low * (high / low) ** 0.58;
    Object.assign(note, { x: Math.log10(x), y: Math.log10(flat(line) ? line.rate : line.rate * x) });
    if (!flat(line)) return { ...note, name: "slope label", showarrow: false, xanchor: "center", yanchor: "bottom" };
    const leader = { showarrow: true, arrowhead: 0, arrowwidth: 1, arrowcolor: "var(--muted)", ax: small ? 8 : 18, ay: middles[k] - places[k] };
    return { ...note, ...leader, name: "roof name", xanchor: "left", yanchor: "middle", align: "left" };
  });
};
const apart = (places, sizes, end) => {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const scale = Math.min(1, end / total);
  const packed = sizes.map((size, k) => scale * (sizes.slice(0, k).reduce((sum, each) => sum + each, 0) + size / 2));
  const free = places.map((place, k) => Math.min(Math.max(place - packed[k], 0), end - scale * total));
  return packed.map((least, k) => least + (Math.max(...free.slice(0, k + 1)) + Math.min(...free.slice(k))) / 2);
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
  const facets = (trace) => canvas.layout.meta.traces[trace.meta];
  canvas.on("plotly_click", ({ points: [point] }) => pick(facets(point.data).group));
  canvas.on("plotly_legendclick", ({ data, curveNumber }) => { pick(facets(data[curveNumber]).kind); return false; });
  canvas.on("plotly_legenddoubleclick", () => false);
};
addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const box of document.querySelectorAll("[data-isolate]")) isolate(canvasOf(box), "");
});
for (const box of document.querySelectorAll(".selectors")) {
  box.addEventListener("change", () => draw(canvasOf(box), true));
  box.addEventListener("click", ({ target: { dataset: { all }, parentElement } }) => {
    if (!all) return;
    for (const input of parentElement.querySelectorAll("input")) input.checked = all === "all" || input.defaultChecked;
    draw(canvasOf(box), true);
  });
}

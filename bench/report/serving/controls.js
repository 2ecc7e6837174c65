// The form that asks evaluate.js. Its controls are the state; every change answers anew, and says so to a screen reader.
const asking = async (form) => {
  const data = JSON.parse(await unpacked("file-serving"));
  const [message, tiles, parts, why] = ["said", "tiles", "parts", "why"].map((name) => byId(`serving-${name}`));
  const body = byId("serving-live").tBodies[0];
  const made = (tag, text, name = "") => Object.assign(document.createElement(tag), { textContent: text, className: name });

  // --- numbers as bench/units.py spells them
  const digits = (value, significant = 3) => {
    if (!value || !Number.isFinite(value)) return String(value);
    return value.toFixed(Math.max(0, significant - 1 - Math.floor(Math.log10(Math.abs(value)) + 1e-9)));
  };
  const scaled = (value, steps, unit) => {
    const [factor, prefix] = steps.find(([least]) => value >= least * 0.9995) ?? steps.at(-1);
    return `${digits(value / factor)} ${prefix}${unit}`.trim();
  };
  const seconds = (value) => scaled(value, [[1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]], "s");
  const size = (value) => scaled(value, [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]], "");
  const number = (value) => scaled(value, [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]], "");
  const percent = (value) => `${digits(100 * value, 2)} %`;
  const whole = (value) => value.toLocaleString("en-US");
  const counted = (count) => `${count} ${data.device}${count > 1 ? "s" : ""}`;
  const limits = (key) => data.limits[key] ?? key;

  const choice = () => Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value === "" ? NaN : Number(value)]));
  const described = (asked) => {
    const [weights, kv] = [data.weights[asked.weights].label, data.kv[asked.kv].label];
    return `${data.models[asked.model].name}, ${weights} weights, ${kv} KV, ${counted(asked.devices)}`;
  };

  const tile = (name, value, more, note = "") => {
    const box = made("div", "", "tile");
    box.append(made("dt", name), made("dd", value, "value"), made("dd", more));
    if (note) box.append(made("dd", note, "spread"));
    return box;
  };

  const cell = (text, value, name) => {
    const found = made("td", text, name);
    if (value !== undefined) found.dataset.v = value;
    return found;
  };
  const listed = (step) => [...step.rows].sort((a, b) => b.total - a.total).map((row) => {
    const line = document.createElement("tr");
    const intensity = row.flops && row.bytes ? row.flops / row.bytes : undefined;
    line.append(
      cell(row.name), cell(whole(row.count), row.count, "n"), cell(intensity === undefined ? "–" : digits(intensity), intensity, "n"),
      cell(seconds(row.seconds), row.seconds, "n"), cell(percent(row.total / step.seconds), row.total / step.seconds, "n"),
      cell(limits(row.fixed > row.seconds - row.fixed ? "overhead" : row.limit)), cell(data.origins[row.origin]),
    );
    return line;
  });

  // the reader's choice over the Pareto figure: the same evaluator over all batches that fit
  const drawn = (asked, memory) => {
    const canvas = document.querySelector('[data-figure="fig-serving-pareto"]');
    const source = canvas && sources.get(canvas.dataset.figure);
    if (!source) return;
    const trace = source.data.find((each) => each.meta === "own");
    const batches = [];
    for (let batch = 1; batch <= (memory?.most ?? 0) && batch <= 4096; batch *= 2) batches.push(batch);
    if (memory?.most > 1 && memory.most <= 4096 && !batches.includes(memory.most)) batches.push(memory.most);
    const model = data.models[asked.model];
    const found = batches.map((batch) => batch / serving.decode(data, model, model.ranks[asked.devices], asked, batch, asked.context).seconds);
    Object.assign(trace, { x: found.map((rate, i) => rate / batches[i]), y: found, visible: found.length > 0, showlegend: found.length > 0 });
    trace.hovertemplate = "%{customdata}<extra></extra>";
    trace.customdata = batches.map((batch, i) => `${described(asked)}<br>batch ${batch}: ${number(found[i])} tokens/s`);
    for (const [side, values] of [["xaxis", trace.x], ["yaxis", trace.y]]) {
      const axis = source.layout[side];
      axis.asMade ??= axis.range;
      axis.range = [Math.min(axis.asMade[0], ...values.map((v) => Math.log10(v / 1.5))), Math.max(axis.asMade[1], ...values.map((v) => Math.log10(v * 1.5)))];
    }
    if (canvas.dataset.drawn) draw(canvas, true);
  };

  const shown = (changed) => {
    const asked = choice();
    const found = serving.evaluated(data, asked);
    const { memory, step, first, loop, enough } = found;
    const fine = Boolean(step);
    message.classList.toggle("invalid", !fine);
    tiles.replaceChildren();
    parts.replaceChildren();
    body.replaceChildren();
    why.textContent = "";
    byId("serving-rows").hidden = !fine;
    if (changed) drawn(asked, found.problem ? undefined : memory);
    if (found.problem) {
      message.textContent = `Impossible: ${found.problem}`;
      return;
    }
    const most = tile("Largest batch", whole(memory.most), `at ${whole(asked.context + asked.output)} tokens each`, `weights ${size(memory.weights)} of ${size(memory.room)} per ${data.device}`);
    if (!fine) {
      const advice = enough ? ` ${counted(enough)} would hold it.` : ` No number of ${data.device}s offered here would hold it.`;
      message.textContent = `Does not fit: ${described(asked)}, batch ${whole(asked.batch)}: ${size(found.short)} per ${data.device} too much.${advice}`;
      tiles.append(most);
      return;
    }
    message.textContent = `${described(asked)}, batch ${whole(asked.batch)}: ${seconds(step.seconds)} per token, ${number(found.system)} tokens/s in all.`;
    tiles.append(
      tile("Time per token", seconds(step.seconds), "a decode step, no prompt beside it", data.origins[step.origin]),
      tile("Per user", `${digits(found.user)} tokens/s`, `under load ${loop.tpot ? `${digits(1 / loop.tpot)} tokens/s` : "–"}`, data.origins[Math.max(step.origin, first.origin)]),
      tile("System", `${number(found.system)} tokens/s`, `under load ${number(loop.rate)} of output`, `${percent(loop.busy)} of the time in prompts`),
      tile("First token", seconds(first.seconds), `prompt of ${whole(asked.context)}, idle engine`, `${limits(first.limit)}, ${data.origins[first.origin]}`),
      most,
      tile("Binds", limits(step.limit), `${percent(step.parts.fixed / step.seconds)} fixed`, data.origins[step.origin]),
    );
    // what the self-check of this Run leaves open, where it measured such a step
    const spans = [["a token", "decode", step], ["the first one", "prefill", first]].flatMap(([what, phase, { seconds: time }]) => {
      const bar = data.machine.bars[phase];
      return bar ? [`${what} ${seconds(time * bar[0])} to ${seconds(time * bar[1])}`] : [];
    });
    const shares = Object.entries(step.parts).filter(([, part]) => part > 0).sort((a, b) => b[1] - a[1]);
    for (const [name, part] of shares) {
      const share = part / step.seconds;
      const bar = made("span", share > 0.12 ? `${name} ${percent(share)}` : "", name);
      bar.style.flex = `${share} 0 0`;
      parts.append(bar);
    }
    const said = shares.map(([name, part]) => `${name} ${percent(part / step.seconds)}`).join(", ");
    why.textContent = `Of a step: ${said}. Under load: ${whole(asked.batch)} users in a closed loop, out of phase, ${whole(asked.context)} tokens in, ${whole(asked.output)} out, waiting prompts first.${spans.length ? ` By the self-check below: ${spans.join(", ")}.` : ""}`;
    body.append(...listed(step));
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => shown(true));
  form.addEventListener("reset", () => setTimeout(() => shown(true)));
  shown(false);
  form.dataset.ready = "yes";
};
if (byId("serving-form")) asking(byId("serving-form"));

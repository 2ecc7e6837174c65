// The form: its controls are the state; every change answers anew, and says so to a screen reader.
const STYLE = `#serving-form { border: 1px solid var(--faint); border-radius: 4px; padding: 12px 14px; }
#serving-form .fields { display: grid; grid-template-columns: repeat(auto-fill, minmax(128px, 1fr)); gap: 8px 14px; align-items: end; }
#serving-form label { display: grid; gap: 2px; font-size: 12px; color: var(--muted); }
#serving-form :is(select, input) { font: inherit; font-size: 14px; color: var(--ink); background: var(--raised); border: 1px solid var(--faint); border-radius: 4px; padding: 4px 6px; min-height: 30px; width: 100%; }
#serving-form :invalid { border-color: var(--alarm); }
#serving-form :is(dl, p):empty { display: none; }
#serving-form #serving-said { display: block; min-height: 1.5em; font-size: 16px; }
#serving-said.fail { color: var(--alarm); }
#serving-tiles { grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
#serving-parts { display: flex; gap: 2px; height: 22px; font-size: 12px; line-height: 22px; print-color-adjust: exact; }
#serving-parts span { overflow: hidden; white-space: nowrap; padding-left: 6px; min-width: 2px; color: var(--paper); }`;
const HEADS = ["operator", "count", "intensity (FLOP/B)", "one launch (s)", "% of the step", "waits for", "origin"];
const FORM = `<form id="serving-form" aria-labelledby="serving-h"><div class="fields"></div>
<p id="serving-said" role="status" aria-live="polite"></p><dl class="tiles" id="serving-tiles" aria-label="Answers"></dl>
<p id="serving-parts" aria-hidden="true"></p><p class="small" id="serving-why"></p>
<details class="table" id="serving-rows"><summary>Every operator of this step, longest first</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Every operator of this step"><table id="serving-live">
<caption class="hidden">Every operator of the chosen step</caption>
<thead><tr>${HEADS.map((text) => `<th scope="col"><button type="button">${text}</button></th>`).join("")}</tr></thead><tbody></tbody>
</table></div></details></form>`;
const asking = async (app) => {
  const data = JSON.parse(await unpacked("data-document")).serving;
  app.closest("section").querySelector("figure, .table")?.before(app);
  app.innerHTML = FORM;
  document.head.append(h("style", {}, STYLE));
  const form = app.firstChild;
  const [message, tiles, parts, why, live] = ["said", "tiles", "parts", "why", "live"].map((name) => byId(`serving-${name}`));
  const labels = (entries) => entries.map(({ name, label }) => label ?? name);
  for (const [name, label, given] of [
    ["model", "Model", labels(data.models)], ["weights", "Weights", labels(data.weights)], ["kv", "KV cache", labels(data.kv)],
    ["devices", "On", data.devices.map((count) => counted(count, data.device))], ["batch", "Batch", 65536], ["context", "Context (prompt)", 10485760], ["output", "Output", 1048576],
  ]) {
    const at = data.at[name];
    const own = { name, autocomplete: "off" };
    const control = Array.isArray(given)
      ? h("select", own, ...given.map((text, i) => new Option(text, i, i === at, i === at)))
      : h("input", { ...own, type: "number", inputMode: "numeric", min: 1, max: given, step: 1, defaultValue: at });
    form.firstChild.append(h("label", {}, label, control));
  }
  form.firstChild.append(h("button", { type: "reset" }, "Reset"));
  const choice = () => {
    const found = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value === "" ? NaN : Number(value)]));
    return { ...found, devices: data.devices[found.devices] };
  };

  // --- numbers as bench/units.py spells them: so many digits, and all those before the point
  const digits = (value, significant = 3) => (value === 0 ? "0" : value.toLocaleString("en-US", {
    minimumSignificantDigits: significant, maximumSignificantDigits: significant, maximumFractionDigits: 0, roundingPriority: "morePrecision", useGrouping: false,
  }));
  const scaled = (value, steps, unit) => {
    const [factor, prefix] = steps.find(([least]) => value >= least * 0.9995) ?? steps.at(-1);
    return `${digits(value / factor)} ${prefix}${unit}`.trim();
  };
  const seconds = (value) => scaled(value, [[1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]], "s");
  const size = (value) => scaled(value, [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]], "");
  const number = (value) => scaled(value, [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]], "");
  const percent = (value) => `${digits(100 * value, 2)} %`;
  const whole = (value) => value.toLocaleString("en-US");
  const limits = (key) => data.limits[key] ?? key;
  const described = (asked) => {
    const [weights, kv] = [data.weights[asked.weights].label, data.kv[asked.kv].label];
    return `${data.models[asked.model].name}, ${weights} weights, ${kv} KV, ${counted(asked.devices, data.device)}`;
  };

  const tile = (name, value, ...notes) => h("div", { className: "tile" }, h("dt", {}, name), h("dd", { className: "value" }, value), ...notes.map((note) => h("dd", {}, note)));
  const cell = (text, value) => {
    const found = h("td", { className: value === undefined ? "" : "n" }, text);
    if (value !== undefined) found.dataset.v = value;
    return found;
  };
  const rows = (step) => [...step.rows].sort((a, b) => b.total - a.total).map((row) => {
    const [intensity, share] = [row.flops && row.bytes ? row.flops / row.bytes : "", row.total / step.seconds];
    const waits = limits(row.fixed > row.seconds - row.fixed ? "overhead" : row.limit);
    return h("tr", {}, cell(row.name), cell(whole(row.count), row.count), cell(intensity ? digits(intensity) : "–", intensity),
      cell(seconds(row.seconds), row.seconds), cell(percent(share), share), cell(waits), cell(data.origins[row.origin]));
  });

  // the reader's choice over the first figure: the same evaluator over all batches that fit
  const drawn = async (asked, most) => {
    const canvas = document.querySelector('[data-figure="fig-serving-pareto"]');
    if (!canvas) return;
    const source = await sourceOf(canvas);
    const batches = [...Array(13).keys()].map((power) => 2 ** power).filter((batch) => batch < most).concat(Math.min(most, 4096) || []);
    const model = data.models[asked.model];
    const y = batches.map((batch) => batch / serving.decode(data, model, model.ranks[asked.devices], asked, batch, asked.context).seconds);
    const own = {
      type: "scatter", mode: "lines+markers", name: "as chosen above", meta: "own", line: { color: "var(--ink)", width: 2.5 }, marker: { color: "var(--ink)", size: 7 },
      x: y.map((rate, i) => rate / batches[i]), y, hovertemplate: "%{customdata}<extra></extra>",
      customdata: batches.map((batch, i) => `${described(asked)}<br>batch ${batch}: ${number(y[i])} tokens/s`),
    };
    source.data = [...source.data.filter((each) => each.meta !== "own"), ...(y.length ? [own] : [])];
    for (const side of ["xaxis", "yaxis"]) Object.assign(source.layout[side], { autorange: true });
    if (canvas.dataset.drawn) draw(canvas, true);
  };

  const shown = (changed) => {
    const asked = choice();
    const { problem, memory, short, step, first, loop, enough, user, system } = serving.evaluated(data, asked);
    message.classList.toggle("fail", !step);
    for (const part of [tiles, parts, live.tBodies[0]]) part.replaceChildren();
    why.textContent = "";
    byId("serving-rows").hidden = !step;
    if (changed) drawn(asked, problem ? 0 : memory.most);
    message.textContent = problem ? `Impossible: ${problem}` : "";
    if (problem) return;
    const most = tile("Largest batch", whole(memory.most), `at ${whole(asked.context + asked.output)} tokens each`, `weights ${size(memory.weights)} of ${size(memory.room)} per ${data.device}`);
    const asking = `${described(asked)}, batch ${whole(asked.batch)}`;
    if (!step) {
      const advice = enough ? `${counted(enough, data.device)} would hold it.` : `No number of ${data.device}s offered here would hold it.`;
      message.textContent = `Does not fit: ${asking}: ${size(short)} per ${data.device} too much. ${advice}`;
      return tiles.append(most);
    }
    const [sure, both] = [data.origins[step.origin], data.origins[Math.max(step.origin, first.origin)]];
    message.textContent = `${asking}: ${seconds(step.seconds)} per token, ${number(system)} tokens/s in all.`;
    tiles.append(
      tile("Time per token", seconds(step.seconds), "a decode step, no prompt beside it", sure),
      tile("Per user", `${digits(user)} tokens/s`, `under load ${loop.tpot ? `${digits(1 / loop.tpot)} tokens/s` : "–"}`, both),
      tile("System", `${number(system)} tokens/s`, `under load ${number(loop.rate)} of output`, `${percent(loop.busy)} of the time in prompts`),
      tile("First token", seconds(first.seconds), `prompt of ${whole(asked.context)}, idle engine`, `${limits(first.limit)}, ${data.origins[first.origin]}`),
      most,
      tile("Binds", limits(step.limit), `${percent(step.parts.fixed / step.seconds)} fixed`, sure),
    );
    const shares = Object.entries(step.parts).filter(([, part]) => part > 0).sort((a, b) => b[1] - a[1]).map(([name, part]) => [name, part / step.seconds]);
    for (const [name, share] of shares) {
      const bar = h("span", {}, share > 0.12 ? `${name} ${percent(share)}` : "");
      Object.assign(bar.style, { flex: `${share} 0 0`, background: `var(--${{ communication: "s4", fixed: "muted" }[name] ?? name})` });
      parts.append(bar);
    }
    // what the self-check of this Run leaves open, where it measured such a step
    const spans = [["a token", "decode", step], ["the first one", "prefill", first]].flatMap(([what, phase, { seconds: time }]) => {
      const bar = data.machine.bars[phase];
      return bar ? [`${what} ${seconds(time * bar[0])} to ${seconds(time * bar[1])}`] : [];
    });
    const split = shares.map(([name, share]) => `${name} ${percent(share)}`).join(", ");
    const load = `${whole(asked.batch)} users in a closed loop, out of phase, ${whole(asked.context)} tokens in, ${whole(asked.output)} out, waiting prompts first`;
    why.textContent = `Of a step: ${split}. Under load: ${load}.${spans.length ? ` By the self-check: ${spans.join(", ")}.` : ""}`;
    live.tBodies[0].append(...rows(step));
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => shown(true));
  form.addEventListener("reset", () => setTimeout(() => shown(true)));
  shown(false);
  form.dataset.ready = "yes";
};
if (byId("serving-app")) asking(byId("serving-app"));

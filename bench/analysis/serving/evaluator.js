// What a step of serving takes on this machine, for a page that is asked anew. Its data (export.py) hold every operator
// as coefficients of a few features, every roof and every measured curve as a table. The rules are those of the files
// beside it: machine.py (one operator), step.py (their sum), planner.py, queueing.py (closed loop).
const serving = (() => {
  const sum = (values) => values.reduce((total, value) => total + value, 0);

  // --- features of a step, as export.py names them
  const seen = (tokens, window, chunked) => {
    if (!window) return tokens;
    return chunked ? ((tokens - 1) % window) + 1 : Math.min(tokens, window);
  };
  const pairs = (tokens, window, chunked) => {
    if (!window || tokens <= window) return (tokens * (tokens + 1)) / 2;
    const whole = (window * (window + 1)) / 2;
    if (!chunked) return whole + (tokens - window) * window;
    return Math.floor(tokens / window) * whole + pairs(tokens % window, 0, false);
  };
  const distinct = ([experts, active], tokens) => {
    const most = Math.min(experts, active * tokens);
    const met = experts * (1 - (1 - active / experts) ** tokens);
    return Math.min(Math.max(met, Math.min(active, most)), most);
  };
  const features = (model, tokens, attended) => [1, tokens, ...attended, ...(model.experts[0] ? [distinct(model.experts, tokens)] : [])];

  // --- curves: linear over the logarithm, constant beyond their ends
  const between = (xs, at) => {
    if (at <= xs[0] || xs.length === 1) return [0, 0, 0];
    if (at >= xs.at(-1)) return [xs.length - 1, xs.length - 1, 0];
    const above = xs.findIndex((x) => x > at);
    return [above - 1, above, (at - xs[above - 1]) / (xs[above] - xs[above - 1])];
  };
  const read = (curve, x, y) => {
    const [low, high, share] = between(curve.x, Math.log(x));
    // below the first point it is the time that stays, or the efficiency of as much work
    const less = Math.exp(Math.min(0, Math.log(x) - curve.x[0]));
    const value = (i) => (curve.of ? read(curve.of[i], y * less) : curve.y[i]);
    return (share ? value(low) + (value(high) - value(low)) * share : value(low)) * (curve.held ? less : 1);
  };

  // --- one launch of an operator: the larger of compute and memory time, by a measured curve or with a typical share
  const launched = ({ machine, roofs, curves }, look, { flops, bytes, at, keys }) => {
    if (look.lines || look.message !== undefined) {
      const curve = curves[look.message];
      const seconds = curve
        ? Math.exp(read(curve, Math.max(bytes, 1))) * Math.max(1, bytes / curve.largest) * look.times
        : Math.min(...look.lines.map(([start, each]) => start + each * bytes));
      return { seconds, fixed: 0, bound: "communication", limit: roofs[look.roof][0] };
    }
    const compute = look.roof < 0 ? 0 : flops / roofs[look.roof][1];
    const memory = bytes / machine.bandwidth;
    const [up, down] = [look.up ?? 1, look.down ?? 1];
    const bound = compute / up > memory / down ? "compute" : "memory";
    const ideal = Math.max(compute, memory);
    // which roof is nearest is said by the roofs alone, what binds with the typical shares
    const limit = compute > memory ? roofs[look.roof][0] : "dram";
    let [seconds, fixed] = [Math.max(compute / up, memory / down) + machine.start, machine.start];
    if (look.curve !== undefined) {
      seconds = ideal / read(curves[look.curve], Math.max(1, at), Math.max(1, keys));
      // a curve of another shape cannot know what a smaller one pays to start
      if (!look.shaped) seconds = Math.max(seconds, ideal + machine.start);
      fixed = Math.min(machine.start, seconds - ideal);
    }
    // a host that launches one by one is waited for where it is slower
    const waited = Math.max(0, machine.least - seconds);
    return { seconds: seconds + waited, fixed: fixed + waited, bound, limit };
  };

  // --- a step: the sum of its operators and of the host's time
  const stepped = (data, rows, made, format, keys) => {
    const dot = (vector, each = ([, c]) => c) => sum((vector ?? []).map((entry) => made[entry[0]] * each(entry)));
    const [weight, cached] = [data.weights[format.weights].bytes, data.kv[format.kv].bytes];
    const timed = rows.map((row) => {
      const number = Array.isArray(row.look) ? row.look[format[row.over ?? "weights"]] : row.look;
      const look = data.looks[number];
      const bytes = dot(row.bytes, ([, plain, byWeight, byKv]) => plain + weight * byWeight + cached * byKv);
      const amounts = { flops: dot(row.flops), bytes, at: row.at ? dot(row.at) : bytes, keys: keys?.[row.keys] ?? 1 };
      const one = launched(data, look, amounts);
      return { name: row.name, count: row.count, ...amounts, ...one, total: row.count * one.seconds, origin: look.origin };
    });
    const host = data.machine.host;
    const seconds = sum(timed.map((row) => row.total)) + host;
    const parts = { compute: 0, memory: 0, fixed: host, communication: 0 };
    for (const row of timed) {
      parts[row.bound] += row.count * (row.seconds - row.fixed);
      parts.fixed += row.count * row.fixed;
    }
    const waits = { overhead: parts.fixed };
    for (const row of timed) waits[row.limit] = (waits[row.limit] ?? 0) + row.count * (row.seconds - row.fixed);
    const limit = Object.keys(waits).reduce((best, key) => (waits[key] > waits[best] ? key : best));
    const origin = Math.max(...timed.filter((row) => row.total >= 0.01 * seconds || (row.bound === "communication" && row.total)).map((row) => row.origin));
    return { seconds, parts, limit, origin, rows: timed };
  };
  const decode = (data, model, ranks, format, batch, context) => {
    const keys = model.windows.map((window) => seen(context, window, model.chunked));
    return stepped(data, ranks.decode, features(model, batch, keys.map((each) => batch * each)), format, keys);
  };
  const prefill = (data, model, ranks, format, tokens) =>
    stepped(data, ranks.prefill, features(model, tokens, model.windows.map((window) => pairs(tokens, window, model.chunked))), format);

  // --- memory
  const held = (data, model, ranks, format, context) => {
    const tokens = Math.ceil(context / data.machine.page) * data.machine.page;
    const weights = ranks.weights[0] + ranks.weights[1] * data.weights[format.weights].bytes;
    const kept = ranks.kept.map((each, i) => each * (model.windows[i] ? Math.min(tokens, model.windows[i]) : tokens));
    const sequence = sum(kept) * data.kv[format.kv].bytes;
    const { room } = data.machine;
    return { room, weights, sequence, most: Math.max(0, Math.floor((room - weights) / sequence)) };
  };

  // --- why a combination cannot be, or nothing
  const impossible = (data, model, choice) => {
    for (const [what, value] of [["Batch", choice.batch], ["Context", choice.context], ["Output", choice.output]]) {
      if (!Number.isInteger(value) || value < 1) return `${what} must be a whole number of 1 or more.`;
    }
    const longest = choice.context + choice.output;
    if (model.context && longest > model.context) {
      const [most, asked] = [model.context, longest].map((value) => value.toLocaleString("en-US"));
      return `${model.name} takes ${most} tokens; context and output are ${asked}.`;
    }
    return model.ranks[choice.devices] ? "" : `${model.impossible[choice.devices]}.`;
  };

  // choice: model, weights and kv by number; devices, batch, context, output. Without "problem" everything is known.
  const evaluated = (data, choice) => {
    const model = data.models[choice.model];
    const problem = impossible(data, model, choice);
    if (problem) return { problem };
    const { devices, batch, context, output } = choice;
    const fits = (count) => held(data, model, model.ranks[count], choice, context + output);
    const memory = fits(devices);
    const enough = Object.keys(model.ranks).map(Number).find((count) => fits(count).most >= batch);
    if (memory.most < batch) return { memory, short: memory.weights + batch * memory.sequence - memory.room, enough };
    const ranks = model.ranks[devices];
    const step = decode(data, model, ranks, choice, batch, context);
    const first = prefill(data, model, ranks, choice, context);
    // closed loop, users out of phase: the prompts of the others fall between one's own tokens
    const mean = decode(data, model, ranks, choice, batch, context + Math.floor(output / 2));
    const latency = batch * first.seconds + (output - 1) * mean.seconds;
    const ttft = output > 1 ? first.seconds : latency;
    const loop = { tpot: output > 1 ? (latency - ttft) / (output - 1) : 0, rate: (batch / latency) * output, busy: (batch / latency) * first.seconds };
    return { memory, enough, step, first, loop, user: 1 / step.seconds, system: batch / step.seconds };
  };
  return { evaluated, decode, prefill, held };
})();
if (typeof module !== "undefined") module.exports = serving;

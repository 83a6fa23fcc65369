// querier.v1 over the made-up machine, in the JSON that the real server speaks.

const CPU = { ID: "process_cpu:cpu:nanoseconds:cpu:nanoseconds", name: "process_cpu", sampleType: "cpu", sampleUnit: "nanoseconds", periodType: "cpu", periodUnit: "nanoseconds" };
const MEMORY = { ID: "memory:inuse_space:bytes:space:bytes", name: "memory", sampleType: "inuse_space", sampleUnit: "bytes", periodType: "space", periodUnit: "bytes" };
/** Of the agent; a service with `windowS` pushes by itself. */
const WINDOW_S = 10;

export class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** Answers one RPC; `machine` is empty for a server that nobody has pushed to. */
export function answer(rpc, request, machine) {
  const chosen = machine.filter((service) => fits(service, request.labelSelector ?? request.matchers?.[0] ?? "{}"));
  if (rpc.startsWith("Select")) check(request);
  switch (rpc) {
    case "ProfileTypes":
      return machine.length === 0 ? {} : { profileTypes: [CPU, MEMORY] };
    case "Series":
      return { labelsSet: chosen.flatMap(({ name }) => (name === "checkout" ? [CPU, MEMORY] : [CPU]).map((type) => ({ labels: [label("__profile_type__", type.ID), label("service_name", name)] }))) };
    case "LabelNames":
      return { names: ["__name__", "__profile_type__", "cgroup", "comm", "node", "service_name"] };
    case "LabelValues":
      return { names: request.name === "service_name" ? chosen.map(({ name }) => name) : request.name === "comm" ? ["worker", "main", "tokio-rt"] : ["a", "b"] };
    case "SelectSeries":
      return { series: series(request, chosen) };
    case "SelectMergeStacktraces":
      return flameGraph(tree(request, chosen));
    case "SelectMergeProfile":
      return pprof(request, chosen);
    default:
      throw new Refused("unimplemented", `${rpc} is not implemented`);
  }
}

const label = (name, value) => ({ name, value });

function check({ profileTypeID, labelSelector, start, end }) {
  if (!profileTypeID) throw new Refused("invalid_argument", "profile type is missing");
  if (!labelSelector) throw new Refused("invalid_argument", "label selector is missing");
  if (/broken\(/.test(labelSelector)) throw new Refused("invalid_argument", "label selector cannot be read");
  if (/comm="boom"/.test(labelSelector)) throw new Refused("invalid_argument", 'parse error: "boom" <img src=x onerror=alert(3)> is refused');
  if (!(end >= start)) throw new Refused("invalid_argument", "start is after end");
}

function fits({ name, windowS }, selector) {
  if (/comm!=""/.test(selector)) return windowS === undefined;
  if (/comm=""/.test(selector)) return windowS !== undefined;
  const wanted = /service_name="((?:[^"\\]|\\.)*)"/.exec(selector);
  if (/comm="nobody"/.test(selector)) return false;
  return !wanted || JSON.parse(`"${wanted[1]}"`) === name;
}

/** Cores at a time: a slow wave with a bit of jitter, the same for everybody who asks. */
function coresAt(service, t) {
  if (service.steady) return service.cores;
  const wave = 0.72 + 0.28 * Math.sin((2 * Math.PI * t) / service.period) + 0.12 * Math.sin(t * 12.9898);
  return service.cores * wave;
}

const began = Date.now() / 1e3 - 26 * 60;

function windows({ start, end }, { windowS = WINDOW_S, phaseS = 0 }) {
  const next = (t) => Math.ceil((t - phaseS) / windowS) * windowS + phaseS;
  const until = Math.min(end / 1e3, Date.now() / 1e3 - windowS);
  const times = [];
  for (let t = Math.max(next(start / 1e3), next(began)); t <= until; t += windowS) times.push(t);
  return times;
}

const nanosIn = (service, t) => coresAt(service, t) * (service.windowS ?? WINDOW_S) * 1e9;

function series(request, chosen) {
  const { start, end, step, groupBy = [] } = request;
  const groups = groupBy.includes("service_name") ? chosen.map((service) => [[label("service_name", service.name)], [service]]) : [[[], chosen]];
  return groups.map(([labels, members]) => {
    const sums = new Map();
    for (const service of members) {
      for (const t of windows({ start: start - step * 1e3 + 1, end }, service)) {
        const bucket = start + Math.ceil((t * 1e3 - start) / (step * 1e3)) * step * 1e3;
        sums.set(bucket, (sums.get(bucket) ?? 0) + nanosIn(service, t));
      }
    }
    const points = [...sums].sort(([a], [b]) => a - b).map(([t, value]) => ({ timestamp: String(t), value }));
    return { labels, points };
  }).filter(({ points }) => points.length > 0);
}

function* samples(request, chosen) {
  for (const service of chosen) {
    const nanos = windows(request, service).reduce((sum, t) => sum + nanosIn(service, t), 0);
    const weights = service.stacks.reduce((sum, [, weight]) => sum + weight, 0);
    if (nanos > 0) for (const [frames, weight] of service.stacks) yield [frames, Math.round((nanos * weight) / weights)];
  }
}

function tree(request, chosen) {
  const root = { name: "total", total: 0, self: 0, children: new Map() };
  for (const [frames, value] of samples(request, chosen)) {
    let node = root;
    node.total += value;
    for (const { name } of frames) {
      if (!node.children.has(name)) node.children.set(name, { name, total: 0, self: 0, children: new Map() });
      node = node.children.get(name);
      node.total += value;
    }
    node.self += value;
  }
  return root;
}

/** Levels of [x delta, total, self, name index]; children by name, behind their parent's own time. */
function flameGraph(root) {
  if (root.total === 0) return { flamegraph: { names: [], levels: [], total: "0" } };
  const names = new Map();
  const levels = [];
  let maxSelf = 0;
  const visit = (node, x, depth) => {
    if (!names.has(node.name)) names.set(node.name, names.size);
    maxSelf = Math.max(maxSelf, node.self);
    const level = (levels[depth] ??= { end: 0, values: [] });
    level.values.push(x - level.end, node.total, node.self, names.get(node.name));
    level.end = x + node.total;
    let at = x + node.self;
    for (const child of [...node.children.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      visit(child, at, depth + 1);
      at += child.total;
    }
  };
  visit(root, 0, 0);
  return { flamegraph: { names: [...names.keys()], levels: levels.map(({ values }) => ({ values: values.map(String) })), total: String(root.total), maxSelf: String(maxSelf) } };
}

/** One location a frame; an inlined frame shares the location of its caller, as in the real thing. */
function pprof(request, chosen) {
  const strings = new Map([["", 0]]);
  const text = (value) => strings.get(value) ?? (strings.set(value, strings.size), strings.size - 1);
  const tables = { mapping: new Map(), function: new Map(), location: new Map() };
  const id = (table, key, make) => {
    if (!tables[table].has(key)) tables[table].set(key, { id: String(tables[table].size + 1), ...make() });
    return tables[table].get(key).id;
  };
  const lineOf = ({ name, file, line }) => ({ functionId: id("function", `${name}\n${file}`, () => ({ name: String(text(name)), filename: String(text(file)) })), ...(line ? { line: String(line) } : {}) });
  const sample = [];
  for (const [frames, value] of samples(request, chosen)) {
    const locationId = [];
    for (let i = frames.length - 1; i >= 0; i--) {
      const group = [frames[i]];
      while (frames[i].inlined) group.push(frames[--i]);
      const key = group.map(({ name, file, line, module }) => [name, file, line, module].join("\n")).join("\n\n");
      locationId.push(id("location", key, () => ({
        mappingId: id("mapping", frames[i].module, () => ({ filename: String(text(frames[i].module)) })),
        address: String(4096 + tables.location.size * 16),
        line: group.map(lineOf),
      })));
    }
    sample.push({ locationId, value: [String(value)] });
  }
  const rows = (table) => [...tables[table].values()];
  return { sampleType: [{ type: String(text("cpu")), unit: String(text("nanoseconds")) }], sample, mapping: rows("mapping"), location: rows("location"), function: rows("function"), stringTable: [...strings.keys()] };
}

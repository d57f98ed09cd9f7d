// Colours of blocks, by a property of theirs, and the patterns that tell states apart.
//
// Sizes and lifetimes go from light to dark (on a dark page from dark to light), so that they
// keep their order without hues; states have a pattern each.

const RAMP = ["#a8d8c0", "#74c3b4", "#4aa8ae", "#3589a6", "#336899", "#3c4a87", "#40306d", "#2d1547"];
const DARK_RAMP = ["#3b4a78", "#3c6a92", "#37879b", "#35a39a", "#4bbd8c", "#83d279", "#bfe26c", "#f4ee7a"];
const NAMED = ["#2b6cb0", "#dd8a12", "#1b8f6a", "#c2558f", "#6ab0e3", "#b4481e", "#7a6bc4"];
const DARK_NAMED = ["#5ea3e6", "#efb04a", "#3fbf95", "#e284b6", "#9fd2f5", "#e37b50", "#a99bec"];
const OTHER = "#8b94a1";

const inks = new Map();

/** The value of a colour of the style sheet; to ask the browser takes long. */
function ink(name) {
  if (!inks.has(name)) {
    inks.set(name, getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim());
  }
  return inks.get(name);
}

function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

/** For each block its class, and the classes' colours and words. */
class Colours {
  constructor(history, facts, by, dark) {
    this.of = new Uint8Array(history.count);
    const { columns } = history;
    if (by === "size") this.byPowers(columns.request, history, dark, shortBytes);
    else if (by === "lifetime") {
      const lives = history.end.map((end, i) => end - history.start[i]);
      this.byPowers(lives, history, dark, (ops) => count(ops, "op"));
    } else this.byName(columns[by], facts[by + "s"], dark);
  }

  /** A class for each power of two; of many powers, those that cover most of the map. */
  byPowers(values, { units, start, end }, dark, word) {
    const ramp = dark ? DARK_RAMP : RAMP;
    const powers = new Uint8Array(values.length);
    const met = new Array(64).fill(0);
    for (let i = 0; i < values.length; i++) {
      const value = values[i] < 0 ? 8 * units[i] : values[i];
      powers[i] = Math.ceil(Math.log2(Math.max(1, value)));
      met[powers[i]] += units[i] * (end[i] - start[i]);
    }
    const [first, last] = busiest(met, ramp.length);
    for (let i = 0; i < values.length; i++) {
      this.of[i] = Math.min(last, Math.max(first, powers[i])) - first;
    }
    const classes = last - first + 1;
    // Few classes are spread over the ramp.
    const at = (k) => Math.round(((k + 0.5) * ramp.length) / classes - 0.5);
    this.classes = Array.from({ length: values.length ? classes : 0 }, (_, k) => ({
      colour: ramp[at(k)],
      word: k === classes - 1 && k && met[last + 1] ? "more" : "to " + word(2 ** (first + k)),
    }));
  }

  /** The names with most blocks have a colour of their own. */
  byName(indices, names, dark) {
    const palette = dark ? DARK_NAMED : NAMED;
    const counts = new Map();
    for (const index of indices) counts.set(index, (counts.get(index) ?? 0) + 1);
    const order = [...counts.keys()].filter((index) => index >= 0);
    order.sort((a, b) => counts.get(b) - counts.get(a));
    const shown = new Map(order.slice(0, palette.length).map((index, k) => [index, k]));
    for (let i = 0; i < indices.length; i++) this.of[i] = shown.get(indices[i]) ?? shown.size;
    this.classes = [...shown.keys()].map((index, k) => ({ colour: palette[k], word: names[index] }));
    const rest = order.length > shown.size ? "other" : "unknown";
    if (counts.size > shown.size) this.classes.push({ colour: OTHER, word: rest });
  }
}

/** The first and the last of so many neighbours, or fewer, that hold the most together. */
function busiest(met, most) {
  const first = met.findIndex(Boolean);
  const last = met.findLastIndex(Boolean);
  if (last - first < most) return [Math.max(first, 0), Math.max(last, 0)];
  let best = first;
  let sum = 0;
  let bestSum = -1;
  for (let at = first; at <= last; at++) {
    sum += met[at] - (at - most >= first ? met[at - most] : 0);
    if (at - most + 1 >= first && sum > bestSum) [best, bestSum] = [at - most + 1, sum];
  }
  return [best, best + most - 1];
}

/** The pattern of a state that is no block, to fill with. */
function pattern(context, state) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const pen = tile.getContext("2d");
  pen.fillStyle = ink(state === "control" ? "control" : "free");
  pen.fillRect(0, 0, 8, 8);
  pen.strokeStyle = pen.fillStyle = ink("hatch");
  pen.lineWidth = state === "control" ? 1.4 : 1;
  pen.beginPath();
  const line = (x0, y0, x1, y1) => {
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
  };
  if (state === "undersized") pen.fillRect(3, 3, 2, 2);
  else {
    for (const shift of [-8, 0, 8]) line(shift, 8, shift + 8, 0);
    if (state === "control") for (const shift of [-8, 0, 8]) line(shift, 0, shift + 8, 8);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}

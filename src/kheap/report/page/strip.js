// The strip: the heap at the cursor, chunk by chunk, at the height that the map gives each.

/** More chunks than this in view are drawn as covered parts of pixels. */
const MOST_RECTANGLES = 3000;

class Strip {
  constructor(canvas, map) {
    this.canvas = canvas;
    this.map = map;
  }

  draw({ cursor, picked }) {
    const { context, width, height, ratio } = fitted(this.canvas);
    const { view, history } = this.map;
    const bottom = height - MARGIN.bottom;
    const shown = history
      .chunksAt(cursor)
      .filter((c) => c.first < view.top && c.first + c.units > view.bottom);
    context.save();
    context.beginPath();
    context.rect(0, MARGIN.top, width, bottom - MARGIN.top);
    context.clip();
    if (shown.length > MOST_RECTANGLES) this.blend(context, shown, width, bottom, ratio);
    else this.rectangles(context, shown, width);
    if (picked) this.frame(context, picked, width);
    context.restore();
    context.strokeStyle = ink("line");
    context.strokeRect(0.5, MARGIN.top - 0.5, width - 1, bottom - MARGIN.top + 1);
    context.fillStyle = ink("muted");
    context.textAlign = "center";
    context.textBaseline = "top";
    const words = history.facts.moment ? "chunks" : "op " + number(history.opIndex(cursor));
    context.fillText(words, width / 2, bottom + 7);
  }

  rectangles(context, shown, width) {
    const fills = {};
    for (const state of ["free", "undersized", "control"]) fills[state] = pattern(context, state);
    const { colours } = this.map;
    for (const chunk of shown) {
      const top = this.map.yOf(chunk.first + chunk.units);
      const high = this.map.yOf(chunk.first) - top;
      const used = chunk.block >= 0;
      context.fillStyle = used ? colours.classes[colours.of[chunk.block]].colour : fills[chunk.state];
      context.fillRect(0, top, width, high);
      if (high >= 5) {
        context.fillStyle = ink(used ? "edge" : "line");
        context.fillRect(0, top, width, 1);
      }
      if (high >= 13) this.label(context, chunk, top + high / 2, width);
    }
  }

  /** What a chunk is and how large, on a plate, so that it can be read on any fill. */
  label(context, chunk, y, width) {
    const words = number(8 * chunk.units) + (chunk.state === "used" ? "" : " " + chunk.state);
    context.textAlign = "center";
    context.textBaseline = "middle";
    const half = context.measureText(words).width / 2 + 4;
    context.fillStyle = ink("plate");
    context.fillRect(width / 2 - half, y - 7, 2 * half, 14);
    context.fillStyle = ink("text");
    context.fillText(words, width / 2, y + 0.5);
  }

  blend(context, shown, width, bottom, ratio) {
    const high = Math.round((bottom - MARGIN.top) * ratio);
    const { view, colours } = this.map;
    const scale = high / view.height;
    const density = new Density(1, high);
    for (const { first, units, block, state } of shown) {
      const name = block < 0 ? ink("control") : colours.classes[colours.of[block]].colour;
      if (state !== "free" && state !== "undersized") {
        density.add(0, 1, (view.top - first - units) * scale, (view.top - first) * scale, ...channels(name));
      }
    }
    const picture = document.createElement("canvas");
    picture.width = 1;
    picture.height = high;
    picture.getContext("2d").putImageData(density.picture(channels(ink("free"))), 0, 0);
    context.drawImage(picture, 0, MARGIN.top, width, bottom - MARGIN.top);
  }

  frame(context, chunk, width) {
    const top = this.map.yOf(chunk.first + chunk.units);
    const high = Math.max(4, this.map.yOf(chunk.first) - top);
    for (const [colour, line] of [["panel", 5], ["text", 2.5]]) {
      context.strokeStyle = ink(colour);
      context.lineWidth = line;
      context.strokeRect(2, top + 1, width - 4, high - 2);
    }
    context.lineWidth = 1;
  }
}

// The map: address upwards, operations to the right, a rectangle for each block.
//
// The picture of the blocks is kept, and made anew only when another part is shown; cursor,
// picked block and the rectangle being dragged are drawn over it. While the view moves over
// very many blocks, the old picture is stretched until there is time for a new one.

/** Blocks that can be drawn anew within a frame. */
const AT_ONCE = 60_000;
/** A block's outline is drawn from so many pixels on, both ways. */
const OUTLINED = 4;
/** Failures that have a line down the map each. */
const FEW = 24;

class HeapMap {
  constructor(canvas) {
    this.canvas = canvas;
    this.picture = document.createElement("canvas");
    this.drawn = null;
    this.waiting = 0;
  }

  /** Show another heap, colouring or theme. */
  show(history, view, colours) {
    Object.assign(this, { history, view, colours, drawn: null, crossed: "" });
  }

  xOf(step) {
    return MARGIN.left + ((step - this.view.left) / this.view.width) * this.inner.width;
  }

  yOf(unit) {
    return MARGIN.top + ((this.view.top - unit) / this.view.height) * this.inner.height;
  }

  /** Step and unit under a point of the canvas. */
  under(x, y) {
    const { width, height } = this.inner;
    return {
      step: this.view.left + ((x - MARGIN.left) / width) * this.view.width,
      unit: this.view.top - ((y - MARGIN.top) / height) * this.view.height,
    };
  }

  /** Draw a state: cursor, picked, dragged; `again` is called when there is more to see. */
  draw(state, again) {
    const { context, width, height, ratio } = fitted(this.canvas);
    // The plot between the axes; all that is drawn over the same operations keeps to it.
    const inner = {
      width: Math.max(1, width - MARGIN.left - MARGIN.right),
      height: Math.max(1, height - MARGIN.top - MARGIN.bottom),
    };
    this.inner = inner;
    const wanted = [this.view.left, this.view.right, this.view.bottom, this.view.top];
    wanted.push(inner.width, inner.height, ratio);
    if (!this.drawn || this.drawn.some((value, i) => value !== wanted[i])) {
      if (!this.drawn || this.blocksShown() < AT_ONCE) this.paint(wanted);
      else this.paintSoon(again);
    }
    this.place(context);
    this.axes(context, width, height);
    this.failures(context);
    this.marks(context, state);
  }

  blocksShown() {
    const first = Math.floor(this.view.left / this.history.stride) * this.history.stride;
    return this.history.firstFrom(this.view.right) - this.history.firstFrom(first);
  }

  paintSoon(again) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      this.drawn = null;
      again();
    }, 90);
  }

  /** Make the picture of the blocks that are shown. */
  paint(wanted) {
    const [left, right, bottom, top, width, height, ratio] = wanted;
    const { history, colours } = this;
    const wide = Math.round(width * ratio);
    const high = Math.round(height * ratio);
    const perStep = wide / (right - left);
    const perUnit = high / (top - bottom);
    const density = new Density(wide, high);
    const colour = colours.classes.map((each) => channels(each.colour));
    const outlined = [];
    this.narrow = this.total = 0;
    history.eachBlock(Math.floor(left), Math.ceil(right), (i) => {
      const x0 = (history.start[i] - left) * perStep;
      const x1 = (history.end[i] - left) * perStep;
      const y1 = (top - history.chunk[i]) * perUnit;
      const y0 = (top - history.chunk[i] - history.units[i]) * perUnit;
      const [red, green, blue] = colour[colours.of[i]];
      density.add(x0, x1, y0, y1, red, green, blue);
      this.total++;
      if (x1 - x0 < 1 || y1 - y0 < 1) this.narrow++;
      if (x1 - x0 >= OUTLINED && y1 - y0 >= OUTLINED) outlined.push(x0, y0, x1, y1);
    });
    this.picture.width = wide;
    this.picture.height = high;
    const pen = this.picture.getContext("2d");
    pen.putImageData(density.picture(channels(ink("free"))), 0, 0);
    this.control(pen, wide, (top - history.facts.control_units) * perUnit, top * perUnit);
    this.outline(pen, outlined);
    this.drawn = wanted;
  }

  /** Chunk 0, at the bottom of the map for all time. */
  control(pen, wide, from, to) {
    pen.fillStyle = pattern(pen, "control");
    pen.fillRect(0, from, wide, to - from);
  }

  outline(pen, corners) {
    pen.strokeStyle = ink("edge");
    pen.lineWidth = 1;
    pen.beginPath();
    for (let i = 0; i < corners.length; i += 4) {
      const [x0, y0, x1, y1] = corners.slice(i, i + 4);
      pen.rect(x0 + 0.5, y0 + 0.5, x1 - x0 - 1, y1 - y0 - 1);
    }
    pen.stroke();
  }

  /** Put the picture where its part of the heap lies in the view. */
  place(context) {
    const [left, right, bottom, top] = this.drawn;
    const { width, height } = this.inner;
    context.save();
    context.beginPath();
    context.rect(MARGIN.left, MARGIN.top, width, height);
    context.fillStyle = ink("free");
    context.fill();
    context.clip();
    const x = this.xOf(left);
    const y = this.yOf(top);
    context.drawImage(this.picture, x, y, this.xOf(right) - x, this.yOf(bottom) - y);
    context.restore();
  }

  axes(context, width, height) {
    const bottom = height - MARGIN.bottom;
    context.fillStyle = ink("muted");
    context.strokeStyle = ink("line");
    context.lineWidth = 1;
    if (!this.history.facts.moment) {
      timeAxis(context, this.history, this.view, (step) => this.xOf(step), bottom, bottom);
    }
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.beginPath();
    const from = this.history.offsetOf(this.view.bottom);
    const to = this.history.offsetOf(this.view.top);
    for (const offset of binarySteps(from, to, 9, 8)) {
      const y = this.yOf((offset - this.history.facts.start_byte) / 8);
      context.moveTo(MARGIN.left - 4, y);
      context.lineTo(MARGIN.left, y);
      context.fillText(to - from > 8192 ? shortBytes(offset) : number(offset), MARGIN.left - 8, y);
    }
    context.rect(MARGIN.left - 0.5, MARGIN.top - 0.5, width - MARGIN.left - MARGIN.right + 1, bottom - MARGIN.top + 1);
    context.stroke();
  }

  /** Crosses above the map; those too close to tell apart share one. Of few, a line down. */
  failures(context) {
    const wanted = [this.view.left, this.view.right, this.inner.width].join();
    if (this.crossed !== wanted) this.crosses = this.placesOfCrosses();
    this.crossed = wanted;
    const places = this.crosses;
    context.strokeStyle = context.fillStyle = ink("bad");
    context.lineWidth = 2;
    for (const x of places) {
      context.beginPath();
      context.moveTo(x - 4, 8);
      context.lineTo(x + 4, 16);
      context.moveTo(x + 4, 8);
      context.lineTo(x - 4, 16);
      context.stroke();
      if (places.length > FEW) continue;
      context.globalAlpha = 0.4;
      context.fillRect(x - 0.5, MARGIN.top, 1, this.inner.height);
      context.globalAlpha = 1;
    }
  }

  placesOfCrosses() {
    const places = [];
    for (const step of this.history.columns.failure_step) {
      const x = this.xOf(step + 0.5);
      if (x < MARGIN.left || x > MARGIN.left + this.inner.width) continue;
      if (!places.length || x - places[places.length - 1] >= 9) places.push(x);
    }
    return places;
  }

  marks(context, { cursor, picked, dragged }) {
    const { width, height } = this.inner;
    context.save();
    context.beginPath();
    context.rect(MARGIN.left - 6, 0, width + 12, MARGIN.top + height + 8);
    context.clip();
    if (picked && picked.block >= 0) this.frame(context, picked.block);
    if (!this.history.facts.moment) this.cursor(context, cursor);
    if (dragged) {
      context.fillStyle = ink("veil");
      context.strokeStyle = ink("cursor");
      context.setLineDash([4, 3]);
      context.fillRect(dragged.x, dragged.y, dragged.width, dragged.height);
      context.strokeRect(dragged.x, dragged.y, dragged.width, dragged.height);
    }
    context.restore();
  }

  /** The frame of a picked block, never too small to be seen. */
  frame(context, i) {
    const { history } = this;
    const x0 = this.xOf(history.start[i]);
    const y0 = this.yOf(history.chunk[i] + history.units[i]);
    const wide = Math.max(5, this.xOf(history.end[i]) - x0);
    const high = Math.max(5, this.yOf(history.chunk[i]) - y0);
    for (const [colour, line] of [["panel", 5], ["text", 2.5]]) {
      context.strokeStyle = ink(colour);
      context.lineWidth = line;
      context.strokeRect(x0, y0, wide, high);
    }
  }

  cursor(context, step) {
    const x = this.xOf(step + 0.5);
    const high = MARGIN.top + this.inner.height;
    context.fillStyle = ink("panel");
    context.fillRect(x - 1.5, MARGIN.top, 3, this.inner.height);
    context.fillStyle = ink("cursor");
    context.fillRect(x - 0.75, MARGIN.top - 4, 1.5, this.inner.height + 8);
    context.beginPath();
    context.moveTo(x - 6, high + 9);
    context.lineTo(x + 6, high + 9);
    context.lineTo(x, high);
    context.fill();
  }
}

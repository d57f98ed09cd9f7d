// Curves below the map, over the same operations: values after each.
//
// Where a pixel holds several operations, the curve is the band between the least and the
// largest value in it, so that no peak is lost.

const TOP = 8;
/** Values of which least and largest are kept together. */
const RUN = 64;

class Curves {
  constructor(canvas, map, format) {
    this.canvas = canvas;
    this.map = map;
    this.format = format;
    this.picture = document.createElement("canvas");
  }

  /** Show other curves {name, colour, dash, values, unit}, from 0 to `high`. */
  show(curves, high) {
    Object.assign(this, { curves, high, drawn: "" });
    for (const curve of curves) curve.extremes = new Extremes(curve.values);
  }

  /** Draw the curves, which are kept until another part is shown, and the cursor on them. */
  draw(cursor) {
    const { context, width, height, ratio } = fitted(this.canvas);
    const { view } = this.map;
    const wanted = [view.left, view.right, width, height, ratio].join();
    if (this.drawn !== wanted) {
      this.paint(context, height);
      this.picture.width = this.canvas.width;
      this.picture.height = this.canvas.height;
      this.picture.getContext("2d").drawImage(this.canvas, 0, 0);
      this.drawn = wanted;
    } else context.drawImage(this.picture, 0, 0, width, height);
    this.cursor(context, cursor, height - MARGIN.bottom);
  }

  yOf(value, bottom) {
    return bottom - (value / this.high) * (bottom - TOP);
  }

  paint(context, height) {
    const bottom = height - MARGIN.bottom;
    const right = MARGIN.left + this.map.inner.width;
    const yOf = (value) => this.yOf(value, bottom);
    this.axes(context, yOf, bottom, right);
    context.save();
    context.beginPath();
    context.rect(MARGIN.left, 0, right - MARGIN.left, height);
    context.clip();
    for (const curve of this.curves) this.curve(context, curve, (value) => yOf(value / curve.unit));
    context.restore();
    this.names(context, yOf, right, bottom);
  }

  cursor(context, step, bottom) {
    const x = this.map.xOf(step + 0.5);
    if (x < MARGIN.left || x > MARGIN.left + this.map.inner.width) return;
    context.fillStyle = ink("cursor");
    context.fillRect(x - 0.75, TOP, 1.5, bottom - TOP);
    for (const { values, unit, colour } of this.curves) {
      this.dot(context, x, this.yOf(values[step] / unit, bottom), colour);
    }
  }

  axes(context, yOf, bottom, right) {
    timeAxis(context, this.map.history, this.map.view, (step) => this.map.xOf(step), bottom, TOP);
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.beginPath();
    const steps = this.high === 1 ? [0, 0.5, 1] : binarySteps(0, this.high, 5, 8);
    for (const value of steps) {
      context.moveTo(MARGIN.left, Math.round(yOf(value)) + 0.5);
      context.lineTo(right, Math.round(yOf(value)) + 0.5);
      context.fillText(this.format(value), MARGIN.left - 8, yOf(value));
    }
    context.stroke();
  }

  curve(context, curve, yOf) {
    const { view, history } = this.map;
    const first = Math.floor(view.left);
    const last = Math.min(history.steps, Math.ceil(view.right)) - 1;
    const pixels = this.map.inner.width;
    context.strokeStyle = ink(curve.colour);
    context.lineWidth = 1.75;
    context.beginPath();
    if (last - first <= 2 * pixels) {
      context.setLineDash(curve.dash);
      for (let step = first; step <= last; step++) {
        const y = yOf(curve.values[step]);
        context.lineTo(this.map.xOf(step), y);
        context.lineTo(this.map.xOf(step + 1), y);
      }
    } else this.band(context, curve, yOf, pixels);
    context.stroke();
    context.setLineDash([]);
    context.lineWidth = 1;
  }

  band(context, curve, yOf, pixels) {
    const { view, history } = this.map;
    const each = view.width / pixels;
    for (let pixel = 0; pixel < pixels; pixel++) {
      const from = Math.floor(view.left + pixel * each);
      const to = Math.min(history.steps, Math.max(from + 1, Math.floor(view.left + (pixel + 1) * each)));
      if (from >= to) continue;
      const [least, most] = curve.extremes.of(from, to);
      context.lineTo(MARGIN.left + pixel + 0.5, yOf(least));
      context.lineTo(MARGIN.left + pixel + 0.5, yOf(most));
    }
  }

  dot(context, x, y, colour) {
    context.fillStyle = ink("panel");
    context.beginPath();
    context.arc(x, y, 4.5, 0, 7);
    context.fill();
    context.fillStyle = ink(colour);
    context.beginPath();
    context.arc(x, y, 3, 0, 7);
    context.fill();
  }

  /** The curves' names beside their ends, moved apart where they meet. */
  names(context, yOf, right, bottom) {
    const { view, history } = this.map;
    const last = Math.max(0, Math.min(history.steps, Math.ceil(view.right)) - 1);
    const placed = this.curves.map((curve) => ({ curve, y: yOf(curve.values[last] / curve.unit) }));
    placed.sort((a, b) => a.y - b.y);
    placed.forEach((each, i) => {
      if (i) each.y = Math.max(each.y, placed[i - 1].y + 16);
    });
    const over = placed[placed.length - 1].y - bottom + 6;
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (const { curve, y } of placed) {
      const at = Math.max(TOP + 6, over > 0 ? y - over : y);
      context.strokeStyle = ink(curve.colour);
      context.lineWidth = 2.5;
      context.setLineDash(curve.dash);
      context.beginPath();
      context.moveTo(right + 6, at);
      context.lineTo(right + 28, at);
      context.stroke();
      context.setLineDash([]);
      context.lineWidth = 1;
      context.fillStyle = ink("text");
      context.fillText(curve.name, right + 34, at);
    }
  }
}

/** Least and largest of any run of values, without a look at each. */
class Extremes {
  constructor(values) {
    this.values = values;
    const runs = Math.ceil(values.length / RUN);
    this.least = new Float64Array(runs);
    this.most = new Float64Array(runs);
    for (let run = 0; run < runs; run++) {
      [this.least[run], this.most[run]] = this.scan(run * RUN, Math.min(values.length, (run + 1) * RUN));
    }
  }

  scan(from, to) {
    let least = Infinity;
    let most = -Infinity;
    for (let i = from; i < to; i++) {
      const value = this.values[i];
      if (value < least) least = value;
      if (value > most) most = value;
    }
    return [least, most];
  }

  of(from, to) {
    const first = Math.ceil(from / RUN);
    const last = Math.floor(to / RUN);
    if (first >= last) return this.scan(from, to);
    let [least, most] = this.scan(from, first * RUN);
    const [least2, most2] = this.scan(last * RUN, to);
    least = Math.min(least, least2);
    most = Math.max(most, most2);
    for (let run = first; run < last; run++) {
      least = Math.min(least, this.least[run]);
      most = Math.max(most, this.most[run]);
    }
    return [least, most];
  }
}

/** The curves of bytes. */
function byteCurves({ columns, free }) {
  return [
    { name: "used", colour: "used", dash: [], values: columns.allocated, unit: 1 },
    { name: "free", colour: "free-line", dash: [7, 4], values: free, unit: 1 },
    { name: "largest free", colour: "largest", dash: [2, 3], values: columns.largest, unit: 1 },
  ];
}

/** The curves of fragmentation. */
function shareCurves({ columns, largestShare }, steps) {
  return [
    { name: "1 − largest / free", colour: "first", dash: [], values: largestShare, unit: 1 },
    { name: "1 − √Σ² / free", colour: "second", dash: [7, 4], values: columns.root_share, unit: steps },
  ];
}

// What part of the heap is shown: steps from left to right, units from bottom to top.

const LEAST_STEPS = 8;
const LEAST_UNITS = 16;

class View {
  constructor(steps, units) {
    this.steps = steps;
    this.units = units;
    this.whole();
  }

  whole() {
    this.set(0, this.steps, 0, this.units);
  }

  /** Show these steps and units, or as near to them as there are any. */
  set(left, right, bottom, top) {
    [this.left, this.right] = within(left, right, this.steps, Math.min(LEAST_STEPS, this.steps));
    [this.bottom, this.top] = within(bottom, top, this.units, Math.min(LEAST_UNITS, this.units));
  }

  get width() {
    return this.right - this.left;
  }

  get height() {
    return this.top - this.bottom;
  }

  /** Magnify by a factor; the given step and unit stay where they are. */
  zoom(inTime, inAddress, step, unit) {
    this.set(
      step - (step - this.left) / inTime,
      step + (this.right - step) / inTime,
      unit - (unit - this.bottom) / inAddress,
      unit + (this.top - unit) / inAddress,
    );
  }

  move(steps, units) {
    const left = Math.min(Math.max(this.left + steps, 0), this.steps - this.width);
    const bottom = Math.min(Math.max(this.bottom + units, 0), this.units - this.height);
    this.set(left, left + this.width, bottom, bottom + this.height);
  }

  /** Move so that a step is shown. */
  reveal(step) {
    if (step < this.left) this.move(step - this.left - this.width / 4, 0);
    if (step + 1 > this.right) this.move(step + 1 - this.right + this.width / 4, 0);
  }

  /** Move so that a run of units is shown. */
  revealUnits(first, units) {
    if (first < this.bottom) this.move(0, first - this.bottom);
    else if (first + units > this.top) {
      this.move(0, Math.min(first + units - this.top, first - this.bottom));
    }
  }
}

/** The range, cut to 0..end and at least `least` long. */
function within(from, to, end, least) {
  if (to - from < least) {
    const middle = (from + to) / 2;
    from = middle - least / 2;
    to = middle + least / 2;
  }
  if (to - from >= end) return [0, end];
  if (from < 0) return [0, to - from];
  if (to > end) return [end - (to - from), end];
  return [from, to];
}

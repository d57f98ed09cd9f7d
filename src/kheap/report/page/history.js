// One heap over time: which block is where at which step.
//
// A step is an operation of this heap, from 0; a block is there from its start to before its
// end. Whatever lies between used chunks is one free chunk (invariant I2 of the layout), so
// the chunks of any moment follow from the blocks of that moment.

/** Blocks that live at so many steps are listed in all; the index takes four times the bytes. */
const INDEX_ENTRIES = 4e6;

class History {
  constructor(facts, columns) {
    this.facts = facts;
    this.columns = columns;
    this.steps = facts.steps;
    this.count = columns.start.length;
    this.start = columns.start;
    this.end = columns.life.map((life, i) => (life ? columns.start[i] + life : this.steps));
    this.chunk = columns.chunk;
    this.units = columns.units;
    this.failureAt = new Map(Array.from(columns.failure_step, (step, i) => [step, i]));
    this.measure();
    this.indexEnds();
    this.indexLiving();
    this.found = { step: -1, chunks: null };
  }

  /** The curves that follow from the columns: free bytes, and 1 - largest / free. */
  measure() {
    const { allocated, counted, largest } = this.columns;
    this.free = counted.map((sum, step) => sum - allocated[step]);
    this.largestShare = Float32Array.from(largest, (bytes, step) => {
      return this.free[step] ? 1 - bytes / this.free[step] : 0;
    });
  }

  /** For each step the block that ended with it, -1 for none. */
  indexEnds() {
    this.endedBy = new Int32Array(this.steps).fill(-1);
    for (let i = 0; i < this.count; i++) {
      if (this.end[i] < this.steps) this.endedBy[this.end[i]] = i;
    }
  }

  /** At every so many steps the blocks that live there, so that no look goes far back. */
  indexLiving() {
    let total = 0;
    for (let i = 0; i < this.count; i++) total += this.end[i] - this.start[i];
    this.stride = Math.max(512, Math.ceil(total / INDEX_ENTRIES));
    const marks = Math.ceil(this.steps / this.stride);
    this.livingFrom = new Int32Array(marks + 1);
    for (let i = 0; i < this.count; i++) {
      for (let mark = Math.ceil(this.start[i] / this.stride); mark * this.stride < this.end[i]; mark++) {
        this.livingFrom[mark + 1]++;
      }
    }
    for (let mark = 0; mark < marks; mark++) this.livingFrom[mark + 1] += this.livingFrom[mark];
    this.living = new Int32Array(this.livingFrom[marks]);
    const next = this.livingFrom.slice();
    for (let i = 0; i < this.count; i++) {
      for (let mark = Math.ceil(this.start[i] / this.stride); mark * this.stride < this.end[i]; mark++) {
        this.living[next[mark]++] = i;
      }
    }
  }

  /** The first block that starts at a step or later. */
  firstFrom(step) {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.start[middle] < step) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Calls back with each block that lives somewhere from step `first` to `last`. */
  eachBlock(first, last, found) {
    const mark = Math.floor(first / this.stride);
    const marked = mark * this.stride;
    for (let k = this.livingFrom[mark]; k < this.livingFrom[mark + 1]; k++) {
      if (this.end[this.living[k]] > first) found(this.living[k]);
    }
    for (let i = this.firstFrom(marked + 1); i < this.count && this.start[i] <= last; i++) {
      if (this.end[i] > first) found(i);
    }
  }

  /** The block over a unit at a step, -1 for none. */
  blockAt(step, unit) {
    let hit = -1;
    this.eachBlock(step, step, (i) => {
      if (this.chunk[i] <= unit && unit < this.chunk[i] + this.units[i]) hit = i;
    });
    return hit;
  }

  /** All chunks after a step, by address: {first, units, state, block}. */
  chunksAt(step) {
    if (this.found.step !== step) this.found = { step, chunks: this.tile(step) };
    return this.found.chunks;
  }

  tile(step) {
    const blocks = [];
    this.eachBlock(step, step, (i) => blocks.push(i));
    blocks.sort((a, b) => this.chunk[a] - this.chunk[b]);
    const { control_units: control, end_chunk: end, min_units: least } = this.facts;
    const chunks = [{ first: 0, units: control, state: "control", block: -1 }];
    let at = control;
    const gap = (to) => {
      if (to > at) {
        const state = to - at < least ? "undersized" : "free";
        chunks.push({ first: at, units: to - at, state, block: -1 });
      }
    };
    for (const block of blocks) {
      gap(this.chunk[block]);
      chunks.push({ first: this.chunk[block], units: this.units[block], state: "used", block });
      at = this.chunk[block] + this.units[block];
    }
    gap(end);
    return chunks;
  }

  /** Offset of a chunk from the region's first byte. */
  offsetOf(chunk) {
    return this.facts.start_byte + 8 * chunk;
  }

  opIndex(step) {
    return this.facts.moment ? 0 : this.columns.op_index[step];
  }

  /** The last step whose operation is not behind that of this index. */
  stepOf(opIndex) {
    let low = 0;
    let high = this.steps - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.opIndex(middle) <= opIndex) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The block that a step made, -1 for none. */
  madeBy(step) {
    const i = this.firstFrom(step);
    return i < this.count && this.start[i] === step && !this.facts.moment ? i : -1;
  }
}

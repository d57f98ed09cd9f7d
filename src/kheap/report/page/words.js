// What is said of operations, chunks and failures.

class Words {
  constructor(history, facts) {
    this.history = history;
    this.facts = facts;
  }

  /** One sentence on what an operation did. */
  event(step) {
    const { history } = this;
    if (history.facts.moment) return "The heap as it was found.";
    const head = "Op " + number(history.opIndex(step)) + ": ";
    const failure = history.failureAt.get(step);
    if (failure !== undefined) return head + this.failure(failure);
    const made = history.madeBy(step);
    const gone = history.endedBy[step];
    if (made >= 0 && gone >= 0) return head + this.resize(gone, made);
    if (made >= 0) return head + "alloc of " + this.asked(made) + this.by(made) + ".";
    if (gone >= 0) {
      const ops = step - history.start[gone];
      return head + `free of ${this.asked(gone)}, ${count(ops, "op")} after it was allocated.`;
    }
    return head + "nothing changed: no block was to be freed.";
  }

  resize(from, to) {
    const { chunk, columns } = this.history;
    const place = chunk[from] === chunk[to] ? "in place" : `moved from ${this.place(from)} to ${this.place(to)}`;
    return `resize from ${number(columns.request[from])} to ${this.asked(to)}, ${place}${this.by(to)}.`;
  }

  asked(i) {
    const { request, id } = this.history.columns;
    const size = request[i] < 0 ? "a block" : count(request[i], "byte");
    return size + (id[i] < 0 ? "" : ` (id ${id[i]})`);
  }

  by(i) {
    const caller = this.facts.callers[this.history.columns.caller[i]];
    return caller === undefined ? "" : ", by " + caller;
  }

  place(i) {
    return number(this.history.offsetOf(this.history.chunk[i]) + this.history.columns.lead[i]);
  }

  /** Why a request got no memory. */
  failure(i) {
    const { history } = this;
    const { failure_request: request, failure_align: align, failure_verdict: code, failure_step: steps } =
      history.columns;
    const [verdict, meaning] = this.facts.verdicts[code[i]];
    const step = steps[i];
    const aligned = align[i] ? ` aligned to ${align[i]}` : "";
    return (
      `✕ no memory for ${count(request[i], "byte")}${aligned}: ${verdict.replace("_", " ")}. ` +
      `Here ${meaning}: ${number(history.free[step])} free, largest ${number(history.columns.largest[step])}.`
    );
  }

  /** The numbers of the heap after a step. */
  moment(step) {
    const { history, facts } = this;
    const { columns } = history;
    const tally = { used: 0, free: 0, undersized: 0, control: 0 };
    for (const { state } of history.chunksAt(step)) tally[state]++;
    const pairs = [
      ["used", count(columns.allocated[step], "byte")],
      ["free", count(history.free[step], "byte")],
      ["largest free", count(columns.largest[step], "byte")],
      ["chunks", `${number(tally.used)} used, ${number(tally.free)} free, ${number(tally.undersized)} undersized`],
      ["1 − largest / free", percent(history.largestShare[step])],
      ["1 − √Σ² / free", percent(columns.root_share[step] / facts.share_steps)],
    ];
    if (columns.time_us.length) pairs.push(["time", seconds(columns.time_us[step])]);
    return pairs;
  }

  /** The facts of a chunk, as seen from a step. */
  chunk(chunk, step) {
    const { history } = this;
    const offset = history.offsetOf(chunk.first);
    const pairs = [
      ["state", chunk.state],
      ["chunk", `${count(8 * chunk.units, "byte")} at offset ${number(offset)}`],
      ["address", hex(history.facts.base_address + offset)],
    ];
    return chunk.block < 0 ? pairs : [...pairs.slice(1), ...this.block(chunk.block, step)];
  }

  block(i, step) {
    const { history, facts } = this;
    const { columns, start, end } = history;
    const pairs = [["block", `offset ${this.place(i)}`]];
    if (columns.request[i] >= 0) {
      const more = 8 * history.units[i] - columns.request[i];
      pairs.push(["asked for", `${count(columns.request[i], "byte")}; overhead ${number(more)}`]);
    }
    if (columns.id[i] >= 0) pairs.push(["id", String(columns.id[i])]);
    if (!history.facts.moment) {
      const how = columns.resized[i] ? "resized" : "allocated";
      const gone = end[i] < history.steps;
      const last = gone ? `freed at op ${number(history.opIndex(end[i]))}` : "never freed";
      pairs.push(["life", `${how} at op ${number(history.opIndex(start[i]))}, ${last}`]);
      pairs.push(["age", this.age(i, step)]);
    }
    for (const [name, index] of [["thread", "thread"], [this.facts.caller_word, "caller"]]) {
      pairs.push([name, facts[index + "s"][columns[index][i]] ?? "unknown"]);
    }
    return pairs;
  }

  age(i, step) {
    const { start, end } = this.history;
    if (step < start[i]) return `not there yet at op ${number(this.history.opIndex(step))}`;
    if (step >= end[i]) return `not there any more; it lived ${count(end[i] - start[i], "op")}`;
    return count(step - start[i], "op");
  }

  /** The heap on one line: control block, used, free, undersized, end; sizes in units. */
  line(step, most) {
    const marks = { control: "H", used: "*", free: "-", undersized: "." };
    const chunks = this.history.chunksAt(step);
    const words = chunks.slice(0, most).map((chunk) => marks[chunk.state] + chunk.units);
    return "|" + words.join(" ") + (chunks.length > most ? ` … ${number(chunks.length - most)} more` : " F");
  }
}

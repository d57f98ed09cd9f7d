// The page: what is shown, where the cursor is, and what is drawn anew when they change.

class Page {
  constructor() {
    this.facts = JSON.parse(byId("facts").textContent);
    this.map = new HeapMap(byId("map"));
    this.strip = new Strip(byId("strip"), this.map);
    this.bytes = new Curves(byId("bytes"), this.map, shortBytes);
    this.shares = new Curves(byId("shares"), this.map, (share) => (100 * share).toFixed(0) + " %");
    this.table = new ChunkTable(byId("chunks"), (chunk) => this.pick(chunk));
    this.state = { cursor: 0, picked: null, dragged: null };
    this.loaded = new Map();
    this.frame = 0;
  }

  /** Show another heap; its columns are decoded when it is first asked for. */
  async open(index) {
    const facts = this.facts.heaps[index];
    if (!this.loaded.has(index)) {
      const columns = await decodeColumns(byId("columns-" + index).textContent, facts.columns);
      const history = new History(facts, columns);
      this.loaded.set(index, { history, view: new View(history.steps, facts.end_chunk) });
    }
    this.index = index;
    Object.assign(this, this.loaded.get(index));
    this.words = new Words(this.history, this.facts);
    Object.assign(this.state, { cursor: facts.peak_step, picked: null, dragged: null });
    for (const each of document.querySelectorAll("[data-heap]")) {
      each.hidden = Number(each.dataset.heap) !== index;
    }
    for (const each of document.querySelectorAll(".over-time")) each.hidden = facts.moment;
    byId("heap").value = String(index);
    showFailureCount(this.history.failureAt.size);
    this.offerColours();
    this.recolour();
  }

  offerColours() {
    const { columns, facts } = this.history;
    const known = (column) => column.some((value) => value >= 0);
    const offers = [["size", known(columns.request) ? "requested size" : "size"]];
    if (!facts.moment) offers.push(["lifetime", "lifetime"]);
    if (known(columns.caller)) {
      // At one moment the first question is whose the blocks are, or which are damaged.
      offers[facts.moment ? "unshift" : "push"](["caller", this.facts.caller_word]);
    }
    if (known(columns.thread)) offers.push(["thread", "thread"]);
    const before = byId("colour").value;
    byId("colour").replaceChildren(...offers.map(([value, word]) => new Option(word, value)));
    if (offers.some(([value]) => value === before)) byId("colour").value = before;
  }

  /** Begin anew with what depends on heap, colours or theme. */
  recolour() {
    const { history } = this;
    inks.clear();
    this.colours = new Colours(history, this.facts, byId("colour").value, isDark());
    this.map.show(history, this.view, this.colours);
    const most = history.columns.counted.reduce((a, b) => Math.max(a, b), 8);
    this.bytes.show(byteCurves(history), most);
    this.shares.show(shareCurves(history, this.facts.share_steps), 1);
    showLegend(this.colours, history.facts.moment);
    this.redraw();
  }

  /** Change the view, then draw. */
  change(what) {
    what();
    this.redraw();
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const { state, history } = this;
    this.map.draw(state, () => this.redraw());
    this.strip.draw(state);
    if (!history.facts.moment) {
      this.bytes.draw(state.cursor);
      this.shares.draw(state.cursor);
    }
    showScale(this);
    this.tell();
    if (!this.ready) performance.mark("kheap-drawn");
    this.ready = document.documentElement.dataset.ready = "yes";
  }

  /** Say what is at the cursor, if it has moved or something else is picked. */
  tell() {
    const { cursor, picked } = this.state;
    const now = [this.index, cursor, picked?.first, picked?.block].join();
    if (this.told === now) return;
    this.told = now;
    showMoment(this, cursor);
    showPicked(this, picked, cursor);
    this.table.show(this.history, this.facts, cursor, picked);
  }

  setCursor(step) {
    const { history, state } = this;
    state.cursor = Math.min(history.steps - 1, Math.max(0, step));
    // What is no block has no life of its own: what lies there now is picked instead.
    if (state.picked && state.picked.block < 0) state.picked = this.chunkOver(state.cursor, state.picked.first);
    this.view.reveal(state.cursor);
    this.redraw();
  }

  pick(chunk) {
    this.state.picked = chunk;
    if (chunk) {
      this.view.revealUnits(chunk.first, chunk.units);
      this.table.show(this.history, this.facts, this.state.cursor, chunk);
      this.table.reveal(chunk);
    }
    this.redraw();
  }

  /** Pick the chunk above (1) or below (-1) the picked one, at the cursor. */
  pickBeside(by) {
    const chunks = this.history.chunksAt(this.state.cursor);
    const { picked } = this.state;
    let at = by > 0 ? -1 : chunks.length;
    if (picked) at = chunks.findIndex((each) => each.first + each.units > picked.first);
    this.pick(chunks[Math.min(chunks.length - 1, Math.max(0, at + by))]);
  }

  /** The chunk over a unit after a step; null outside the heap. */
  chunkOver(step, unit) {
    const { steps, facts } = this.history;
    if (step < 0 || step >= steps || unit < 0 || unit >= facts.end_chunk) return null;
    return this.history.chunksAt(step).find((chunk) => unit < chunk.first + chunk.units) ?? null;
  }

  /** What the tip says of a chunk. */
  tellChunk(chunk, step) {
    if (!chunk) return null;
    const list = element("dl", "", "facts");
    fillList(list, this.words.chunk(chunk, step));
    const op = this.history.facts.moment ? "" : `Op ${number(this.history.opIndex(step))}: `;
    return [element("b", `${op}${MARKS[chunk.state]} ${chunk.state}`), list];
  }

  /** What the tip says of the failures between two places. */
  tellFailures(from, to) {
    const steps = this.history.columns.failure_step.filter((step) => step + 0.5 >= from && step + 0.5 <= to);
    if (!steps.length) return null;
    const said = [element("p", this.words.event(steps[0]))];
    if (steps.length > 1) said.push(element("p", `and ${count(steps.length - 1, "more failure")} here`, "quiet"));
    return said;
  }

  /** What a button does, and the key that does the same. */
  act(what) {
    const { view, state } = this;
    const { picked } = state;
    const step = state.cursor + 0.5;
    const unit = picked ? picked.first + picked.units / 2 : (view.bottom + view.top) / 2;
    const actions = {
      "time-in": () => view.zoom(2, 1, step, unit),
      "time-out": () => view.zoom(0.5, 1, step, unit),
      "address-in": () => view.zoom(1, 2, step, unit),
      "address-out": () => view.zoom(1, 0.5, step, unit),
      whole: () => view.whole(),
      help: () => this.toggleHelp(),
      "failure-next": () => this.goToFailure(true),
      "failure-back": () => this.goToFailure(false),
    };
    this.change(actions[what]);
  }

  goToFailure(forward) {
    const steps = this.history.columns.failure_step;
    const { cursor } = this.state;
    const found = forward ? steps.find((step) => step > cursor) : steps.findLast((step) => step < cursor);
    if (found !== undefined) this.setCursor(found);
  }

  toggleHelp() {
    const help = byId("help");
    help.hidden = !help.hidden;
    document.querySelector("[data-do=help]").setAttribute("aria-expanded", String(!help.hidden));
  }

  /** Go to what the address says behind its #: heap=0&op=2440. */
  async follow() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const index = Number(wanted.get("heap") ?? this.index ?? 0);
    if (index !== this.index && this.facts.heaps[index]) await this.open(index);
    if (wanted.has("op")) {
      this.setCursor(this.history.stepOf(Number(wanted.get("op")) || 0));
      byId("viewer").scrollIntoView({ block: "start" });
    }
  }

  goTo(text) {
    const op = Number(text.replace(/[\s,_]/g, ""));
    if (text.trim() && Number.isFinite(op)) this.setCursor(this.history.stepOf(op));
    byId("op").value = number(this.history.opIndex(this.state.cursor));
  }

  async begin() {
    listenToTheme(() => this.index !== undefined && this.recolour());
    await this.follow();
    if (this.index === undefined) await this.open(0);
    this.pointer = new Pointer(this);
    listenToKeys(this);
    byId("colour").addEventListener("change", () => this.recolour());
    byId("heap").addEventListener("change", (event) => this.open(Number(event.target.value)));
    byId("op").addEventListener("change", (event) => this.goTo(event.target.value));
    for (const button of document.querySelectorAll("[data-do]")) {
      button.addEventListener("click", () => this.act(button.dataset.do));
    }
    addEventListener("hashchange", () => this.follow());
    new ResizeObserver(() => this.redraw()).observe(byId("viewer"));
  }
}

new Page().begin();

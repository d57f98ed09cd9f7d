// The chunks at the cursor as a table; of very many only the rows in sight are made.

const ROW = 26;
const COLUMNS = ["offset", "state", "chunk bytes", "asked for", "id", "age", "thread", "call site"];
const MARKS = { used: "■", free: "□", undersized: "·", control: "▦" };

class ChunkTable {
  constructor(place, pick) {
    this.place = place;
    this.pick = pick;
    this.table = element("table");
    const head = element("tr");
    for (const name of COLUMNS) {
      const cell = element("th", name);
      cell.scope = "col";
      head.append(cell);
    }
    this.body = element("tbody");
    const top = element("thead");
    top.append(head);
    this.table.append(top, this.body);
    place.append(this.table);
    place.addEventListener("scroll", () => this.fill());
  }

  show(history, facts, step, picked) {
    Object.assign(this, { history, facts, step, picked });
    this.chunks = history.chunksAt(step);
    this.table.setAttribute("aria-rowcount", this.chunks.length + 1);
    this.fill();
  }

  /** Bring a chunk into sight. */
  reveal(chunk) {
    const row = this.chunks.findIndex((each) => each.first === chunk.first);
    if (row < 0) return;
    const top = row * ROW;
    const { scrollTop, clientHeight } = this.place;
    if (top < scrollTop || top + 2 * ROW > scrollTop + clientHeight) {
      this.place.scrollTop = Math.max(0, top - clientHeight / 2);
    }
  }

  fill() {
    const first = Math.max(0, Math.floor(this.place.scrollTop / ROW) - 10);
    const last = Math.min(this.chunks.length, first + Math.ceil(this.place.clientHeight / ROW) + 20);
    const rows = [this.space(first)];
    for (let i = first; i < last; i++) rows.push(this.row(i));
    rows.push(this.space(this.chunks.length - last));
    this.body.replaceChildren(...rows);
  }

  space(rows) {
    const row = element("tr");
    row.hidden = rows === 0;
    row.setAttribute("aria-hidden", "true");
    row.style.height = rows * ROW + "px";
    return row;
  }

  row(i) {
    const chunk = this.chunks[i];
    const row = element("tr", "", chunk.state);
    row.setAttribute("aria-rowindex", i + 2);
    if (this.picked && this.picked.first === chunk.first && this.picked.block === chunk.block) {
      row.setAttribute("aria-selected", "true");
    }
    for (const text of this.cells(chunk)) row.append(element("td", text));
    row.addEventListener("click", () => this.pick(chunk));
    return row;
  }

  cells(chunk) {
    const { history, facts } = this;
    const head = [
      number(history.offsetOf(chunk.first)),
      MARKS[chunk.state] + " " + chunk.state,
      number(8 * chunk.units),
    ];
    const i = chunk.block;
    if (i < 0) return [...head, "", "", "", "", ""];
    const { request, id, thread, caller } = history.columns;
    return [
      ...head,
      request[i] < 0 ? "" : number(request[i]),
      id[i] < 0 ? "" : String(id[i]),
      history.facts.moment ? "" : number(this.step - history.start[i]),
      facts.threads[thread[i]] ?? "",
      facts.callers[caller[i]] ?? "",
    ];
  }
}

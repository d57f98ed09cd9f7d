// What mouse and pen do on the map and the strip, and the tip that follows them.

/** A movement this short is a click. */
const STILL = 4;

class Pointer {
  constructor(page) {
    this.page = page;
    this.from = null;
    const { canvas } = page.map;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => this.drop());
    canvas.addEventListener("dblclick", () => page.change(() => page.view.whole()));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    const strip = page.strip.canvas;
    strip.addEventListener("click", (event) => this.pickOnStrip(event));
    strip.addEventListener("pointermove", (event) => this.tellOfStrip(event));
    for (const each of [canvas, strip]) each.addEventListener("pointerleave", () => this.hideTip());
    for (const { canvas: plot } of [page.bytes, page.shares]) {
      plot.addEventListener("click", (event) => page.setCursor(this.stepAt(event)));
    }
  }

  stepAt(event) {
    const { history, map } = this.page;
    return Math.min(history.steps - 1, Math.max(0, Math.floor(map.under(event.offsetX, 0).step)));
  }

  down(event) {
    if (event.button) return;
    this.from = { x: event.offsetX, y: event.offsetY, shift: event.shiftKey };
    this.page.map.canvas.setPointerCapture(event.pointerId);
    this.hideTip();
  }

  move(event) {
    if (!this.from) return this.tell(event);
    const { page, from } = this;
    const { offsetX: x, offsetY: y } = event;
    if (from.shift) {
      const { width, height } = page.map.inner;
      const { view } = page;
      page.change(() => view.move(((from.x - x) / width) * view.width, ((y - from.y) / height) * view.height));
      Object.assign(from, { x, y, moved: true });
    } else {
      const size = { width: Math.abs(x - from.x), height: Math.abs(y - from.y) };
      page.state.dragged = { x: Math.min(x, from.x), y: Math.min(y, from.y), ...size };
      page.redraw();
    }
  }

  up(event) {
    const { page, from } = this;
    if (!from) return;
    const { dragged } = page.state;
    this.drop();
    if (from.moved) return;
    if (dragged && (dragged.width > STILL || dragged.height > STILL)) this.zoomTo(dragged);
    else {
      const step = this.stepAt(event);
      const unit = Math.floor(page.map.under(event.offsetX, event.offsetY).unit);
      page.setCursor(step);
      page.pick(page.chunkOver(step, unit));
    }
  }

  drop() {
    this.from = null;
    this.page.state.dragged = null;
    this.page.redraw();
  }

  /** A rectangle that is flat one way zooms the other way only. */
  zoomTo({ x, y, width, height }) {
    const { map, view } = this.page;
    const a = map.under(x, y + height);
    const b = map.under(x + width, y);
    const [left, right] = width > STILL ? [a.step, b.step] : [view.left, view.right];
    const [bottom, top] = height > STILL ? [a.unit, b.unit] : [view.bottom, view.top];
    this.page.change(() => view.set(left, right, bottom, top));
  }

  /** The wheel scrolls the page, unless the map has the focus or Ctrl is held. */
  wheel(event) {
    const { page } = this;
    if (document.activeElement !== page.map.canvas && !event.ctrlKey) return;
    event.preventDefault();
    const { step, unit } = page.map.under(event.offsetX, event.offsetY);
    const turned = event.deltaY || event.deltaX;
    const factor = Math.exp(-Math.sign(turned) * Math.min(0.4, Math.abs(turned) / 400));
    const inAddress = event.shiftKey || page.history.facts.moment;
    page.change(() => page.view.zoom(inAddress ? 1 : factor, inAddress ? factor : 1, step, unit));
  }

  pickOnStrip(event) {
    const { page } = this;
    const { unit } = page.map.under(0, event.offsetY);
    page.pick(page.chunkOver(page.state.cursor, Math.floor(unit)));
  }

  tellOfStrip(event) {
    const { page } = this;
    const { unit } = page.map.under(0, event.offsetY);
    const { cursor } = page.state;
    this.tip(event, page.tellChunk(page.chunkOver(cursor, Math.floor(unit)), cursor));
  }

  /** Tell what is under the pointer: a failure above the map, a chunk on it. */
  tell(event) {
    const { page } = this;
    const { map } = page;
    const { step, unit } = map.under(event.offsetX, event.offsetY);
    if (step < page.view.left || step >= page.view.right) return this.hideTip();
    if (event.offsetY < MARGIN.top) {
      const perPixel = page.view.width / map.inner.width;
      return this.tip(event, page.tellFailures(step - 5 * perPixel, step + 5 * perPixel));
    }
    this.tip(event, page.tellChunk(page.chunkOver(Math.floor(step), Math.floor(unit)), Math.floor(step)));
  }

  tip(event, content) {
    const tip = byId("tip");
    tip.hidden = !content;
    if (!content) return;
    tip.replaceChildren(...content);
    const right = event.clientX + 16 + tip.offsetWidth > innerWidth;
    const below = event.clientY + 16 + tip.offsetHeight > innerHeight;
    tip.style.left = (right ? Math.max(4, event.clientX - 12 - tip.offsetWidth) : event.clientX + 16) + "px";
    tip.style.top = (below ? Math.max(4, event.clientY - 12 - tip.offsetHeight) : event.clientY + 16) + "px";
  }

  hideTip() {
    byId("tip").hidden = true;
  }
}

// The keyboard on the map; the table in the page's help lists the keys.

function listenToKeys(page) {
  const steps = (part) => Math.max(1, Math.round(page.view.width * part));
  const move = (by) => page.setCursor(page.state.cursor + by);
  const actions = {
    ArrowLeft: (event) => move(event.shiftKey ? -steps(0.01) : -1),
    ArrowRight: (event) => move(event.shiftKey ? steps(0.01) : 1),
    PageUp: () => move(-steps(0.1)),
    PageDown: () => move(steps(0.1)),
    Home: () => page.setCursor(0),
    End: () => page.setCursor(page.history.steps - 1),
    ArrowUp: () => page.pickBeside(1),
    ArrowDown: () => page.pickBeside(-1),
    Escape: () => page.pick(null),
    "+": () => page.act("time-in"),
    "=": () => page.act("time-in"),
    "-": () => page.act("time-out"),
    i: () => page.act("address-in"),
    o: () => page.act("address-out"),
    0: () => page.act("whole"),
    n: () => page.act("failure-next"),
    p: () => page.act("failure-back"),
    m: () => page.setCursor(page.history.facts.peak_step),
  };
  page.map.canvas.addEventListener("keydown", (event) => {
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    page.pointer.hideTip();
    action(event);
  });
}

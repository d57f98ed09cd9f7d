// What stands beside the drawings: scale, legend, the moment at the cursor, the picked chunk.

const LEGEND = {
  free: "free",
  undersized: "undersized: free, too small to be listed",
  control: "control block",
  cross: "failed request",
  line: "cursor",
};

/** What a legend shows beside its word. */
function swatch(mark) {
  const canvas = element("canvas", "", "swatch");
  canvas.width = canvas.height = 32;
  canvas.setAttribute("aria-hidden", "true");
  const context = canvas.getContext("2d");
  context.scale(2, 2);
  if (mark === "cross") {
    context.strokeStyle = ink("bad");
    context.lineWidth = 2;
    context.stroke(new Path2D("M4 4L12 12M12 4L4 12"));
  } else if (mark === "line") {
    context.fillStyle = ink("cursor");
    context.fill(new Path2D("M7 0h2v10h-2zM3 16h10l-5-7z"));
  } else {
    context.fillStyle = mark.startsWith("#") ? mark : pattern(context, mark);
    context.fillRect(0, 0, 16, 16);
    context.strokeStyle = ink(mark.startsWith("#") ? "edge" : "line");
    context.strokeRect(0.5, 0.5, 15, 15);
  }
  return canvas;
}

function showLegend(colours, moment) {
  const marks = Object.keys(LEGEND).slice(0, moment ? 3 : undefined);
  const items = [
    ...colours.classes.map(({ colour, word }) => [colour, word]),
    ...marks.map((mark) => [mark, LEGEND[mark]]),
  ];
  byId("legend").replaceChildren(
    ...items.map(([mark, word]) => {
      const item = element("li", word);
      item.prepend(swatch(mark));
      return item;
    }),
  );
}

/** How much of something a pixel is, or how many pixels one of it takes. */
function perPixel(amount, noun, way) {
  if (amount >= 1) return `a pixel is ${count(Number(amount.toPrecision(3)), noun)} ${way}`;
  return `${noun === "op" ? "an" : "a"} ${noun} is ${number(Number((1 / amount).toPrecision(3)))} pixels ${way}`;
}

/** Say what a pixel is, and how much of what is shown is smaller. */
function showScale({ view, map, history }) {
  const { width, height } = map.inner;
  const parts = [perPixel((8 * view.height) / height, "byte", "high")];
  if (!history.facts.moment) parts.unshift(perPixel(view.width / width, "op", "wide"));
  const words = parts.join(", ") + ".";
  let told = map.total ? ` All ${count(map.total, "block")} in view can be told apart.` : "";
  if (map.narrow) {
    told =
      ` ${number(map.narrow)} of the ${count(map.total, "block")} in view are less than a pixel wide or high:` +
      " there a pixel shows how much is covered, in the blend of the blocks' colours. Zoom in to tell them apart.";
  }
  const text = words[0].toUpperCase() + words.slice(1) + told;
  if (byId("scale").textContent !== text) byId("scale").textContent = text;
}

/** Say what is at the cursor, beside the drawings and to screen readers. */
function showMoment({ history, words, map }, step) {
  const pairs = words.moment(step);
  const now = Object.fromEntries(pairs);
  const event = words.event(step);
  byId("event").textContent = event;
  byId("event").classList.toggle("bad", history.failureAt.has(step));
  fillList(byId("moment"), pairs);
  byId("chunks-count").textContent = number(history.chunksAt(step).length);
  byId("one-line").textContent = words.line(step, 60);
  const op = history.opIndex(step);
  if (document.activeElement !== byId("op")) byId("op").value = number(op);
  const { canvas } = map;
  canvas.setAttribute("aria-valuemax", history.opIndex(history.steps - 1));
  canvas.setAttribute("aria-valuenow", op);
  const numbers = `Used ${now.used}, free ${now.free}, largest ${now["largest free"]}.`;
  canvas.setAttribute("aria-valuetext", `${event} ${numbers}`);
}

function showPicked({ words }, picked, step) {
  const list = element("dl", "", "facts");
  if (picked) fillList(list, words.chunk(picked, step));
  const hint = "None: click a block on the map, or press ↑ or ↓ there.";
  byId("block").replaceChildren(picked ? list : element("p", hint, "quiet"));
}

/** How many failures there are, for the buttons that go to them. */
function showFailureCount(failures) {
  byId("failures-label").textContent = "Failures: " + number(failures);
  for (const button of document.querySelectorAll("[data-do^=failure]")) button.disabled = !failures;
}

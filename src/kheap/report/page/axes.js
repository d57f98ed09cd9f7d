// Canvases with sharp lines, and axes with round numbers.

const MARGIN = { left: 74, right: 12, top: 24, bottom: 26 };

/** Give a canvas its size on the screen, in device pixels, and a context in CSS pixels. */
function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const wide = Math.round(width * ratio);
  const high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  return { context, width, height, ratio };
}

/** Steps of 1, 2 or 5 times a power of ten. */
function roundSteps(from, to, most) {
  const rough = Math.max(1, (to - from) / most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  return multiples(from, to, step);
}

/** Steps of a power of two, as fit bytes. */
function binarySteps(from, to, most, least) {
  return multiples(from, to, Math.max(least, 2 ** Math.ceil(Math.log2((to - from) / most))));
}

function multiples(from, to, step) {
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

/** The axis of operations, below a plot that ends at `bottom`. */
function timeAxis(context, history, view, xOf, bottom, top) {
  context.fillStyle = ink("muted");
  context.strokeStyle = ink("line");
  context.textAlign = "center";
  context.textBaseline = "top";
  context.beginPath();
  for (const step of roundSteps(view.left, Math.min(view.right, history.steps - 1), 8)) {
    const x = xOf(step + 0.5);
    context.moveTo(x, top);
    context.lineTo(x, bottom + 4);
    context.fillText(number(history.opIndex(step)), x, bottom + 7);
  }
  context.stroke();
  context.textAlign = "right";
  context.fillText("op", MARGIN.left - 8, bottom + 7);
}

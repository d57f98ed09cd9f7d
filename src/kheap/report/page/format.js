// Numbers as people read them, and small helpers for elements.

const grouped = new Intl.NumberFormat("en-US");

function number(value) {
  return grouped.format(value);
}

/** A count with its noun, which takes an s for any other count than 1. */
function count(value, noun) {
  return number(value) + " " + noun + (value === 1 ? "" : "s");
}

/** Bytes in a short form, for axes: 12 KiB. */
function shortBytes(value) {
  let unit = 0;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    unit++;
  }
  const text = value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1);
  return text + " " + ["B", "KiB", "MiB", "GiB", "TiB"][unit];
}

function percent(share) {
  return (100 * share).toFixed(1) + " %";
}

function hex(value) {
  return "0x" + value.toString(16);
}

function seconds(microseconds) {
  return number(microseconds / 1e6) + " s";
}

/** The element with that id. */
function byId(id) {
  return document.getElementById(id);
}

/** A new element with a text; names come from foreign files, so they are never markup. */
function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Fill a description list with pairs of term and text. */
function fillList(list, pairs) {
  list.replaceChildren(
    ...pairs.map(([term, text]) => {
      const row = element("div");
      row.append(element("dt", term), element("dd", text));
      return row;
    }),
  );
}

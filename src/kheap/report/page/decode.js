// Columns of numbers from the text that they are embedded as.
//
// The other half of columns.py, whose head tells the encoding.

async function inflated(text) {
  const letters = atob(text);
  const packed = new Uint8Array(letters.length);
  for (let i = 0; i < packed.length; i++) packed[i] = letters.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** One column, whose planes begin at byte `at`. */
function column(bytes, at, [, length, planes, least, steady, wide]) {
  const values = wide ? new Float64Array(length) : new Int32Array(length);
  let before = 0;
  for (let i = 0; i < length; i++) {
    let value = least;
    let worth = 1;
    for (let plane = 0, from = at + i; plane < planes; plane++, from += length) {
      value += bytes[from] * worth;
      worth *= 256;
    }
    if (steady) value = before += value;
    values[i] = value;
  }
  return values;
}

/** All columns of one heap, by name. */
async function decodeColumns(text, directory) {
  const bytes = await inflated(text);
  const columns = {};
  let at = 0;
  for (const entry of directory) {
    columns[entry[0]] = column(bytes, at, entry);
    at += entry[1] * entry[2];
  }
  return columns;
}

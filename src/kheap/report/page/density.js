// Very many rectangles as one picture: each pixel shows the part of it that blocks cover.
//
// A rectangle is written as its four corners only, shared out over the pixels around each; two
// running sums, along rows and then along columns, turn corners into covered parts, exactly.
// So a picture costs a few additions a block, however large, and a pass over the pixels.

class Density {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    // One more column and row, for corners on the far edges; red, green, blue, covered part.
    this.stride = 4 * (width + 2);
    this.cells = new Float32Array(this.stride * (height + 2));
  }

  /** Add a rectangle, in pixels. */
  add(left, right, top, bottom, red, green, blue) {
    left = Math.max(0, Math.min(this.width, left));
    right = Math.max(0, Math.min(this.width, right));
    top = Math.max(0, Math.min(this.height, top));
    bottom = Math.max(0, Math.min(this.height, bottom));
    if (left >= right || top >= bottom) return;
    this.corner(left, top, 1, red, green, blue);
    this.corner(right, top, -1, red, green, blue);
    this.corner(left, bottom, -1, red, green, blue);
    this.corner(right, bottom, 1, red, green, blue);
  }

  corner(x, y, sign, red, green, blue) {
    const column = x | 0;
    const row = y | 0;
    const right = x - column;
    const below = (y - row) * sign;
    const above = sign - below;
    const at = row * this.stride + 4 * column;
    this.share(at, above * (1 - right), red, green, blue);
    this.share(at + 4, above * right, red, green, blue);
    this.share(at + this.stride, below * (1 - right), red, green, blue);
    this.share(at + this.stride + 4, below * right, red, green, blue);
  }

  share(at, part, red, green, blue) {
    const { cells } = this;
    cells[at] += part * red;
    cells[at + 1] += part * green;
    cells[at + 2] += part * blue;
    cells[at + 3] += part;
  }

  /** The picture; what nothing covers has the colour given. */
  picture([red, green, blue]) {
    const { cells, stride, width, height } = this;
    const image = new ImageData(width, height);
    const pixels = image.data;
    const above = new Float32Array(stride);
    let at = 0;
    for (let row = 0; row < height; row++) {
      let r = 0;
      let g = 0;
      let b = 0;
      let covered = 0;
      const from = row * stride;
      for (let column = 0; column < 4 * width; column += 4) {
        r += cells[from + column];
        g += cells[from + column + 1];
        b += cells[from + column + 2];
        covered += cells[from + column + 3];
        const bare = Math.max(0, 1 - (above[column + 3] += covered));
        pixels[at] = (above[column] += r) + bare * red;
        pixels[at + 1] = (above[column + 1] += g) + bare * green;
        pixels[at + 2] = (above[column + 2] += b) + bare * blue;
        pixels[at + 3] = 255;
        at += 4;
      }
    }
    return image;
  }
}

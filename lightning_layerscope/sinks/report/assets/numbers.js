// Reads what packing.py wrote: every column back as rounded numbers, NaN where undefined.
const layerscope = {};
(() => {
  async function inflate(text) {
    const packed = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Whole numbers of a variable number of bytes, one after the other.
  function reader(bytes, begin) {
    let place = begin;
    return () => {
      let value = 0;
      let factor = 1;
      for (;;) {
        const byte = bytes[place++];
        value += (byte & 127) * factor;
        if (byte < 128) return value;
        factor *= 128;
      }
    };
  }

  function readColumn(bytes, { unit, shape, begin }) {
    const next = reader(bytes, begin);
    const undefinedPlaces = new Array(next());
    let place = 0;
    for (let i = 0; i < undefinedPlaces.length; i++) undefinedPlaces[i] = place += next();
    const size = shape.reduce((product, length) => product * length, 1);
    const stride = shape[0] ? size / shape[0] : 0; // cells of one measurement
    const whole = new Int32Array(size);
    for (let i = 0; i < size; i++) {
      const code = next();
      const change = code % 2 ? -(code + 1) / 2 : code / 2;
      whole[i] = change + (i < stride ? 0 : whole[i - stride]);
    }
    // Division by a whole number gives the nearest double of the decimal, multiplication by 0.001 does not.
    const values = new Float64Array(size);
    const per = Math.round(1 / unit);
    for (let i = 0; i < size; i++) values[i] = unit < 1 ? whole[i] / per : whole[i] * unit;
    for (const i of undefinedPlaces) values[i] = NaN;
    return values;
  }

  // A column is read when it is first asked for.
  class Numbers {
    constructor(bytes, columns) {
      this.bytes = bytes;
      this.columns = columns;
      this.known = new Map();
    }

    // The values of one measurement, row by row.
    at(column, measurement) {
      if (column === null || column === undefined) return null;
      if (!this.known.has(column)) this.known.set(column, readColumn(this.bytes, this.columns[column]));
      const { shape } = this.columns[column];
      const stride = shape.slice(1).reduce((product, length) => product * length, 1);
      return this.known.get(column).subarray(measurement * stride, (measurement + 1) * stride);
    }
  }

  layerscope.readNumbers = async (text, columns) => new Numbers(await inflate(text), columns);
})();

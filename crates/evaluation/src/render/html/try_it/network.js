// The executor of integer graphs: each operator as crates/interpreter has it, for one image at a time.
//
// There is no float in it: tensors are Uint8Array, Int8Array and Int32Array, products are Math.imul, sums end in `| 0`, and
// quotients are shifts. That nothing leaves its type on the way was proven of the graph before it was written here. Extents,
// axes and indices, which ONNX has as int64, are plain lists of whole numbers.
//
// Plain JavaScript and no WebAssembly: the standard network takes some 17 ms an image, so that nothing would be felt of more
// speed, and the reader of a page can read it.

const ELEMENTS = { u8: Uint8Array, i8: Int8Array, i32: Int32Array, i64: Array };

const product = (extents) => extents.reduce((count, extent) => count * extent, 1);
const tensor = (type, shape, data) => ({ type, shape, data: data ?? new ELEMENTS[type](product(shape)) });
const resolved = (axis, rank) => (axis < 0 ? axis + rank : axis);

/// The bytes of a base64 text.
function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/// A constant as it stands in the page.
function constantOf({ type, shape, data }) {
  if (type === "i64") return tensor(type, shape, data);
  return tensor(type, shape, new ELEMENTS[type](bytesOf(data).buffer));
}

/// The common shape of two operands, as numpy has it.
function commonShape(a, b) {
  const rank = a.length > b.length ? a.length : b.length;
  const shape = [];
  for (let i = 0; i < rank; i++) {
    const [x, y] = [a[a.length - rank + i] ?? 1, b[b.length - rank + i] ?? 1];
    if (x !== y && x !== 1 && y !== 1) throw new Error(`shapes [${a}] and [${b}] do not broadcast`);
    shape.push(x === 1 ? y : x);
  }
  return shape;
}

/// For each element of a result, the position in an operand of shape `from`; null where both are the same.
function positions(from, to) {
  const missing = to.length - from.length;
  if (missing === 0 && from.every((extent, axis) => extent === to[axis])) return null;
  const steps = new Array(to.length).fill(0);
  let step = 1;
  for (let axis = to.length - 1; axis >= missing; axis--) {
    steps[axis] = from[axis - missing] === 1 ? 0 : step;
    step *= from[axis - missing];
  }
  const map = new Int32Array(product(to));
  const index = new Array(to.length).fill(0);
  for (let i = 0, at = 0; i < map.length; i++) {
    map[i] = at;
    for (let axis = to.length - 1; axis >= 0; axis--) {
      at += steps[axis];
      if (++index[axis] < to[axis]) break;
      at -= steps[axis] * to[axis];
      index[axis] = 0;
    }
  }
  return map;
}

/// One function of every pair of elements.
function binary(a, b, compute) {
  const shape = commonShape(a.shape, b.shape);
  const result = tensor(a.type, shape);
  const [x, y, out] = [a.data, b.data, result.data];
  const [from, of] = [positions(a.shape, shape), positions(b.shape, shape)];
  if (!from && y.length === 1) {
    const constant = y[0];
    for (let i = 0; i < out.length; i++) out[i] = compute(x[i], constant);
  } else {
    for (let i = 0; i < out.length; i++) out[i] = compute(x[from ? from[i] : i], y[of ? of[i] : i]);
  }
  return result;
}

/// One function of every element.
function map(x, compute) {
  const result = tensor(x.type, x.shape);
  for (let i = 0; i < x.data.length; i++) result.data[i] = compute(x.data[i]);
  return result;
}

const greater = (a, b) => (a >= b ? a : b);
const lesser = (a, b) => (a <= b ? a : b);

/// The quotient of a dividend of at least 0 and a positive divisor: a shift, or one bit of it after the other.
function quotient(dividend, divisor) {
  if ((divisor & (divisor - 1)) === 0) return dividend >> (31 - Math.clz32(divisor));
  let [bits, rest] = [0, dividend];
  for (let shift = Math.clz32(divisor) - 1; shift >= 0; shift--) {
    if (rest >> shift >= divisor) {
      rest -= divisor << shift;
      bits |= 1 << shift;
    }
  }
  return bits;
}

/// Two spatial axes in the place of one.
const planar = (list, filling) => (list.length === 1 ? [filling, ...list] : list);

/// A window over the spatial axes of a shape `[1, channels, spatial...]`.
function windowOf(shape, kernelShape, node) {
  const spatial = planar(shape.slice(2), 1);
  const kernel = planar(kernelShape, 1);
  const [strides, dilations] = [planar(node.strides, 1), planar(node.dilations, 1)];
  const [begin, end] = [planar(node.begin, 0), planar(node.end, 0)];
  const output = spatial.map((extent, axis) => {
    const padded = extent + begin[axis] + end[axis];
    let [count, room] = [1, padded - (kernel[axis] - 1) * dilations[axis] - 1];
    for (; room >= strides[axis]; room -= strides[axis]) count++;
    // Rounded up there is one more. The type rules refuse what would begin in the padding at the end.
    return node.ceil && room > 0 ? count + 1 : count;
  });
  const outShape = shape.length === 3 ? output.slice(1) : output;
  return { spatial, kernel, strides, dilations, begin, end, output, outShape };
}

const zeroOf = (point) => (point ? point.data[0] : 0);

/// The elements minus their zero point.
function centered(x, point) {
  const zero = zeroOf(point);
  const result = new Int32Array(x.data.length);
  for (let i = 0; i < result.length; i++) result[i] = (x.data[i] - zero) | 0;
  return result;
}

/// Sums of products of 8-bit integers; padding stands for the zero point, so that it adds nothing.
function convolve([x, w, xZero, wZero], node) {
  const window = windowOf(x.shape, w.shape.slice(2), node);
  const { kernel, strides, dilations, begin, end, output } = window;
  const [channels, filters, perGroup] = [x.shape[1], w.shape[0], w.shape[1]];
  const [height, width] = window.spatial;
  const [rows, columns] = [height + begin[0] + end[0], width + begin[1] + end[1]];
  const zero = zeroOf(xZero);
  const input = new Int32Array(channels * rows * columns);
  for (let channel = 0, from = 0; channel < channels; channel++) {
    for (let row = 0; row < height; row++) {
      let to = (channel * rows + row + begin[0]) * columns + begin[1];
      for (let column = 0; column < width; column++) input[to++] = (x.data[from++] - zero) | 0;
    }
  }
  const weights = centered(w, wZero);
  const result = tensor("i32", [1, filters, ...window.outShape]);
  const plane = output[0] * output[1];
  const taps = perGroup * kernel[0] * kernel[1];
  const offsets = new Int32Array(taps);
  for (let channel = 0, tap = 0; channel < perGroup; channel++) {
    for (let row = 0; row < kernel[0]; row++) {
      for (let column = 0; column < kernel[1]; column++) {
        offsets[tap++] = (channel * rows + row * dilations[0]) * columns + column * dilations[1];
      }
    }
  }
  // The group of a filter is counted, as there is no division here.
  let [first, inGroup] = [0, 0];
  for (let filter = 0; filter < filters; filter++) {
    const sums = result.data.subarray(filter * plane, (filter + 1) * plane);
    const own = weights.subarray(filter * taps, (filter + 1) * taps);
    addProducts(input.subarray(first * rows * columns), own, offsets, sums, output, strides, columns);
    if (++inGroup === node.filtersPerGroup) [first, inGroup] = [first + perGroup, 0];
  }
  return result;
}

/// Adds to one plane of sums the products of all weights of a filter, four weights at a time.
function addProducts(input, weights, offsets, sums, [height, width], [down, right], columns) {
  let tap = 0;
  for (; tap + 4 <= weights.length; tap += 4) {
    const [w0, w1, w2, w3] = [weights[tap], weights[tap + 1], weights[tap + 2], weights[tap + 3]];
    const [o0, o1, o2, o3] = [offsets[tap], offsets[tap + 1], offsets[tap + 2], offsets[tap + 3]];
    for (let row = 0, to = 0; row < height; row++) {
      for (let column = 0, at = row * down * columns; column < width; column++, to++, at += right) {
        const first = (Math.imul(w0, input[o0 + at]) + Math.imul(w1, input[o1 + at])) | 0;
        const second = (Math.imul(w2, input[o2 + at]) + Math.imul(w3, input[o3 + at])) | 0;
        sums[to] = (sums[to] + ((first + second) | 0)) | 0;
      }
    }
  }
  for (; tap < weights.length; tap++) {
    const [weight, offset] = [weights[tap], offsets[tap]];
    for (let row = 0, to = 0; row < height; row++) {
      for (let column = 0, at = row * down * columns + offset; column < width; column++, to++, at += right) {
        sums[to] = (sums[to] + Math.imul(weight, input[at])) | 0;
      }
    }
  }
}

/// The product of matrices along the last two axes.
function multiply([a, b, aZero, bZero]) {
  const [x, y] = [centered(a, aZero), centered(b, bZero)];
  const [rows, inner, columns] = [a.shape.at(-2), a.shape.at(-1), b.shape.at(-1)];
  const [aBatch, bBatch] = [a.shape.slice(0, -2), b.shape.slice(0, -2)];
  const batch = commonShape(aBatch, bBatch);
  const [aOrder, bOrder] = [positions(aBatch, batch), positions(bBatch, batch)];
  const result = tensor("i32", [...batch, rows, columns]);
  for (let matrix = 0, to = 0; matrix < product(batch); matrix++) {
    const aStart = (aOrder ? aOrder[matrix] : matrix) * rows * inner;
    const bStart = (bOrder ? bOrder[matrix] : matrix) * inner * columns;
    for (let row = 0; row < rows; row++, to += columns) {
      for (let k = 0; k < inner; k++) {
        const factor = x[aStart + row * inner + k];
        if (factor === 0) continue;
        for (let column = 0, at = bStart + k * columns; column < columns; column++, at++) {
          result.data[to + column] = (result.data[to + column] + Math.imul(factor, y[at])) | 0;
        }
      }
    }
  }
  return result;
}

/// The greatest element under a window; padding never is.
function maxPool([x], node) {
  const window = windowOf(x.shape, node.kernel, node);
  const { kernel, strides, dilations, begin, output } = window;
  const [height, width] = window.spatial;
  const result = tensor(x.type, [1, x.shape[1], ...window.outShape]);
  for (let channel = 0, to = 0; channel < x.shape[1]; channel++) {
    for (let row = 0; row < output[0]; row++) {
      for (let column = 0; column < output[1]; column++, to++) {
        let best = null;
        for (let down = 0; down < kernel[0]; down++) {
          const y = row * strides[0] + down * dilations[0] - begin[0];
          if (y < 0 || y >= height) continue;
          for (let right = 0; right < kernel[1]; right++) {
            const z = column * strides[1] + right * dilations[1] - begin[1];
            if (z < 0 || z >= width) continue;
            const element = x.data[(channel * height + y) * width + z];
            if (best === null || element > best) best = element;
          }
        }
        if (best === null) throw new Error("a window that lies in the padding");
        result.data[to] = best;
      }
    }
  }
  return result;
}

const reshaped = (x, shape) => tensor(x.type, shape, x.data);

/// The extents before, at and behind an axis: a tensor as slabs of rows.
const around = (shape, axis) => [product(shape.slice(0, axis)), shape[axis], product(shape.slice(axis + 1))];

/// The slices of an axis at these indices.
function selected(x, axis, indices, shape) {
  const [outer, extent, inner] = around(x.shape, axis);
  const result = tensor(x.type, shape);
  for (let slab = 0, to = 0; slab < outer; slab++) {
    for (const index of indices) {
      const at = resolved(index, extent);
      if (at < 0 || at >= extent) throw new Error(`index ${index} of an axis of ${extent}`);
      for (let i = 0, from = (slab * extent + at) * inner; i < inner; i++) result.data[to++] = x.data[from++];
    }
  }
  return result;
}

function slice([x, starts, ends, axes, steps]) {
  let result = x;
  starts.data.forEach((_, i) => {
    const axis = resolved(axes ? axes.data[i] : i, x.shape.length);
    const extent = result.shape[axis];
    const step = steps ? steps.data[i] : 1;
    const [low, high] = step > 0 ? [0, extent] : [-1, extent - 1];
    const bound = (index) => greater(low, lesser(high, index < 0 ? index + extent : index));
    const [start, end] = [bound(starts.data[i]), bound(ends.data[i])];
    const indices = [];
    for (let at = start; step > 0 ? at < end : at > end; at += step) indices.push(at);
    const shape = result.shape.map((other, position) => (position === axis ? indices.length : other));
    result = selected(result, axis, indices, shape);
  });
  return result;
}

function padAround([x, pads, value, axes]) {
  const rank = x.shape.length;
  const begin = new Array(rank).fill(0);
  const shape = [...x.shape];
  const named = axes ? [...axes.data] : x.shape.map((_, axis) => axis);
  named.forEach((name, i) => {
    const axis = resolved(name, rank);
    begin[axis] += pads.data[i];
    shape[axis] += pads.data[i] + pads.data[i + named.length];
  });
  const result = tensor(x.type, shape);
  result.data.fill(zeroOf(value));
  const steps = shape.map((_, axis) => product(shape.slice(axis + 1)));
  const copy = (axis, from, to) => {
    if (axis === rank) {
      result.data[to] = x.data[from];
      return;
    }
    const inner = product(x.shape.slice(axis + 1));
    for (let i = 0; i < x.shape[axis]; i++) copy(axis + 1, from + i * inner, to + (i + begin[axis]) * steps[axis]);
  };
  copy(0, 0, 0);
  return result;
}

function transpose([x], { perm }) {
  const shape = perm.map((axis) => x.shape[axis]);
  const result = tensor(x.type, shape);
  const steps = perm.map((axis) => product(x.shape.slice(axis + 1)));
  const index = new Array(shape.length).fill(0);
  for (let to = 0, from = 0; to < result.data.length; to++) {
    result.data[to] = x.data[from];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += steps[axis];
      if (++index[axis] < shape[axis]) break;
      from -= steps[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return result;
}

function concat(operands, node) {
  const axis = resolved(node.axis, operands[0].shape.length);
  const shape = [...operands[0].shape];
  shape[axis] = operands.reduce((extent, operand) => extent + operand.shape[axis], 0);
  const result = tensor(operands[0].type, shape);
  const [outer, , inner] = around(shape, axis);
  for (let slab = 0, to = 0; slab < outer; slab++) {
    for (const { shape: own, data } of operands) {
      const length = own[axis] * inner;
      for (let i = 0, from = slab * length; i < length; i++) result.data[to++] = data[from++];
    }
  }
  return result;
}

function reshape([x, wanted], { allowZero }) {
  const shape = wanted.data.map((extent, axis) => (extent === 0 && !allowZero ? x.shape[axis] : extent));
  const open = shape.indexOf(-1);
  if (open >= 0) {
    // Counted up, as there is no division here.
    const rest = product(shape.filter((_, axis) => axis !== open));
    let extent = 0;
    while (extent * rest < x.data.length) extent++;
    shape[open] = extent;
  }
  if (product(shape) !== x.data.length) throw new Error(`[${x.shape}] does not take the shape [${wanted.data}]`);
  return reshaped(x, shape);
}

function flatten([x], node) {
  const axis = node.axis === x.shape.length ? node.axis : resolved(node.axis, x.shape.length);
  return reshaped(x, [product(x.shape.slice(0, axis)), product(x.shape.slice(axis))]);
}

function unsqueeze([x, axes]) {
  const rank = x.shape.length + axes.data.length;
  const shape = [...x.shape];
  const sorted = axes.data.map((axis) => resolved(axis, rank)).sort((a, b) => a - b);
  for (const axis of sorted) shape.splice(axis, 0, 1);
  return reshaped(x, shape);
}

function squeeze([x, axes]) {
  const gone = axes?.data.map((axis) => resolved(axis, x.shape.length));
  return reshaped(x, x.shape.filter((extent, axis) => (gone ? !gone.includes(axis) : extent !== 1)));
}

/// The index of the greatest element along an axis, the first of equal ones.
function argMax([x], node) {
  const axis = resolved(node.axis, x.shape.length);
  const [outer, extent, inner] = around(x.shape, axis);
  const kept = x.shape.map((other, position) => (position === axis ? 1 : other));
  const shape = node.keepdims ? kept : kept.filter((_, position) => position !== axis);
  const result = tensor("i64", shape);
  for (let slab = 0, to = 0; slab < outer; slab++) {
    for (let i = 0; i < inner; i++, to++) {
      const at = (index) => x.data[(slab * extent + index) * inner + i];
      let best = 0;
      for (let index = 1; index < extent; index++) if (at(index) > at(best)) best = index;
      result.data[to] = best;
    }
  }
  return result;
}

function cast([x], { to }) {
  const result = tensor(to, x.shape);
  for (let i = 0; i < x.data.length; i++) result.data[i] = x.data[i];
  return result;
}

function clip([x, low, high]) {
  const above = low ? map(x, (v) => greater(v, low.data[0])) : x;
  return high ? map(above, (v) => lesser(v, high.data[0])) : above;
}

const pairwise = (compute) => (operands) => operands.reduce((a, b) => binary(a, b, compute));

const OPERATORS = {
  ConvInteger: convolve,
  MatMulInteger: multiply,
  MaxPool: maxPool,
  Relu: ([x]) => map(x, (v) => (v < 0 ? 0 : v)),
  Clip: clip,
  Add: pairwise((a, b) => (a + b) | 0),
  Sub: pairwise((a, b) => (a - b) | 0),
  Mul: pairwise(Math.imul),
  Div: pairwise(quotient),
  Max: pairwise(greater),
  Min: pairwise(lesser),
  Cast: cast,
  Flatten: flatten,
  Reshape: reshape,
  Transpose: transpose,
  Concat: concat,
  Gather: ([x, indices], node) => {
    const axis = resolved(node.axis, x.shape.length);
    const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];
    return selected(x, axis, indices.data, shape);
  },
  Slice: slice,
  Pad: padAround,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Identity: ([x]) => x,
  ArgMax: argMax,
};

/// A network from its data in the page: a function from the bytes of an image to all its tensors, by number.
function networkOf({ values, input, constants, nodes }) {
  const fixed = new Array(values).fill(null);
  for (const constant of constants) fixed[constant.value] = constantOf(constant);
  return (bytes) => {
    const tensors = [...fixed];
    tensors[input.value] = tensor("u8", input.shape, bytes);
    for (const node of nodes) {
      const operands = node.inputs.map((value) => (value === null ? null : tensors[value]));
      tensors[node.output] = OPERATORS[node.op](operands, node);
    }
    return tensors;
  };
}

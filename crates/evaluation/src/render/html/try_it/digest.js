// The digest of a tensor: the first eight bytes of SHA-256 over its elements, little-endian, as `onnx2int trace` has it.
// By hand, as browsers give theirs to some pages only.

const ROUND = new Int32Array([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
  0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
  0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
  0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
  0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
  0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]);
const START = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
const rotated = (word, bits) => (word >>> bits) | (word << (32 - bits));

function sha256(message) {
  const state = new Int32Array(START);
  const schedule = new Int32Array(64);
  const block = (bytes, start) => {
    for (let i = 0, at = start; i < 16; i++, at += 4) {
      schedule[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
    }
    for (let i = 16; i < 64; i++) {
      const [early, late] = [schedule[i - 15], schedule[i - 2]];
      const small = rotated(early, 7) ^ rotated(early, 18) ^ (early >>> 3);
      const large = rotated(late, 17) ^ rotated(late, 19) ^ (late >>> 10);
      schedule[i] = (schedule[i - 16] + small + schedule[i - 7] + large) | 0;
    }
    let a = state[0], b = state[1], c = state[2], d = state[3];
    let e = state[4], f = state[5], g = state[6], h = state[7];
    for (let i = 0; i < 64; i++) {
      const upper = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
      const first = (h + upper + ((e & f) ^ (~e & g)) + ROUND[i] + schedule[i]) | 0;
      const lower = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
      const second = (lower + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g; g = f; f = e; e = (d + first) | 0;
      d = c; c = b; b = a; a = (first + second) | 0;
    }
    state[0] += a; state[1] += b; state[2] += c; state[3] += d;
    state[4] += e; state[5] += f; state[6] += g; state[7] += h;
  };
  const whole = message.length & ~63;
  for (let start = 0; start < whole; start += 64) block(message, start);
  // The rest, a bit, zeros, and the length in bits.
  const rest = message.length - whole;
  const tail = new Uint8Array(rest < 56 ? 64 : 128);
  tail.set(message.subarray(whole));
  tail[rest] = 0x80;
  const view = new DataView(tail.buffer);
  view.setUint32(tail.length - 8, message.length >>> 29);
  view.setUint32(tail.length - 4, message.length << 3);
  for (let start = 0; start < tail.length; start += 64) block(tail, start);
  return state;
}

function digestOf({ type, data }) {
  const array = type === "i64" ? BigInt64Array.from(data, BigInt) : data;
  const words = sha256(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return [...words.subarray(0, 2)].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

const table = Int32Array.from({ length: 256 }, (_, byte) => {
  let bits = byte
  for (let i = 0; i < 8; i++) bits = bits & 1 ? (bits >>> 1) ^ 0xedb88320 : bits >>> 1
  return bits
})

/**
 * The checksum of gzip and zip over `bytes`, going on from that of the bytes before them.
 * Source: RFC 1952, section 8.
 */
export function crc32(bytes: Uint8Array, before = 0): number {
  let bits = ~before
  for (let i = 0; i < bytes.length; i++) bits = table[(bits ^ bytes[i]!) & 255]! ^ (bits >>> 8)
  return ~bits >>> 0
}

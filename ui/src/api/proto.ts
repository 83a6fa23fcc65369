// SelectMergeProfileRequest in protobuf: the one request whose answer is saved as it comes.

/** Fields 1 profile_typeID, 2 label_selector, 3 start and 4 end in milliseconds. */
export function encodeSelectMergeProfile(type: string, selector: string, startMs: number, endMs: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([...text(1, type), ...text(2, selector), ...integer(3, startMs), ...integer(4, endMs)]);
}

function text(field: number, value: string): number[] {
  const bytes = new TextEncoder().encode(value);
  return [...varint((field << 3) | 2), ...varint(bytes.length), ...bytes];
}

function integer(field: number, value: number): number[] {
  return [...varint(field << 3), ...varint(value)];
}

// Shifts would cut at 32 bits: milliseconds since the epoch have 41.
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 0x80; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
  bytes.push(value);
  return bytes;
}

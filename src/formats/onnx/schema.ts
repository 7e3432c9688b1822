/**
 * Field numbers of ONNX's protobuf messages, as far as they are interpreted here; all others are carried along.
 * Source: the ONNX specification, IR version 13.
 */
export const model = {
  irVersion: 1,
  producerName: 2,
  producerVersion: 3,
  graph: 7,
  opsetImport: 8,
  functions: 25,
} as const

export const opsetId = { domain: 1, version: 2 } as const

export const graph = {
  node: 1,
  name: 2,
  initializer: 5,
  input: 11,
  output: 12,
  valueInfo: 13,
  sparseInitializer: 15,
} as const

export const node = {
  input: 1,
  output: 2,
  name: 3,
  opType: 4,
  attribute: 5,
  domain: 7,
  overload: 8,
  metadata: 9,
} as const

export const attribute = {
  name: 1,
  f: 2,
  i: 3,
  s: 4,
  t: 5,
  g: 6,
  floats: 7,
  ints: 8,
  strings: 9,
  graphs: 11,
  type: 20,
  reference: 21,
} as const

/** Values of AttributeProto.type. */
export const attributeType = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  graphs: 10,
} as const

export const tensor = {
  dims: 1,
  dataType: 2,
  floatData: 4,
  int32Data: 5,
  stringData: 6,
  int64Data: 7,
  name: 8,
  rawData: 9,
  doubleData: 10,
  uint64Data: 11,
  externalData: 13,
  dataLocation: 14,
} as const

export const valueInfo = { name: 1, type: 2 } as const
export const type = { tensor: 1, sequence: 4 } as const
export const sequenceType = { elementType: 1 } as const
export const tensorType = { elementType: 1, shape: 2 } as const
export const shape = { dim: 1 } as const
export const dim = { value: 1, parameter: 2 } as const
export const entry = { key: 1, value: 2 } as const

export const localFunction = {
  name: 1,
  input: 4,
  output: 5,
  attribute: 6,
  node: 7,
  opsetImport: 9,
  domain: 10,
  attributeProto: 11,
  overload: 13,
} as const

export { onnx } from './onnx.ts'
export { readModel } from './read.ts'
export { concat } from './wire.ts'
export { applyToFile, encodeInMemory, encodeModel } from './write.ts'

export { pt2 } from './pt2.ts'

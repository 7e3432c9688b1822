import { defineErrorTable } from './error-table.ts'
import { table6 as published, table6Betas } from './published.ts'

/**
 * Test error with Uout before the last convolution of every block.
 * Source: Li et al., arXiv:1801.05134, table 6.
 */
export const table6 = defineErrorTable({
  id: 'li-2018/table-6',
  claim: 'Uout does no harm before the last convolution of every block.',
  table: 'table 6',
  minutes: { smoke: 2, small: 80, paper: 70_000 },
  noise: 'uout',
  placement: 'before-weight',
  parameter: 'beta',
  values: table6Betas,
  smallValues: [0, 0.1, 0.5],
  published,
})

import { defineErrorTable } from './error-table.ts'
import { table4 as published, table4Ratios } from './published.ts'

/**
 * Test error with one Dropout after the last norm.
 * Source: Li et al., arXiv:1801.05134, table 4.
 */
export const table4 = defineErrorTable({
  id: 'li-2018/table-4',
  claim: 'One Dropout after the last norm does no harm.',
  table: 'table 4',
  minutes: { smoke: 2, small: 80, paper: 70_000 },
  noise: 'dropout',
  placement: 'head-after-pool',
  parameter: 'ratio',
  values: table4Ratios,
  smallValues: [0, 0.5],
  published,
})

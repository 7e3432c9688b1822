import { expect, test } from 'vitest'
import { UserError } from '../../ir/errors.ts'
import { defineStudy } from '../define-study.ts'
import type { Queue } from './queue.ts'
import { runStudy } from './run-study.ts'
import { type CellStore, keyOfCell, type StoredCell } from './store.ts'

type P = { readonly n: number }

const squares = defineStudy<P, { square: number }>({
  id: 'squares',
  claim: '',
  source: '',
  method: '',
  needsData: false,
  minutes: { smoke: 0, small: 0, paper: 0 },
  grid: () => [5, 1, 4, 2, 3].map((n) => ({ n })),
  experiment: { id: 'squares', version: 1, run: async ({ n }) => ({ square: n * n }) },
  summarise: (cells) => ({
    tables: [
      {
        title: 'Squares',
        columns: ['n', 'square'],
        rows: cells.map(({ parameters, outcome }) => [parameters.n, outcome?.square ?? null]),
      },
    ],
    figures: [],
    conclusions: [],
  }),
})

function memoryStore(): CellStore & { readonly cells: Map<string, StoredCell> } {
  const cells = new Map<string, StoredCell>()
  return {
    cells,
    read: async (key) => cells.get(key),
    write: async (key, cell) => void cells.set(key, cell),
  }
}

/** Cells finish in an order that has nothing to do with the grid's. */
function shuffledQueue(
  slots: number,
  fails: (n: number) => boolean = () => false,
): Queue & { ran: number[] } {
  const ran: number[] = []
  return {
    ran,
    slots,
    async execute({ parameters }) {
      const { n } = parameters as P
      await new Promise((resolve) => setTimeout(resolve, (n * 7) % 5))
      ran.push(n)
      if (fails(n)) throw new UserError(`no square of ${n}`)
      return { square: n * n }
    },
    close: async () => {},
  }
}

const options = { budget: 'smoke', data: undefined, command: '', machine: '' } as const
const idle = () => new AbortController().signal
const withoutTimes = (result: unknown) =>
  JSON.stringify(result, (key, value) => (key === 'durationMs' ? undefined : value))

test('the result does not depend on the order in which cells finish', async () => {
  const results = await Promise.all(
    [1, 2, 5].map((slots) =>
      runStudy(squares, { ...options, queue: shuffledQueue(slots), store: memoryStore(), signal: idle() }),
    ),
  )
  expect(results[0]!.tables[0]!.rows).toEqual([5, 1, 4, 2, 3].map((n) => [n, n * n]))
  expect(new Set(results.map(withoutTimes)).size).toBe(1)
})

test('no cell is run twice, and an aborted study goes on where it stopped', async () => {
  const store = memoryStore()
  const controller = new AbortController()
  const first = shuffledQueue(1)
  const stopped = await runStudy(squares, {
    ...options,
    queue: first,
    store,
    signal: controller.signal,
    onProgress: ({ done }) => done === 2 && controller.abort(),
  })
  expect(stopped.notRun).toBe(3)
  const second = shuffledQueue(2)
  const whole = await runStudy(squares, { ...options, queue: second, store, signal: idle() })
  expect([...first.ran, ...second.ran].sort()).toEqual([1, 2, 3, 4, 5])
  const undisturbed = await runStudy(squares, {
    ...options,
    queue: shuffledQueue(1),
    store: memoryStore(),
    signal: idle(),
  })
  expect(withoutTimes(whole)).toBe(withoutTimes(undisturbed))
})

test('a cell that fails is told and not kept; the others count', async () => {
  const store = memoryStore()
  const result = await runStudy(squares, {
    ...options,
    queue: shuffledQueue(2, (n) => n === 4),
    store,
    signal: idle(),
  })
  expect(result.notRun).toBe(1)
  expect(result.cells.filter(({ error }) => error).map(({ error }) => error)).toEqual(['no square of 4'])
  expect(store.cells.size).toBe(4)
})

test('what determines a cell determines its key', async () => {
  const key = await keyOfCell(squares, { n: 1, seed: 2 }, undefined)
  expect(await keyOfCell(squares, { seed: 2, n: 1 }, undefined)).toBe(key)
  for (const other of [
    keyOfCell(squares, { n: 1, seed: 3 }, undefined),
    keyOfCell(squares, { n: 1, seed: 2 }, 'data'),
    keyOfCell({ experiment: { ...squares.experiment, version: 2 } }, { n: 1, seed: 2 }, undefined),
    keyOfCell({ experiment: { ...squares.experiment, id: 'cubes' } }, { n: 1, seed: 2 }, undefined),
  ])
    expect(await other).not.toBe(key)
})

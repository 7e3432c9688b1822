import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { studySchema } from '../../src/result/study.ts'

const main = new URL('../../dist/cli/main.js', import.meta.url).pathname

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'varshift-study-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const args = (output: string, store: string) => [
  main,
  ...['study', 'formula', '--budget', 'smoke', '--workers', '2', '--quiet'],
  ...['--store', join(folder, store), '-o', join(folder, output)],
]

/** What the study found, without what is the run's own: times and the count of workers. */
function found(output: string): unknown {
  const { cells, tables, conclusions } = JSON.parse(readFileSync(join(folder, output), 'utf8'))
  return { tables, conclusions, cells: cells.map((cell: object) => ({ ...cell, durationMs: undefined })) }
}

const cellsIn = (store: string) =>
  existsSync(join(folder, store))
    ? readdirSync(join(folder, store)).filter((name) => name.endsWith('.json')).length
    : 0

const until = async (done: () => boolean) => {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 20))
}

const ended = (child: ChildProcess) =>
  new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)))

const childrenOf = (pid: number): number[] =>
  execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .flatMap(([own, parent]) => (parent === pid ? [own!] : []))

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0)
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

test('a study that trains runs on made-up pictures, and its page is one file', {
  timeout: 300_000,
}, async () => {
  const page = join(folder, 'page.html')
  const child = spawn(
    process.execPath,
    [
      main,
      'study',
      'update-bn',
      '--quiet',
      '--store',
      join(folder, 'cells'),
      '-o',
      join(folder, 'r.json'),
      '--html',
      page,
    ],
    { stdio: 'ignore' },
  )
  expect(await ended(child)).toBe(0)
  const result = studySchema.parse(JSON.parse(readFileSync(join(folder, 'r.json'), 'utf8')))
  expect(result.notRun).toBe(0)
  expect(result.conclusions.length).toBeGreaterThan(0)
  const html = readFileSync(page, 'utf8')
  expect(html).toContain('<svg class="figure wide"')
  expect(html).not.toMatch(/(?:src|href)="http/)
})

// The processes are watched through ps and /proc.
describe.skipIf(process.platform !== 'linux')('a study that is killed', () => {
  test('goes on to the same result, whoever dies', { timeout: 300_000 }, async () => {
    const undisturbed = spawn(process.execPath, args('a.json', 'a'), { stdio: 'ignore' })
    expect(await ended(undisturbed)).toBe(0)

    // A worker dies: the parent gives its cell to another.
    const second = spawn(process.execPath, args('b.json', 'b'), { stdio: 'ignore' })
    await until(() => cellsIn('b') >= 2)
    const [victim] = childrenOf(second.pid!)
    process.kill(victim!, 'SIGKILL')
    expect(await ended(second)).toBe(0)
    expect(found('b.json')).toEqual(found('a.json'))

    // The parent dies: its workers leave, and the same command goes on.
    const third = spawn(process.execPath, args('c.json', 'c'), { stdio: 'ignore' })
    await until(() => cellsIn('c') >= 3)
    const workers = childrenOf(third.pid!)
    expect(workers.length).toBeGreaterThan(0)
    third.kill('SIGKILL')
    await ended(third)
    await until(() => workers.every((pid) => !isAlive(pid)))
    const kept = cellsIn('c')
    expect(kept).toBeLessThan(cellsIn('a'))
    expect(await ended(spawn(process.execPath, args('c.json', 'c'), { stdio: 'ignore' }))).toBe(0)
    expect(found('c.json')).toEqual(found('a.json'))
  })
})

// What the drivers in Node share: the scenarios' loop, members of groups, and how what was seen is written down.

import { readFileSync, writeSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'

export const PATIENCE_MS = 20000

export const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

// This client cannot do that.
export class Skip extends Error {}

// An error with the protocol's name, as the scenarios write it.
export class Failed extends Error {
  constructor (name, text = '') {
    super(text)
    this.name = name
  }
}

// What `work` gives, or an error after a while.
export function bounded (work, ms = PATIENCE_MS) {
  let timer
  const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error('no answer in time')), ms) })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

const text = data => (data === null || data === undefined ? null : Buffer.from(data).toString('utf8'))
const encoded = value => (value === null ? null : Buffer.from(value, 'utf8'))

// A member of a group, which reads by itself. A driver's readAsMember starts it and gives what ends it.
class Member {
  constructor (step, topic) {
    Object.assign(this, { step, topic, partitions: new Set(), asked: new Set(), error: null })
  }
}

export class Base {
  constructor (bootstrap) {
    Object.assign(this, { bootstrap, prefix: '', generated: new Map(), members: new Map(), values: [] })
  }

  async main () {
    const scenarios = JSON.parse(readFileSync(0, 'utf8'))
    for (const [number, scenario] of scenarios.entries()) {
      this.prefix = `${process.argv[3]}-${number}-`
      writeSync(1, JSON.stringify(await this.run(scenario)) + '\n')
    }
    process.exit(0)
  }

  async run (scenario) {
    this.generated = new Map()
    this.members = new Map()
    this.values = []
    const report = { scenario: scenario.name, observed: [] }
    Object.assign(report, await this.steps(scenario.steps, report.observed))
    for (const member of this.members.values()) await bounded(member.end(), 5000).catch(() => {})
    return report
  }

  async steps (steps, observed) {
    for (const [index, step] of steps.entries()) {
      const where = `step ${index + 1} (${step.do}): `
      try {
        const seen = await this.untilSeen(step)
        if (step.error) return { outcome: 'failed', reason: `${where}no ${step.error}` }
        observed.push(seen ?? null)
      } catch (error) {
        if (error instanceof Skip) return { outcome: 'skip', reason: error.message }
        const failed = this.named(error)
        if (failed.name !== step.error) return { outcome: 'failed', reason: `${where}${failed.name}: ${failed.message}` }
        observed.push(failed.name)
      }
    }
    return { outcome: 'ok' }
  }

  // One step; one with "until" again and again, until that is seen or patience ends.
  async untilSeen (step) {
    const deadline = Date.now() + PATIENCE_MS
    while (true) {
      const seen = await this.carryOut(step)
      if (!('until' in step) || isDeepStrictEqual(seen, step.until) || Date.now() > deadline) return seen
      await pause(100)
    }
  }

  async carryOut (step) {
    if (typeof this[step.do] !== 'function') throw new Skip(`the client has no call for \`${step.do}\``)
    return bounded(this[step.do](step, 'topic' in step ? this.prefix + step.topic : null), PATIENCE_MS * 2)
  }

  async pause (step) {
    await pause(step.ms)
  }

  own (names) {
    return names.filter(name => name.startsWith(this.prefix)).map(name => name.slice(this.prefix.length)).sort()
  }

  // ---- Members of groups ---------------------------------------------------------------------------------------------

  async join (step, topic) {
    const member = new Member(step, topic)
    this.members.set(step.member, member)
    member.end = async () => {}
    member.end = await this.readAsMember(member, step, topic)
  }

  async leave (step) {
    const member = this.members.get(step.member)
    this.members.delete(step.member)
    await bounded(member.end())
  }

  async restart (step) {
    const { step: joined, topic } = this.members.get(step.member)
    await this.leave(step)
    await this.join(joined, topic)
  }

  async assigned () {
    this.throwMembersErrors()
    const shares = [...this.members.values()].map(member => member.partitions)
    const all = new Set(shares.flatMap(share => [...share]))
    const sizes = shares.map(share => share.size).sort((a, b) => a - b)
    return sizes.reduce((sum, size) => sum + size, 0) === all.size ? sizes : 'overlap'
  }

  async seen () {
    this.throwMembersErrors()
    const records = new Set(this.values).size
    return { records, twice: this.values.length - records }
  }

  async disturbed (step) {
    let changed = false
    for (const name of step.members) {
      const member = this.members.get(name)
      changed ||= !isDeepStrictEqual(member.partitions, member.asked)
      member.asked = member.partitions
    }
    return changed
  }

  throwMembersErrors () {
    for (const member of this.members.values()) if (member.error) throw member.error
  }

  // ---- Records -------------------------------------------------------------------------------------------------------

  wanted (step, topic) {
    const records = (step.records ?? []).map(([partition, key, value, ...headers], number) => ({
      partition, key: encoded(key), value: encoded(value), headers: headers.map(([name, header]) => [name, encoded(header)]),
      timestamp: step.timestamps?.[number]
    }))
    const generate = step.generate ?? { count: 0 }
    for (let i = 0; i < generate.count; i++) {
      const number = this.generated.get(topic) ?? 0
      this.generated.set(topic, number + 1)
      records.push({
        partition: generate.partition, key: generate.keys ? Buffer.from(`k${number % generate.keys}`) : null,
        value: Buffer.from(String(number).padEnd(generate.value_bytes, '.')), headers: []
      })
    }
    return records
  }

  // How a step shows what was read: { partition, offset, key, value, headers: [[name, value]], timestamp }.
  shown (step, records) {
    records.sort((a, b) => a.partition - b.partition || Number(a.offset) - Number(b.offset))
    if (step.summary) return this.summary(records)
    return records.map(record => {
      const line = [record.partition, Number(record.offset), text(record.key), text(record.value)]
      line.push(...record.headers.map(([name, value]) => [name, text(value)]))
      if (step.timestamps === 'recent') line.push(Math.abs(Date.now() - Number(record.timestamp)) < 60000 ? 'recent' : 'not recent')
      else if (step.timestamps) line.push(Number(record.timestamp))
      return line
    })
  }

  summary (records) {
    const number = record => parseInt(text(record.value).replace(/\.*$/, ''), 10)
    const byPartition = {}
    for (const { partition } of records) byPartition[partition] = (byPartition[partition] ?? 0) + 1
    return {
      records: records.length,
      value_bytes: records.reduce((sum, record) => sum + record.value.length, 0),
      in_order: records.every((record, i) => i === 0 || records[i - 1].partition !== record.partition || number(records[i - 1]) < number(record)),
      first: records.length ? Number(records[0].offset) : -1,
      last: records.length ? Number(records.at(-1).offset) : -1,
      by_partition: byPartition
    }
  }
}

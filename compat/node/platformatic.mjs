// Carries out compat/scenarios.json with @platformatic/kafka. See compat/README.md.

import { Admin, Consumer, MessagesStreamFallbackModes, MessagesStreamModes, Producer } from '@platformatic/kafka'
import { randomUUID } from 'node:crypto'
import zlib from 'node:zlib'
import { Base, Failed, PATIENCE_MS, Skip, pause } from './base.mjs'

const TOPIC = 2
const BROKER = 4
const OPERATIONS = { set: 0, delete: 1, append: 2, subtract: 3 }
const SOURCES = { 1: 'DYNAMIC_TOPIC_CONFIG', 4: 'STATIC_BROKER_CONFIG', 5: 'DEFAULT_CONFIG' }
// What is produced at once becomes a batch a partition, however large.
const BATCH_RECORDS = 500

class Driver extends Base {
  constructor (bootstrap) {
    super(bootstrap)
    this.options = { clientId: 'compat', bootstrapBrokers: [bootstrap], retries: 3, retryDelay: 100, timeout: 10000, metadataMaxAge: 0 }
    this.admin = new Admin(this.options)
  }

  named (error) {
    const find = one => one?.apiId ?? [...(one?.errors ?? []), one?.cause].filter(Boolean).map(find).find(Boolean)
    return new Failed(find(error) ?? error.code ?? error.name, error.errors?.[0]?.message ?? error.message)
  }

  // ---- Cluster, topics, settings -------------------------------------------------------------------------------------

  async describe_cluster () {
    const { id, brokers, controllerId } = await this.admin.metadata({ topics: [], forceUpdate: true })
    return { nodes: brokers.size, controller_is_node: brokers.has(controllerId), has_cluster_id: !!id }
  }

  async create_topic (step, topic) {
    const configs = Object.entries(step.configs ?? {}).map(([name, value]) => ({ name, value }))
    await this.admin.createTopics({ topics: [topic], partitions: step.partitions, replicas: -1, configs })
  }

  async partitions (topic) {
    return (await this.admin.metadata({ topics: [topic], forceUpdate: true })).topics.get(topic).partitions
  }

  async describe_topic (step, topic) {
    const partitions = await this.partitions(topic)
    return { partitions: partitions.length, replicas: partitions[0].replicas.length, leaders: partitions.every(({ leader }) => leader >= 0) }
  }

  async list_topics () {
    return this.own(await this.admin.listTopics())
  }

  async delete_topic (step, topic) {
    await this.admin.deleteTopics({ topics: [topic] })
  }

  async create_partitions (step, topic) {
    await this.admin.createPartitions({ topics: [{ name: topic, count: step.partitions, assignments: null }] })
  }

  async controller () {
    return String((await this.admin.metadata({ topics: [], forceUpdate: true })).controllerId)
  }

  async configs (resourceType, resourceName, configurationKeys) {
    const [{ configs }] = await this.admin.describeConfigs({ resources: [{ resourceType, resourceName, configurationKeys }] })
    return Object.fromEntries(configs.map(config => [config.name, config]))
  }

  async describe_configs (step, topic) {
    const found = await this.configs(TOPIC, topic, step.names)
    return Object.fromEntries(step.names.map(name => [name, [found[name].value, SOURCES[found[name].configSource]]]))
  }

  async describe_broker_configs (step) {
    const found = await this.configs(BROKER, await this.controller(), step.names)
    return Object.fromEntries(step.names.map(name => [name, found[name].value]))
  }

  async alter (resourceType, resourceName, step) {
    const configs = (step.delete ?? []).map(name => ({ name, configOperation: OPERATIONS.delete }))
    for (const kind of ['set', 'append', 'subtract']) {
      configs.push(...Object.entries(step[kind] ?? {}).map(([name, value]) => ({ name, value, configOperation: OPERATIONS[kind] })))
    }
    await this.admin.incrementalAlterConfigs({ resources: [{ resourceType, resourceName, configs }] })
  }

  async alter_configs (step, topic) {
    await this.alter(TOPIC, topic, step)
  }

  async alter_broker_configs (step) {
    await this.alter(BROKER, await this.controller(), step)
  }

  async log_dirs (step, topic) {
    const partitions = (await this.partitions(topic)).map((_, number) => number)
    const [{ results }] = await this.admin.describeLogDirs({ topics: [{ name: topic, partitions }] })
    const found = results.flatMap(({ topics }) => topics.flatMap(one => one.partitions))
    return { dirs: results.length, partitions: found.length, all_have_size: found.every(({ partitionSize }) => partitionSize > 0n) }
  }

  // ---- Records -------------------------------------------------------------------------------------------------------

  producer (step, more = {}) {
    if (step.codec === 'zstd' && !zlib.zstdCompressSync) throw new Skip('the client needs a newer Node for zstd')
    return new Producer({
      ...this.options, idempotent: step.idempotent ?? false, acks: { 0: 0, 1: 1 }[step.acks] ?? -1, compression: step.codec ?? 'none',
      autocreateTopics: true, ...more
    })
  }

  async produce (step, topic) {
    const producer = this.producer(step)
    try {
      // One partition at a time: where one of several is refused (a new topic's, for a moment), the client sends all again.
      for (let rest = this.messages(step, topic); rest.length;) {
        const [{ partition }] = rest
        const messages = rest.filter(message => message.partition === partition).slice(0, BATCH_RECORDS)
        rest = rest.filter(message => !messages.includes(message))
        await producer.send({ messages })
      }
    } finally {
      await producer.close()
    }
  }

  async transaction (step, topic) {
    // The client fences its own earlier producers of the same id, so that there is one for all.
    const transactionalId = this.prefix + step.id
    if (this.transactional?.transactionalId !== transactionalId) {
      this.transactional = { transactionalId, producer: this.producer(step, { idempotent: true, transactionalId }) }
    }
    const transaction = await this.transactional.producer.beginTransaction()
    await transaction.send({ messages: this.messages(step, topic) })
    await (step.end === 'commit' ? transaction.commit() : transaction.abort())
  }

  messages (step, topic) {
    return this.wanted(step, topic).map(({ partition, key, value, headers, timestamp }) => {
      const names = headers.map(([name]) => name)
      if (new Set(names).size < names.length) throw new Skip('the client keeps one header of each name')
      return {
        topic, partition, key: key ?? undefined, value: value ?? undefined,
        headers: new Map(headers.map(([name, header]) => [Buffer.from(name), header])),
        ...(timestamp === undefined ? {} : { timestamp: BigInt(timestamp) })
      }
    })
  }

  consumer (step) {
    if (step.assignor === 'cooperative') throw new Skip('the client has no cooperative assignment')
    const classic = { groupProtocol: 'classic', sessionTimeout: 10000, rebalanceTimeout: 10000, heartbeatInterval: 500 }
    const consumer = new Consumer({
      ...this.options, groupId: this.prefix + (step.group ?? `none-${randomUUID()}`), maxWaitTime: 200, autocommit: false,
      isolationLevel: step.isolation === 'read_committed' ? 1 : 0,
      ...(step.protocol === 'consumer' ? { groupProtocol: 'consumer' } : classic),
      ...(step.instance ? { groupInstanceId: step.instance } : {})
    })
    consumer.on('error', () => {})
    return consumer
  }

  async consume (step, topic) {
    const consumer = this.consumer(step)
    const records = []
    let failed = null
    try {
      const offsets = await this.positions(step, topic)
      const stream = await consumer.consume({
        topics: [topic], autocommit: false,
        ...(offsets
          ? { mode: MessagesStreamModes.MANUAL, offsets }
          : { mode: step.group ? MessagesStreamModes.COMMITTED : MessagesStreamModes.EARLIEST, fallbackMode: MessagesStreamFallbackModes.EARLIEST })
      })
      stream.on('data', message => records.push(message))
      stream.on('error', error => { failed = error })
      if (step.produce_meanwhile) await this.produce({ records: step.produce_meanwhile }, topic)
      const deadline = Date.now() + PATIENCE_MS
      while (records.length < step.count && Date.now() < deadline && !failed) await pause(20)
      if (failed) throw failed
      // More than was asked for is seen too, if it is there.
      await pause(300)
      const commits = Object.entries(step.commit_at ?? {}).map(([partition, offset]) => [Number(partition), BigInt(offset)])
      if (step.commit) commits.push(...records.map(({ partition, offset }) => [partition, offset + 1n]))
      await this.commit(consumer, topic, commits)
    } finally {
      await consumer.close(true)
    }
    return this.shown(step, records.map(message => this.record(message)))
  }

  async commit (consumer, topic, commits) {
    const newest = new Map()
    for (const [partition, offset] of commits) if (!(offset < newest.get(partition))) newest.set(partition, offset)
    const offsets = [...newest].map(([partition, offset]) => ({ topic, partition, offset, leaderEpoch: 0 }))
    if (offsets.length) await consumer.commit({ offsets })
  }

  // Where to begin, by hand, or null where that is left to the client.
  async positions (step, topic) {
    if (step.seek) return Object.entries(step.seek).map(([partition, offset]) => ({ topic, partition: Number(partition), offset: BigInt(offset) }))
    if (step.from === undefined || step.from === 'beginning') return null
    const found = await this.list_offsets({ at: step.from === 'end' ? 'latest' : step.from }, topic)
    return Object.entries(found).map(([partition, offset]) => ({ topic, partition: Number(partition), offset: BigInt(offset) }))
  }

  record ({ partition, offset, key, value, headers, timestamp }) {
    return { partition, offset, key, value, timestamp, headers: [...headers].map(([name, header]) => [name.toString(), header]) }
  }

  async readAsMember (member, step, topic) {
    const consumer = this.consumer(step)
    const take = () => {
      member.partitions = new Set((consumer.assignments ?? []).filter(one => one.topic === topic).flatMap(one => one.partitions))
    }
    for (const event of ['consumer:group:join', 'consumer:group:rebalance', 'consumer:group:rejoin', 'consumer:heartbeat:end']) consumer.on(event, take)
    // Joining takes as long as the others take, who may be joining too.
    const started = consumer.consume({
      topics: [topic], autocommit: false, mode: MessagesStreamModes.COMMITTED, fallbackMode: MessagesStreamFallbackModes.EARLIEST
    })
    const reading = started.then(async stream => {
      take()
      for await (const message of stream) {
        await this.commit(consumer, topic, [[message.partition, message.offset + 1n]])
        this.values.push(message.value.toString())
      }
    })
    let ending = false
    reading.catch(error => { if (!ending) member.error = error })
    return async () => {
      ending = true
      await consumer.close(true)
    }
  }

  // ---- Offsets and groups --------------------------------------------------------------------------------------------

  async list_offsets (step, topic) {
    const timestamp = BigInt({ earliest: -2, latest: -1 }[step.at] ?? step.at)
    const partitions = (await this.partitions(topic)).map((_, partitionIndex) => ({ partitionIndex, timestamp }))
    const [found] = await this.admin.listOffsets({ topics: [{ name: topic, partitions }] })
    return Object.fromEntries(found.partitions.map(({ partitionIndex, offset }) => [partitionIndex, Number(offset)]))
  }

  async delete_records (step, topic) {
    const partitions = Object.entries(step.before).map(([partition, offset]) => ({ partition: Number(partition), offset: BigInt(offset) }))
    await this.admin.deleteRecords({ topics: [{ name: topic, partitions }] })
  }

  async committed (step, topic) {
    let groups
    try {
      groups = await this.admin.listConsumerGroupOffsets({ groups: [this.prefix + step.group] })
    } catch (error) {
      if (this.named(error).name === 'GROUP_ID_NOT_FOUND') return {}
      throw error
    }
    const partitions = groups[0].topics.filter(({ name }) => name === topic).flatMap(one => one.partitions)
    partitions.sort((a, b) => a.partitionIndex - b.partitionIndex)
    return Object.fromEntries(partitions.map(one => [one.partitionIndex, Number(one.committedOffset)]).filter(([, offset]) => offset >= 0))
  }

  async reset_offsets (step, topic) {
    const partitionOffsets = Object.entries(step.to).map(([partition, offset]) => ({ partition: Number(partition), offset: BigInt(offset) }))
    await this.admin.alterConsumerGroupOffsets({ groupId: this.prefix + step.group, topics: [{ name: topic, partitionOffsets }] })
  }

  async delete_offsets (step, topic) {
    await this.admin.deleteConsumerGroupOffsets({ groupId: this.prefix + step.group, topics: [{ name: topic, partitionIndexes: step.partitions }] })
  }

  async list_groups () {
    return this.own([...(await this.admin.listGroups()).keys()])
  }

  async describe_group (step) {
    const group = this.prefix + step.group
    return (await this.admin.describeGroups({ groups: [group] })).get(group).state.toUpperCase()
  }

  async delete_group (step) {
    await this.admin.deleteGroups({ groups: [this.prefix + step.group] })
  }
}

process.on('uncaughtException', () => {})
process.on('unhandledRejection', () => {})
await new Driver(process.argv[2]).main()

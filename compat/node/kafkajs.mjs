// Carries out compat/scenarios.json with kafkajs. See compat/README.md.

import * as zstd from '@bokuweb/zstd-wasm'
import { lz4Compress, lz4Decompress } from '@platformatic/wasm-utils'
import kafkajs from 'kafkajs'
import snappy from 'snappyjs'
import { randomUUID } from 'node:crypto'
import { Base, Failed, PATIENCE_MS, Skip, pause } from './base.mjs'

const { CompressionTypes, CompressionCodecs, ConfigResourceTypes, Kafka, Partitioners, logLevel } = kafkajs
const BATCH_RECORDS = 500
const SOURCES = { 1: 'DYNAMIC_TOPIC_CONFIG', 4: 'STATIC_BROKER_CONFIG', 5: 'DEFAULT_CONFIG' }

// kafkajs leaves all codecs but gzip to its user.
await zstd.init()
const codec = (compress, decompress) => () => ({
  compress: async encoder => Buffer.from(compress(encoder.buffer)), decompress: async buffer => Buffer.from(decompress(buffer))
})
CompressionCodecs[CompressionTypes.Snappy] = codec(buffer => snappy.compress(buffer), unsnap)
CompressionCodecs[CompressionTypes.LZ4] = codec(lz4Compress, lz4Decompress)
CompressionCodecs[CompressionTypes.ZSTD] = codec(buffer => zstd.compress(buffer), buffer => zstd.decompress(buffer))

// Kafka's other clients frame snappy as the Java library does: 8 bytes of magic, two versions, then blocks with sizes.
function unsnap (buffer) {
  if (buffer.subarray(1, 7).toString() !== 'SNAPPY') return snappy.uncompress(buffer)
  const blocks = []
  for (let at = 16; at < buffer.length;) {
    const size = buffer.readUInt32BE(at)
    blocks.push(snappy.uncompress(buffer.subarray(at + 4, at + 4 + size)))
    at += 4 + size
  }
  return Buffer.concat(blocks)
}

class Driver extends Base {
  constructor (bootstrap) {
    super(bootstrap)
    this.kafka = new Kafka({
      brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 4, initialRetryTime: 100 }, requestTimeout: 15000
    })
    this.admin = this.kafka.admin()
  }

  named (error) {
    let root = error
    const below = one => one.errors?.[0] ?? one.partitions?.[0]?.error ?? one.cause
    while (!root.type && below(root)) root = below(root)
    return new Failed(root.type ?? root.name, root.message)
  }

  // ---- Cluster, topics, settings -------------------------------------------------------------------------------------

  async describe_cluster () {
    const { brokers, controller, clusterId } = await this.admin.describeCluster()
    return { nodes: brokers.length, controller_is_node: brokers.some(({ nodeId }) => nodeId === controller), has_cluster_id: !!clusterId }
  }

  async create_topic (step, topic) {
    const configEntries = Object.entries(step.configs ?? {}).map(([name, value]) => ({ name, value }))
    const created = await this.admin.createTopics({
      waitForLeaders: true, topics: [{ topic, numPartitions: step.partitions, replicationFactor: -1, configEntries }]
    })
    // The client tells this one error by its answer.
    if (!created) throw new Failed('TOPIC_ALREADY_EXISTS')
  }

  async partitions (topic) {
    return (await this.admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions
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
    await this.admin.createPartitions({ topicPartitions: [{ topic, count: step.partitions }] })
  }

  async configs (type, name, configNames) {
    const { resources } = await this.admin.describeConfigs({ resources: [{ type, name, configNames }], includeSynonyms: false })
    return Object.fromEntries(resources[0].configEntries.map(entry => [entry.configName, entry]))
  }

  async describe_configs (step, topic) {
    const found = await this.configs(ConfigResourceTypes.TOPIC, topic, step.names)
    return Object.fromEntries(step.names.map(name => [name, [found[name].configValue, SOURCES[found[name].configSource]]]))
  }

  async describe_broker_configs (step) {
    const { controller } = await this.admin.describeCluster()
    const found = await this.configs(ConfigResourceTypes.BROKER, String(controller), step.names)
    return Object.fromEntries(step.names.map(name => [name, found[name].configValue]))
  }

  async alter_configs () {
    throw new Skip('the client can only replace all settings of a topic at once')
  }

  async alter_broker_configs () {
    throw new Skip('the client can only replace all settings of a broker at once')
  }

  // ---- Records -------------------------------------------------------------------------------------------------------

  async produce (step, topic) {
    const producer = this.kafka.producer({
      idempotent: step.idempotent ?? false, maxInFlightRequests: 5, allowAutoTopicCreation: true,
      createPartitioner: Partitioners.DefaultPartitioner
    })
    await producer.connect()
    try {
      // The client makes one batch of what it is given at once, however large.
      const batch = this.batch(step, topic)
      for (let messages = batch.messages; messages.length; messages = messages.slice(BATCH_RECORDS)) {
        await producer.send({ ...batch, messages: messages.slice(0, BATCH_RECORDS), acks: { 0: 0, 1: 1 }[step.acks] ?? -1 })
      }
    } finally {
      await producer.disconnect()
    }
  }

  async transaction (step, topic) {
    const producer = this.kafka.producer({
      transactionalId: this.prefix + step.id, maxInFlightRequests: 1, createPartitioner: Partitioners.DefaultPartitioner
    })
    await producer.connect()
    try {
      const transaction = await producer.transaction()
      await transaction.send(this.batch(step, topic))
      await (step.end === 'commit' ? transaction.commit() : transaction.abort())
    } finally {
      await producer.disconnect()
    }
  }

  batch (step, topic) {
    const types = { gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy, lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD }
    const messages = this.wanted(step, topic).map(({ partition, key, value, headers, timestamp }) => {
      const names = headers.map(([name]) => name)
      if (new Set(names).size < names.length) throw new Skip('the client loses the order of headers of the same name')
      return {
        partition, key, value, headers: Object.fromEntries(headers),
        ...(timestamp === undefined ? {} : { timestamp: String(timestamp) })
      }
    })
    return { topic, messages, compression: types[step.codec] ?? CompressionTypes.None }
  }

  consumer (step) {
    if (step.group && step.protocol !== 'classic') throw new Skip('the client has only the classic protocol')
    if (step.assignor === 'cooperative') throw new Skip('the client has no cooperative assignment')
    if (step.instance) throw new Skip('the client has no static members')
    return this.kafka.consumer({
      groupId: this.prefix + (step.group ?? `none-${randomUUID()}`), sessionTimeout: 10000, heartbeatInterval: 500,
      maxWaitTimeInMs: 200, readUncommitted: step.isolation !== 'read_committed', allowAutoTopicCreation: true
    })
  }

  async consume (step, topic) {
    const consumer = this.consumer(step)
    const records = []
    let crash = null
    consumer.on(consumer.events.CRASH, ({ payload }) => { crash = payload.error })
    await consumer.connect()
    try {
      await consumer.subscribe({ topics: [topic], fromBeginning: true })
      // Seeking is allowed between run, which it needs, and the first fetch.
      const positions = step.group ? Object.entries(step.seek ?? {}) : await this.positions(step.from, topic)
      const placed = new Set()
      const start = new Map(positions.map(([partition, offset]) => [Number(partition), Number(offset)]))
      await consumer.run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          // What was fetched before the seek is not what was asked for.
          if (start.has(partition) && !placed.has(partition)) {
            if (Number(message.offset) !== start.get(partition)) return
            placed.add(partition)
          }
          records.push(this.record(partition, message))
        }
      })
      for (const [partition, offset] of start) consumer.seek({ topic, partition, offset: String(offset) })
      if (step.produce_meanwhile) await this.produce({ records: step.produce_meanwhile }, topic)
      const deadline = Date.now() + PATIENCE_MS
      while (records.length < step.count && Date.now() < deadline && !crash) await pause(20)
      if (crash) throw crash
      // More than was asked for is seen too, if it is there.
      await pause(300)
      const commits = Object.entries(step.commit_at ?? {}).map(([partition, offset]) => ({ topic, partition: Number(partition), offset: String(offset) }))
      if (step.commit) commits.push(...records.map(({ partition, offset }) => ({ topic, partition, offset: String(Number(offset) + 1) })))
      if (commits.length) await consumer.commitOffsets(commits)
    } finally {
      await consumer.disconnect()
    }
    return this.shown(step, records)
  }

  async positions (from, topic) {
    if (typeof from === 'number') {
      return (await this.admin.fetchTopicOffsetsByTimestamp(topic, from)).map(({ partition, offset }) => [partition, offset])
    }
    if (from === 'end') return (await this.admin.fetchTopicOffsets(topic)).map(({ partition, high }) => [partition, high])
    return []
  }

  record (partition, message) {
    const headers = Object.entries(message.headers ?? {})
    return { partition, offset: message.offset, key: message.key, value: message.value, headers, timestamp: message.timestamp }
  }

  async readAsMember (member, step, topic) {
    const consumer = this.consumer(step)
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => { member.partitions = new Set(payload.memberAssignment[topic] ?? []) })
    consumer.on(consumer.events.CRASH, ({ payload }) => { if (!payload.restart) member.error = payload.error })
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        await consumer.commitOffsets([{ topic, partition, offset: String(Number(message.offset) + 1) }])
        this.values.push(message.value.toString())
      }
    })
    return () => consumer.disconnect()
  }

  // ---- Offsets and groups --------------------------------------------------------------------------------------------

  async list_offsets (step, topic) {
    const found = typeof step.at === 'number'
      ? (await this.admin.fetchTopicOffsetsByTimestamp(topic, step.at)).map(({ partition, offset }) => [partition, Number(offset)])
      : (await this.admin.fetchTopicOffsets(topic)).map(({ partition, low, high }) => [partition, Number(step.at === 'earliest' ? low : high)])
    return Object.fromEntries(found)
  }

  async delete_records (step, topic) {
    const partitions = Object.entries(step.before).map(([partition, offset]) => ({ partition: Number(partition), offset: String(offset) }))
    // The call knows only leaders that another call has asked for.
    await this.admin.fetchTopicOffsets(topic)
    await this.admin.deleteTopicRecords({ topic, partitions })
  }

  async committed (step, topic) {
    const [found] = await this.admin.fetchOffsets({ groupId: this.prefix + step.group, topics: [topic] })
    return Object.fromEntries((found?.partitions ?? []).map(({ partition, offset }) => [partition, Number(offset)]).filter(([, offset]) => offset >= 0))
  }

  async reset_offsets (step, topic) {
    const partitions = Object.entries(step.to).map(([partition, offset]) => ({ partition: Number(partition), offset: String(offset) }))
    await this.admin.setOffsets({ groupId: this.prefix + step.group, topic, partitions })
  }

  async list_groups () {
    return this.own((await this.admin.listGroups()).groups.map(({ groupId }) => groupId))
  }

  async describe_group (step) {
    return (await this.admin.describeGroups([this.prefix + step.group])).groups[0].state.toUpperCase()
  }

  async delete_group (step) {
    await this.admin.deleteGroups([this.prefix + step.group]).catch(error => { throw error.groups?.[0]?.error ?? error })
  }
}

const driver = new Driver(process.argv[2])
await driver.admin.connect()
await driver.main()

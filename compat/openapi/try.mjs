// Executes every operation of the page /docs as it is filled in, in a real browser, and takes a picture: try URL PNG.
// Prints method, path and status of each; ends with 1 where one was refused.

import chromium from '@sparticuz/chromium'
import puppeteer from 'puppeteer-core'

const [, , url, picture] = process.argv
// What others rest on comes first, what takes it away last.
const first = [
  'PUT /v1/categories/{category}', 'POST /v1/streams/{category}/{stream}/events', 'PUT /v1/subscriptions/{category}/{name}',
  'PUT /v1/streams/{category}/{stream}/snapshot', 'PUT /v1/upcasters/{type}/{fromVersion}',
  'POST /v1/streams/{category}/{stream}/truncate', 'POST /v1/erasure/{subject}'
]
// Goes on for ever.
const endless = ['GET /v1/subscriptions/{category}/{name}/events']
// There is nothing to repair.
const refused = { 'POST /v1/categories/{category}/repair': 409, 'POST /v1/tables/{table}/repair': 409 }

const browser = await puppeteer.launch({
  args: [...chromium.args, '--no-sandbox'], executablePath: await chromium.executablePath(), headless: 'shell',
  defaultViewport: { width: 1300, height: 2200 }
})
const page = await browser.newPage()
const outside = []
page.on('request', request => { if (!request.url().startsWith(url) && !/^(data|blob):/.test(request.url())) outside.push(request.url()) })
page.on('pageerror', error => { console.log(`the page failed: ${error}`); process.exitCode = 1 })
await page.goto(url, { waitUntil: 'networkidle0' })
await page.waitForSelector('.opblock')
const operations = await page.$$eval('.opblock', blocks => blocks.map(block => [
  block.querySelector('.opblock-summary-method').innerText, block.querySelector('.opblock-summary-path').getAttribute('data-path'), block.id
]))
const rank = ([method, path]) => {
  const place = first.indexOf(`${method} ${path}`)
  return place >= 0 ? place : method === 'DELETE' ? 1000 : 100
}
operations.sort((a, b) => rank(a) - rank(b))
let count = 0
for (const [method, path, id] of operations) {
  const name = `${method} ${path}`
  if (endless.includes(name)) continue
  const block = await page.$(`[id="${id}"]`)
  await block.$eval('.opblock-summary-control', summary => summary.click())
  const execute = await block.waitForSelector('.execute')
  const template = new RegExp('^' + path.replace(/\{[^}]*\}/g, '[^/]+') + '$')
  const answered = page.waitForResponse(response =>
    response.request().method() === method && template.test(new URL(response.url()).pathname), { timeout: 30000 })
  await execute.evaluate(button => button.click())
  const status = (await answered).status()
  const wanted = refused[name]
  const isRight = wanted ? status === wanted : status >= 200 && status < 300
  console.log(`${isRight ? 'ok  ' : 'FAIL'} ${status} ${name}`)
  if (!isRight) process.exitCode = 1
  count += 1
  if (picture && count === 2) await page.screenshot({ path: picture })
  await block.$eval('.opblock-summary-control', summary => summary.click())
}
if (outside.length > 0) { console.log(`FAIL the page asked others: ${outside}`); process.exitCode = 1 }
if (count < 25) { console.log(`FAIL only ${count} operations were tried`); process.exitCode = 1 }
console.log(`${count} operations`)
await browser.close()

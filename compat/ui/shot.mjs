// Takes a picture of kafka-viewer with messages loaded: shot URL PNG. Prints the page's text.

import chromium from '@sparticuz/chromium'
import puppeteer from 'puppeteer-core'

const [, , url, picture] = process.argv
const browser = await puppeteer.launch({
  args: [...chromium.args, '--no-sandbox'], executablePath: await chromium.executablePath(), headless: 'shell',
  defaultViewport: { width: 1300, height: 1500 }
})
const page = await browser.newPage()
await page.goto(url, { waitUntil: 'domcontentloaded' })
const shown = text => page.waitForFunction(wanted => document.body.innerText.includes(wanted), { timeout: 60000 }, text)
await shown('Total Records')
await page.evaluate(() => [...document.querySelectorAll('button')].find(button => button.innerText.includes('Load Messages')).click())
await shown('#8 partition')
// The first message, unfolded.
await page.evaluate(() => document.querySelector('details summary')?.click())
await shown('from levada')
// It unfolds slowly.
await new Promise(resolve => setTimeout(resolve, 1000))
await page.screenshot({ path: picture })
console.log(await page.evaluate(() => document.body.innerText))
await browser.close()

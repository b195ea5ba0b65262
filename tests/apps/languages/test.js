// SPDX-License-Identifier: GPL-2.0
// A web server under load, a worker thread, WebAssembly, a child.
const assert = require("assert");
const http = require("http");
const { execFile } = require("child_process");
const { Worker, isMainThread, parentPort } = require("worker_threads");

if (!isMainThread) {
	let sum = 0;
	for (let i = 0; i < 1e6; i++)
		sum = (sum + i * 7) % 1000003;
	parentPort.postMessage(sum);
	return;
}

const get = (port, n) => new Promise((resolve, reject) => {
	http.get({ port, path: `/${n}` }, (reply) => {
		let text = "";
		reply.on("data", (part) => { text += part; });
		reply.on("end", () => resolve(text));
	}).on("error", reject);
});

(async () => {
	const server = http.createServer((request, reply) => reply.end(`hello ${request.url}`));
	await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
	const numbers = Array.from({ length: 100 }, (_, n) => n);
	const texts = await Promise.all(numbers.map((n) => get(server.address().port, n)));
	assert.deepStrictEqual(texts, numbers.map((n) => `hello /${n}`));
	server.close();
	const sum = await new Promise((resolve, reject) => {
		new Worker(__filename).on("message", resolve).on("error", reject);
	});
	assert.ok(sum > 0);
	// (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
	const code = Uint8Array.from(Buffer.from(
		"0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b", "hex"));
	const { instance } = await WebAssembly.instantiate(code);
	assert.strictEqual(instance.exports.add(40, 2), 42);
	await new Promise((resolve, reject) => {
		execFile("/bin/sh", ["-c", "echo $((6 * 7))"], (error, text) => {
			try {
				assert.ifError(error);
				assert.strictEqual(text, "42\n");
				resolve();
			} catch (wrong) {
				reject(wrong);
			}
		});
	});
	console.log("all passed");
})().catch((error) => {
	console.log("failed:", error);
	process.exit(1);
});

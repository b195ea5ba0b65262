// SPDX-License-Identifier: GPL-2.0
// A web server of one thread.
const http = require("http");

function answer(number) {
	let total = 0;
	for (let each = 0; each < 2000 + number; each++)
		total = (total + each * 7) % 1000003;
	return `${number} ${total}\n`.repeat(100);
}

http.createServer((request, reply) => {
	const body = answer(Number(request.url.slice(1)));
	reply.writeHead(200, { "Content-Length": body.length });
	reply.end(body);
}).listen(8000, "0.0.0.0", () => console.log("serving"));

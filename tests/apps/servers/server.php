<?php
// SPDX-License-Identifier: GPL-2.0
// What the web server of PHP answers; `php -S` runs it for each request.
function answer(int $number): string {
	$total = 0;
	for ($each = 0; $each < 2000 + $number; $each++)
		$total = ($total + $each * 7) % 1000003;
	return str_repeat("$number $total\n", 100);
}

if (!opcache_get_status()["jit"]["on"])
	http_response_code(500);
echo answer((int)substr($_SERVER["REQUEST_URI"], 1));

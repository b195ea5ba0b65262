// SPDX-License-Identifier: GPL-2.0
// A web server with a pool of threads.
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

public class Server {
	static String answer(int number) {
		int total = 0;
		for (int each = 0; each < 2000 + number; each++)
			total = (total + each * 7) % 1000003;
		return (number + " " + total + "\n").repeat(100);
	}

	public static void main(String[] args) throws Exception {
		HttpServer server = HttpServer.create(new InetSocketAddress(8000), 64);
		server.createContext("/", exchange -> {
			int number = Integer.parseInt(exchange.getRequestURI().getPath().substring(1));
			byte[] body = answer(number).getBytes();
			exchange.sendResponseHeaders(200, body.length);
			exchange.getResponseBody().write(body);
			exchange.close();
		});
		server.setExecutor(Executors.newFixedThreadPool(4));
		server.start();
		System.out.println("serving");
	}
}

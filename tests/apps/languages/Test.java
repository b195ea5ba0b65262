// SPDX-License-Identifier: GPL-2.0
// The server compiler, threads, collections of garbage, a web server and a child.
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.IntStream;

public class Test {
	static void check(String what, boolean good) {
		if (!good) {
			System.out.println("failed: " + what);
			System.exit(1);
		}
	}

	static int loop(int count) {
		int sum = 0;
		for (int i = 0; i < count; i++)
			sum = (sum + i * 7) % 1000003;
		return sum;
	}

	public static void main(String[] args) throws Exception {
		int first = loop(1000);
		for (int i = 0; i < 20000; i++)
			check("sum", loop(1000) == first);
		check("parallel", IntStream.range(0, 100000).parallel().asLongStream().sum() == 4999950000L);
		List<byte[]> keep = new ArrayList<>();
		for (int i = 0; i < 2000; i++) {
			keep.add(new byte[100000]);
			if (i % 100 == 0)
				keep.clear();
		}
		int nulls = 0;
		String nothing = args.length > 100 ? "x" : null;
		for (int i = 0; i < 1000; i++) {
			try {
				nothing.length();
			} catch (NullPointerException found) {
				nulls++;
			}
		}
		check("null pointers", nulls == 1000);
		HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
		server.createContext("/", exchange -> {
			byte[] text = ("hello " + exchange.getRequestURI()).getBytes();
			exchange.sendResponseHeaders(200, text.length);
			exchange.getResponseBody().write(text);
			exchange.close();
		});
		server.start();
		HttpClient client = HttpClient.newHttpClient();
		List<CompletableFuture<HttpResponse<String>>> replies = new ArrayList<>();
		for (int i = 0; i < 40; i++) {
			URI where = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/" + i);
			replies.add(client.sendAsync(HttpRequest.newBuilder(where).build(),
				HttpResponse.BodyHandlers.ofString()));
		}
		for (int i = 0; i < 40; i++)
			check("http", replies.get(i).get().body().equals("hello /" + i));
		server.stop(0);
		Process child = new ProcessBuilder("/bin/sh", "-c", "echo $((6 * 7))").start();
		check("command", new String(child.getInputStream().readAllBytes()).equals("42\n"));
		check("status", child.waitFor() == 0);
		System.out.println("all passed");
		System.exit(0);
	}
}

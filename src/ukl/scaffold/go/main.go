// SPDX-License-Identifier: 0BSD

// Answers each request with a line of text.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
)

const port = ":8080"

func main() {
	http.HandleFunc("/", func(writer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(writer, "Hello from @NAME@.")
	})
	listener, err := net.Listen("tcp", port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on port", port[1:])
	log.Fatal(http.Serve(listener, nil))
}
